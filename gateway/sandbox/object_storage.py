"""Object storage beside a region: signed URLs, upload policies, files (sections 5 and 8)."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import orjson

from gateway.sandbox.responses import OssRefusal, Refusal
from gateway.sandbox.tasks import SandboxTask, wire_time


class Signer:
    """Signs URLs and upload policies with a secret of the region."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._key_id = f"LTAI5t{sha256(secret).hexdigest()[:14]}"

    def sign(self, text: str) -> str:
        return b64encode(hmac.digest(self._secret, text.encode(), "sha1")).decode()

    def url(self, base: str, path: str, expires: int) -> str:
        """Return ``{base}{path}?Expires=…&OSSAccessKeyId=…&Signature=…``, percent-encoded."""
        signature = self.sign(f"GET\n\n\n{expires}\n{path}")
        query = {"Expires": expires, "OSSAccessKeyId": self._key_id, "Signature": signature}
        return f"{base}{path}?{urlencode(query)}"

    @property
    def key_id(self) -> str:
        return self._key_id

    def check(
        self, path: str, query: Mapping[str, str], authorization: str | None, epoch: float
    ) -> None:
        """
        Check the signed query of a download.

        Raises:
            OssRefusal: 400 if there is an ``Authorization`` header, 403 for a missing, expired or
                wrong signature.
        """
        signature = query.get("Signature")
        expires = query.get("Expires", "")
        if authorization is not None:
            raise OssRefusal(
                400,
                "InvalidArgument",
                "Authorization header and signed query must not be sent together.",
            )
        if signature is None or not (expires.isascii() and expires.isdigit()):
            raise OssRefusal(
                403, "AccessDenied", "Anonymous access is forbidden for this operation."
            )
        if epoch > int(expires):
            raise OssRefusal(403, "AccessDenied", "Request has expired.")
        expected = self.sign(f"GET\n\n\n{expires}\n{path}")
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise OssRefusal(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided."
                " Check your key and signing method.",
            )


def result_path(task: SandboxTask, index: int, ended_epoch: float) -> str:
    """Return the path of a result: ``/results/1d/4c/20250923/0385dc79/{task id}-{index}.png``."""
    digest = sha256(task.id.encode()).hexdigest()
    day = wire_time(ended_epoch)[:10].replace("-", "")
    return f"/results/{digest[:2]}/{digest[2:4]}/{day}/{digest[4:12]}/{task.id}-{index}.png"


MAX_FILE_MB = 100


@dataclass(frozen=True, slots=True)
class _Policy:
    """The account and model that may upload, into which folder, and until when."""

    account: str
    model: str
    folder: str
    expires: float


@dataclass(frozen=True, slots=True)
class _Upload:
    policy: _Policy
    stored: float
    data: bytes = field(repr=False)


class UploadStore:
    """
    The uploaded files of all accounts. Times are epoch seconds.

    Args:
        signer: Signs policies.
        policy_seconds: Life of a policy.
        kept_seconds: Life of a file.
    """

    def __init__(self, signer: Signer, *, policy_seconds: float, kept_seconds: float) -> None:
        self._signer = signer
        self._policy_seconds = policy_seconds
        self._kept_seconds = kept_seconds
        self._policies: dict[str, _Policy] = {}
        self._files: dict[str, _Upload] = {}

    def create_policy(
        self, account: str, model: str, host: str, request_id: str, epoch: float
    ) -> dict[str, Any]:
        """Create a policy for *account* and *model*; return the ``data`` of the response."""
        owner = sha256(account.encode()).hexdigest()[:32]
        folder = f"dashscope-instant/{owner}/{wire_time(epoch)[:10]}/{request_id}"
        policy = _Policy(account, model, folder, epoch + self._policy_seconds)
        text = b64encode(
            orjson.dumps({"expiration": policy.expires, "conditions": [["starts-with", folder]]})
        ).decode()
        self._policies[text] = policy
        return {
            "policy": text,
            "signature": self._signer.sign(text),
            "upload_dir": folder,
            "upload_host": host,
            "expire_in_seconds": int(self._policy_seconds),
            "max_file_size_mb": MAX_FILE_MB,
            "capacity_limit_mb": 999999999,
            "oss_access_key_id": self._signer.key_id,
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        }

    def store(self, form: Mapping[str, str], data: bytes | None, epoch: float) -> None:
        """
        Store a posted file.

        Args:
            form: The fields before the file; those after it do not count.
            data: The file; None if the form has none.
            epoch: The current time.

        Raises:
            OssRefusal: 400, 403 or 409, as from object storage.
        """
        policy = self._policies.get(form.get("policy", ""))
        if policy is None or form.get("OSSAccessKeyId") != self._signer.key_id:
            raise OssRefusal(403, "AccessDenied", "Invalid according to Policy.")
        if form.get("Signature") != self._signer.sign(form["policy"]):
            raise OssRefusal(403, "SignatureDoesNotMatch", "The signature does not match.")
        if epoch > policy.expires:
            raise OssRefusal(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
        key = form.get("key", "")
        if not key.startswith(f"{policy.folder}/"):
            raise OssRefusal(403, "AccessDenied", "Invalid according to Policy: key.")
        if data is None:
            raise OssRefusal(400, "InvalidArgument", "The file must be the last field.")
        if len(data) > MAX_FILE_MB * 1024 * 1024:
            raise OssRefusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum.")
        if key in self._files:
            raise OssRefusal(409, "FileAlreadyExists", "The object you specified already exists.")
        self._drop_expired(epoch)
        self._files[key] = _Upload(policy, epoch, data)

    def read(self, url: str, account: str, model: str, epoch: float) -> bytes:
        """
        Return the file behind an ``oss://`` URL.

        Raises:
            Refusal: 400 if this account and model have no such file, or it has expired.
        """
        upload = self._files.get(url.removeprefix("oss://"))
        if (
            upload is None
            or (upload.policy.account, upload.policy.model) != (account, model)
            or epoch >= upload.stored + self._kept_seconds
        ):
            raise Refusal(400, "InvalidParameter", "oss download error.")
        return upload.data

    def _drop_expired(self, epoch: float) -> None:
        self._policies = {
            text: policy for text, policy in self._policies.items() if policy.expires >= epoch
        }
        self._files = {
            key: upload
            for key, upload in self._files.items()
            if epoch < upload.stored + self._kept_seconds
        }
