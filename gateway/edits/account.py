"""All that the edits of one Alibaba account share: limits, line, poller, resting keys, prompts."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError, UpstreamUnreachable, error_type
from gateway.domain.tenant import Account, Tenant, Upstream
from gateway.edits.advice import advice, is_no_answer_of_dashscopes, is_not_understood
from gateway.edits.fair_queue import FairQueue, Ticket
from gateway.edits.ports import DashScope, Observer, Tell, say_nothing
from gateway.polling.limiter import RateLimiter
from gateway.polling.loop import Poller
from gateway.polling.schedule import Durations

_UNREACHABLE_REST = 5.0
_REFUSED_REST = 60.0  # a refused key, arrears, quota: an operator fixes it, not time
_PROBE_SECONDS = 30.0
_MOST_COMPLAINTS = 5  # different reasons; a region that makes up codes does not fill the log
_MOST_CODES = 20


@dataclass(slots=True)
class Suspension:
    """Why an upstream is left alone, and until when (monotonic)."""

    upstream: Upstream
    until: float
    reason: str
    probed: bool
    """Whether a list call, which is free, tells when it works again: so for a refused key."""


class AccountState:
    """An account in one region: every edit that it pays for goes through here."""

    def __init__(
        self,
        account: Account,
        upstreams: tuple[Upstream, ...] = (),
        *,
        dashscope: DashScope,
        clock: Clock,
        observer: Observer,
        durations: Durations | None = None,
        tell: Tell = say_nothing,
    ) -> None:
        self.limits = account
        self.upstreams = upstreams
        self._dashscope = dashscope
        self.clock = clock
        self.observer = observer
        self.durations = durations or Durations()
        self.submit_limiter = RateLimiter(account.submits_per_second, clock)
        self.call_limiter = RateLimiter(account.polls_per_second, clock)
        self.queue = FairQueue(account.running_tasks + account.pending_ahead)
        self.suspensions: dict[str, Suspension] = {}
        self._tell = tell
        self._complaints: dict[str, set[str]] = {}
        """What the operator was told of each upstream since it last worked."""
        self._misunderstood: set[str] = set()
        """Codes of single refusals that the operator was told of."""
        self.poller = Poller(
            account,
            limiter=self.call_limiter,
            dashscope=dashscope,
            clock=clock,
            durations=self.durations,
            observer=observer,
            failover_for=self.failover_for,
        )

    def hold_prompt(self, digest: str) -> AbstractAsyncContextManager[None]:
        """Hold the only open submit of this prompt (P5), for a part that has no turn in line."""
        return self.queue.prompts.hold(digest)

    def upstreams_of(self, tenant: Tenant) -> list[Upstream]:
        """Return the tenant's upstreams of this account, in its order, the resting ones last."""
        own = [u for u in tenant.upstreams if u.account == self.limits]
        return sorted(own, key=self.is_suspended)

    def is_suspended(self, upstream: Upstream) -> bool:
        suspension = self.suspensions.get(upstream.name)
        return suspension is not None and suspension.until > self.clock.now()

    def suspend(self, upstream: Upstream, error: GatewayError, model: str = "") -> None:
        """Leave *upstream* alone for a while: others are tried first."""
        self._complain(upstream, error, model)
        unreachable = isinstance(error, UpstreamUnreachable)
        seconds = _UNREACHABLE_REST if unreachable else _REFUSED_REST
        reason = error.upstream_code or error.code
        self.suspensions[upstream.name] = Suspension(
            upstream, self.clock.now() + seconds, reason, error_type(error) == "auth"
        )
        if not unreachable:
            self.observer.upstream_key(upstream.region.name, upstream.name, up=False)

    def record_refusal(self, upstream: Upstream, error: GatewayError, model: str) -> None:
        """Take note of a submit that went wrong; what the operator has to fix is told, once."""
        if is_no_answer_of_dashscopes(error):
            self._complain(upstream, error, model)
        elif is_not_understood(error):
            said = advice(error, upstream, model)
            if said["reason"] not in self._misunderstood and len(self._misunderstood) < _MOST_CODES:
                self._misunderstood.add(said["reason"])
                self._tell("upstream_refused_a_submit", **said)

    def record_success(self, upstream: Upstream) -> None:
        """Take note that *upstream* accepted a submit."""
        if self.suspensions.pop(upstream.name, None) is not None:
            self.observer.upstream_key(upstream.region.name, upstream.name, up=True)
        if self._complaints.pop(upstream.name, None) is not None:
            region = upstream.region.name
            self._tell("upstream_works_again", upstream=upstream.name, region=region)

    def _complain(self, upstream: Upstream, error: GatewayError, model: str) -> None:
        said = advice(error, upstream, model)
        told = self._complaints.setdefault(upstream.name, set())
        if said["reason"] not in told and len(told) < _MOST_COMPLAINTS:
            told.add(said["reason"])
            self._tell("upstream_does_not_work", **said)

    def failover_for(self, upstream: Upstream, error: GatewayError) -> Upstream:
        """
        Return whom to ask about a task of *upstream*, whose key was refused.

        Only keys of one account see each other's tasks (dashscope.md 4.1).
        """
        self.suspend(upstream, error)
        others = [other for other in self.upstreams if not self.is_suspended(other)]
        return others[0] if others else upstream

    async def probe(self) -> None:
        """
        Find out, for ever and for nothing, whether a refused key is taken again.

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

    def expected_wait(self, tenant: Tenant, ticket: Ticket | None = None) -> float:
        """
        Return the seconds until it is the turn of *place*, or of one who joins the line now.

        As often as a task of the account ends a turn comes, however many of them wait upstream.
        """
        own, turns = self.queue.slots_until(tenant, ticket)
        rounds = max(own / (tenant.max_running or 1), turns / self.limits.running_tasks)
        return max(1.0, rounds * self.durations.typical())


Accounts = Mapping[Account, AccountState]


def build_accounts(
    upstreams: Iterable[Upstream],
    *,
    dashscope: DashScope,
    clock: Clock,
    observer: Observer,
    tell: Tell = say_nothing,
) -> Accounts:
    """Return a account for each account of *upstreams*."""
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
            tell=tell,
        )
        for account, own in of_account.items()
    }


def route(accounts: Accounts, tenant: Tenant) -> list[AccountState]:
    """
    Return the accounts of the tenant's upstreams in the order to try them.

    Those with a working upstream first; among them, in the tenant's order, those with a
    free slot, then the shortest line for its slots.
    """
    own = [accounts[account] for account in dict.fromkeys(u.account for u in tenant.upstreams)]

    def order(account: AccountState) -> tuple[bool, bool, float]:
        suspended = all(account.is_suspended(upstream) for upstream in account.upstreams_of(tenant))
        crowded = account.queue.free == 0 or account.queue.waiting > 0
        return (
            suspended,
            crowded,
            account.queue.waiting / account.limits.running_tasks if crowded else 0.0,
        )

    return sorted(own, key=order)
