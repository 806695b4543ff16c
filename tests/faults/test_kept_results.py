"""Answers by a URL of ours through the whole app, from a folder and from a bucket."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.domain.edit import Size
from gateway.imaging.formats import format_of
from gateway.imaging.inspect import pixels_of
from gateway.results.folder import FolderStore
from tests.faults.test_finished import hole_in
from tests.harness import (
    KEY,
    Harness,
    eventually,
    hashed,
    origin,
    origin_of,
    photo,
    pictures_of,
    start_harness,
)
from tests.results.pictures import NAME
from tests.results.s3_server import S3Server, s3_server
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio

SECRET = "canary-" + "s" * 40
ENVIRON = {"KEY": "sk-sandbox", "SECRET": SECRET}


@asynccontextmanager
async def keeping(folder: Path | str, **more: Any) -> AsyncIterator[Harness]:
    """A gateway that keeps pictures, and calls itself as it is called."""
    store = folder if isinstance(folder, str) else f"folder:{folder}"
    results = {"store": store, "public_url": "host", "secret": "env:SECRET"}
    results |= more.pop("results", {})
    environ = ENVIRON | more.pop("environ", {})
    async with start_harness(environ=environ, results=results, **more) as harness:
        yield harness


def urls_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert all(set(row) - {"revised_prompt"} == {"url"} for row in data)
    return [row["url"] for row in data]


def files_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.png"))


async def fetched(harness: Harness, url: str) -> bytes:
    """Fetch a picture as anybody would who has its URL: without a key."""
    assert url.startswith(f"{harness.url}/v1/images/results/")
    reply = await harness.http.get(url, headers={"authorization": ""})
    assert reply.status_code == 200, reply.text
    return reply.content


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


async def test_from_a_folder(tmp_path: Path) -> None:
    """The URL leads to the picture that DashScope made, which lies in the folder as well."""
    async with keeping(tmp_path) as harness:
        (url,) = urls_of(await harness.edit("by url", response_format="url"))
        picture = await fetched(harness, url)

    assert origin_of(picture) == origin("by url", photo())
    (file,) = files_in(tmp_path)
    assert file.read_bytes() == picture


async def test_from_a_bucket(s3: S3Server) -> None:
    """The same from a server that speaks S3's protocol; and deleted there again."""
    bucket = {
        "s3_endpoint": s3.url,
        "s3_region": "us-east-1",
        "s3_access_key": "env:AK",
        "s3_secret_key": "env:SK",
    }
    keys = {"AK": "AKIDTEST", "SK": "secret-of-the-test"}
    async with keeping("s3://pictures/e2e", results=bucket, environ=keys) as harness:
        urls = urls_of(await harness.edit("in a bucket", response_format="url", n="2"))
        pictures = [await fetched(harness, url) for url in urls]
        there = len(files_in(s3.folder))
        reply = await harness.http.delete("/v1/images/results")

    assert [origin_of(picture) for picture in pictures] == [origin("in a bucket", photo())] * 2
    assert there == 2
    assert reply.json()["deleted"] == 2
    assert files_in(s3.folder) == []


async def test_what_the_gateway_makes_itself(tmp_path: Path) -> None:
    """Scaled, encoded and masked pictures have URLs, too, and are what they say."""
    async with keeping(tmp_path) as harness:
        small = await harness.edit("small", response_format="url", size="512x512")
        webp = await harness.edit("webp", output_format="webp", response_format="url")
        masked = await harness.http.post(
            "/v1/images/edits",
            data={"prompt": "masked", "response_format": "url"},
            files={
                "image": ("a.png", photo(), "image/png"),
                "mask": ("m.png", hole_in((400, 400)), "image/png"),
            },
        )
        pictures = [
            await fetched(harness, url)
            for url in (*urls_of(small), *urls_of(webp), *urls_of(masked))
        ]

    assert pixels_of(pictures[0]) == Size(512, 512)
    assert str(format_of(pictures[1])).casefold().count("webp")
    assert webp.json()["output_format"] == "webp"
    assert pixels_of(pictures[2]) == Size(400, 400)


@pytest.mark.parametrize("path", ["edits", "generations"])
async def test_in_a_stream(tmp_path: Path, path: str) -> None:
    """A stream's event has the URL in the place of the picture."""
    async with keeping(tmp_path) as harness:
        files = {"image": ("a.png", photo(), "image/png")} if path == "edits" else None
        reply = await harness.http.post(
            f"/v1/images/{path}",
            data={"prompt": "streamed", "stream": "true", "response_format": "url"},
            files=files,
        )
        data = [line for line in reply.text.splitlines() if line.startswith("data: ")]
        event = json.loads(data[0].removeprefix("data: "))
        picture = await fetched(harness, event["url"])

    assert event["type"] == f"image_{path.removesuffix('s')}.completed"
    assert "b64_json" not in event
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
async def test_openais_default(tmp_path: Path, model: str) -> None:
    """The two dall-e names answer a URL unasked, as at OpenAI; other names and b64_json do not."""
    async with keeping(tmp_path) as harness:
        unasked = await harness.edit("unasked", model=model)
        (url,) = urls_of(unasked)
        picture = await fetched(harness, url)
        asked_for = await harness.edit("said", model=model, response_format="b64_json")
        other = await harness.edit("other", model="gpt-image-1")

    assert origin_of(picture) == origin("unasked", photo())
    assert len(pictures_of(asked_for)) == len(pictures_of(other)) == 1


async def test_later(tmp_path: Path) -> None:
    """Who was told 202 gets the URL by GET, the same each time, or the picture if it says so."""
    state = {"path": str(tmp_path / "gateway.db")}
    async with keeping(tmp_path / "kept", state=state) as harness:
        promised = await harness.edit(
            "later", response_format="url", headers={"prefer": "respond-async"}
        )
        assert promised.status_code == 202, promised.text
        path = promised.headers["location"]

        async def ended() -> bool:
            return (await harness.http.head(path)).status_code == 200

        await eventually(ended)
        first = await harness.http.get(path)
        again = await harness.http.get(path)
        picture = pictures_of(await harness.http.get(f"{path}?response_format=b64_json"))
        (url,) = urls_of(first)
        by_url = await fetched(harness, url)

    assert urls_of(again) == [url]
    assert picture == [by_url]


async def test_a_key_is_replayed(tmp_path: Path) -> None:
    """A replay answers the same URL; nothing is paid, downloaded or written again."""
    async with keeping(tmp_path) as harness:
        key = {"idempotency-key": "k"}
        first = await harness.edit("once", response_format="url", headers=key)
        (file,) = files_in(tmp_path)
        written = file.stat().st_mtime_ns
        again = await harness.edit("once", response_format="url", headers=key)
        books = await harness.books()

    assert urls_of(again) == urls_of(first)
    assert again.headers["idempotent-replayed"] == "true"
    assert file.stat().st_mtime_ns == written
    assert books["tasks_made"] == 1


async def test_another_process(tmp_path: Path) -> None:
    """The URL outlives the process that answered it, and a rotation of the secret."""
    async with keeping(tmp_path) as harness:
        (url,) = urls_of(await harness.edit("outlives", response_format="url"))
        path = url.removeprefix(harness.url)
    rotated = {"secret": "env:NEW", "previous_secret": "env:SECRET"}
    new = {"NEW": "n" * 40}
    async with keeping(tmp_path, results=rotated, environ=new) as harness:
        during = await harness.http.get(path)
    async with keeping(tmp_path, results={"secret": "env:NEW"}, environ=new) as harness:
        after = await harness.http.get(path)

    assert (during.status_code, after.status_code) == (200, 403)


async def test_tenants_are_apart(tmp_path: Path) -> None:
    """No tenant deletes another's pictures, or finds out that they are there."""
    tenants = {
        "acme": {"region": "beijing", "keys": [hashed(KEY)]},
        "globex": {"region": "beijing", "keys": [hashed("wk-globex")]},
    }
    globex = {"authorization": "Bearer wk-globex"}
    async with keeping(tmp_path, tenants=tenants) as harness:
        (url,) = urls_of(await harness.edit("own", response_format="url"))
        name = url.partition("?")[0].removeprefix(harness.url)
        theirs = await harness.http.delete(name, headers=globex)
        all_theirs = await harness.http.delete("/v1/images/results", headers=globex)
        picture = await fetched(harness, url)
        own = await harness.http.delete(name)
        gone = await harness.http.get(url)

    assert theirs.status_code == 404
    assert all_theirs.json() == {"object": "list", "deleted": 0}
    assert origin_of(picture) == origin("own", photo())
    assert (own.status_code, gone.status_code) == (200, 404)


async def test_a_store_that_fails(tmp_path: Path) -> None:
    """The edit is not lost: 503 with its id and what to do; then a retry, or the picture itself."""
    folder = tmp_path / "kept"
    async with keeping(folder) as harness:
        folder.write_text("no folder")
        with capture_logs() as lines:
            refused = await harness.edit("kept?", response_format="url")
        edit_id = refused.headers["x-wan-edit-id"]
        picture = await harness.http.get(f"/v1/images/edits/{edit_id}?response_format=b64_json")
        folder.unlink()
        retry = await harness.edit(
            "kept?", response_format="url", headers={"x-stainless-retry-count": "1"}
        )
        by_url = await fetched(harness, *urls_of(retry))
        books = await harness.books()
        metrics = (await harness.http.get("/metrics")).text

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "result_store_unavailable")
    assert refused.headers["x-should-retry"] == "true"
    assert error["edit_id"] == edit_id
    assert pictures_of(picture) == [by_url]
    assert books["tasks_made"] == 1
    failures = [line for line in lines if line["event"] == "result_store_failed"]
    # The hourly clean-up, which lists and deletes, begins with the gateway: it may fail as well.
    (line,) = [line for line in failures if line["operation"] not in {"list", "delete"}]
    assert (line["operation"], line["log_level"]) == ("put", "error")
    assert 'wan_gateway_result_store_failures_total{operation="put"} 1.0' in metrics
    assert 'wan_gateway_results_total{action="written"} 1.0' in metrics


async def test_no_secret_is_told(tmp_path: Path) -> None:
    """Neither the secret nor a signature is in a log line, a header or /metrics."""
    with capture_logs() as lines:
        async with keeping(tmp_path) as harness:
            (url,) = urls_of(await harness.edit("secret", response_format="url"))
            reply = await harness.http.get(url)
            metrics = (await harness.http.get("/metrics")).text
    signature = url.rpartition("=")[2]

    shown = f"{lines}{reply.headers}{metrics}"
    assert signature not in shown
    assert SECRET not in shown
    (line,) = [line for line in lines if line.get("route") == "/v1/images/edits"]
    assert line["results"] == 1


async def test_pages_of_other_sites(tmp_path: Path) -> None:
    """A script of a configured page may read a picture, as it may everything else."""
    server = {"port": 0, "cors_origins": ["https://app.example"]}
    origins: Mapping[str, str] = {"origin": "https://app.example"}
    async with keeping(tmp_path, server=server) as harness:
        (url,) = urls_of(await harness.edit("page", response_format="url"))
        own = await harness.http.get(url, headers=origins)
        other = await harness.http.get(url, headers={"origin": "https://other.example"})

    assert own.headers["access-control-allow-origin"] == "https://app.example"
    assert "etag" in own.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in other.headers
    assert own.headers["cross-origin-resource-policy"] == "cross-origin"


async def test_what_is_there_is_counted(tmp_path: Path) -> None:
    """From the start on the gateway counts what is in its store, and does so every hour."""
    clock = WarpClock()
    store = FolderStore(tmp_path, durable=False, clock=clock, on_failure=lambda *_: None)
    await store.put(NAME, b"picture")

    async with keeping(tmp_path) as harness:

        async def counted() -> bool:
            metrics = (await harness.http.get("/metrics")).text
            return (
                "wan_gateway_results_stored 1.0" in metrics
                and "wan_gateway_results_stored_bytes 7.0" in metrics
            )

        await eventually(counted)
