"""What the edits of one Alibaba account share: limits, queue, poller, and suspended keys."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Mapping
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
        self.identities = set(map(_identity, upstreams))
        """Of its upstreams, those of earlier configs included."""
        self.retired_at: float | None = None
        """When a reload left it out (monotonic); its edits go on."""
        self._dashscope = dashscope
        self.clock = clock
        self.observer = observer
        self.durations = durations or Durations()
        self.submit_limiters: dict[str, RateLimiter] = {}
        """By model, of those that were submitted."""
        self.call_limiter = RateLimiter(account.polls_per_second, clock)
        self.queue = FairQueue(*self._capacities())
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

    def _capacities(self) -> tuple[Capacity, Mapping[str, Capacity]]:
        """Return that of a model without limits of its own, and those of the others."""
        account = self.limits
        by_model = {model: self._capacity(limits) for model, limits in account.by_model.items()}
        return self._capacity(account.limits_of("")), by_model

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
        """
        Return the tenant's upstreams of this account, in its order, suspended ones last.

        Each is as the config in force has it, since an earlier one's key may not work any more.
        """
        own = [self.current(u) for u in tenant.upstreams if _identity(u) in self.identities]
        return sorted(dict.fromkeys(own), key=self.is_suspended)

    def current(self, upstream: Upstream) -> Upstream:
        """Return what *upstream* is in force: of its name, its key, or its account."""
        by_name = [one for one in self.upstreams if one.name == upstream.name]
        by_key = [one for one in self.upstreams if one.key == upstream.key]
        return next(iter((*by_name, *by_key, *self.upstreams)), upstream)

    def renewed(self, upstream: Upstream) -> Upstream:
        """Return the upstream in force that sees the tasks of *upstream*, if there is one."""
        current = self.current(upstream)
        addresses = (current.region.base_url, *current.region.previous)
        return current if upstream.region.base_url in addresses else upstream

    def reconfigure(
        self, account: Account, upstreams: tuple[Upstream, ...], tenants: Mapping[str, Tenant]
    ) -> None:
        """Go by other limits, keys and tenants from now on; what runs goes on (D116)."""
        calls = set(map(_call, upstreams))
        gone = {one.name for one in self.upstreams if _call(one) not in calls}
        self.limits = account
        self.upstreams = upstreams
        self.identities.update(map(_identity, upstreams))
        self.retired_at = None
        for name in gone:  # another key may work where this one did not
            self._warned.pop(name, None)
            if self.suspensions.pop(name, None) is not None:
                self.observer.upstream_key(account.region, name, up=True)
        for model, limiter in self.submit_limiters.items():
            limiter.set_rate(account.limits_of(model).submits_per_second)
        self.call_limiter.set_rate(account.polls_per_second)
        self.queue.reconfigure(*self._capacities(), tenants)
        self.poller.reconfigure(account, self.renewed)

    def is_retired_since(self, at: float) -> bool:
        """Return whether a reload left it out at *at* (monotonic) or before."""
        return self.retired_at is not None and self.retired_at <= at

    def is_suspended(self, upstream: Upstream) -> bool:
        suspension = self.suspensions.get(upstream.name)
        return suspension is not None and suspension.until > self.clock.now()

    def suspend(self, upstream: Upstream, error: GatewayError, model: str = "") -> None:
        """
        Try other upstreams before *upstream* for a while, and warn the operator.

        One that a reload has replaced meanwhile says nothing about what is in force.
        """
        if _call(upstream) not in map(_call, self.upstreams):
            return
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
        renewed = self.renewed(upstream)
        if _call(renewed) != _call(upstream):
            return renewed
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


_Identity = tuple[str, str]


def _identity(upstream: Upstream) -> _Identity:
    """Return what tells accounts apart: a key is of one account in its region."""
    return upstream.region.name, upstream.key


def _call(upstream: Upstream) -> tuple[str, ...]:
    """Return what a call with *upstream* depends on; limits are not part of it."""
    return upstream.name, upstream.region.base_url, upstream.key, upstream.workspace


_Place = tuple[str, str, str]


def _place(upstream: Upstream) -> _Place:
    return upstream.region.name, upstream.region.base_url, upstream.key


class AccountsChangedError(Exception):
    """A reload would join or divide accounts; one line: which key, and what to do."""


class Accounts:
    """
    The accounts of all upstreams, those of earlier configs included, whose edits may go on.

    An account stays the same when it gets another name, other keys or other limits: otherwise
    two equal prompts could be open in it at once (P5), and its limits would count twice.

    Args:
        upstreams: All that are configured.
        make: Makes the state of an account.
        clock: Tells how long ago an account was left out.
    """

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        make: Callable[[Account, tuple[Upstream, ...], Durations], AccountState],
        clock: Clock,
    ) -> None:
        self._make = make
        self._clock = clock
        self._in_region: dict[str, Durations] = {}
        self._states: list[AccountState] = []
        self._by_identity: dict[_Identity, AccountState] = {}
        self._retired: dict[_Place, tuple[Upstream, float]] = {}
        """Upstreams of earlier configs, and when a reload left them out (monotonic)."""
        self.upstreams: Mapping[str, Upstream] = {}
        """By name, those of earlier configs included."""
        self.plan(upstreams, {})()

    def of(self, upstream: Upstream) -> AccountState:
        """Return the account of an upstream of the config in force, or of an earlier one."""
        return self._by_identity[_identity(upstream)]

    def values(self) -> tuple[AccountState, ...]:
        return tuple(self._states)

    @property
    def retired(self) -> tuple[Upstream, ...]:
        """The upstreams of earlier configs whose key or address is not configured any more."""
        return tuple(upstream for upstream, _ in self._retired.values())

    def plan(
        self, upstreams: Iterable[Upstream], tenants: Mapping[str, Tenant]
    ) -> Callable[[], list[AccountState]]:
        """
        Return what takes *upstreams*, which cannot fail, and returns the accounts that are new.

        Raises:
            AccountsChangedError: a key would move from one account to another; nothing changed.
        """
        of_account: dict[Account, list[Upstream]] = {}
        for upstream in upstreams:
            of_account.setdefault(upstream.account, []).append(upstream)
        matches = {account: self._match(own) for account, own in of_account.items()}
        _refuse_division(of_account, matches)

        def take() -> list[AccountState]:
            return self._take(of_account, matches, tenants)

        return take

    def drop_retired(self, in_use: Container[AccountState], seconds: float) -> list[AccountState]:
        """Forget what was left out so long ago; return the accounts among it, none *in_use*."""
        until = self._clock.now() - seconds
        self._retired = {place: it for place, it in self._retired.items() if it[1] > until}
        dropped = [it for it in self._states if it.is_retired_since(until) and it not in in_use]
        self._states = [it for it in self._states if it not in dropped]
        self._by_identity = {
            identity: account
            for identity, account in self._by_identity.items()
            if account not in dropped
        }
        return dropped

    def _match(self, upstreams: list[Upstream]) -> AccountState | None:
        """
        Return which account these *upstreams* are of: by its key, else by its name.

        Raises:
            AccountsChangedError: they are of several.
        """
        by_key = {
            account
            for one in upstreams
            if (account := self._by_identity.get(_identity(one))) is not None
        }
        name = (upstreams[0].region.name, upstreams[0].account.name)
        by_name = [it for it in self._states if (it.limits.region, it.limits.name) == name]
        by_name.sort(key=lambda it: it.retired_at is not None)
        found = by_key or set(by_name[:1])
        if len(found) > 1:
            names = " and ".join(sorted(account.limits.name for account in found))
            raise AccountsChangedError(
                f"upstreams.{upstreams[0].name}.account: keys of the accounts {names} would be of "
                "one account from now on, which only a restart can do; restart the gateway, or "
                "put it back"
            )
        return next(iter(found), None)

    def _take(
        self,
        of_account: Mapping[Account, list[Upstream]],
        matches: Mapping[Account, AccountState | None],
        tenants: Mapping[str, Tenant],
    ) -> list[AccountState]:
        self._retire(of_account, matches)
        new = []
        for limits, own in of_account.items():
            state = matches[limits]
            if state is None:
                state = self._make(limits, tuple(own), self._durations(limits.region))
                self._states.append(state)
                new.append(state)
            state.reconfigure(limits, tuple(own), tenants)
            self._by_identity.update((_identity(one), state) for one in own)
        configured = {one.name: one for own in of_account.values() for one in own}
        self.upstreams = {**self.upstreams, **configured}
        return new

    def _retire(
        self,
        of_account: Mapping[Account, list[Upstream]],
        matches: Mapping[Account, AccountState | None],
    ) -> None:
        now = self._clock.now()
        kept = {_place(one) for own in of_account.values() for one in own}
        for account in self._states:
            for upstream in account.upstreams:
                if _place(upstream) not in kept:
                    self._retired.setdefault(_place(upstream), (upstream, now))
            if account not in matches.values() and account.retired_at is None:
                account.retired_at = now
        for place in kept:
            self._retired.pop(place, None)

    def _durations(self, region: str) -> Durations:
        return Durations(self._in_region.setdefault(region, Durations()))


def _refuse_division(
    of_account: Mapping[Account, list[Upstream]], matches: Mapping[Account, AccountState | None]
) -> None:
    first: dict[AccountState, Account] = {}
    for account, state in matches.items():
        if state is not None and first.setdefault(state, account) is not account:
            upstream = of_account[account][0].name
            raise AccountsChangedError(
                f"upstreams.{upstream}.account: keys of the account {state.limits.name} would be "
                f"of {first[state].name} and {account.name} from now on, which only a restart "
                "can do; restart the gateway, or put it back"
            )


def build_accounts(
    upstreams: Iterable[Upstream],
    *,
    dashscope: DashScope,
    clock: Clock,
    observer: Observer,
    notify: Notify = ignore_warning,
) -> Accounts:
    """Return the state of each account of *upstreams*."""

    def make(account: Account, own: tuple[Upstream, ...], durations: Durations) -> AccountState:
        return AccountState(
            account,
            own,
            dashscope=dashscope,
            clock=clock,
            observer=observer,
            durations=durations,
            notify=notify,
        )

    return Accounts(upstreams, make, clock)


def route(accounts: Accounts, tenant: Tenant, model: str) -> list[AccountState]:
    """
    Return the accounts of the tenant's upstreams in the order to try them with *model*.

    Those with a working upstream first; among them, in the tenant's order, those with a
    free slot, then the shortest queue for its slots.
    """
    own = dict.fromkeys(map(accounts.of, tenant.upstreams))

    def order(account: AccountState) -> tuple[bool, bool, float]:
        suspended = all(account.is_suspended(upstream) for upstream in account.upstreams_of(tenant))
        crowded = account.queue.free(model) == 0 or account.queue.waiting_for(model) > 0
        return (suspended, crowded, account.load(model) if crowded else 0.0)

    return sorted(own, key=order)


def expected_wait(
    accounts: Accounts, tenant: Tenant, model: str, tickets: Iterable[Ticket]
) -> float:
    """Return the seconds until all of *tickets*, or a new one if there are none, have a slot."""
    own = [accounts.of(upstream) for upstream in tenant.upstreams]
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
    known = accounts.of(upstreams[0]).durations.known(active.kind)
    # The last try of an SDK (its third) should rather find the picture than be early.
    return remaining(known, age, 0.5 if active.life.retry_count < 1 else 0.95)
