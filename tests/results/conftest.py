"""Stores for every test of the package: a folder, and a bucket of a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.results.folder import FolderStore
from gateway.results.open import open_store
from gateway.results.store import ResultStore
from tests.results.pictures import Failures, MovableCalendar
from tests.results.s3_server import S3Server, s3_server


@pytest.fixture
def calendar() -> MovableCalendar:
    return MovableCalendar()


@pytest.fixture
def failures() -> Failures:
    return Failures()


@pytest.fixture
def folder(tmp_path: Path, calendar: MovableCalendar, failures: Failures) -> FolderStore:
    return FolderStore(tmp_path / "kept", durable=False, clock=calendar, on_failure=failures)


@pytest.fixture(scope="package")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, calendar: MovableCalendar, failures: Failures
) -> ResultStore:
    """Each kind of store, empty."""
    if request.param == "folder":
        return open_store(tmp_path, durable=True, clock=calendar, on_failure=failures)
    server: S3Server = request.getfixturevalue("s3")
    bucket = server.bucket(prefix=f"results/{tmp_path.name}")
    return open_store(bucket, durable=True, clock=calendar, on_failure=failures)
