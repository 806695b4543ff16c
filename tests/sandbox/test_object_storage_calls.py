"""Uploads and downloads over HTTP, against object storage beside the region."""

import httpx
import pytest

from gateway.sandbox import AccountLimits, read_labels
from tests.sandbox.region_client import RegionClient, body, data_url, picture, region

pytestmark = pytest.mark.anyio

UPLOADS = "/api/v1/uploads"


async def test_policy() -> None:
    """The policy comes under ``data``, with an upload host of this very region."""
    async with region() as client:
        answer = await client.get(UPLOADS, action="getPolicy", model="m")

        assert answer.json()["data"]["upload_host"] == "http://region.test:81/oss/uploads"


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"action": "getPolicy"}, id="no-model"),
        pytest.param({"model": "m"}, id="no-action"),
    ],
)
async def test_policy_refusals(params: dict[str, str]) -> None:
    """A call without action or model is 400."""
    async with region() as client:
        answer = await client.get(UPLOADS, **params)

        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")


async def test_policy_limit() -> None:
    """Policies have a limit of their own."""
    async with region(limits=AccountLimits(policies_per_second=1)) as client:
        answers = [await client.get(UPLOADS, action="getPolicy", model="m") for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 429]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        pytest.param(b"x", "text/plain", 400, "MalformedPOSTRequest", id="no-form"),
        pytest.param(b"x", "multipart/form-data", 400, "MalformedPOSTRequest", id="no-boundary"),
        pytest.param(
            b"--b\r\n", "multipart/form-data; boundary=b", 400, "MalformedPOSTRequest", id="broken"
        ),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="policy"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            403,
            "AccessDenied",
            id="no-file",
        ),
    ],
)
async def test_post_refusals(content: bytes, kind: str, status: int, code: str) -> None:
    """What is no upload form is refused in XML."""
    async with region() as client:
        answer = await client.http.post(
            "/oss/uploads", content=content, headers={"content-type": kind}
        )

        assert answer.status_code == status
        assert f"<Code>{code}</Code>" in answer.text


async def test_private() -> None:
    """An uploaded file cannot be downloaded."""
    async with region() as client:
        assert (await client.http.get("/oss/uploads/dashscope-instant/a.png")).status_code == 403


async def ended(client: RegionClient, prompt: str = "a hat", n: int = 1) -> tuple[str, list[str]]:
    """A task that has ended, and its URLs."""
    table = body(prompt, n=n)
    table["input"]["images"] = [data_url(picture())]
    task_id = (await client.post(table)).json()["output"]["task_id"]
    client.clock.advance(10)
    results = (await client.query(task_id))["output"]["results"]
    return task_id, [result.get("url", "") for result in results]


async def test_whole() -> None:
    """A result is served without a key, with length, type and ETag, and booked."""
    async with region() as client:
        task_id, (_, url) = await ended(client, n=2)

        answer = await client.http.get(url)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["etag"].startswith('"')
        labels = read_labels(answer.content)
        assert (labels["sandbox-task"], labels["sandbox-index"]) == (task_id, "1")
        books = await client.books()
        assert books["tasks"][0]["downloads"] == [0, 1]
        assert (books["downloads"], books["images_billed"]) == (1, 2)


@pytest.mark.parametrize(
    ("range_header", "first", "last"),
    [
        pytest.param("bytes=0-99", 0, 99, id="first"),
        pytest.param("bytes=100-", 100, None, id="rest"),
        pytest.param("bytes=-10", -10, None, id="tail"),
    ],
)
async def test_range(range_header: str, first: int, last: int | None) -> None:
    """A part is 206 with Content-Range and the whole's ETag, and fits into the whole."""
    async with region() as client:
        _, (url,) = await ended(client)
        whole = await client.http.get(url)

        part = await client.http.get(url, headers={"range": range_header})

        total = len(whole.content)
        first = first % total
        last = total - 1 if last is None else last
        assert part.status_code == 206
        assert part.content == whole.content[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{last}/{total}"
        assert part.headers["etag"] == whole.headers["etag"]


@pytest.mark.parametrize("range_header", ["bytes=99999999-", "bytes=5-2", "bytes=-", "lines=1-2"])
async def test_range_that_is_none(range_header: str) -> None:
    """A range that cannot be served is answered with the whole."""
    async with region() as client:
        _, (url,) = await ended(client)

        answer = await client.http.get(url, headers={"range": range_header})

        assert answer.status_code == 200
        assert "content-range" not in answer.headers


def assert_xml(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/xml"
    assert f"<Code>{code}</Code>" in answer.text
    assert answer.headers["x-oss-request-id"] in answer.text


async def test_key_is_refused() -> None:
    """A download that carries a key is refused in XML."""
    async with region() as client:
        _, (url,) = await ended(client)

        answer = await client.http.get(url, headers=client.headers)

        assert_xml(answer, 400, "InvalidArgument")
        assert (await client.books())["counts"]["download.refused"] == 1


async def test_expired_and_forged() -> None:
    """An expired URL, and one of another path, are 403."""
    async with region() as client:
        _, (url,) = await ended(client)

        forged = await client.http.get(url.replace("-0.png", "-1.png"))
        client.clock.advance(86401)
        expired = await client.http.get(url)

        assert_xml(forged, 403, "SignatureDoesNotMatch")
        assert_xml(expired, 403, "AccessDenied")


async def test_deleted() -> None:
    """A URL that outlives its file is 404."""
    async with region(url_seconds=7 * 86400.0) as client:
        _, (url,) = await ended(client)
        assert (await client.http.get(url)).status_code == 200
        client.clock.advance(86400)

        assert_xml(await client.http.get(url), 404, "NoSuchKey")


async def test_failed_picture_has_no_url() -> None:
    """Of a partial failure the good picture alone can be downloaded."""
    async with region() as client:
        _, urls = await ended(client, "[sandbox:partial 0]", n=2)

        assert urls[0] == ""
        assert read_labels((await client.http.get(urls[1])).content)["sandbox-index"] == "1"


async def test_scripted_answer_is_xml() -> None:
    """A scripted answer to a download has the storage's shape."""
    async with region() as client:
        _, (url,) = await ended(client)
        await client.fault(on="download", do="answer", status=503, code="SlowDown", count=1)

        assert_xml(await client.http.get(url), 503, "SlowDown")
        assert (await client.http.get(url)).status_code == 200
