"""Object storage: signed URLs, upload policies and stored files."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest

from gateway.sandbox.object_storage import MAX_FILE_MB, Signer, UploadStore
from gateway.sandbox.responses import OssRefusal, Refusal

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
def test_signature_refusals(
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


BodyForm = dict[str, str]


def stock() -> tuple[UploadStore, BodyForm]:
    uploads = UploadStore(Signer(b"s"), policy_seconds=300, kept_seconds=1000)
    policy = uploads.create_policy("one", "m", "http://host", "id", 0)
    form = {
        "OSSAccessKeyId": policy["oss_access_key_id"],
        "Signature": policy["signature"],
        "policy": policy["policy"],
        "key": f"{policy['upload_dir']}/a.png",
    }
    return uploads, form


def test_policy() -> None:
    """A policy has the documented fields, the flag for overwriting as a string."""
    policy = stock()[0].create_policy("one", "m", "http://host", "id", 0)

    assert set(policy) == {
        "policy", "signature", "upload_dir", "upload_host", "expire_in_seconds",
        "max_file_size_mb", "capacity_limit_mb", "oss_access_key_id", "x_oss_object_acl",
        "x_oss_forbid_overwrite",
    }  # fmt: skip
    assert (policy["expire_in_seconds"], policy["x_oss_forbid_overwrite"]) == (300, "true")
    assert policy["upload_dir"].startswith("dashscope-instant/")


def test_stored_file_is_read() -> None:
    """A stored file is read by its oss URL, by its account, for its model, in its time."""
    uploads, form = stock()

    uploads.store(form, b"x", 300)

    assert uploads.read(f"oss://{form['key']}", "one", "m", 1299) == b"x"
    for account, model, epoch in (("two", "m", 300), ("one", "n", 300), ("one", "m", 1300)):
        with pytest.raises(Refusal, match="oss download error"):
            uploads.read(f"oss://{form['key']}", account, model, epoch)


def changed(**fields: str) -> Callable[[BodyForm], BodyForm]:
    return lambda form: {**form, **fields}


@pytest.mark.parametrize(
    ("change", "data", "epoch", "status", "code"),
    [
        pytest.param(changed(policy="x"), b"x", 0, 403, "AccessDenied", id="policy"),
        pytest.param(changed(OSSAccessKeyId="x"), b"x", 0, 403, "AccessDenied", id="key-id"),
        pytest.param(changed(Signature="x"), b"x", 0, 403, "SignatureDoesNotMatch", id="signature"),
        pytest.param(changed(), b"x", 301, 403, "AccessDenied", id="expired"),
        pytest.param(changed(key="other/a.png"), b"x", 0, 403, "AccessDenied", id="folder"),
        pytest.param(changed(), None, 0, 400, "InvalidArgument", id="no-file"),
        pytest.param(
            changed(), bytes(MAX_FILE_MB * 2**20 + 1), 0, 400, "EntityTooLarge", id="too-large"
        ),
    ],
)
def test_refusals(
    change: Callable[[BodyForm], BodyForm], data: bytes | None, epoch: float, status: int, code: str
) -> None:
    """A post outside its policy is refused as object storage does."""
    uploads, form = stock()

    with pytest.raises(OssRefusal) as caught:
        uploads.store(change(form), data, epoch)

    assert (caught.value.status, caught.value.code) == (status, code)


def test_no_overwriting() -> None:
    """The same name twice is 409."""
    uploads, form = stock()
    uploads.store(form, b"x", 0)

    with pytest.raises(OssRefusal) as caught:
        uploads.store(form, b"y", 0)

    assert (caught.value.status, caught.value.code) == (409, "FileAlreadyExists")
