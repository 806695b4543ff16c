"""The upload's calls over HTTP; a whole upload is in test_submits and test_dashscope_sdk."""

import pytest

from gateway.sandbox import Limits
from tests.sandbox.stage import region

pytestmark = pytest.mark.anyio

UPLOADS = "/api/v1/uploads"


async def test_policy() -> None:
    """The policy comes under ``data``, with an upload host of this very region."""
    async with region() as visitor:
        answer = await visitor.get(UPLOADS, action="getPolicy", model="m")

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
    async with region() as visitor:
        answer = await visitor.get(UPLOADS, **params)

        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")


async def test_policy_limit() -> None:
    """Policies have a limit of their own."""
    async with region(limits=Limits(policies_per_second=1)) as visitor:
        answers = [await visitor.get(UPLOADS, action="getPolicy", model="m") for _ in range(2)]

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
    async with region() as visitor:
        answer = await visitor.http.post(
            "/oss/uploads", content=content, headers={"content-type": kind}
        )

        assert answer.status_code == status
        assert f"<Code>{code}</Code>" in answer.text


async def test_private() -> None:
    """An uploaded file cannot be downloaded."""
    async with region() as visitor:
        assert (await visitor.http.get("/oss/uploads/dashscope-instant/a.png")).status_code == 403
