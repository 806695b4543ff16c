"""Signed URLs: form, life, refusals."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.sandbox.object_storage import Signer
from gateway.sandbox.responses import OssRefusal

SIGNER = Signer(b"secret")
PATH = "/results/a.png"
URL = urlsplit(SIGNER.url("http://h:1", PATH, 1000))
QUERY = dict(parse_qsl(URL.query))


def test_form() -> None:
    """A URL has Expires, OSSAccessKeyId and a percent-encoded Signature, in that order."""
    assert (URL.scheme, URL.netloc, URL.path) == ("http", "h:1", PATH)
    assert list(QUERY) == ["Expires", "OSSAccessKeyId", "Signature"]
    assert QUERY["OSSAccessKeyId"].startswith("LTAI")
    assert "=" not in URL.query.split("Signature=")[1]


def test_passes_until_it_expires() -> None:
    """A URL is good up to its second."""
    SIGNER.check(PATH, QUERY, None, 1000)


@pytest.mark.parametrize(
    ("path", "query", "authorization", "epoch", "status", "code"),
    [
        pytest.param(PATH, QUERY, "Bearer k", 0, 400, "InvalidArgument", id="with-a-key"),
        pytest.param(PATH, {}, None, 0, 403, "AccessDenied", id="unsigned"),
        pytest.param(PATH, {**QUERY, "Expires": "x"}, None, 0, 403, "AccessDenied", id="no-time"),
        pytest.param(PATH, QUERY, None, 1001, 403, "AccessDenied", id="expired"),
        pytest.param("/b", QUERY, None, 0, 403, "SignatureDoesNotMatch", id="other-path"),
        pytest.param(
            PATH,
            {**QUERY, "Expires": "9999"},
            None,
            0,
            403,
            "SignatureDoesNotMatch",
            id="stretched",
        ),
        pytest.param(
            PATH, {**QUERY, "Signature": "é"}, None, 0, 403, "SignatureDoesNotMatch", id="nonsense"
        ),
    ],
)
def test_refusals(
    path: str,
    query: dict[str, str],
    authorization: str | None,
    epoch: float,
    status: int,
    code: str,
) -> None:
    """Whoever does not hold the URL as it was given out is refused as object storage does."""
    with pytest.raises(OssRefusal) as caught:
        SIGNER.check(path, query, authorization, epoch)

    assert (caught.value.status, caught.value.code) == (status, code)
