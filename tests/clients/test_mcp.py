"""An MCP server for images, told where OpenAI is by OPENAI_BASE_URL."""

from base64 import b64decode
from pathlib import Path

import pytest

from tests.clients.python_packages import environment, run
from tests.harness import KEY, ThreadedHarness, origin, origin_of, photo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),  # the package may have to be installed
]

_SERVER = "openai-image-gen-edit"


def test_its_tools(
    shared_gateway: ThreadedHarness, nginx_url: str, picture: Path, mask: Path
) -> None:
    """It edits, edits under a mask and generates; a refusal is an error with the reason."""
    programs = environment("mcp", f"{_SERVER}==0.1.8", "mcp[cli]<2")
    prompts = [f"mcp {number}" for number in range(3)]
    images, n = [str(picture)], 11
    calls = [
        ("edit_image", {"prompt": prompts[0], "images": images}),
        ("edit_image", {"prompt": prompts[1], "images": images, "mask": str(mask)}),
        ("generate_image", {"prompt": prompts[2]}),
        ("edit_image", {"prompt": "no", "images": images, "n": n}),
    ]

    result = run(
        programs / "python",
        "mcp_edit.py",
        server=_SERVER,
        base_url=f"{nginx_url}/v1",
        key=KEY,
        calls=calls,
    )

    assert [call["failed"] for call in result] == [False, False, False, True]
    (edited,) = result[0]["pictures"]
    assert origin_of(b64decode(edited)) == origin(prompts[0], photo())
    assert [len(shared_gateway.tasks(prompt)) for prompt in prompts] == [1, 1, 1]
    assert "Expected a whole number from 1 to 10" in result[3]["texts"][0]
