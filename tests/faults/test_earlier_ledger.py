"""A new version on the ledger of an earlier one: whoever comes back pays nothing again."""

import sqlite3
from base64 import b64encode
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.sandbox import Constant, create_sandbox, running
from tests.faults.processes import config, serving
from tests.harness import KEY, PLAIN, UPSTREAM_KEY, origin, origin_of, pictures_of
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_DATA = Path(__file__).parents[1] / "data"
_LEDGER = (_DATA / "ledger_of_a05ee7f.sql").read_text("utf-8")
_PHOTO = (_DATA / "pictures" / "exif_gps.jpg").read_bytes()
"""What went up of it, and into the digest of that version, is another file: without its GPS."""
_SUBMIT = "/api/v1/services/aigc/image2image/image-synthesis"
_URL_OF_PHOTO = f"data:image/jpeg;base64,{b64encode(_PHOTO).decode()}"


@pytest.fixture
def anyio_backend() -> str:
    """Real seconds: a process of its own knows no others."""
    return "asyncio"


async def _task(http: httpx.AsyncClient, region: str, prompt: str) -> str:
    """Make a task as the earlier gateway did."""
    answer = await http.post(
        f"{region}{_SUBMIT}",
        json={
            "model": "wan2.5-i2i-preview",
            "input": {"prompt": prompt, "images": [_URL_OF_PHOTO]},
            "parameters": {"n": 1},
        },
        headers={"authorization": f"Bearer {UPSTREAM_KEY}", "x-dashscope-async": "enable"},
    )
    return str(answer.raise_for_status().json()["output"]["task_id"])


_PROMPTS = ("delivered", "delivered by key", "running", "running by key")


async def _written(path: Path, http: httpx.AsyncClient, region: str) -> dict[str, str]:
    """Write the ledger as if its edits had begun now; return their ids by prompt."""
    with closing(sqlite3.connect(path)) as ledger:
        ledger.executescript(_LEDGER)
        rows = ledger.execute(
            "SELECT edit_id, task_id FROM edits JOIN tasks USING (edit_id) ORDER BY created"
        ).fetchall()
        (passed,) = ledger.execute(
            "SELECT strftime('%s', 'now') - min(created) FROM edits"
        ).fetchone()
        ledger.execute("UPDATE edits SET created = created + ?", (passed,))
        ledger.execute("UPDATE tasks SET intended_at = intended_at + ?", (passed,))
        for prompt, (_, old) in zip(_PROMPTS, rows, strict=True):
            new = await _task(http, region, prompt)
            ledger.execute("UPDATE tasks SET task_id = ? WHERE task_id = ?", (new, old))
        ledger.commit()
    return {prompt: edit_id for prompt, (edit_id, _) in zip(_PROMPTS, rows, strict=True)}


async def test_earlier_ledger(tmp_path: Path) -> None:
    """A marked retry, an Idempotency-Key and a GET get their pictures across an upgrade."""
    sandbox = replace(PLAIN, latency=Constant(1.0))
    async with (
        running(create_sandbox(sandbox)) as region,
        httpx.AsyncClient(timeout=None, trust_env=False) as http,  # noqa: S113 - the gateway's
    ):
        file, port = config(tmp_path, region), free_port()
        ids = await _written(tmp_path / "gateway.db", http, region)
        edits = f"http://127.0.0.1:{port}/v1/images/edits"
        bearer = {"authorization": f"Bearer {KEY}"}

        async def edit(prompt: str, size: str = "768x768", **headers: str) -> httpx.Response:
            return await http.post(
                edits,
                data={"prompt": prompt, "size": size},
                files={"image": ("a.jpg", _PHOTO, "image/jpeg")},
                headers={**bearer, **{k.replace("_", "-"): v for k, v in headers.items()}},
            )

        async with serving(file, port):
            answers = {
                "running": await edit("running", x_stainless_retry_count="1"),
                "running by key": await edit(
                    "running by key", "1000x1000", idempotency_key="key-running"
                ),
                "delivered": await edit("delivered", x_stainless_retry_count="2"),
                "delivered by key": await edit("delivered by key", idempotency_key="key-delivered"),
            }
            again = {
                prompt: await http.get(f"{edits}/{edit_id}", headers=bearer)
                for prompt, edit_id in ids.items()
            }
            reused = await edit("another", idempotency_key="key-delivered")
            books = (await http.get(f"{region}/_sandbox/books")).json()

        for answered in (answers, again):
            assert {
                prompt: (answer.headers.get("x-wan-edit-id"), origin_of(*pictures_of(answer)))
                for prompt, answer in answered.items()
            } == {prompt: (ids[prompt], origin(prompt, _PHOTO)) for prompt in _PROMPTS}
        assert answers["delivered by key"].headers["idempotent-replayed"] == "true"
        assert (reused.status_code, reused.json()["error"]["code"]) == (
            422,
            "idempotency_key_reused",
        )
        assert books["tasks_made"] == len(_PROMPTS)
