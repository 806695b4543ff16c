"""The admin door."""

from typing import Any

import pytest

from tests.sandbox.region_client import region

pytestmark = pytest.mark.anyio

FAULTS = "/_sandbox/faults"
LATENCY = "/_sandbox/latency"
DROP = {"on": "query", "do": "drop"}


async def test_health() -> None:
    """A region tells its name."""
    async with region() as client:
        assert (await client.http.get("/_sandbox/health")).json() == {"region": "beijing"}


async def test_faults() -> None:
    """Faults are added one or many at a time, replaced, shown and cleared."""
    async with region() as client:
        http = client.http

        one = (await http.post(FAULTS, json=DROP)).json()
        three = (await http.post(FAULTS, json=[DROP, {**DROP, "nth": 1}])).json()
        replaced = (await http.put(FAULTS, json=[{**DROP, "count": 1}])).json()
        shown = (await http.get(FAULTS)).json()
        cleared = (await http.delete(FAULTS)).json()

        assert one == [{**DROP, "seen": 0, "hits": 0}]
        assert len(three) == 3
        assert replaced == shown == [{**DROP, "count": 1, "seen": 0, "hits": 0}]
        assert cleared == []


async def test_latency() -> None:
    """A latency set at run time is that of the tasks made from then on."""
    async with region() as client:
        before = (await client.http.get(LATENCY)).json()
        answer = await client.http.put(LATENCY, json={"kind": "constant", "seconds": 2})
        task_id = await client.submit()
        client.clock.advance(2)

        assert before == {"kind": "constant", "seconds": 10.0}
        assert answer.json() == {"kind": "constant", "seconds": 2}
        assert await client.status(task_id) == "SUCCEEDED"


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        pytest.param("POST", FAULTS, "{", id="no-json"),
        pytest.param("POST", FAULTS, "[1]", id="no-object"),
        pytest.param("PUT", FAULTS, '{"on": "query", "do": "dance"}', id="no-fault"),
        pytest.param("PUT", LATENCY, '{"kind": "dance"}', id="no-latency"),
        pytest.param("PUT", LATENCY, "[]", id="no-latency-at-all"),
    ],
)
async def test_refusals(method: str, path: str, content: str) -> None:
    """What cannot be read is 400 with a text, and changes nothing."""
    async with region() as client:
        await client.fault(**DROP)

        answer: Any = await client.http.request(method, path, content=content)

        assert (answer.status_code, list(answer.json())) == (400, ["error"])
        assert len((await client.http.get(FAULTS)).json()) == 1


async def test_books_begin_empty() -> None:
    """The books of a new region are empty."""
    async with region() as client:
        assert await client.books() == {
            "region": "beijing",
            "counts": {},
            "tasks_made": 0,
            "images_billed": 0,
            "downloads": 0,
            "tasks": [],
        }
