"""Whatever many edits do to the queue, in any order: each gets a slot, and no slot is lost."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.domain.tenant import Tenant
from gateway.edits.fair_queue import FairQueue, Ticket
from tests.fakes import a_tenant
from tests.warp import WarpLoop


class FairQueueMachine(RuleBasedStateMachine):
    """Edits join, are paused, reactivated, run, end and are cancelled in any order."""

    SLOTS = 3

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=WarpLoop)
        self.loop = self.runner.get_loop()
        self.queue = FairQueue(self.SLOTS)
        self.tenants = [
            a_tenant("one"),
            a_tenant("two", weight=3),
            a_tenant("three", max_running=1),
        ]
        self.edits: list[tuple[Ticket, asyncio.Task[None], asyncio.Event]] = []
        self.running: list[Tenant] = []
        self.resolving: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def _settle(self) -> None:
        async def some_turns() -> None:
            for _ in range(6):
                await asyncio.sleep(0)

        self.runner.run(some_turns())

    @rule(
        tenant=st.integers(0, 2),
        cost=st.integers(1, 4),
        prompt=st.sampled_from([None, "cat", "dog"]),
    )
    def join(self, tenant: int, cost: int, prompt: str | None) -> None:
        ticket, end = self.queue.issue_ticket(self.tenants[tenant], cost, prompt), asyncio.Event()

        async def one() -> None:
            async with self.queue.slot(ticket):
                self.running.append(ticket.tenant)
                try:
                    await end.wait()
                finally:
                    self.running.remove(ticket.tenant)

        self.edits.append((ticket, self.loop.create_task(one()), end))
        self._settle()

    @rule(which=st.integers(0, 30), settle=st.booleans())
    def end(self, which: int, *, settle: bool) -> None:
        if self.edits:
            self.edits[which % len(self.edits)][2].set()
            if settle:
                self._settle()

    @rule(which=st.integers(0, 30))
    def accept(self, which: int) -> None:
        if self.edits:
            self.queue.release_prompt(self.edits[which % len(self.edits)][0])
            self._settle()

    @rule(prompt=st.sampled_from(["cat", "dog"]))
    def resolve_another(self, prompt: str) -> None:
        """A part of another process holds its prompt, without a slot; or releases it."""
        held = self.resolving.pop(prompt, None)
        if held is None:
            end = asyncio.Event()

            async def one() -> None:
                async with self.queue.prompts.hold(prompt):
                    await end.wait()

            self.resolving[prompt] = (self.loop.create_task(one()), end)
        else:
            held[1].set()
        self._settle()

    @rule(which=st.integers(0, 30))
    def cancel(self, which: int) -> None:
        if self.edits:
            self.edits[which % len(self.edits)][1].cancel()
            self._settle()

    @rule(which=st.integers(0, 30), paused=st.booleans())
    def pause_or_reactivate(self, which: int, *, paused: bool) -> None:
        if self.edits:
            ticket = self.edits[which % len(self.edits)][0]
            if paused:
                ticket.paused = True
            else:
                self.queue.reactivate(ticket)
            self._settle()

    @invariant()
    def no_slot_is_lost_or_granted_twice(self) -> None:
        self._settle()
        live = [(p, t) for p, t, _ in self.edits if not t.done()]
        assert self.queue.free + len(self.running) == self.SLOTS
        assert self.queue.waiting == len(live) - len(self.running)
        assert self.running.count(self.tenants[2]) <= 1
        for name, queue in self.queue._queues.items():
            mine = [p for p, _ in live if p.queued and p.tenant.name == name]
            assert (queue.waiting, queue.cost) == (len(mine), sum(p.cost for p in mine))
        assert all(key[0] == key[3].clock for key in self.queue._next)
        if self.queue.free:
            ready = [p for p, _ in live if p.queued and not p.paused]
            ready = [p for p in ready if not self.queue.prompts.held(p.prompt)]
            assert all(p.tenant.max_running for p in ready), "a ticket waits beside a free slot"

    @invariant()
    def a_prompt_has_one_open_submit(self) -> None:
        holding = [ticket.prompt for ticket, _, _ in self.edits if ticket.holds_prompt]
        assert len(holding) == len(set(holding))
        assert all(self.queue.prompts.held(prompt) for prompt in holding)
        if not self.resolving and not holding:
            assert not any(self.queue.prompts.held(prompt) for prompt in ("cat", "dog"))

    def teardown(self) -> None:
        for held, _ in self.resolving.values():
            held.cancel()
        for _, task, _ in self.edits:
            task.cancel()
        self._settle()
        assert self.queue.free == self.SLOTS
        self.runner.close()


FairQueueMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestCrowd = FairQueueMachine.TestCase
