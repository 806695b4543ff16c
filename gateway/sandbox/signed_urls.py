"""Signed result URLs, as object storage hands them out (reference section 8)."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlencode

from gateway.sandbox.answers import OssRefusal
from gateway.sandbox.task import Task, wire_time


class Signer:
    """Signs paths with a secret of the region."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._key_id = f"LTAI5t{sha256(secret).hexdigest()[:14]}"

    def sign(self, text: str) -> str:
        return b64encode(hmac.digest(self._secret, text.encode(), "sha1")).decode()

    def url(self, base: str, path: str, expires: int) -> str:
        """Give ``{base}{path}?Expires=…&OSSAccessKeyId=…&Signature=…``, percent-encoded."""
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
        Let a download pass.

        Raises:
            OssRefusal: 400 for a signed query beside an ``Authorization`` header, 403 for a
                missing, expired or wrong signature.
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
        wanted = self.sign(f"GET\n\n\n{expires}\n{path}")
        if not hmac.compare_digest(signature.encode(), wanted.encode()):
            raise OssRefusal(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided."
                " Check your key and signing method.",
            )


def result_path(task: Task, index: int, ended_epoch: float) -> str:
    """``/results/1d/4c/20250923/0385dc79/{task id}-{index}.png``: fixed for a task's image."""
    digest = sha256(task.id.encode()).hexdigest()
    day = wire_time(ended_epoch)[:10].replace("-", "")
    return f"/results/{digest[:2]}/{digest[2:4]}/{day}/{digest[4:12]}/{task.id}-{index}.png"
