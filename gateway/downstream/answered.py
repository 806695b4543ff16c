"""The edits that were answered lately, kept for those who watch: read off their log lines."""

from collections import deque
from dataclasses import dataclass

from gateway.domain.snapshot import Some
from gateway.downstream.ports import LineLog
from gateway.downstream.request_line import RequestLine

_MOST = 40
_EDITS = "/v1/images/"


@dataclass(frozen=True, slots=True)
class AnsweredSeen:
    """How one client's call ended."""

    at: float
    """Monotonic: when the last byte went out."""
    edit_id: str
    """Empty where it was refused before there was an edit."""
    tenant: str
    region: str
    accounts: tuple[str, ...]
    code: int
    outcome: str
    """``ok``, ``customer_left``, or the code of the refusal."""
    upstream_code: str
    seconds: float
    phases: tuple[tuple[str, float], ...]
    """Each phase, and how many seconds it took."""


class Answered:
    """
    A LineLog before another one: passes every line on, and remembers the last ends of edits.

    Args:
        log: Who writes.
    """

    def __init__(self, log: LineLog) -> None:
        self._log = log
        self._lines: deque[RequestLine] = deque(maxlen=_MOST)
        self._total = 0

    def log_line(self, record: RequestLine) -> None:
        if _is_end(record):
            self._lines.appendleft(record)
            self._total += 1
        self._log.log_line(record)

    def lately(self) -> Some[AnsweredSeen]:
        """Return the last ones, youngest first, and how many there were since the start."""
        return Some(tuple(_seen(line) for line in self._lines), self._total)


def _is_end(line: RequestLine) -> bool:
    """Say whether a known client asked for pictures, and that is over now."""
    if not line.tenant or not line.route.startswith(_EDITS) or line.status == 202:
        return False
    return line.method == "POST" or (line.method == "GET" and line.told is not None)


def _seen(line: RequestLine) -> AnsweredSeen:
    ended = line.started + line.seconds
    told = line.told
    spent = line.phases.spent(ended) if line.phases else {}
    return AnsweredSeen(
        at=round(ended, 3),
        edit_id=told.edit_id if told else "",
        tenant=line.tenant,
        region=told.region if told else "",
        accounts=told.accounts if told else (),
        code=line.status,
        outcome=line.outcome,
        upstream_code=line.upstream_code,
        seconds=round(line.seconds, 3),
        phases=tuple((phase.value, round(seconds, 3)) for phase, seconds in spent.items()),
    )
