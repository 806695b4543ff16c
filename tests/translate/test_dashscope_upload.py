from typing import Any

import pytest

from gateway.translate.dashscope_upload import read_policy, upload_form

_DATA: dict[str, Any] = {
    "policy": "canary-policy",
    "signature": "canary-signature",
    "upload_dir": "dashscope-instant/x/2026-11-23/y",
    "upload_host": "https://dashscope-file-x.oss-cn-beijing.aliyuncs.com",
    "expire_in_seconds": 300,
    "max_file_size_mb": 100,
    "oss_access_key_id": "LTA-canary",
    "x_oss_object_acl": "private",
    "x_oss_forbid_overwrite": "true",
}


def test_form() -> None:
    """The form has the SDK's fields in the SDK's order, the file last, and says its length."""
    policy = read_policy({"data": _DATA})
    assert policy is not None

    form = upload_form(policy, b"\xff\xd8" * 200_000, "image/jpeg", unique="u", boundary="b")

    body = b"".join(form.pieces())
    names = [part.split(b'"')[1] for part in body.split(b"--b\r\n")[1:]]
    assert names == [
        b"OSSAccessKeyId",
        b"Signature",
        b"policy",
        b"key",
        b"x-oss-object-acl",
        b"x-oss-forbid-overwrite",
        b"success_action_status",
        b"x-oss-content-type",
        b"file",
    ]
    assert b'name="key"\r\n\r\ndashscope-instant/x/2026-11-23/y/u.jpeg\r\n' in body
    assert body.endswith(b"image/jpeg\r\n\r\n" + b"\xff\xd8" * 200_000 + b"\r\n--b--\r\n")
    assert form.url == "oss://dashscope-instant/x/2026-11-23/y/u.jpeg"
    assert form.length == len(body)
    assert max(map(len, form.pieces())) <= 256 * 1024
    assert "canary" not in f"{policy!r}{form!r}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"data": "no"}, id="no-object"),
        pytest.param({"data": {**_DATA, "signature": ""}}, id="empty"),
        pytest.param({"data": {**_DATA, "upload_host": 7}}, id="no-text"),
    ],
)
def test_no_policy(body: dict[str, Any]) -> None:
    """What lacks a part of a policy is none."""
    assert read_policy(body) is None


def test_policy_without_a_term() -> None:
    """A policy that does not say how long it is good for is not kept."""
    policy = read_policy({"data": {**_DATA, "expire_in_seconds": None}})

    assert policy is not None
    assert policy.seconds == 0
