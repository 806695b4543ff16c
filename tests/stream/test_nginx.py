"""Behind a real nginx that cuts 2 s of silence, a task of 5 s (P6)."""

from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.sandbox import Constant
from tests.harness import (
    KEY,
    PLAIN,
    eventually,
    hashed,
    origin,
    origin_of,
    photo,
    start_harness,
)
from tests.nginx import nginx
from tests.programs import needs

pytestmark = [pytest.mark.anyio, pytest.mark.slow, needs("nginx")]

SLOW = replace(PLAIN, latency=Constant(7.0))


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds, since nginx has no others."""
    return "asyncio"


async def _edit(client: openai.AsyncOpenAI, *, stream: bool) -> str:
    """Return the picture in base64."""
    fields: dict[str, Any] = {"image": photo(), "prompt": "make it blue"}
    if not stream:
        answer = await client.images.edit(**fields)
        (image,) = answer.data or []
        return image.b64_json or ""
    events = [event async for event in await client.images.edit(stream=True, **fields)]
    (picture,) = (event.b64_json for event in events)
    return str(picture)


@pytest.mark.parametrize(
    ("waits", "tenant", "stream", "statuses"),
    [
        pytest.param(2, {}, False, {"504", "200"}, id="nginx-cuts-and-the-retry-joins"),
        pytest.param(
            5,
            {"cut_off_seconds": 2},
            False,
            {"503", "200"},
            id="told-in-time-and-the-retry-joins",
        ),
        pytest.param(
            5,
            {"cut_off_seconds": 2, "keep_alive": "whitespace"},
            False,
            {"200"},
            id="blanks",
        ),
        pytest.param(5, {"cut_off_seconds": 2}, True, {"200"}, id="a-stream"),
    ],
)
async def test_a_task_longer_than_the_proxy_waits(
    tmp_path: Path, waits: int, tenant: dict[str, Any], stream: bool, statuses: set[str]
) -> None:
    """Whatever the proxy makes of the wait, the SDK's user gets the picture, paid for once."""
    tenants = {"acme": {"region": "beijing", "keys": [hashed(KEY)], **tenant}}
    async with start_harness(SLOW, tenants=tenants) as harness:
        with nginx(tmp_path, harness.url, waits=waits) as proxy:
            url = f"{proxy.url}/v1"
            async with openai.AsyncOpenAI(
                api_key=KEY, base_url=url, timeout=20, max_retries=4
            ) as client:
                picture = await _edit(client, stream=stream)
            books = await harness.books()

            assert origin_of(b64decode(picture)) == origin("make it blue", photo())
            assert (books["tasks_made"], books["images_billed"]) == (1, 1)
            await eventually(proxy.has_logged_the_end)
    assert set(proxy.statuses) == statuses
    assert proxy.statuses.count("200") == 1
