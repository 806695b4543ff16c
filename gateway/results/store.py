"""The port of a store of pictures: a folder or an object store implements it."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.errors import ResultStoreUnavailable
from gateway.results.names import ResultName

OnFailure = Callable[[str, Exception], None]
"""Called with the operation (``put``, ``find``, ``open``, ``list``, ``delete``) and its error."""

_LONGEST_REASON = 300
CHUNK_BYTES = 256 * 1024
"""A picture is read in pieces of this size, so that a slow client costs no more memory."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture that is in the store."""

    name: ResultName
    size: int
    """Bytes."""
    modified: float
    """When it was written: seconds since the epoch, by the store's clock."""
    etag: str
    """With its quotes; another one for other bytes."""


@dataclass(frozen=True, slots=True)
class OpenResult:
    """A picture that is being read."""

    stored: Stored
    chunks: Callable[[int, int], AsyncIterator[bytes]]
    """
    From the first byte and the one after the last: yields what lies between, once.

    Raises ResultStoreUnavailable where the store breaks off.
    """


class ResultStore(Protocol):
    """
    Keeps pictures by name. Every method raises ResultStoreUnavailable if the store fails.

    What is written appears whole or not at all. Nothing else in the folder or bucket is
    listed, read or deleted.
    """

    async def put(self, name: ResultName, picture: bytes) -> Stored:
        """Write *picture*, durably; one of that name is replaced."""
        ...

    async def find(self, name: ResultName) -> Stored | None: ...

    def open(self, name: ResultName) -> AbstractAsyncContextManager[OpenResult | None]:
        """Begin to read a picture; ``None`` if there is none."""
        ...

    def list(self, owner: str | None = None) -> AsyncIterator[Stored]:
        """Yield every picture, or those of one owner, in no order."""
        ...

    async def delete(self, names: Iterable[ResultName]) -> None:
        """Delete pictures; one that is not there is no error."""
        ...

    async def delete_remains(self, before: float) -> None:
        """Delete what writes that were cut short *before* this time (epoch) left behind."""
        ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the bucket is, and who may use it."""

    name: str
    prefix: str = ""
    """Of every key; empty or without a slash at its ends."""
    endpoint: str | None = None
    """``None``: Amazon's."""
    region: str | None = None
    bucket_in_host: bool = False
    """Whether the bucket is part of the host name, as OSS wants it, not of the path."""
    access_key: str | None = field(default=None, repr=False)
    """With *secret_key*; ``None``: as the environment or the machine's role says."""
    secret_key: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str | None:
        """Return where the client calls; ``None``: it knows Amazon's."""
        if self.endpoint is None or not self.bucket_in_host:
            return self.endpoint
        scheme, _, host = self.endpoint.partition("://")
        return f"{scheme}://{self.name}.{host}"


def unavailable() -> ResultStoreUnavailable:
    """Return what a client gets when the store fails; only the operator gets the reason."""
    return ResultStoreUnavailable(
        "The gateway cannot keep or read its pictures at the moment. An edit that was made is not "
        "lost: send the same request again, or GET /v1/images/edits/{edit_id}"
        "?response_format=b64_json for the picture itself.",
        retry_after=5.0,
    )


def reason_of(error: Exception) -> str:
    """Return the first line of an error for the log, without what a service sent with it."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    first = str(error).partition("\n")[0].partition("<")[0]
    return f"{type(error).__name__}: {first}"[:_LONGEST_REASON]
