"""Clients that offer HTTP/2 with an Upgrade header: the JDK's HttpClient, and curl --http2."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import KEY, ThreadedHarness, origin, origin_of, photo
from tests.nginx import nginx
from tests.programs import cannot, found, needs

_JAVA = Path(__file__).parent / "java" / "Edit.java"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _java(url: str, picture: Path, *prompts: str) -> list[str]:
    """Run the source, and return its answers: status, version and body, one a line."""
    done = subprocess.run(
        ["java", str(_JAVA), f"{url}/v1", KEY, str(picture), *prompts],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _curl(url: str, picture: Path, prompt: str) -> dict[str, Any]:
    done = subprocess.run(
        [
            *("curl", "--silent", "--http2", "--noproxy", "*"),
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--form", f"image=@{picture}", "--form", f"prompt={prompt}"),
            f"{url}/v1/images/edits",
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _origin_and_id(values: dict[str, Any]) -> tuple[str, str]:
    assert "data" in values, values
    (image,) = values["data"]
    return origin_of(b64decode(image["b64_json"]))


@pytest.fixture(params=["direct", "offered", "always"])
def url(
    request: pytest.FixtureRequest, shared_gateway: ThreadedHarness, tmp_path: Path
) -> Iterator[str]:
    """The gateway by its own port, or behind an nginx with the usual lines for websockets."""
    if request.param == "direct":
        yield shared_gateway.url
        return
    if found("nginx") is None:
        cannot("nginx is not installed")
    with nginx(tmp_path, shared_gateway.url, waits=60, websockets=request.param) as proxy:
        yield proxy.url


@needs("java")
def test_java(shared_gateway: ThreadedHarness, url: str, picture: Path) -> None:
    """
    The JDK's client gets each of its pictures over HTTP/1.1, the later ones on a kept connection.

    Every second body is chunked.
    """
    prompts = [f"java {url} {number}" for number in range(3)]

    answers = _java(url, picture, *prompts)

    for answer, prompt in zip(answers, prompts, strict=True):
        assert answer.startswith("200 HTTP_1_1 "), answer
        assert _origin_and_id(json.loads(answer.removeprefix("200 HTTP_1_1 "))) == origin(
            prompt, photo()
        )
        assert len(shared_gateway.tasks(prompt)) == 1


@needs("curl")
def test_curl(shared_gateway: ThreadedHarness, url: str, picture: Path) -> None:
    """curl --http2 gets its picture."""
    prompt = f"curl --http2 {url}"

    result = _curl(url, picture, prompt)

    assert _origin_and_id(result) == origin(prompt, photo())
    assert len(shared_gateway.tasks(prompt)) == 1


def test_a_request_within_a_body(url: str) -> None:
    """What stands in the body of an offer is never served, to nobody."""
    inner = (
        b"POST /v1/images/edits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}" % KEY.encode()
    )
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMA"}
    headers = {"authorization": f"Bearer {KEY}", "content-type": "text/plain", **offer}

    with httpx.Client(trust_env=False, timeout=60) as client:
        for _ in range(4):
            odd = client.post(f"{url}/v1/images/edits", content=inner, headers=headers)
            plain = client.get(f"{url}/healthz")

            assert odd.json()["error"]["code"] == "unsupported_content_type"
            assert (plain.status_code, plain.json()) == (200, {"status": "ok"})


@needs("curl")
def test_others_on_the_same_connections(
    shared_gateway: ThreadedHarness, url: str, picture: Path
) -> None:
    """Each gets its own answer beside such offers, also where a proxy shares connections."""
    with ThreadPoolExecutor(6) as pool, httpx.Client(trust_env=False, timeout=120) as client:

        def edit_request(number: int) -> tuple[str, dict[str, Any]]:
            prompt = f"{number} beside offers, by {url}"
            if number % 3 == 0:
                return prompt, _curl(url, picture, prompt)
            answer = client.post(
                f"{url}/v1/images/edits",
                data={"prompt": prompt},
                files={"image": ("a.png", photo(), "image/png")},
                headers={"authorization": f"Bearer {KEY}"},
            )
            body: dict[str, Any] = answer.json()
            return prompt, body

        answers = list(pool.map(edit_request, range(30)))

    assert [_origin_and_id(body) for _, body in answers] == [origin(p, photo()) for p, _ in answers]
    assert [len(shared_gateway.tasks(prompt)) for prompt, _ in answers] == [1] * 30
