"""What one client writes down about one wish: every end of a call, and what it got."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.wishes import AT_ONCE, ON_SHARED_ACCOUNT, Wish

_UNCERTAIN = ("submit_uncertain", "false")
_LOST = ("upstream_task_lost", "false")


def clock() -> float:
    """Seconds since the epoch, by the true clock."""
    return datetime.now(UTC).timestamp()


@dataclass(slots=True)
class Note:
    wish: Wish
    served: str | None = None
    """The sandbox's task whose picture came."""
    wrong: str | None = None
    """Why the picture that came is not of this wish."""
    ends: list[dict[str, Any]] = field(default_factory=list)
    """Of each answer or broken call: at, what, code, retry, edit."""

    def end(self, what: str, *, code: str = "", retry: str = "", edit: str = "") -> None:
        """
        Write down how a call or one try of it ended.

        Args:
            what: ``answer`` (each on the wire), ``raised`` (by the SDK), ``left``, ``broken``.
            code: OpenAI's code, the status of a success, or the exception's name.
            retry: What ``x-should-retry`` said.
            edit: The id of the edit, if it was told.
        """
        row = {"at": clock(), "what": what, "code": code, "retry": retry, "edit": edit}
        self.ends.append(row)

    @property
    def edit_ids(self) -> list[str]:
        """The edits that this client was told of, in order."""
        return list(dict.fromkeys(end["edit"] for end in self.ends if end["edit"]))

    @property
    def over(self) -> bool:
        """Whether nobody would ask again."""
        return self.served is not None or self.wrong is not None or self.doubted

    @property
    def doubted(self) -> bool:
        """Whether it was told, for good, that nobody knows what was made and paid."""
        values = {(end["code"], end["retry"]) for end in self.ends}
        return self.served is None and bool(values & {_UNCERTAIN, _LOST})

    @property
    def doubts(self) -> set[tuple[str, str]]:
        """
        Return the ends by which this client may be told that nobody knows.

        That is where a model makes no tasks, and where another program uses the account.
        """
        doubts = set()
        if self.wish.model == AT_ONCE:
            doubts.add(_UNCERTAIN)
        if self.wish.tenant == ON_SHARED_ACCOUNT:
            doubts.add(_LOST)
        return doubts

    @property
    def gone(self) -> bool:
        """Whether this client left for good, as it meant to."""
        return self.served is None and self.wish.leave != "" and self.wish.back == "gone"


def write_notes(file: Path, notes: Iterable[Note]) -> None:
    file.write_text("".join(json.dumps(asdict(note)) + "\n" for note in notes))


def read_notes(file: Path) -> Iterator[Note]:
    for line in file.read_text().splitlines():
        row = json.loads(line)
        yield Note(**{**row, "wish": Wish(**row["wish"])})
