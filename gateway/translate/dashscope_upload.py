"""DashScope's upload policy → the form that uploads a picture to its storage."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_SLICE = 256 * 1024  # bytes of a picture at a time
_TEXTS = ("policy", "signature", "upload_dir", "upload_host", "oss_access_key_id")


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """A permission to upload, for some minutes; all but *seconds* is secret."""

    seconds: float
    """For which it is valid, from the request on."""
    host: str = field(repr=False)
    folder: str = field(repr=False)
    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """The first three fields of the form."""
    conditions: tuple[tuple[str, str], ...] = field(repr=False)
    """The fields after ``key``."""


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A multipart body, made piece by piece, so that the picture is not copied."""

    length: int
    """Bytes, for ``Content-Length``."""
    content_type: str
    url: str = field(repr=False)
    """``oss://…``, by which a submit refers to the uploaded picture."""
    _head: bytes = field(repr=False)
    _content: bytes = field(repr=False)
    _tail: bytes = field(repr=False)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body, at most 256 KiB of the picture at a time."""
        yield self._head
        for start in range(0, len(self._content), _SLICE):
            yield self._content[start : start + _SLICE]
        yield self._tail


def read_policy(body: Mapping[str, Any]) -> UploadPolicy | None:
    """
    Read the response to ``GET /uploads?action=getPolicy``; ``None`` if it is not a policy.

    Source: dashscope.md 5.
    """
    data = body.get("data")
    if not isinstance(data, dict):
        return None
    texts = {name: data.get(name) for name in _TEXTS}
    if not all(isinstance(text, str) and text for text in texts.values()):
        return None
    seconds = data.get("expire_in_seconds")
    return UploadPolicy(
        # Without a period of validity it is used at once, and once.
        seconds=float(seconds) if isinstance(seconds, int) else 0.0,
        host=str(texts["upload_host"]),
        folder=str(texts["upload_dir"]),
        fields=(
            ("OSSAccessKeyId", str(texts["oss_access_key_id"])),
            ("Signature", str(texts["signature"])),
            ("policy", str(texts["policy"])),
        ),
        conditions=(
            ("x-oss-object-acl", str(data.get("x_oss_object_acl", "private"))),
            ("x-oss-forbid-overwrite", str(data.get("x_oss_forbid_overwrite", "true"))),
        ),
    )


def upload_form(
    policy: UploadPolicy, content: bytes, media_type: str, *, unique: str, boundary: str
) -> UploadForm:
    """
    Build the form for one picture.

    The fields are in the order of the vendor's SDK, the file last: storage ignores what
    follows it.

    *media_type* is the picture's real one, such as ``image/png``: storage compares it with
    the extension of the name. *unique* is the name without extension, and must not be used
    twice; *boundary* must not occur in any field.
    """
    name = f"{unique}.{media_type.removeprefix('image/')}"
    key = f"{policy.folder}/{name}"
    fields = (
        *policy.fields,
        ("key", key),
        *policy.conditions,
        ("success_action_status", "200"),
        ("x-oss-content-type", media_type),
    )
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    head = "".join(parts).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    return UploadForm(
        length=len(head) + len(content) + len(tail),
        content_type=f"multipart/form-data; boundary={boundary}",
        url=f"oss://{key}",
        _head=head,
        _content=content,
        _tail=tail,
    )
