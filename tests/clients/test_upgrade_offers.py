"""Clients that offer HTTP/2 by an Upgrade header: Java's and curl's, alone and behind nginx."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.process import until
from tests.whole import KEY, Neighbour, photo, theirs, whose

_NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_JAVA = shutil.which("java") if shutil.which("javac") else None

pytestmark = pytest.mark.slow

# What is copied from page to page for WebSockets, with the keep-alive that busy sites add.
_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream gateway {{
    server {address};
    keepalive 2;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""


@contextmanager
def _nginx(folder: Path, url: str) -> Iterator[str]:
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    address = url.removeprefix("http://")
    file.write_text(_CONFIG.format(folder=folder, address=address, port=port, user=user))
    command = [str(_NGINX), "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    running = subprocess.Popen(command)
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/healthz") or running.poll() is not None)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(params=["alone", "behind-nginx"])
def url(request: pytest.FixtureRequest, there: Neighbour, tmp_path: Path) -> Iterator[str]:
    if request.param == "alone":
        yield there.url
    elif _NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx)")
    else:
        with _nginx(tmp_path, there.url) as found:
            yield found


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


def _is_of(told: dict[str, Any], prompt: str) -> bool:
    (image,) = told["data"]
    return whose(b64decode(image["b64_json"])) == theirs(prompt, photo())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_http2(url: str, there: Neighbour, picture: Path) -> None:
    """Many at once through few connections: each gets the picture of its own prompt."""
    prompts = [f"curl --http2 {number} by {url}" for number in range(12)]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda prompt: _curl(url, picture, prompt), prompts))

    assert [_is_of(told, prompt) for told, prompt in zip(answers, prompts, strict=True)] == [
        True
    ] * len(prompts)
    assert [len(there.tasks(prompt)) for prompt in prompts] == [1] * len(prompts)


def test_a_request_within_a_body(url: str, there: Neighbour) -> None:
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


_PROGRAM = """
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

public class Edit {
    public static void main(String[] told) throws Exception {
        var client = HttpClient.newHttpClient();  // offers HTTP/2 unless told otherwise
        for (int i = 3; i < told.length; i++) {
            var body = new ByteArrayOutputStream();
            body.write(("--b\\r\\nContent-Disposition: form-data; name=\\"prompt\\"\\r\\n\\r\\n"
                + told[i] + "\\r\\n--b\\r\\nContent-Disposition: form-data; name=\\"image\\"; "
                + "filename=\\"a.png\\"\\r\\nContent-Type: image/png\\r\\n\\r\\n").getBytes());
            body.write(Files.readAllBytes(Path.of(told[2])));
            body.write("\\r\\n--b--\\r\\n".getBytes());
            var publisher = i % 2 == 0
                ? HttpRequest.BodyPublishers.ofByteArray(body.toByteArray())
                : HttpRequest.BodyPublishers.fromPublisher(  // chunked
                    HttpRequest.BodyPublishers.ofByteArray(body.toByteArray()));
            var request = HttpRequest.newBuilder(URI.create(told[0] + "/v1/images/edits"))
                .header("Authorization", "Bearer " + told[1])
                .header("Content-Type", "multipart/form-data; boundary=b")
                .POST(publisher).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.body());
        }
    }
}
"""


@pytest.mark.skipif(_JAVA is None, reason="no JDK is installed (apt-get install default-jdk)")
def test_java(url: str, there: Neighbour, picture: Path, tmp_path: Path) -> None:
    """The JDK's own client, unchanged: sized and chunked bodies, one after the other."""
    prompts = [f"java {number} by {url}" for number in range(3)]
    program = tmp_path / "Edit.java"
    program.write_text(_PROGRAM)

    done = subprocess.run(
        [str(_JAVA), "-XX:TieredStopAtLevel=1", str(program), url, KEY, str(picture), *prompts],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [_is_of(told, prompt) for told, prompt in zip(answers, prompts, strict=True)] == [
        True
    ] * len(prompts)
    assert [len(there.tasks(prompt)) for prompt in prompts] == [1] * len(prompts)
