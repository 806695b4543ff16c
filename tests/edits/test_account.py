"""gateway.edits.account: which upstream is tried first, and when a refused key is tried again."""

import asyncio

import pytest

from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InvalidImage,
    SubmitUncertain,
    UpstreamFailed,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.edits.account import AccountState, route
from gateway.polling.schedule import Kind
from tests.edits.accounts import FAR, ONE, TWO, account_state, accounts_of, tickets_queued
from tests.fakes import FakeDashScope, a_tenant, an_account
from tests.recording_observer import RecordingObserver
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(UpstreamUnreachable("down"), 5.0), (UpstreamUnavailable("key"), 60.0)],
)
async def test_suspended_upstreams_come_last(
    error: UpstreamUnreachable | UpstreamUnavailable, seconds: float
) -> None:
    """An upstream that failed is tried after the others, until its suspension is over."""
    account, tenant = account_state("acct", ONE, TWO), a_tenant("acme", ONE, TWO, FAR)
    account.suspend(ONE, error)

    suspended = account.upstreams_of(tenant)
    await account.clock.sleep(seconds + 0.1)
    later = account.upstreams_of(tenant)

    assert suspended == [TWO, ONE]
    assert later == [ONE, TWO]


async def test_the_shortest_queue_is_tried_first() -> None:
    """Working before suspended, free before crowded, short before long."""
    accounts = accounts_of(ONE, FAR)
    near, far = accounts.of(ONE), accounts.of(FAR)
    tenant = a_tenant("acme", ONE, FAR)
    orders = [route(accounts, tenant, "")]

    for _ in range(6):
        near.queue.take_slot(tenant)
    orders.append(route(accounts, tenant, ""))
    far.suspend(FAR, UpstreamUnreachable("down"))
    orders.append(route(accounts, tenant, ""))

    assert orders == [[near, far], [far, near], [near, far]]


async def test_expected_wait() -> None:
    """Slots to wait for, by the rate at which tasks end: 45 s by 5 while nothing is known."""
    account, big, small = account_state(), a_tenant("big"), a_tenant("small")
    waits = [account.expected_wait(big, "")]
    async with tickets_queued(
        account, *(account.queue.issue_ticket(big, 1) for _ in range(6 + 20))
    ):
        waits += [account.expected_wait(big, ""), account.expected_wait(small, "")]
        account.durations.learn(Kind("wan", 1, -1), 20.0)
        waits.append(account.expected_wait(big, ""))

    assert waits == [1.0, 21 * 45.0 / 5, 45.0 / 5, 21 * 20.0 / 5]


async def test_expected_wait_of_a_tenant_with_a_limit() -> None:
    """Slots that a tenant may not use do not shorten its wait."""
    account, few = account_state(), a_tenant("few", max_running=2)
    async with tickets_queued(account, *(account.queue.issue_ticket(few, 1) for _ in range(2 + 3))):
        free, wait = account.queue.free(), account.expected_wait(few, "")

    assert (free, wait) == (4, 4 * 45.0 / 2)


REFUSED = UpstreamUnavailable("key", upstream_code="InvalidApiKey")


async def test_a_refused_key_is_probed_and_tried_again() -> None:
    """A free list call finds out, every half minute, whether the key is taken again."""
    clock = WarpClock()
    dashscope, observer = FakeDashScope(clock), RecordingObserver()
    account = AccountState(
        an_account(), (ONE,), dashscope=dashscope, clock=clock, observer=observer
    )
    dashscope.fail("tasks", UpstreamUnavailable("key", upstream_code="AccessDenied"))
    account.suspend(ONE, REFUSED)

    async with asyncio.TaskGroup() as group:
        probing = group.create_task(account.probe())
        await clock.sleep(35.0)
        still = [one.reason for one in account.suspensions.values()]
        account.suspensions["one"].until = clock.now() + 60.0
        await clock.sleep(30.0)
        suspended_then = account.is_suspended(ONE)
        await clock.sleep(60.0)
        probing.cancel()

    assert still == ["AccessDenied"]
    assert not suspended_then
    assert dashscope.count("tasks") == 2


async def test_only_a_submit_shows_that_a_key_works() -> None:
    """That its list can be read ends no alert: arrears and closed models refuse submits alone."""
    clock = WarpClock()
    observer = RecordingObserver()
    account = AccountState(
        an_account(), (ONE,), dashscope=FakeDashScope(clock), clock=clock, observer=observer
    )
    account.suspend(ONE, REFUSED)
    async with asyncio.TaskGroup() as group:
        probing = group.create_task(account.probe())
        await clock.sleep(100.0)
        probing.cancel()
    listed = observer.of("upstream_key")[-1][-1]
    account.record_success(ONE)

    assert not listed
    assert observer.of("upstream_key")[-1][-1]


class RecordedWarnings:
    """Keeps the operator's warnings."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, str | float]]] = []

    def __call__(self, event: str, /, **fields: str | float) -> None:
        self.lines.append((event, fields))


def telling_account(warnings: RecordedWarnings) -> AccountState:
    clock = WarpClock()
    return AccountState(
        an_account(),
        (ONE, TWO),
        dashscope=FakeDashScope(clock),
        clock=clock,
        observer=RecordingObserver(),
        notify=warnings,
    )


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (REFUSED, "put a valid key of this region where upstreams.one.key points"),
        (UpstreamUnavailable("m", upstream_code="Arrearage"), "pay the bill of the account"),
        (
            UpstreamUnavailable("m", upstream_code="Model.AccessDenied"),
            "open the model wan for the account",
        ),
        (UpstreamUnavailable("m", upstream_code="AccessDenied"), "open the model wan"),
        (
            UpstreamUnavailable("m", upstream_code="ModelNotFound"),
            "see that regions.beijing.base_url is the native API",
        ),
        (UpstreamUnavailable("m", upstream_code="HTTP 302"), "see that regions.beijing.base_url"),
        (
            UpstreamUnreachable("m", upstream_code="ProxyError"),
            "look at regions.beijing.base_url, DNS, the firewall, and the proxy",
        ),
    ],
)
async def test_the_operator_is_warned_once(error: GatewayError, remedy: str) -> None:
    """One warning says which key, why, and what to do; one more when it works again."""
    warnings = RecordedWarnings()
    account = telling_account(warnings)
    error.upstream_message = "DashScope's own words."
    for _ in range(3):
        account.suspend(ONE, error, "wan")
    account.record_success(TWO)
    for _ in range(2):
        account.record_success(ONE)

    (event, text), again = warnings.lines
    assert event == "upstream_does_not_work"
    assert (text["upstream"], text["reason"]) == ("one", error.upstream_code)
    assert text["upstream_says"] == "DashScope's own words."
    assert str(text["remedy"]).startswith(remedy)
    assert again == ("upstream_works_again", {"upstream": "one", "region": "beijing"})


async def test_every_reason_is_warned_of_but_not_without_end() -> None:
    """Another reason is another warning, but invented codes do not fill the log."""
    warnings = RecordedWarnings()
    account = telling_account(warnings)
    for number in range(40):
        account.suspend(ONE, UpstreamUnavailable("m", upstream_code=f"Arrearage.{number}"))
        refused = UpstreamFailed("m", upstream_code=f"Odd.{number % 30}", retry=False)
        account.record_refusal(ONE, refused, "wan")

    events = [event for event, _ in warnings.lines]
    assert events.count("upstream_does_not_work") == 5
    assert events.count("upstream_refused_a_submit") == 20


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (SubmitUncertain("m", upstream_code="HTTP 404"), "upstream_does_not_work"),
        (SubmitUncertain("m", upstream_code="HTTP 408"), None),
        (SubmitUncertain("m", upstream_code="ReadTimeout"), None),
        (UpstreamFailed("m", upstream_code="InternalError"), None),
        (UpstreamFailed("m", upstream_code="X", retry=False), "upstream_refused_a_submit"),
        (InvalidImage("m", upstream_code="InvalidURL"), None),
        (ContentRefused("m", upstream_code="DataInspectionFailed"), None),
    ],
)
async def test_what_concerns_the_operator(error: GatewayError, event: str | None) -> None:
    """A wrong address or an unexpected refusal is warned of; a client's bad request is not."""
    warnings = RecordedWarnings()
    account = telling_account(warnings)
    account.record_refusal(ONE, error, "wan")

    assert [it for it, _ in warnings.lines] == ([] if event is None else [event])
    assert not account.is_suspended(ONE)


async def test_arrears_are_not_probed() -> None:
    """A list call would not tell whether the account may submit again."""
    account = account_state("acct", ONE)
    account.suspend(ONE, UpstreamUnavailable("pay", upstream_code="Arrearage"))

    async with asyncio.TaskGroup() as group:
        probing = group.create_task(account.probe())
        await account.clock.sleep(100.0)
        probing.cancel()

    assert list(account.suspensions) == ["one"]


async def test_a_task_is_asked_for_with_another_key_of_its_account() -> None:
    """When a key is refused while its task runs, another of the account sees the task too."""
    clock = WarpClock()
    account = AccountState(
        an_account(),
        (ONE, TWO),
        dashscope=FakeDashScope(clock),
        clock=clock,
        observer=RecordingObserver(),
    )

    assert account.failover_for(ONE, REFUSED) is TWO
    assert account.failover_for(TWO, REFUSED) is TWO
