"""Uploads in the whole app, before a sandbox: an edit of 9 MB is one task of that very picture."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from io import BytesIO
from random import Random
from typing import Any

import pytest
from PIL import Image

from gateway.sandbox import Fault, SandboxConfig
from gateway.sandbox.config import AccountLimits
from gateway.sandbox.faults import Answer, Drop, Hang
from tests.fast_time import FAST_TIME
from tests.harness import PLAIN, digest, pictures_of, start_harness

pytestmark = pytest.mark.anyio

_CONFIG: dict[str, Any] = {"server": {"inline_bytes": 6_000_000}}
_REFUSED = Answer(403, "AccessDenied")


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    """Storage that is silent is given up after seconds that need not be real ones."""
    return FAST_TIME


@cache
def _big() -> bytes:
    """A JPEG of 9 MB that no rule of DashScope's forbids."""
    file = BytesIO()
    noise = Random(0).randbytes(3200 * 3200 * 3)
    Image.frombytes("RGB", (3200, 3200), noise).save(file, "JPEG", quality=89)
    return file.getvalue()


@pytest.mark.parametrize(
    ("region", "faults", "requested", "came"),
    [
        pytest.param(PLAIN, [], 2, "oss", id="up"),
        pytest.param(
            replace(PLAIN, limits=AccountLimits(policies_per_second=0)),
            [],
            1,
            "data",
            id="no-policy",
        ),
        pytest.param(PLAIN, [Fault("upload", _REFUSED)], 2, "data", id="refused"),
        pytest.param(PLAIN, [Fault("upload", Drop(reset=True))], 2, "data", id="cut"),
        pytest.param(PLAIN, [Fault("upload", Hang())], 2, "data", id="silent"),
    ],
)
async def test_whole(region: SandboxConfig, faults: list[Fault], requested: int, came: str) -> None:
    """An edit of 9 MB is one task of that very picture, whether storage takes it or not."""
    async with start_harness(region, **_CONFIG) as harness:
        await harness.set_faults(*faults)

        answer = await harness.edit(picture=_big())

        books, metrics = await harness.books(), (await harness.http.get("/metrics")).text
        (task,) = books["tasks"]
        assert 8_000_000 < len(_big()) < 10_000_000
        assert len(pictures_of(answer)) == 1
        assert (task["inputs"], task["inputs_sha256"]) == ([came], [digest(_big())])
        assert books["counts"]["upload.received"] == requested
        assert (books["tasks_made"], books["images_billed"]) == (1, 1)
        assert _retried(metrics) == (came == "data")


def _retried(metrics: str) -> bool:
    lines = [line for line in metrics.splitlines() if "upstream_retries_total{" in line]
    return any('operation="upload"' in line and not line.endswith(" 0.0") for line in lines)


async def test_whole_many() -> None:
    """Two tasks of one edit name the same upload."""
    async with start_harness(PLAIN, **_CONFIG) as harness:
        answer = await harness.edit(picture=_big(), n="5")

        books = await harness.books()
        assert len(pictures_of(answer)) == 5
        assert [task["inputs"] for task in books["tasks"]] == [["oss"], ["oss"]]
        assert books["counts"]["upload.received"] == 2


async def test_whole_in_a_message() -> None:
    """A model of the newer form is named in the policy, and reads its picture from there."""
    async with start_harness(PLAIN, **_CONFIG) as harness:
        answer = await harness.edit(picture=_big(), model="wan2.6-image")

        (task,) = (await harness.books())["tasks"]
        assert len(pictures_of(answer)) == 1
        assert (task["model"], task["inputs"]) == ("wan2.6-image", ["oss"])
        assert task["inputs_sha256"] == [digest(_big())]


async def test_whole_with_an_old_policy() -> None:
    """Storage calls the kept policy expired: a new one is asked for, and the picture goes up."""
    async with start_harness(PLAIN, **_CONFIG) as harness:
        await harness.edit("make it red", picture=_big())
        await harness.set_faults(Fault("upload", _REFUSED, count=1))

        answer = await harness.edit("make it blue", picture=_big())

        books = await harness.books()
        assert pictures_of(answer)
        assert [task["inputs"] for task in books["tasks"]] == [["oss"], ["oss"]]
        assert books["counts"]["upload.received"] == 5
