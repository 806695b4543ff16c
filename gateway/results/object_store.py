"""A store in a bucket of S3, OSS or another service that speaks S3's protocol."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import cached_property
from itertools import islice
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import S3Store

from gateway.domain.clock import Clock
from gateway.results.names import ResultName, parse_name
from gateway.results.store import (
    CHUNK_BYTES,
    Bucket,
    OnFailure,
    OpenResult,
    Stored,
    unavailable,
)

_CONNECT_SECONDS = 5
_READ_SECONDS = 20
_WHOLE_SECONDS = 180
"""Of one call: a slow client reads a picture for so long."""
_RETRIES = 3
_RETRY_SECONDS = 15
_DELETED_AT_ONCE = 1000
_LISTED_AT_ONCE = 1000


class ObjectStore:
    """
    Implements gateway.results.store.ResultStore.

    Objects that are not named as results are are neither read nor deleted. Ranges are cut out
    here: not every service that speaks the protocol answers them by it.

    Args:
        bucket: Where.
        clock: Says when a picture was written, until the service does.
        on_failure: Told of each error of the service.
    """

    def __init__(self, bucket: Bucket, *, clock: Clock, on_failure: OnFailure) -> None:
        self._bucket = bucket
        self._clock = clock
        self._on_failure = on_failure

    @cached_property
    def _store(self) -> S3Store:
        """
        The client, made at its first use.

        Raises:
            BaseError: the environment's credentials are half there.
        """
        return _client(self._bucket)

    async def put(self, name: ResultName, picture: bytes) -> Stored:
        with self._failing("put"):
            put = await self._store.put_async(
                _key(name),
                picture,
                attributes={"Content-Type": name.media_type},
                use_multipart=False,  # a part that was begun and not ended would stay
            )
        return Stored(name, len(picture), self._clock.epoch(), put["e_tag"] or "")

    async def find(self, name: ResultName) -> Stored | None:
        with self._failing("find"):
            try:
                meta = await self._store.head_async(_key(name))
            except FileNotFoundError:
                return None
        return _stored(name, meta)

    @asynccontextmanager
    async def open(self, name: ResultName) -> AsyncIterator[OpenResult | None]:
        with self._failing("open"):
            try:
                got = await self._store.get_async(_key(name))
            except FileNotFoundError:
                got = None
        if got is None:
            yield None
            return

        async def chunks(start: int, stop: int) -> AsyncIterator[bytes]:
            at = 0
            with self._failing("open"):
                async for chunk in got.stream(CHUNK_BYTES):
                    if wanted := chunk[max(0, start - at) : stop - at]:
                        yield wanted
                    at += len(chunk)
                    if at >= stop:
                        return
            raise unavailable()

        yield OpenResult(_stored(name, got.meta), chunks)

    async def list(self, owner: str | None = None) -> AsyncIterator[Stored]:
        with self._failing("list"):
            async for page in self._store.list(owner, chunk_size=_LISTED_AT_ONCE):
                for stored in [it for meta in page if (it := _kept(meta)) is not None]:
                    yield stored

    async def delete(self, names: Iterable[ResultName]) -> None:
        keys = map(_key, names)
        while some := list(islice(keys, _DELETED_AT_ONCE)):
            with self._failing("delete"):
                await self._store.delete_async(some)

    async def delete_remains(self, before: float) -> None:
        """Nothing: a write that was cut short leaves nothing that can be seen."""

    @contextmanager
    def _failing(self, operation: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            self._on_failure(operation, error)
            raise unavailable() from error


def _client(bucket: Bucket) -> S3Store:
    options: dict[str, Any] = {
        # OSS has another call for several at once, and single ones work everywhere.
        "disable_bulk_delete": bucket.endpoint is not None,
        "virtual_hosted_style_request": bucket.bucket_in_host,
    }
    if bucket.region is not None:
        options["region"] = bucket.region
    if bucket.access_key is not None and bucket.secret_key is not None:
        options["access_key_id"] = bucket.access_key
        options["secret_access_key"] = bucket.secret_key
    if bucket.endpoint is not None:
        # Both, since the environment's AWS_ENDPOINT_URL_S3 would go before the first.
        options["endpoint"] = options["aws_endpoint_url_s3"] = bucket.url
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        **options,
        client_options={
            "allow_http": (bucket.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=_READ_SECONDS),
            "timeout": timedelta(seconds=_WHOLE_SECONDS),
        },
        retry_config={
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
        },
    )


def _key(name: ResultName) -> str:
    return f"{name.owner}/{name}"


def _kept(meta: Mapping[str, Any]) -> Stored | None:
    folder, _, text = meta["path"].rpartition("/")
    name = parse_name(text)
    return _stored(name, meta) if name is not None and name.owner == folder else None


def _stored(name: ResultName, meta: Mapping[str, Any]) -> Stored:
    etag = meta["e_tag"] or ""
    return Stored(name, meta["size"], meta["last_modified"].timestamp(), etag)
