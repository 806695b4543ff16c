"""What the edits of one Alibaba account share: limits, queue, poller, and suspended keys."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError, UpstreamUnreachable, error_type
from gateway.domain.models import ModelLimits
from gateway.domain.tenant import Account, Tenant, Upstream
from gateway.edits.active_edit import ActiveEdit, NobodyWaitsError, PartRun
from gateway.edits.advice import advice, is_foreign_answer, is_unexpected_refusal
from gateway.edits.fair_queue import Capacity, FairQueue, Ticket
from gateway.edits.lifecycle import Stage
from gateway.edits.ports import DashScope, Notify, Observer, ignore_warning
from gateway.polling.limiter import RateLimiter
from gateway.polling.loop import Poller
from gateway.polling.schedule import Durations, remaining

_UNREACHABLE_SECONDS = 5.0
_REFUSED_SECONDS = 60.0  # a refused key, arrears, quota: an operator has to act
_PROBE_SECONDS = 30.0
_AHEAD_SECONDS = 10.0  # for so long the submits that have a slot may occupy the rate limit
# Warnings of different reasons, so that a region that invents codes does not fill the log.
_WARNINGS_MAX = 5
_REFUSALS_MAX = 20


@dataclass(slots=True)
class Suspension:
    """An upstream that other upstreams go before, until a monotonic time."""

    upstream: Upstream
    until: float
    reason: str
    probed: bool
    """Whether a list call, which is free, shows that it works again: for a refused key only."""


class AccountState:
    """
    An account in one region, which every edit that it pays for goes through.

    Args:
        account: Its limits.
        upstreams: All configured keys of it.
        dashscope: Lists tasks, to probe a refused key.
        clock: Monotonic and calendar time.
        observer: Counts.
        durations: How long its tasks take.
        notify: Warns the operator.
    """

    def __init__(
        self,
        account: Account,
        upstreams: tuple[Upstream, ...] = (),
        *,
        dashscope: DashScope,
        clock: Clock,
        observer: Observer,
        durations: Durations | None = None,
        notify: Notify = ignore_warning,
    ) -> None:
        self.limits = account
        self.upstreams = upstreams
        self._dashscope = dashscope
        self.clock = clock
        self.observer = observer
        self.durations = durations or Durations()
        self.submit_limiters: dict[str, RateLimiter] = {}
        """By model, of those that were submitted."""
        self.call_limiter = RateLimiter(account.polls_per_second, clock)
        self.queue = FairQueue(
            self._capacity(account.limits_of("")),
            {model: self._capacity(limits) for model, limits in account.by_model.items()},
        )
        self.suspensions: dict[str, Suspension] = {}
        self._notify = notify
        self._warned: dict[str, set[str]] = {}
        """By upstream: the reasons that the operator was warned of since it last worked."""
        self._refusals: set[str] = set()
        """Codes of refused submits that the operator was warned of."""
        self.poller = Poller(
            account,
            limiter=self.call_limiter,
            dashscope=dashscope,
            clock=clock,
            durations=self.durations,
            observer=observer,
            failover_for=self.failover_for,
        )

    def _capacity(self, limits: ModelLimits) -> Capacity:
        running = limits.running_tasks
        return Capacity(
            running + self.limits.pending_ahead if running else math.inf,
            math.ceil(_AHEAD_SECONDS * limits.submits_per_second),
        )

    def submit_limiter(self, model: str) -> RateLimiter:
        """Return the rate limiter of the submits of *model*; a throttled one delays no other."""
        limiter = self.submit_limiters.get(model)
        if limiter is None:
            rate = self.limits.limits_of(model).submits_per_second
            limiter = self.submit_limiters[model] = RateLimiter(rate, self.clock)
        return limiter

    @asynccontextmanager
    async def hold_prompt(self, digest: str, run: PartRun) -> AsyncIterator[None]:
        """
        Hold the only open submit of this prompt (P5), for a part without a ticket.

        After a bug it stays held, until the part goes on and comes here again (D70).
        """
        prompts = self.queue.prompts
        if run.kept_prompt is None:
            await prompts.acquire(digest)
            run.keep_prompt(partial(prompts.release, digest))
        try:
            yield
        except BaseException as error:
            if not _is_bug(error):
                run.release_prompt()
            raise
        run.release_prompt()

    @contextmanager
    def keep_prompt_after_bug(self, digest: str | None, run: PartRun) -> Iterator[None]:
        """Keep a prompt that a ticket holds beyond a bug here, if the submit may be open."""
        try:
            yield
        except BaseException as error:
            if digest is not None and run.life.may_be_paid and _is_bug(error):
                self.queue.prompts.share(digest)
                run.keep_prompt(partial(self.queue.prompts.release, digest))
            raise

    def upstreams_of(self, tenant: Tenant) -> list[Upstream]:
        """Return the tenant's upstreams of this account, in its order, suspended ones last."""
        own = [u for u in tenant.upstreams if u.account == self.limits]
        return sorted(own, key=self.is_suspended)

    def is_suspended(self, upstream: Upstream) -> bool:
        suspension = self.suspensions.get(upstream.name)
        return suspension is not None and suspension.until > self.clock.now()

    def suspend(self, upstream: Upstream, error: GatewayError, model: str = "") -> None:
        """Try other upstreams before *upstream* for a while, and warn the operator."""
        self._warn(upstream, error, model)
        unreachable = isinstance(error, UpstreamUnreachable)
        seconds = _UNREACHABLE_SECONDS if unreachable else _REFUSED_SECONDS
        reason = error.upstream_code or error.code
        self.suspensions[upstream.name] = Suspension(
            upstream, self.clock.now() + seconds, reason, error_type(error) == "auth"
        )
        if not unreachable:
            self.observer.upstream_key(upstream.region.name, upstream.name, up=False)

    def record_refusal(self, upstream: Upstream, error: GatewayError, model: str) -> None:
        """Warn the operator, once, of a submit that failed if an operator has to act on it."""
        if is_foreign_answer(error):
            self._warn(upstream, error, model)
        elif is_unexpected_refusal(error):
            fields = advice(error, upstream, model)
            if fields["reason"] not in self._refusals and len(self._refusals) < _REFUSALS_MAX:
                self._refusals.add(fields["reason"])
                self._notify("upstream_refused_a_submit", **fields)

    def record_success(self, upstream: Upstream) -> None:
        """Record that *upstream* accepted a submit: it is not suspended any more."""
        if self.suspensions.pop(upstream.name, None) is not None:
            self.observer.upstream_key(upstream.region.name, upstream.name, up=True)
        if self._warned.pop(upstream.name, None) is not None:
            region = upstream.region.name
            self._notify("upstream_works_again", upstream=upstream.name, region=region)

    def _warn(self, upstream: Upstream, error: GatewayError, model: str) -> None:
        fields = advice(error, upstream, model)
        warned = self._warned.setdefault(upstream.name, set())
        if fields["reason"] not in warned and len(warned) < _WARNINGS_MAX:
            warned.add(fields["reason"])
            self._notify("upstream_does_not_work", **fields)

    def failover_for(self, upstream: Upstream, error: GatewayError) -> Upstream:
        """
        Suspend *upstream*, whose key was refused, and return the one to use for its tasks.

        Only keys of one account see each other's tasks (dashscope.md 4.1).
        """
        self.suspend(upstream, error)
        others = [other for other in self.upstreams if not self.is_suspended(other)]
        return others[0] if others else upstream

    async def probe(self) -> None:
        """
        Find out, until cancelled, whether a refused key is accepted again; costs nothing.

        If it is, the next edit tries it. Only a submit shows that it works.
        """
        while True:
            await self.clock.sleep(_PROBE_SECONDS)
            for suspension in [one for one in self.suspensions.values() if one.probed]:
                await self.call_limiter.acquire("probes", urgent=False)
                until = self.clock.epoch()
                try:
                    await self._dashscope.tasks(
                        suspension.upstream, since=until - 60.0, until=until, page_size=1
                    )
                except GatewayError as error:
                    suspension.reason = error.upstream_code or error.code
                else:
                    suspension.until = self.clock.now()
                    suspension.probed = False

    def expected_wait(self, tenant: Tenant, model: str, ticket: Ticket | None = None) -> float:
        """
        Return the seconds until *ticket*, or a new one of *model*, probably gets its slot.

        A slot becomes free as often as a task of the model ends, however many of them are
        pending upstream, and no more often than a submit may leave.
        """
        own, slots = self.queue.slots_until(tenant, ticket, model=model)
        limits = self.limits.limits_of(model)
        rounds = max(own / (tenant.max_running or 1), slots / (limits.running_tasks or math.inf))
        submits = slots / limits.submits_per_second
        return max(1.0, rounds * self.durations.typical(model), submits)

    def load(self, model: str) -> float:
        """Return how many rounds of tasks, or seconds of submits, wait for *model*."""
        limits = self.limits.limits_of(model)
        return self.queue.waiting_for(model) / (limits.running_tasks or limits.submits_per_second)


def _is_bug(error: BaseException) -> bool:
    return not isinstance(error, GatewayError | NobodyWaitsError | asyncio.CancelledError)


Accounts = Mapping[Account, AccountState]


def build_accounts(
    upstreams: Iterable[Upstream],
    *,
    dashscope: DashScope,
    clock: Clock,
    observer: Observer,
    notify: Notify = ignore_warning,
) -> Accounts:
    """Return the state of each account of *upstreams*."""
    of_account: dict[Account, list[Upstream]] = {}
    for upstream in upstreams:
        of_account.setdefault(upstream.account, []).append(upstream)
    in_region = {account.region: Durations() for account in of_account}
    return {
        account: AccountState(
            account,
            tuple(own),
            dashscope=dashscope,
            clock=clock,
            observer=observer,
            durations=Durations(in_region[account.region]),
            notify=notify,
        )
        for account, own in of_account.items()
    }


def route(accounts: Accounts, tenant: Tenant, model: str) -> list[AccountState]:
    """
    Return the accounts of the tenant's upstreams in the order to try them with *model*.

    Those with a working upstream first; among them, in the tenant's order, those with a
    free slot, then the shortest queue for its slots.
    """
    own = [accounts[account] for account in dict.fromkeys(u.account for u in tenant.upstreams)]

    def order(account: AccountState) -> tuple[bool, bool, float]:
        suspended = all(account.is_suspended(upstream) for upstream in account.upstreams_of(tenant))
        crowded = account.queue.free(model) == 0 or account.queue.waiting_for(model) > 0
        return (suspended, crowded, account.load(model) if crowded else 0.0)

    return sorted(own, key=order)


def expected_wait(
    accounts: Accounts, tenant: Tenant, model: str, tickets: Iterable[Ticket]
) -> float:
    """Return the seconds until all of *tickets*, or a new one if there are none, have a slot."""
    own = [accounts[upstream.account] for upstream in tenant.upstreams]
    by_queue = {account.queue: account for account in own}
    waits = [by_queue[ticket.queue].expected_wait(tenant, model, ticket) for ticket in tickets]
    return max(waits) if waits else min(account.expected_wait(tenant, model) for account in own)


def expected_rest(accounts: Accounts, active: ActiveEdit, now: float) -> float:
    """Return the seconds until an edit probably ends, for the ``retry-after`` of its client."""
    upstreams = [part.upstream for part in active.life.parts if part.upstream]
    if active.life.stage is Stage.WAITING or not upstreams:
        tickets = [run.ticket for run in active.runs if run.ticket and run.ticket.queued]
        return expected_wait(accounts, active.tenant, active.edit.model, tickets)
    since = [run.running_since for run in active.runs if run.running_since is not None]
    age = max((now - at for at in since), default=0.0)
    known = accounts[upstreams[0].account].durations.known(active.kind)
    # The last try of an SDK (its third) should rather find the picture than be early.
    return remaining(known, age, 0.5 if active.life.retry_count < 1 else 0.95)
