import asyncio
import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli import main
from gateway.domain.clock import SystemClock
from gateway.domain.errors import ContentRefused
from gateway.domain.record import EditState
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.sqlite_schema import only_holder
from gateway.sandbox import AccountLimits
from tests.harness import KEY, UPSTREAM_KEY, photo
from tests.ledger.records import EDIT, FIRST, SECOND
from tests.process import GatewayProcess, region, tables, until

_ENVIRON = {"KEY": UPSTREAM_KEY, "CUSTOMER": KEY, "WRONG": "wk-nobody"}


def _run(folder: Path, *argv: str, environ: dict[str, str] = _ENVIRON) -> int:
    return main(["edits", *argv, "--config", str(folder / "g.toml")], environ)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config and a ledger with three edits: of now, of a minute ago, of three hours ago."""
    (tmp_path / "g.toml").write_text(tables(tmp_path))
    asyncio.run(_write(tmp_path / "gateway.db"))
    return tmp_path


async def _write(path: Path) -> None:
    now = SystemClock().epoch()
    async with SqliteLedger(path, sync="normal", epoch=SystemClock().epoch) as ledger:
        young = replace(EDIT, edit_id="edit_young", created=now, idempotency_key="k\x1b[31m")
        await ledger.intend(young, FIRST)
        await ledger.intend(young, SECOND)
        await ledger.accept("edit_young", 0, "main", "task-1")
        failed = replace(EDIT, edit_id="edit_failed", created=now - 60, idempotency_key=None)
        await ledger.intend(replace(failed, tenant="other"), FIRST)
        await ledger.end_edit("edit_failed", EditState.FAILED, ContentRefused("It was refused."))
        old = replace(EDIT, edit_id="edit_old", created=now - 3 * 3600, idempotency_key=None)
        await ledger.intend(old, FIRST)


async def _stray(path: Path) -> None:
    async with SqliteLedger(path, sync="normal", epoch=SystemClock().epoch) as ledger:
        await ledger.accept("edit_young", 1, "main", "task-late", attempt="earlier")


def test_strays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task of which the ledger was told too late is named in the list and with its edit."""
    asyncio.run(_stray(folder / "gateway.db"))

    _run(folder, "list")
    listed = capsys.readouterr().out
    _run(folder, "show", "edit_young", "--json")
    shown = json.loads(capsys.readouterr().out)
    _run(folder, "show", "edit_failed", "--json")
    other = json.loads(capsys.readouterr().out)

    assert "stray task: task-late of edit_young (docs/ledger.md, Strays)" in listed
    assert (shown["strays"], other["strays"]) == (["task-late"], [])


def _listed(text: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        pytest.param([], ["edit_young", "edit_failed", "edit_old"], id="all"),
        pytest.param(["--limit", "1"], ["edit_young"], id="limit"),
        pytest.param(["--tenant", "other"], ["edit_failed"], id="tenant"),
        pytest.param(["--state", "open"], ["edit_young", "edit_old"], id="state"),
        pytest.param(["--since", "90m"], ["edit_young", "edit_failed"], id="ago"),
        pytest.param(
            ["--since", "2020-01-01T00:00"], ["edit_young", "edit_failed", "edit_old"], id="iso"
        ),
        pytest.param(["--since", "2999-01-01T00:00+08:00"], [], id="later"),
    ],
)
def test_list(
    folder: Path, argv: Sequence[str], found: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Edits are listed, the newest first, by tenant, state and age; no key is needed for it."""
    assert _run(folder, "list", *argv, environ={}) == 0

    logged = capsys.readouterr().out
    assert logged.startswith("BEGAN (UTC)")
    assert _listed(logged) == found


def test_a_row_of_the_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row tells whose it is, how far, and why it failed."""
    _run(folder, "list")

    young, failed, _ = capsys.readouterr().out.splitlines()[1:]
    assert young.split()[1:] == [
        *("edit_young", "acme", "beijing", "wan2.5-i2i-preview", "open", "no"),
    ]
    assert failed.split()[1:] == [
        *(
            "edit_failed",
            "other",
            "beijing",
            "wan2.5-i2i-preview",
            "failed",
            "no",
            "moderation_blocked",
        ),
    ]


def test_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the list holds what show tells of each."""
    _run(folder, "list", "--json", "--state", "failed")
    (listed,) = json.loads(capsys.readouterr().out)
    _run(folder, "show", "edit_failed", "--json")
    shown = json.loads(capsys.readouterr().out)

    assert listed == shown
    assert shown["error_message"] == "It was refused."
    assert shown["created"].endswith("Z")
    assert shown["tasks"][0]["upstream"] == "beijing-main"


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that the ledger knows is shown, and nothing of it steers the terminal."""
    assert _run(folder, "show", "edit_young", environ={}) == 0

    logged = capsys.readouterr().out
    row = dict(line.split(maxsplit=1) for line in logged.splitlines() if len(line.split()) > 1)
    assert row["edit_id"] == "edit_young"
    assert row["ignored"] == "user, quality"
    assert row["idempotency_key"] == "k?[31m"
    assert row["delivered"] == "no"
    assert row["account"] == "acme-cn"
    assert "task-1" in logged


@pytest.mark.parametrize("what", ["show", "cancel"])
def test_no_such_edit(folder: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown id is told, with exit code 1."""
    assert _run(folder, what, "edit_7") == 1
    assert capsys.readouterr().out == "There is no such edit; edits are kept for 24 hours.\n"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        pytest.param(
            ["list", "--since", "soon"],
            "--since: 'soon' is not a time; use 30m, 2h or 2026-11-23T09:00\n",
            id="since",
        ),
        pytest.param(
            ["cancel", "edit_young"],
            "--key: a gateway runs on this ledger, and cancelling there needs a key of the "
            "tenant; give env:NAME or file:PATH with a key of acme, or stop the gateway first\n",
            id="cancel-without-key",
        ),
        pytest.param(
            ["cancel", "edit_young", "--key", "wk-canary"],
            "wan-gateway edits cancel: --key: is not a reference to a key; "
            'use "env:NAME" or "file:PATH"\n',
            id="cancel-with-a-key-itself",
        ),
        pytest.param(
            ["cancel", "edit_young", "--key", "env:CUSTOMER"],
            "--url: the gateway listens on a free port; give the URL that it logged\n",
            id="cancel-without-url",
        ),
        pytest.param(
            ["cancel", "edit_young", "--key", "env:CUSTOMER", "--url", "http://127.0.0.1:9"],
            "--url: http://127.0.0.1:9/v1/images/edits/edit_young: the gateway cannot be reached "
            "(ConnectError); name its address\n",
            id="cancel-at-nobody",
        ),
    ],
)
def test_complaints(
    folder: Path, argv: Sequence[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be done beside a running gateway is told in one line, with exit code 2."""
    with only_holder(folder / "gateway.db"):
        assert _run(folder, *argv) == 2

    assert capsys.readouterr().err == complaint


def test_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file there is nothing to read; exit code 2."""
    (tmp_path / "g.toml").write_text(tables(tmp_path))
    assert _run(tmp_path, "list") == 2
    assert (
        f"g.toml: state.path: {tmp_path / 'gateway.db'}: is not there; " in capsys.readouterr().err
    )

    (tmp_path / "g.toml").write_text('[state]\npath = "memory"\n')
    assert _run(tmp_path, "list") == 2
    assert 'state.path: is "memory", which only the gateway itself' in capsys.readouterr().err


def test_without_a_config(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --config it is the ledger where a gateway by the environment alone keeps it."""
    (folder / "state").mkdir()
    (folder / "gateway.db").rename(folder / "state" / "gateway.db")
    monkeypatch.chdir(folder)

    assert main(["edits", "list"], {}) == 0
    assert len(_listed(capsys.readouterr().out)) == 3


@pytest.mark.parametrize("cut", ["youn", "edit_youn", "edit_young", "task-1", "task"])
def test_an_id_that_was_cut(folder: Path, cut: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An edit is found by its id or its task's, or their beginning, as others show them."""
    assert _run(folder, "show", cut, "--json") == 0
    assert json.loads(capsys.readouterr().out)["edit_id"] == "edit_young"


def test_times_are_local(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read and write the time of this machine; programs read UTC."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        began = datetime.now(UTC) - timedelta(seconds=30)
        here = (began + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%S")
        assert _run(folder, "list", "--since", here) == 0
        listed = capsys.readouterr().out
        _run(folder, "show", "edit_young")
        shown = capsys.readouterr().out
        _run(folder, "show", "edit_young", "--json")
        plain = json.loads(capsys.readouterr().out)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert listed.startswith("BEGAN (CST)")
    assert _listed(listed) == ["edit_young"]
    created = datetime.fromisoformat(plain["created"])
    local = (created + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%S")
    assert created.utcoffset() == timedelta(0)
    assert local in shown
    assert local in listed


def test_a_cut_id_of_several(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If several ids start so, they are listed, and no edit is shown or cancelled."""

    async def more() -> None:
        async with SqliteLedger(
            folder / "gateway.db", sync="normal", epoch=SystemClock().epoch
        ) as ledger:
            for number in range(6):
                await ledger.intend(
                    replace(EDIT, edit_id=f"edit_young{number}", created=number), FIRST
                )

    asyncio.run(more())

    assert _run(folder, "cancel", "youn") == 1
    assert _run(folder, "show", "young5") == 0
    assert _run(folder, "show", "edi") == 1
    logged = capsys.readouterr().out.splitlines()
    assert logged[0] == (
        "Several ids start so: edit_young, edit_young5, edit_young4, edit_young3, edit_young2 …; "
        "give more characters."
    )
    assert logged[-1] == "There is no such edit; edits are kept for 24 hours."


# ---------------------------------------------------------------- cancelling


def test_an_ended_edit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What has ended is not cancelled; exit code 1."""
    assert _run(folder, "cancel", "edit_failed") == 1
    assert "has ended (failed)" in capsys.readouterr().out


def test_what_cannot_be_cancelled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a gateway: an unreachable region and an uncertain submit are told as such."""
    assert _run(folder, "cancel", "edit_young") == 1

    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.split(maxsplit=2) == [
        *("0", "task-1", "the upstream main of acme-cn is no longer configured"),
    ]
    assert second.split(maxsplit=1) == ["1", "uncertain whether there is a task: not cancelled"]


def test_each_task_by_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task that has ended is not asked for, and what DashScope does not answer is told."""
    text = tables(folder).replace("upstreams.main]", 'upstreams.beijing-main]\naccount = "acme-cn"')
    (folder / "g.toml").write_text(text)
    asyncio.run(_end_first(folder / "gateway.db"))

    assert _run(folder, "cancel", "edit_young") == 1

    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.split(maxsplit=2) == ["0", "task-1", "has ended (succeeded)"]
    assert second.split(maxsplit=2) == ["1", "task-2", "not cancelled: ConnectError"]


async def _end_first(path: Path) -> None:
    async with SqliteLedger(path, sync="normal", epoch=SystemClock().epoch) as ledger:
        await ledger.end_task("edit_young", 0, "succeeded")
        await ledger.accept("edit_young", 1, "beijing-main", "task-2")


def _post(url: str, prompt: str) -> str:
    """Hand an edit in and leave; return its id."""
    answer = httpx.post(
        f"{url}/v1/images/edits",
        data={"prompt": prompt},
        files={"image": ("a.png", photo(), "image/png")},
        headers={"authorization": f"Bearer {KEY}", "prefer": "respond-async"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 202
    return str(answer.json()["id"])


def _book(region_url: str, prompt: str) -> dict[str, Any]:
    rows = httpx.get(f"{region_url}/_sandbox/books", trust_env=False).json()["tasks"]
    return next((row for row in rows if row["prompt"] == prompt), {"status": ""})


def _handed_in(process: GatewayProcess, region_url: str, prompt: str, status: str) -> str:
    edit_id = _post(process.url, prompt)
    until(lambda: _book(region_url, prompt)["status"] == status)
    until(lambda: "running" in _status(process, edit_id))
    return edit_id


def _status(process: GatewayProcess, edit_id: str) -> str:
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"{process.url}/v1/images/edits/{edit_id}"
    return httpx.get(url, headers=headers, timeout=30, trust_env=False).text


@contextmanager
def _crowded() -> Iterator[str]:
    """A region that runs one task at a time."""
    with region(50.0, AccountLimits(running_tasks=1)) as url:
        yield url


@pytest.mark.slow
def test_by_the_gateway_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running gateway cancels a PENDING task at no cost, and leaves a RUNNING one alone."""
    with _crowded() as url, GatewayProcess(tmp_path, tables(tmp_path, url)) as process:
        running_id = _handed_in(process, url, "runs", "RUNNING")
        waits = _handed_in(process, url, "waits", "PENDING")
        how = ("--key", "env:CUSTOMER", "--url", process.url)

        assert _run(tmp_path, "cancel", waits, *how) == 0
        assert capsys.readouterr().out.split()[-1] == "cancelled"
        assert _run(tmp_path, "cancel", running_id, *how) == 1
        assert "runs or has ended: not cancelled" in capsys.readouterr().out
        assert _run(tmp_path, "cancel", running_id, "--key", "env:WRONG", "--url", process.url) == 2
        assert "the gateway answered 401; give a key of acme" in capsys.readouterr().err

        assert [_book(url, prompt)["status"] for prompt in ("waits", "runs")] == [
            "CANCELED",
            "RUNNING",
        ]
        assert _run(tmp_path, "list", "--state", "failed") == 0
        assert capsys.readouterr().out.split()[-1] == "upstream_task_lost"
        process.send(signal.SIGTERM)
        assert process.end() == 0


@pytest.mark.slow
def test_without_a_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DashScope is asked directly, and the next gateway learns of it there."""
    with _crowded() as url:
        with GatewayProcess(tmp_path, tables(tmp_path, url)) as process:
            running_id = _handed_in(process, url, "runs", "RUNNING")
            waits = _handed_in(process, url, "waits", "PENDING")
            process.send(signal.SIGTERM)
            assert process.end() == 0

        assert _run(tmp_path, "cancel", waits) == 0
        assert capsys.readouterr().out.startswith(
            "No gateway runs, so DashScope was called directly."
        )
        assert _run(tmp_path, "cancel", running_id) == 1
        assert "runs or has ended: not cancelled" in capsys.readouterr().out
        assert _book(url, "waits")["status"] == "CANCELED"
        assert _book(url, "runs")["status"] == "RUNNING"

        with GatewayProcess(tmp_path, tables(tmp_path, url)) as process:
            until(lambda: "upstream_task_lost" in _status(process, waits))
            process.send(signal.SIGTERM)
            assert process.end() == 0
