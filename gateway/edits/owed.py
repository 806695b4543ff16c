"""Writes that the ledger refused after money may have been spent: repeated until they are made."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.domain.clock import Clock
from gateway.domain.errors import LedgerConflict, LedgerUnavailable

_PAUSES = (0.5, 1.0, 2.0, 5.0)

Write = Callable[[], Awaitable[None]]
"""May be made more than once, so twice must be as good as once."""


def _nothing() -> None:
    """Nothing is to be let go."""


@dataclass(slots=True, eq=False)
class _Owed:
    edit_id: str
    part: int | None
    """``None``: of the whole edit."""
    store: str
    """Where it goes; the writes of one edit into one store are made in their order."""
    write: Write
    done: Callable[[], None]
    made: asyncio.Event = field(default_factory=asyncio.Event)


class OwedWrites:
    """
    What the ledger does not say yet although it is true.

    A process that dies meanwhile loses nothing by it: the row says that a submit is open, and
    the next process settles it by the task list. That is only right as long as no equal
    prompt is submitted, so who owes a write keeps its prompt until *done* is called.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._owed: list[_Owed] = []
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._owed)

    def add(
        self,
        edit_id: str,
        part: int | None,
        write: Write,
        done: Callable[[], None] = _nothing,
        *,
        store: str = "ledger",
    ) -> None:
        """Repeat *write* in ``run`` until the ledger has it, then call *done*."""
        self._owed.append(_Owed(edit_id, part, store, write, done))
        self._news.set()

    async def keep(self, edit_id: str, part: int | None, write: Write) -> None:
        """
        Make *write*, or owe it; the edit goes on though the ledger cannot follow.

        It never overtakes what is owed of the same edit: an edit whose end is on the disk
        without its task would be made and paid for, and its pictures would never be found.
        """
        if not self.owes(edit_id):
            try:
                await write()
            except LedgerUnavailable:
                pass  # the ledger itself warns the operator
            else:
                return
        self.add(edit_id, part, write)

    def owes(self, edit_id: str) -> bool:
        """Say whether the ledger does not say yet what became of this edit."""
        return any((one.edit_id, one.store) == (edit_id, "ledger") for one in self._owed)

    async def written(self, edit_id: str, part: int | None) -> None:
        """Wait until nothing is owed for this part: a later write must not overtake it."""
        for owed in [one for one in self._owed if (one.edit_id, one.part) == (edit_id, part)]:
            await owed.made.wait()

    async def run(self) -> None:
        """
        Repeat for ever; when it is cancelled everything is tried once more.

        Raises:
            ExceptionGroup: writes that broke by a bug; they are still owed.
        """
        failed = 0
        try:
            while True:
                await self._news.wait()
                await self._clock.sleep(_PAUSES[min(failed, len(_PAUSES) - 1)])
                failed += 1
                if bugs := await self._try_all():
                    raise ExceptionGroup("Writes that broke", bugs)
                if not self._owed:
                    self._news.clear()
                    failed = 0
        except asyncio.CancelledError:
            await self._try_all()
            raise

    async def _try_all(self) -> list[Exception]:
        """Try all edits at once, so that they share a transaction; return the bugs."""
        of_edit = defaultdict[tuple[str, str], list[_Owed]](list)
        for owed in self._owed:
            of_edit[owed.edit_id, owed.store].append(owed)
        bugs: list[Exception] = []
        async with asyncio.TaskGroup() as group:
            for in_order in of_edit.values():
                group.create_task(self._try(in_order, bugs))
        return bugs

    async def _try(self, in_order: list[_Owed], bugs: list[Exception]) -> None:
        for owed in in_order:
            try:
                await owed.write()
            except LedgerUnavailable:
                return  # the ledger itself warns the operator
            except LedgerConflict:
                pass  # it never will be: the ledger knows better
            except Exception as bug:  # noqa: BLE001 - it must not cut the writes of other edits
                bugs.append(bug)
                return
            self._owed.remove(owed)
            owed.made.set()
            owed.done()
