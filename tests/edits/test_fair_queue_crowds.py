"""Whatever many edits do to the queue, in any order: each gets a slot, and no slot is lost."""

import asyncio
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.edits.fair_queue import Capacity, FairQueue, Ticket
from tests.fakes import a_tenant
from tests.warp import WarpLoop


class FairQueueMachine(RuleBasedStateMachine):
    """Edits of two models join, are paused, reactivated, run, end, are cancelled in any order."""

    SLOTS: ClassVar = {"wan": 3, "qwen": 2}
    SUBMITS = 1
    """Of qwen, whose further tickets wait until a submit has left."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=WarpLoop)
        self.loop = self.runner.get_loop()
        of_qwen = Capacity(self.SLOTS["qwen"], self.SUBMITS)
        self.queue = FairQueue(self.SLOTS["wan"], {"qwen": of_qwen})
        self.tenants = [
            a_tenant("one"),
            a_tenant("two", weight=3),
            a_tenant("three", max_running=1),
        ]
        self.edits: list[tuple[Ticket, asyncio.Task[None], asyncio.Event]] = []
        self.running: list[Ticket] = []
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
        model=st.sampled_from(["wan", "qwen"]),
    )
    def join(self, tenant: int, cost: int, prompt: str | None, model: str) -> None:
        ticket = self.queue.issue_ticket(self.tenants[tenant], cost, prompt, model=model)
        end = asyncio.Event()

        async def one() -> None:
            async with self.queue.slot(ticket):
                self.running.append(ticket)
                try:
                    await end.wait()
                finally:
                    self.running.remove(ticket)

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

    @rule(which=st.integers(0, 30))
    def send(self, which: int) -> None:
        """The rate limit lets a submit go."""
        if self.edits:
            self.queue.release_submit(self.edits[which % len(self.edits)][0])
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
                self.queue.pause(ticket)
            else:
                self.queue.reactivate(ticket)
            self._settle()

    @invariant()
    def no_slot_is_lost_or_granted_twice(self) -> None:
        self._settle()
        live = [(p, t) for p, t, _ in self.edits if not t.done()]
        assert self.queue.waiting == len(live) - len(self.running)
        few = self.tenants[2]
        assert sum(ticket.tenant is few for ticket in self.running) <= few.max_running
        for name, usage in self.queue._tenants.items():
            assert usage.running == sum(ticket.tenant.name == name for ticket in self.running)
            for model, queue in usage.queues.items():
                mine = [
                    p for p, _ in live if p.queued and (p.tenant.name, p.model) == (name, model)
                ]
                assert (queue.waiting, queue.cost) == (len(mine), sum(p.cost for p in mine))
        for model, slots in self.SLOTS.items():
            self._check_model(model, slots, [p for p, _ in live])

    def _check_model(self, model: str, slots: int, live: list[Ticket]) -> None:
        running = [ticket for ticket in self.running if ticket.model == model]
        submits = sum(ticket.holds_submit for ticket in running)
        assert len(running) <= slots
        assert self.queue.running.get(model, 0) == len(running)
        free = slots - len(running)
        if model == "qwen":
            assert submits <= self.SUBMITS
            free = min(free, self.SUBMITS - submits)
        assert self.queue.free(model) == free
        known = self.queue._model(model)
        assert all(key[0] == key[3].clock for key in known.next)
        assert known.submits == submits
        if free:
            ready = [p for p in live if p.queued and not p.paused and p.model == model]
            ready = [p for p in ready if not self.queue.prompts.held(p.prompt)]
            assert all(p.tenant.max_running for p in ready), "a ticket waits beside a free slot"

    @invariant()
    def the_oldest_ticket_of_a_limited_tenant_waits_for_no_newer_one(self) -> None:
        few = self.tenants[2]
        if any(ticket.tenant is few for ticket in self.running):
            return
        waiting = [p for p, t, _ in self.edits if not t.done() and p.queued and not p.paused]
        waiting = [p for p in waiting if p.tenant is few and not self.queue.prompts.held(p.prompt)]
        if waiting:
            oldest = min(waiting, key=lambda ticket: ticket.place)
            assert self.queue.free(oldest.model) == 0

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
        assert not self.queue.running
        self.runner.close()


FairQueueMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestCrowd = FairQueueMachine.TestCase
