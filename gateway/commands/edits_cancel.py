"""
``wan-gateway edits cancel``: cancel tasks that DashScope has not begun to run, at no cost.

Only a running gateway may change its edits, so the command sends it a DELETE, as a client
would. If none runs, the command cancels at DashScope and leaves the ledger as it is: the next
gateway polls each open task, and finds that it was cancelled.
"""

import asyncio
from argparse import Namespace
from collections.abc import Iterator, Mapping

import httpx

from gateway.commands.server_url import url_of
from gateway.commands.tables import print_table
from gateway.config import Config, ConfigError, ServerConfig, load_config
from gateway.config.rules import KeyReference, take
from gateway.config.secret import secret
from gateway.config.table import Table
from gateway.domain.clock import SystemClock
from gateway.domain.errors import GatewayError
from gateway.domain.record import EditRecord, EditState, TaskRecord, TaskState
from gateway.domain.tenant import Upstream
from gateway.edits.takeover import Takeover
from gateway.ledger.errors import LedgerHeldError
from gateway.ledger.reading import Place, find_edit, unheld
from gateway.upstream.clients import Clients
from gateway.upstream.dashscope import DashScopeApi

_CANCELLED = "cancelled"
_LEFT_ALONE = "runs or has ended: not cancelled"
_TIMEOUT_SECONDS = 20.0
_READS = 30
_READ_SECONDS = 0.1  # between reads of the ledger, until the gateway has written its part


class _NoMetrics:
    """Implements gateway.upstream.calls.UpstreamCalls without counting."""

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None: ...
    def upstream_retried(self, region: str, operation: str, reason: str) -> None: ...


def cancel(
    args: Namespace,
    environ: Mapping[str, str],
    server: ServerConfig,
    place: Place,
    record: EditRecord,
) -> int:
    """
    Cancel the tasks of *record* that do not run yet, and print the outcome of each.

    Returns:
        0 if every task was cancelled; else 1.

    Raises:
        ConfigError: a running gateway cannot be reached, or the config lacks its keys.
        LedgerError: the ledger cannot be locked.
    """
    if record.state is not EditState.OPEN:
        print(f"The edit has ended ({record.state}); there is nothing to cancel.")
        return 1
    try:
        with unheld(place):
            config = load_config(args.config, environ)
            outcomes = asyncio.run(_cancel_upstream(config, record))
    except LedgerHeldError:
        outcomes = asyncio.run(_cancel_at_gateway(args, environ, server, place, record))
    else:
        print("No gateway runs, so DashScope was called directly. The next gateway will notice.\n")
    rows = [
        (str(task.part), task.task_id or "", outcome)
        for task, outcome in zip(record.tasks, outcomes, strict=True)
    ]
    print_table(("PART", "TASK", ""), rows)
    return 0 if outcomes and all(outcome == _CANCELLED for outcome in outcomes) else 1


async def _cancel_upstream(config: Config, record: EditRecord) -> list[str]:
    async with Clients() as clients:
        api = DashScopeApi(clients, SystemClock(), _NoMetrics(), config.models)
        takeover = Takeover(config.upstreams.values(), config.models)
        return [await _cancel_task(api, takeover.of(record, task), task) for task in record.tasks]


async def _cancel_task(api: DashScopeApi, upstream: Upstream | None, task: TaskRecord) -> str:
    """Cancel one task; DashScope refuses to cancel one that runs."""
    if task.state is TaskState.ENDED:
        return f"has ended ({task.outcome})"
    if task.task_id is None:
        return "uncertain whether there is a task: not cancelled"
    if upstream is None:
        return f"the upstream {task.upstream} of {task.account} is no longer configured"
    try:
        return _CANCELLED if await api.cancel(upstream, task.task_id) else _LEFT_ALONE
    except GatewayError as error:
        return f"not cancelled: {error.upstream_code or error.code}"


async def _cancel_at_gateway(
    args: Namespace,
    environ: Mapping[str, str],
    server: ServerConfig,
    place: Place,
    record: EditRecord,
) -> list[str]:
    """Send a DELETE to the running gateway, then read the outcomes from the ledger."""
    key = _key(args.key, environ, record.tenant)
    url = f"{args.url or url_of(server)}/v1/images/edits/{record.edit_id}"
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as http:
            answer = await http.delete(url, headers={"authorization": f"Bearer {key}"})
    except httpx.HTTPError as error:
        what = f"the gateway cannot be reached ({type(error).__name__})"
        raise ConfigError(f"--url: {url}: {what}; name its address") from None
    if answer.status_code not in (httpx.codes.OK, httpx.codes.ACCEPTED):
        what = f"the gateway answered {answer.status_code}"
        raise ConfigError(f"--key: {what}; give a key of {record.tenant}, and its own address")
    for _ in range(_READS):
        now = await asyncio.to_thread(find_edit, place, record.edit_id)
        if now is None or now.state is not EditState.OPEN:
            break
        await asyncio.sleep(_READ_SECONDS)
    return list(_outcomes(record, now))


def _outcomes(before: EditRecord, now: EditRecord | None) -> Iterator[str]:
    """Yield the outcome of each task; a record that is gone had no task left."""
    outcomes = {} if now is None else {task.part: task.outcome for task in now.tasks}
    for task in before.tasks:
        outcome = outcomes.get(task.part)
        yield _CANCELLED if now is None or outcome == "canceled" else _LEFT_ALONE


def _key(reference: str | None, environ: Mapping[str, str], tenant: str) -> str:
    if reference is None:
        what = "a gateway runs on this ledger, and cancelling there needs a key of the tenant"
        remedy = f"give env:NAME or file:PATH with a key of {tenant}, or stop the gateway first"
        raise ConfigError(f"--key: {what}; {remedy}")
    table = Table("wan-gateway edits cancel", "", {"--key": reference})
    return secret(table, "--key", take(table, "--key", KeyReference()), environ)
