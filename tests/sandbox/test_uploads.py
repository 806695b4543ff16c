"""Policies and stored files."""

from collections.abc import Callable

import pytest

from gateway.sandbox.object_storage import MAX_FILE_MB, Signer, Uploads
from gateway.sandbox.responses import OssRefusal, Refusal

Form = dict[str, str]


def stock() -> tuple[Uploads, Form]:
    uploads = Uploads(Signer(b"s"), policy_seconds=300, kept_seconds=1000)
    policy = uploads.policy("one", "m", "http://host", "id", 0)
    form = {
        "OSSAccessKeyId": policy["oss_access_key_id"],
        "Signature": policy["signature"],
        "policy": policy["policy"],
        "key": f"{policy['upload_dir']}/a.png",
    }
    return uploads, form


def test_policy() -> None:
    """A policy has the documented fields, the flag for overwriting as a string."""
    policy = stock()[0].policy("one", "m", "http://host", "id", 0)

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


def changed(**fields: str) -> Callable[[Form], Form]:
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
    change: Callable[[Form], Form], data: bytes | None, epoch: float, status: int, code: str
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
