"""The bucket itself: keys, content types, other objects, and a service that fails."""

from collections.abc import Awaitable, Callable

import pytest

from gateway.domain.errors import ResultStoreUnavailable
from gateway.results.object_store import ObjectStore
from gateway.results.store import Bucket, ResultStore, reason_of
from tests.ports import free_port
from tests.results.pictures import NAME, PICTURE, Failures, MovableCalendar, names_in, read
from tests.results.s3_server import SECRET_KEY, S3Server

pytestmark = pytest.mark.anyio


def a_store(bucket: Bucket, failures: Failures) -> ObjectStore:
    return ObjectStore(bucket, clock=MovableCalendar(), on_failure=failures)


async def test_where_an_object_is(s3: S3Server, failures: Failures) -> None:
    """Its key is the prefix, the owner and the name; without a prefix it begins with the owner."""
    await a_store(s3.bucket(prefix="deep/down"), failures).put(NAME, PICTURE)
    await a_store(s3.bucket(name="pictures"), failures).put(NAME, b"at the top")

    top = s3.folder / "pictures"
    assert (top / "deep" / "down" / NAME.owner / str(NAME)).read_bytes() == PICTURE
    assert (top / NAME.owner / str(NAME)).read_bytes() == b"at the top"


async def test_foreign_objects(s3: S3Server, failures: Failures) -> None:
    """What others keep under the same prefix is neither listed nor deleted."""
    store = a_store(s3.bucket(prefix="shared"), failures)
    await store.put(NAME, PICTURE)
    theirs = s3.folder / "pictures" / "shared" / "theirs.png"
    theirs.write_bytes(b"theirs")
    elsewhere = s3.folder / "pictures" / "shared" / "others" / str(NAME)
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"theirs")

    listed = await names_in(store)
    await store.delete(listed)

    assert listed == {NAME}
    assert theirs.exists()
    assert elsewhere.exists()


async def everything(store: ResultStore) -> list[str]:
    """Do all that a store does; return which of it failed as a client is to be told."""
    failed = []
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: store.put(NAME, PICTURE),
        "find": lambda: store.find(NAME),
        "open": lambda: read(store, NAME),
        "list": lambda: names_in(store),
        "delete": lambda: store.delete([NAME]),
    }
    for operation, work in works.items():
        try:
            await work()
        except ResultStoreUnavailable:
            failed.append(operation)
    return failed


async def test_wrong_keys(s3: S3Server, failures: Failures) -> None:
    """Every operation fails, and the operator is told why, without a secret."""
    store = a_store(s3.bucket(secret_key="wrong-canary"), failures)

    assert (
        await everything(store) == failures.operations == ["put", "find", "open", "list", "delete"]
    )
    reasons = [reason_of(error) for error in failures.errors]
    assert all("403" in reason or "PermissionDenied" in reason for reason in reasons), reasons
    assert "canary" not in str(reasons)
    assert "\n" not in "".join(reasons)


async def test_nobody_there(failures: Failures, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot be reached is given up after a few tries, not after minutes."""
    monkeypatch.setattr("gateway.results.object_store._RETRIES", 0)
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = a_store(Bucket("pictures", endpoint=endpoint, access_key="a", secret_key="b"), failures)

    assert len(await everything(store)) == 5
    assert "GenericError" in reason_of(failures.errors[0])


async def test_half_of_the_environments_keys(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that cannot work are told like a service that fails; nothing dies of them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)

    assert len(await everything(a_store(Bucket("pictures"), failures))) == 5
    assert "SecretAccessKey" in reason_of(failures.errors[0])


async def test_the_environments_keys(
    s3: S3Server, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without keys in the config those of the environment are used, and its endpoint is not."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    store = a_store(s3.bucket(access_key=None, secret_key=None, prefix="env"), failures)

    await store.put(NAME, PICTURE)

    assert await read(store, NAME) == PICTURE


async def test_a_read_that_breaks_off(s3: S3Server, failures: Failures) -> None:
    """An object that is shorter than it was said to be is not taken for whole."""
    store = a_store(s3.bucket(prefix="short"), failures)
    await store.put(NAME, PICTURE)

    with pytest.raises(ResultStoreUnavailable):
        await read(store, NAME, 0, len(PICTURE) + 1)


def test_addresses() -> None:
    """With the bucket in the host, its name goes before the endpoint's; else it is in the path."""
    oss = "https://oss-cn-beijing.aliyuncs.com"

    assert Bucket("pictures").url is None
    assert Bucket("pictures", endpoint=oss).url == oss
    in_host = Bucket("pictures", endpoint=oss, bucket_in_host=True)
    assert in_host.url == "https://pictures.oss-cn-beijing.aliyuncs.com"


def test_no_secret_is_shown() -> None:
    """Neither half of the key pair is in the text of a bucket."""
    assert "canary" not in repr(Bucket("pictures", access_key="canary", secret_key="canary"))
