import json
import logging
import socket
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from gateway.cli import main
from gateway.commands import sandbox
from gateway.commands.sandbox_keys import KeysFile

_OTHERS = {"singapore": {"acme": ["sk-sg"]}}


def _write(file: Path, beijing: Any) -> None:
    """Replace the file, as an editor does."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"beijing": beijing, **_OTHERS}))
    new.replace(file)


async def _accepts(app: ASGIApp, key: str) -> bool:
    region = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=region, base_url="http://it") as http:
        answer = await http.get("/api/v1/tasks", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def test_a_rotation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A key that is added works at once, one that is removed is refused; a slip changes nothing."""
    file = tmp_path / "keys.json"
    _write(file, {"acme": ["sk-old"]})
    found: list[tuple[bool, bool]] = []

    async def serve(places: Sequence[tuple[ASGIApp, socket.socket]]) -> None:
        app = places[0][0]

        async def look() -> None:
            found.append((await _accepts(app, "sk-old"), await _accepts(app, "sk-new")))

        await look()
        _write(file, {"acme": ["sk-old", "sk-new"]})
        await look()
        _write(file, {"acme": ["sk-new"]})
        await look()
        _write(file, {"acme": "sk-canary"})
        await look()
        file.unlink()
        await look()

    args = Namespace(
        host="127.0.0.1",
        beijing_port=0,
        singapore_port=0,
        speed=1.0,
        seed=0,
        faults=None,
        keys=file,
    )
    with caplog.at_level(logging.WARNING, "gateway.sandbox"):
        assert sandbox.run(args, {}, serve) == 0

    assert found == [(True, False), (True, True), *[(False, True)] * 3]
    assert "key sk-old" in capsys.readouterr().out
    gone = f"{file}: cannot be read (No such file or directory)"
    assert caplog.messages == [
        f"{file}: read again",
        f"{file}: read again",
        f"{file}: beijing.acme: is not a list of keys; write {_FORM}; the keys before stay valid",
        f"{gone}; fix --keys; the keys before stay valid",
    ]


_FORM = '{"beijing": {"acme": ["sk-1", "sk-2"]}, "singapore": {"acme": ["sk-3"]}}'


def test_the_same_object_until_it_changes(tmp_path: Path) -> None:
    """A region does not index its keys at each call."""
    file = tmp_path / "keys.json"
    _write(file, {"acme": ["sk-old"]})
    keys = KeysFile(file, ("beijing",))

    assert keys.accounts("beijing") is keys.accounts("beijing")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("[", ": is not JSON: Expecting value: line 1 column 2", id="no-json"),
        pytest.param("[]", ": is not an object; write {", id="no-object"),
        pytest.param("{}", ": beijing: has no accounts; write {", id="no-region"),
        pytest.param('{"beijing": {"a": []}}', ": beijing.a: is not a list of keys", id="no-keys"),
        pytest.param(
            '{"beijing": {"a": ["sk-canary", 1]}}',
            ": beijing.a: holds what is no key; write texts",
            id="a-number",
        ),
        pytest.param(
            '{"beijing": {"a": ["sk-canary"], "b": ["sk-canary"]}}',
            ": beijing: accounts: a and b share a key; give it to one of them",
            id="one-key-twice",
        ),
    ],
)
def test_bad_keys(
    tmp_path: Path, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in the file stops the start with one line, which shows no key."""
    file = tmp_path / "keys.json"
    file.write_text(text)

    code = main(["sandbox", "--keys", str(file)], {})

    printed = capsys.readouterr().err
    assert code == 2
    assert printed.startswith(f"{file}{complaint}")
    assert printed.count("\n") == 1
    assert "canary" not in printed
