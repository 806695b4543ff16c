"""A ledger that outlives its process, what is kept beside it, and who finishes: with faults."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Self

from gateway.domain.edit import Edit, MaskSource, OutputOptions, Picture, Size
from gateway.domain.errors import GatewayError, LedgerUnavailable, ResultUnavailable
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.domain.task import ResultImage
from gateway.edits.ports import ResultPlace
from gateway.edits.request import KeptResult
from gateway.ledger.edit_files import MemoryMaskSources, MemoryResultUrls
from gateway.ledger.memory import MemoryLedger


class FakeLedger(MemoryLedger):
    """A memory ledger with faults: the next calls of a name raise what *faults* says, or do not."""

    def __init__(self, epoch: Callable[[], float]) -> None:
        super().__init__(epoch)
        self.faults: dict[str, list[Exception | None]] = {}
        self.away = False
        """Nothing can be written, nor asked about tasks."""

    @property
    def records(self) -> list[EditRecord]:
        return list(self._edits.values())

    def put(self, record: EditRecord) -> None:
        """Keep what a process before left behind."""
        self._edits[record.edit_id] = record
        self._id_by_task.update(
            {task.task_id: record.edit_id for task in record.tasks if task.task_id}
        )
        self._index(record)

    async def intend(self, edit: EditRecord, task: TaskRecord) -> None:
        self._maybe_raise("intend")
        await super().intend(edit, task)

    async def owed(self) -> list[EditRecord]:
        self._maybe_raise("owed")
        return await super().owed()

    async def accept(
        self, edit_id: str, part: int, upstream: str, task_id: str, *, attempt: str = ""
    ) -> bool:
        self._maybe_raise("accept")
        return await super().accept(edit_id, part, upstream, task_id, attempt=attempt)

    async def void(self, edit_id: str, part: int, *, attempt: str = "") -> None:
        self._maybe_raise("void")
        await super().void(edit_id, part, attempt=attempt)

    async def end_task(self, edit_id: str, part: int, outcome: str, *, attempt: str = "") -> None:
        self._maybe_raise("end_task")
        await super().end_task(edit_id, part, outcome, attempt=attempt)

    async def end_edit(
        self, edit_id: str, state: EditState, error: GatewayError | None = None
    ) -> None:
        self._maybe_raise("end_edit")
        await super().end_edit(edit_id, state, error)

    async def promise(self, edit: EditRecord) -> None:
        self._maybe_raise("promise")
        await super().promise(edit)

    async def unpromise(self, edit_id: str) -> None:
        self._maybe_raise("unpromise")
        await super().unpromise(edit_id)

    async def deliver(self, edit_id: str, *, ago: float = 0.0) -> None:
        self._maybe_raise("deliver")
        await super().deliver(edit_id, ago=ago)

    async def find(self, edit_id: str) -> EditRecord | None:
        self._maybe_raise("find")
        return await super().find(edit_id)

    async def find_tasks(self, task_ids: Collection[str]) -> set[str]:
        self._maybe_raise("find_tasks")
        return await super().find_tasks(task_ids)

    def _maybe_raise(self, name: str) -> None:
        if self.away:
            raise LedgerUnavailable("The ledger is away.")
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        if fault is not None:
            raise fault


class FakeShardLedger(FakeLedger):
    """The harness's records for one time of owning the shard."""

    def __init__(self, records: FakeLedger, clock: Any, why_not: object) -> None:
        super().__init__(clock.now)
        self.__dict__.update(records.__dict__)
        self.why_not = why_not
        self.submits_end_at = 0.0
        self.may_submit = True
        self.lost = False
        self.unsettled = False
        self.given = False

    async def take(self) -> str:
        if isinstance(self.why_not, BaseException):
            raise self.why_not
        return str(self.why_not)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.given = True

    async def counts(self) -> dict[str, int]:
        return {"open": 2, "succeeded": 1, "failed": 0}

    def mark_unsettled(self) -> None:
        self.unsettled = True


class FakeMaskSources(MemoryMaskSources):
    """Mask sources with faults, which remember what was asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, list[GatewayError]] = {}
        self.calls: list[str] = []

    async def put(self, edit_id: str, mask_source: MaskSource) -> None:
        self._maybe_raise("put")
        await super().put(edit_id, mask_source)

    async def get(self, edit_id: str) -> MaskSource | None:
        self._maybe_raise("get")
        return await super().get(edit_id)

    async def drop(self, *edit_ids: str) -> None:
        self._maybe_raise("drop")
        await super().drop(*edit_ids)

    async def list_ids(self) -> list[str]:
        self._maybe_raise("list_ids")
        return await super().list_ids()

    def _maybe_raise(self, name: str) -> None:
        self.calls.append(name)
        if self.faults.get(name):
            raise self.faults[name].pop(0)


class FakeResultUrls(MemoryResultUrls):
    """Result URLs with faults, which remember what was asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, list[GatewayError]] = {}
        self.calls: list[str] = []

    async def put(self, edit_id: str, part: int, made: tuple[ResultImage, ...]) -> None:
        self._maybe_raise("put")
        await super().put(edit_id, part, made)

    async def get(self, edit_id: str, part: int) -> tuple[ResultImage, ...] | None:
        self._maybe_raise("get")
        return await super().get(edit_id, part)

    def _maybe_raise(self, name: str) -> None:
        self.calls.append(name)
        if self.faults.get(name):
            raise self.faults[name].pop(0)


@dataclass
class FakePromised:
    """The pictures of one promised edit; *promises* forgets them when they are closed."""

    promises: "FakePromisedEdits"
    edit_id: str

    async def pictures(self) -> tuple[Picture, ...]:
        self.promises.maybe_raise("pictures")
        return self.promises.held[self.edit_id][1]

    def close(self) -> None:
        self.promises.held.pop(self.edit_id, None)


class FakePromisedEdits:
    """Promised edits with faults: what one process put is there for the next."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[Edit, tuple[Picture, ...]]] = {}
        self.faults: dict[str, list[GatewayError]] = {}

    async def put(self, edit_id: str, edit: Edit, pictures: tuple[Picture, ...]) -> FakePromised:
        await asyncio.sleep(0.01)
        self.maybe_raise("put")
        self.held[edit_id] = edit, pictures
        return FakePromised(self, edit_id)

    async def get(self, edit_id: str) -> tuple[Edit, FakePromised] | None:
        self.maybe_raise("get")
        kept = self.held.get(edit_id)
        return None if kept is None else (kept[0], FakePromised(self, edit_id))

    async def drop(self, *edit_ids: str) -> None:
        for edit_id in edit_ids:
            self.held.pop(edit_id, None)

    async def list_ids(self) -> list[str]:
        return list(self.held)

    def maybe_raise(self, name: str) -> None:
        if self.faults.get(name):
            raise self.faults[name].pop(0)


class FakeFinisher:
    """Writes into each picture what it was told to make of it."""

    def __init__(self) -> None:
        self.broken = 0
        """So many pictures from now on cannot be read."""
        self.sizes: dict[bytes, Size] = {}
        """Of pictures, by their bytes, where they tell it."""
        self.clear: set[bytes] = set()
        """Pictures with an alpha channel."""

    def size_of(self, head: bytes) -> Size | None:
        return self.sizes.get(head)

    def has_alpha(self, head: bytes) -> bool:
        return head in self.clear

    def is_finished(self, head: bytes, form: OutputOptions) -> bool:
        return form.passes_through and form.scale_to is None

    async def finish(
        self, picture: bytes, form: OutputOptions, kept: MaskSource | None, tenant: str
    ) -> bytes:
        if self.is_finished(picture, form):
            return picture
        if self.broken:
            self.broken -= 1
            raise ResultUnavailable("The upstream's picture cannot be read.")
        laid = b"" if kept is None else b" into " + kept.original + b" by " + kept.mask
        return picture + b" as " + f"{form.output_format} {form.scale_to}".encode() + laid


class FakeResults:
    """Pictures that are kept in memory, with faults, and what was asked of it."""

    def __init__(self) -> None:
        self.kept: dict[ResultPlace, bytes] = {}
        self.calls: list[str] = []
        self.faults: dict[str, list[Exception | None]] = {}

    async def find(self, place: ResultPlace) -> KeptResult | None:
        await self._called("find")
        return _kept(place) if place in self.kept else None

    async def keep(self, place: ResultPlace, picture: bytes) -> KeptResult:
        await self._called("keep")
        self.kept[place] = picture
        return _kept(place)

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0.1)
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        if fault is not None:
            raise fault


def _kept(place: ResultPlace) -> KeptResult:
    return KeptResult(f"{place.part}-{place.index}.{place.output_format}", 1_800_000_000)
