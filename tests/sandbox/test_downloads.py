"""GET of a result."""

import httpx
import pytest

from gateway.sandbox import read_labels
from tests.sandbox.stage import Visitor, body, data_url, picture, region

pytestmark = pytest.mark.anyio


async def ended(visitor: Visitor, prompt: str = "a hat", n: int = 1) -> tuple[str, list[str]]:
    """A task that has ended, and its URLs."""
    table = body(prompt, n=n)
    table["input"]["images"] = [data_url(picture())]
    task_id = (await visitor.post(table)).json()["output"]["task_id"]
    visitor.clock.forward(10)
    results = (await visitor.query(task_id))["output"]["results"]
    return task_id, [result.get("url", "") for result in results]


async def test_whole() -> None:
    """A result is served without a key, with length, type and ETag, and booked."""
    async with region() as visitor:
        task_id, (_, url) = await ended(visitor, n=2)

        answer = await visitor.http.get(url)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["etag"].startswith('"')
        labels = read_labels(answer.content)
        assert (labels["sandbox-task"], labels["sandbox-index"]) == (task_id, "1")
        books = await visitor.books()
        assert books["tasks"][0]["downloads"] == [0, 1]
        assert (books["downloads"], books["images_billed"]) == (1, 2)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        pytest.param("bytes=0-99", 0, 99, id="first"),
        pytest.param("bytes=100-", 100, None, id="rest"),
        pytest.param("bytes=-10", -10, None, id="tail"),
    ],
)
async def test_range(asked: str, first: int, last: int | None) -> None:
    """A part is 206 with Content-Range and the whole's ETag, and fits into the whole."""
    async with region() as visitor:
        _, (url,) = await ended(visitor)
        whole = await visitor.http.get(url)

        part = await visitor.http.get(url, headers={"range": asked})

        total = len(whole.content)
        first = first % total
        last = total - 1 if last is None else last
        assert part.status_code == 206
        assert part.content == whole.content[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{last}/{total}"
        assert part.headers["etag"] == whole.headers["etag"]


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=5-2", "bytes=-", "lines=1-2"])
async def test_range_that_is_none(asked: str) -> None:
    """A range that cannot be served is answered with the whole."""
    async with region() as visitor:
        _, (url,) = await ended(visitor)

        answer = await visitor.http.get(url, headers={"range": asked})

        assert answer.status_code == 200
        assert "content-range" not in answer.headers


def assert_xml(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/xml"
    assert f"<Code>{code}</Code>" in answer.text
    assert answer.headers["x-oss-request-id"] in answer.text


async def test_key_is_refused() -> None:
    """A download that carries a key is refused in XML."""
    async with region() as visitor:
        _, (url,) = await ended(visitor)

        answer = await visitor.http.get(url, headers=visitor.headers)

        assert_xml(answer, 400, "InvalidArgument")
        assert (await visitor.books())["counts"]["download.refused"] == 1


async def test_expired_and_forged() -> None:
    """An expired URL, and one of another path, are 403."""
    async with region() as visitor:
        _, (url,) = await ended(visitor)

        forged = await visitor.http.get(url.replace("-0.png", "-1.png"))
        visitor.clock.forward(86401)
        expired = await visitor.http.get(url)

        assert_xml(forged, 403, "SignatureDoesNotMatch")
        assert_xml(expired, 403, "AccessDenied")


async def test_deleted() -> None:
    """A URL that outlives its file is 404."""
    async with region(url_seconds=7 * 86400.0) as visitor:
        _, (url,) = await ended(visitor)
        assert (await visitor.http.get(url)).status_code == 200
        visitor.clock.forward(86400)

        assert_xml(await visitor.http.get(url), 404, "NoSuchKey")


async def test_failed_picture_has_no_url() -> None:
    """Of a partial failure the good picture alone can be downloaded."""
    async with region() as visitor:
        _, urls = await ended(visitor, "[sandbox:partial 0]", n=2)

        assert urls[0] == ""
        assert read_labels((await visitor.http.get(urls[1])).content)["sandbox-index"] == "1"


async def test_scripted_answer_is_xml() -> None:
    """A scripted answer to a download has the storage's shape."""
    async with region() as visitor:
        _, (url,) = await ended(visitor)
        await visitor.fault(on="download", do="answer", status=503, code="SlowDown", count=1)

        assert_xml(await visitor.http.get(url), 503, "SlowDown")
        assert (await visitor.http.get(url)).status_code == 200
