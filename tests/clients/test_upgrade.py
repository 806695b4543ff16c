"""Clients that offer HTTP/2 with an Upgrade header: the JDK's HttpClient, and curl --http2."""

import json
import subprocess
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tools import needs
from tests.whole import KEY, Neighbour, photo, theirs, whose

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
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _made(told: dict[str, Any]) -> tuple[str, str]:
    assert "data" in told, told
    (image,) = told["data"]
    return whose(b64decode(image["b64_json"]))


@needs("java")
def test_java(there: Neighbour, url: str, picture: Path) -> None:
    """The JDK's client gets each of its pictures over HTTP/1.1, the second on a kept connection."""
    prompts = [f"java {url} {number}" for number in range(3)]

    answers = _java(url, picture, *prompts)

    for answer, prompt in zip(answers, prompts, strict=True):
        assert answer.startswith("200 HTTP_1_1 "), answer
        assert _made(json.loads(answer.removeprefix("200 HTTP_1_1 "))) == theirs(prompt, photo())
        assert len(there.tasks(prompt)) == 1


@needs("curl")
def test_curl(there: Neighbour, url: str, picture: Path) -> None:
    """curl --http2 gets its picture."""
    prompt = f"curl --http2 {url}"

    told = _curl(url, picture, prompt)

    assert _made(told) == theirs(prompt, photo())
    assert len(there.tasks(prompt)) == 1


@needs("curl")
def test_others_on_the_same_connections(there: Neighbour, behind: str, picture: Path) -> None:
    """Behind a proxy that shares its connections, each gets its own answer beside such offers."""
    with ThreadPoolExecutor(6) as pool, httpx.Client(trust_env=False, timeout=120) as client:

        def ask(number: int) -> tuple[str, dict[str, Any]]:
            prompt = f"shared connections, {number}"
            if number % 3 == 0:
                return prompt, _curl(behind, picture, prompt)
            answer = client.post(
                f"{behind}/v1/images/edits",
                data={"prompt": prompt},
                files={"image": ("a.png", photo(), "image/png")},
                headers={"authorization": f"Bearer {KEY}"},
            )
            told: dict[str, Any] = answer.json()
            return prompt, told

        answers = list(pool.map(ask, range(30)))

    assert [_made(told) for _, told in answers] == [theirs(p, photo()) for p, _ in answers]
    assert [len(there.tasks(prompt)) for prompt, _ in answers] == [1] * 30
