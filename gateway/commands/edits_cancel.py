"""
``wan-gateway edits cancel``: end at no cost what DashScope has not begun to run.

While a gateway runs it alone changes its edits, so it is asked, as a client would ask it.
Without one DashScope is asked directly and the ledger is left as it is: the next gateway
looks at each open task, and learns there that it was cancelled.
"""

import asyncio
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from gateway.commands.tables import print_table
from gateway.config import Config, ConfigError, Server, load_config
from gateway.config.rules import KeyReference, take
from gateway.config.secret import secret
from gateway.config.table import Table
from gateway.domain.clock import SystemClock
from gateway.domain.errors import GatewayError
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.domain.tenant import Upstream
from gateway.edits.takeover import Takeover
from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.reading import find_edit
from gateway.ledger.sqlite_schema import only_holder
from gateway.upstream.clients import Clients
from gateway.upstream.dashscope import DashScopeApi

_CANCELLED = "cancelled"
_SPARED = "runs or has ended: left alone"
_PATIENCE = 20.0
_LOOKS = 30
_LOOK_SECONDS = 0.1  # until the gateway has written what it did


class _Uncounted:
    """Answers gateway.upstream.calls.UpstreamCalls."""

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None: ...
    def upstream_retried(self, region: str, operation: str, reason: str) -> None: ...


def cancel(
    args: Namespace, environ: Mapping[str, str], server: Server, path: Path, record: EditRecord
) -> int:
    """
    Cancel what of *record* has not begun to run, and print what became of each task.

    Returns:
        0 if every task was cancelled; else 1.

    Raises:
        ConfigError: a gateway runs and cannot be asked, or the config lacks its keys.
        LedgerError: the ledger cannot be locked.
    """
    if record.state is not EditState.OPEN:
        print(f"The edit has ended ({record.state}): there is nothing to cancel.")
        return 1
    try:
        with only_holder(path.resolve()):
            config = load_config(args.config, environ)
            said = asyncio.run(_ask_upstream(config, record))
    except LedgerHeldError:
        said = asyncio.run(_ask_gateway(args, environ, server, path, record))
    else:
        print("No gateway runs: DashScope was asked. The next gateway learns of it there.\n")
    rows = [
        (str(task.part), task.task_id or "", told)
        for task, told in zip(record.tasks, said, strict=True)
    ]
    print_table(("PART", "TASK", ""), rows)
    return 0 if said and all(told == _CANCELLED for told in said) else 1


async def _ask_upstream(config: Config, record: EditRecord) -> list[str]:
    async with Clients() as clients:
        api = DashScopeApi(clients, SystemClock(), _Uncounted())
        takeover = Takeover(config.upstreams.values())
        return [await _cancel_task(api, takeover.of(record, task), task) for task in record.tasks]


async def _cancel_task(api: DashScopeApi, upstream: Upstream | None, task: TaskRecord) -> str:
    """Cancel one task; DashScope itself refuses it for one that runs."""
    if task.state is TaskState.ENDED:
        return f"has ended ({task.outcome})"
    if task.task_id is None:
        return "it is not known whether there is a task: left alone"
    if upstream is None:
        return f"the upstream {task.upstream} of {task.account} is no longer configured"
    try:
        return _CANCELLED if await api.cancel(upstream, task.task_id) else _SPARED
    except GatewayError as error:
        return f"not cancelled: {error.upstream_code or error.code}"


async def _ask_gateway(
    args: Namespace,
    environ: Mapping[str, str],
    server: Server,
    path: Path,
    record: EditRecord,
) -> list[str]:
    """Ask the gateway that runs, and read in the ledger what it did."""
    key = _key(args.key, environ, record.tenant)
    url = f"{args.url or _url(server)}/v1/images/edits/{record.edit_id}"
    try:
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as http:
            answer = await http.delete(url, headers={"authorization": f"Bearer {key}"})
    except httpx.HTTPError as error:
        what = f"the gateway cannot be asked ({type(error).__name__})"
        raise ConfigError(f"--url: {url}: {what}; name its address") from None
    if answer.status_code not in (httpx.codes.OK, httpx.codes.ACCEPTED):
        what = f"the gateway answered {answer.status_code}"
        raise ConfigError(f"--key: {what}; give a key of {record.tenant}, and its own address")
    for _ in range(_LOOKS):
        now = find_edit(path, record.edit_id)
        if now is None or now.state is not EditState.OPEN:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return list(_became(record, now))


def _became(before: EditRecord, now: EditRecord | None) -> Iterator[str]:
    """Say what became of each task; an edit that was forgotten had none."""
    outcomes = {} if now is None else {task.part: task.outcome for task in now.tasks}
    for task in before.tasks:
        outcome = outcomes.get(task.part)
        yield _CANCELLED if now is None or outcome == "canceled" else _SPARED


def _key(reference: str | None, environ: Mapping[str, str], tenant: str) -> str:
    if reference is None:
        what = "a gateway runs on this ledger, and only who has a key of the tenant may ask it"
        remedy = f"give env:NAME or file:PATH with a key of {tenant}, or stop the gateway first"
        raise ConfigError(f"--key: {what}; {remedy}")
    table = Table("wan-gateway edits cancel", "", {"--key": reference})
    return secret(table, "--key", take(table, "--key", KeyReference()), environ)


def _url(server: Server) -> str:
    if not server.port:
        raise ConfigError("--url: the gateway took a free port; give its address, as it logged it")
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104 - it listens on all
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"
