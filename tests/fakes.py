"""A scripted DashScope, and builders of the domain's types."""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from gateway.domain.clock import Clock, Phases
from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.errors import (
    GatewayError,
    IntentExpired,
    ResultUnavailable,
    UpstreamFailed,
)
from gateway.domain.intent import Intent
from gateway.domain.models import Operation
from gateway.domain.task import Accepted, ResultImage, Task, TaskPage, TaskRow, TaskStatus, Times
from gateway.domain.tenant import Account, Region, Tenant, Upstream
from gateway.edits.digest import digest_of, mark_of
from gateway.edits.request import EditRequest, IncomingPicture
from tests.models import MODELS

_FIELDS = ("n", "seed", "output", "size", "prompt_extend")
BEIJING = Region("beijing", "https://beijing.test/api/v1", ("*.test",))


def an_account(name: str = "acct", **changes: Any) -> Account:
    return Account(**{"name": name, "region": "beijing"} | changes)


def an_upstream(name: str = "main", account: Account | None = None) -> Upstream:
    return Upstream(name, BEIJING, account or an_account(), key=f"key-of-{name}")


def a_tenant(name: str = "acme", *upstreams: Upstream, **changes: Any) -> Tenant:
    given = upstreams or (an_upstream(),)
    return Tenant(**{"name": name, "region": "beijing", "upstreams": given} | changes)


def an_edit(prompt: str = "a red cat", **changes: Any) -> Edit:
    return Edit(**{"model": "wan2.5-i2i-preview", "prompt": prompt} | changes)


def a_request(
    clock: Clock, tenant: Tenant | None = None, prompt: str = "a red cat", **changes: Any
) -> EditRequest:
    """Return an ask; fields of Edit among *changes* go there, *picture* is the input's bytes."""
    of_edit = {
        name: changes.pop(name)
        for name in (*_FIELDS, "model", "adjusted", "transparent")
        if name in changes
    }
    edit = an_edit(prompt, **of_edit, model_asked=of_edit.get("model", ""))
    pictures = (Picture(content=changes.pop("picture", b"in"), media_type="image/png"),)
    given: dict[str, Any] = {
        "tenant": tenant or a_tenant(),
        "edit": edit,
        "pictures": pictures,
        "digest": digest_of(edit, Operation.EDIT, [mark_of(one.content) for one in pictures], {}),
        "patience": 300.0,
        "phases": Phases(clock.now()),
    }
    return EditRequest(**given | changes)


@dataclass(frozen=True, slots=True)
class Run:
    """How a task goes: seconds in each state, and its end."""

    pending: float = 1.0
    running: float = 10.0
    end: TaskStatus = TaskStatus.SUCCEEDED
    failed: tuple[int, ...] = ()
    """Indices of pictures that a SUCCEEDED task could not make."""
    fault: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class Submit:
    """How one submit goes; with *error* the answer is lost or a refusal."""

    error: BaseException | None = None
    makes: bool = True
    takes: float = 0.1
    """Seconds until the client of the call has its answer."""
    after: float = 0.0
    """Seconds after the call's end at which the task appears."""
    run: Run | None = None


@dataclass(slots=True)
class FakeTask:
    task_id: str
    account: str
    model: str
    prompt: str
    n: int
    made_at: float
    """On the monotonic clock; it does not exist before."""
    run: Run
    source: bytes = b""
    cancelled: bool = False
    stranger: bool = False


@dataclass(frozen=True, slots=True)
class RecordedCall:
    operation: str
    at: float
    upstream: str
    task_id: str = ""


class FakeDashScope:
    """
    Answers gateway.edits.ports.DashScope from a script, on the given clock.

    Pictures are bytes that tell who made them: ``task_id|prompt|input|index``.
    """

    def __init__(self, clock: Clock, *, running_limit: int = 0, offset: float = 0.0) -> None:
        self.clock = clock
        self.running_limit = running_limit
        self.offset = offset
        self.run = Run()
        self.page_limit = 100
        self.inputs: int | None = None
        """What tasks tell of the pictures put in."""
        self.hasty = False  # the list calls a running task SUCCEEDED
        self.silent = False
        self.submits: deque[Submit] = deque()
        """The next submits, in order; after them all go well."""
        self.tasks_by_id: dict[str, FakeTask] = {}
        self.calls: list[RecordedCall] = []
        self._faults: dict[str, deque[BaseException | None]] = {}
        self.down: dict[str, GatewayError] = {}
        """By upstream: what every submit to it raises."""

    def fail(self, operation: str, *errors: BaseException | None) -> None:
        """Let the next calls of *operation* raise; ``None`` lets one go well."""
        self._faults.setdefault(operation, deque()).extend(errors)

    def forgive(self, operation: str) -> None:
        """Let all further calls of *operation* go well."""
        self._faults.pop(operation, None)

    def count(self, operation: str) -> int:
        return sum(1 for call in self.calls if call.operation == operation)

    @property
    def ours(self) -> list[FakeTask]:
        """Tasks that our submits made."""
        return [task for task in self.tasks_by_id.values() if not task.stranger]

    @property
    def paid(self) -> list[FakeTask]:
        """Our tasks that cost money: those that made, or will make, pictures."""
        return [t for t in self.ours if t.run.end is TaskStatus.SUCCEEDED and not t.cancelled]

    def stranger(
        self, prompt: str, *, after: float = 0.0, run: Run | None = None, account: str = "acct"
    ) -> str:
        """Let somebody else with the same account make a task."""
        return self._make(account, an_edit(prompt), 1, after, run, b"", stranger=True).task_id

    async def upload(
        self, upstream: Upstream, edit: Edit, part: Part, pictures: tuple[Picture, ...]
    ) -> tuple[Picture, ...]:
        return pictures

    async def submit(
        self,
        upstream: Upstream,
        edit: Edit,
        part: Part,
        pictures: tuple[Picture, ...],
        intent: Intent,
    ) -> Accepted:
        self._note("submit", upstream)
        how = self.submits.popleft() if self.submits else Submit()
        if intent.expired:
            raise IntentExpired("The submit was left unfinished.")
        await self.clock.sleep(how.takes)
        if upstream.name in self.down:
            raise self.down[upstream.name]
        if how.error is not None and not how.makes:
            raise how.error
        task = self._make(
            upstream.account.name, edit, part.n, how.after, how.run, pictures[0].content
        )
        if not MODELS[edit.model].has_tasks:
            await self.clock.sleep(task.run.pending + task.run.running)
        if how.error is not None:
            raise how.error
        if MODELS[edit.model].has_tasks:
            return Accepted(task.task_id, request_id=f"req-{task.task_id}")
        made = Task(f"request-{task.task_id}", TaskStatus.SUCCEEDED, self._task_of(task).results)
        return Accepted(made.task_id, request_id=f"req-{task.task_id}", task=made)

    async def fetch(self, upstream: Upstream, task_id: str) -> Task:
        await self._call("fetch", upstream, task_id)
        fake = self.tasks_by_id.get(task_id)
        if fake is None or fake.made_at > self.clock.now() or fake.account != upstream.account.name:
            fault = UpstreamFailed("unknown")
            return Task(task_id, TaskStatus.UNKNOWN, fault=fault)
        return self._task_of(fake)

    async def cancel(self, upstream: Upstream, task_id: str) -> bool:
        await self._call("cancel", upstream, task_id)
        fake = self.tasks_by_id[task_id]
        if self.status(fake) is not TaskStatus.PENDING:
            return False
        fake.cancelled = True
        return True

    async def tasks(
        self,
        upstream: Upstream,
        *,
        since: float,
        until: float,
        status: TaskStatus | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> TaskPage:
        await self._call("tasks", upstream)
        rows = [
            TaskRow(fake.task_id, self._listed(fake), fake.model, self._theirs(fake.made_at))
            for fake in self.tasks_by_id.values()
            if fake.account == upstream.account.name and fake.made_at <= self.clock.now()
            if MODELS[fake.model].has_tasks
        ]
        rows = [row for row in rows if since <= row.created <= until]
        rows = [row for row in rows if status is None or row.status is status]
        page_size = min(page_size, self.page_limit)
        shown = tuple(rows[(page - 1) * page_size : page * page_size])
        return TaskPage(shown, total=len(rows), pages=-(-len(rows) // page_size))

    def clock_known(self, region: str) -> bool:
        return True

    def clock_offset(self, region: str) -> float:
        return self.offset

    async def open(self, upstream: Upstream, url: str) -> bytes | IncomingPicture:
        return await self.download(upstream, url)

    async def download(self, upstream: Upstream, url: str) -> bytes:
        task_id, index = url.removeprefix("https://oss.test/").split("/")
        await self._call("download", upstream, task_id)
        fake = self.tasks_by_id[task_id]
        if self.status(fake) is not TaskStatus.SUCCEEDED:
            raise ResultUnavailable("There is no such picture.")
        return picture(fake, int(index))

    def status(self, fake: FakeTask) -> TaskStatus:
        if fake.cancelled:
            return TaskStatus.CANCELED
        starts, ends = self._times(fake)
        now = self.clock.now()
        if now < starts:
            return TaskStatus.PENDING
        return TaskStatus.RUNNING if now < ends else fake.run.end

    def _listed(self, fake: FakeTask) -> TaskStatus:
        status = self.status(fake)
        return TaskStatus.SUCCEEDED if self.hasty and status is TaskStatus.RUNNING else status

    def _task_of(self, fake: FakeTask) -> Task:
        status = self.status(fake)
        starts, ends = self._times(fake)
        times = Times(submitted=self._theirs(fake.made_at))
        if status is not TaskStatus.PENDING and not fake.cancelled:
            times = Times(times.submitted, self._theirs(starts))
        if status.ended and not fake.cancelled:
            times = Times(times.submitted, times.scheduled, self._theirs(ends))
        if status is TaskStatus.SUCCEEDED:
            results = tuple(self._result(fake, index) for index in range(fake.n))
            prompt = None if self.silent else fake.prompt
            return Task(
                fake.task_id,
                status,
                results,
                times=times,
                orig_prompt=prompt,
                inputs=self.inputs,
            )
        fault = (fake.run.fault or UpstreamFailed("It failed.")) if status.ended else None
        return Task(fake.task_id, status, fault=fault, times=times)

    @staticmethod
    def _result(fake: FakeTask, index: int) -> ResultImage | GatewayError:
        if index in fake.run.failed:
            return UpstreamFailed(f"Picture {index} failed.")
        return ResultImage(f"https://oss.test/{fake.task_id}/{index}")

    def _times(self, wanted: FakeTask) -> tuple[float, float]:
        """Return when *wanted* starts and ends, first come first served within the limit."""
        slots: list[float] = []  # when each of them is free again
        for fake in sorted(self.tasks_by_id.values(), key=lambda t: t.made_at):
            if fake.cancelled or fake.account != wanted.account:
                continue
            starts = fake.made_at + fake.run.pending
            if self.running_limit and len(slots) >= self.running_limit:
                starts = max(starts, heappop(slots))
            heappush(slots, starts + fake.run.running)
            if fake is wanted:
                return starts, starts + fake.run.running
        return wanted.made_at, wanted.made_at

    def _make(
        self,
        account: str,
        edit: Edit,
        n: int,
        after: float,
        run: Run | None,
        source: bytes,
        *,
        stranger: bool = False,
    ) -> FakeTask:
        task_id = f"task-{len(self.tasks_by_id) + 1}"
        self.tasks_by_id[task_id] = task = FakeTask(
            task_id=task_id,
            account=account,
            model=edit.model,
            prompt=edit.prompt,
            n=n,
            made_at=self.clock.now() + after,
            run=run or self.run,
            source=source,
            stranger=stranger,
        )
        return task

    def _theirs(self, at: float) -> float:
        return at - self.clock.now() + self.clock.epoch() + self.offset

    def _note(self, operation: str, upstream: Upstream, task_id: str = "") -> None:
        self.calls.append(RecordedCall(operation, self.clock.now(), upstream.name, task_id))

    async def _call(self, operation: str, upstream: Upstream, task_id: str = "") -> None:
        self._note(operation, upstream, task_id)
        await self.clock.sleep(0.05)
        faults = self._faults.get(operation)
        fault = faults.popleft() if faults else None
        if fault is not None:
            raise fault


def picture(fake: FakeTask, index: int) -> bytes:
    """Return what a task makes: bytes that tell whose they are."""
    return b"|".join((fake.task_id.encode(), fake.prompt.encode(), fake.source, b"%d" % index))
