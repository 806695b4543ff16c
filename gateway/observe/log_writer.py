"""Writes log lines from a thread, so that a full pipe never blocks the gateway."""

import errno
import os
import select
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

import structlog

MOST_BYTES = 4 * 2**20
"""The most that may wait to be written; further lines are dropped and counted."""
_CLOSE_SECONDS = 2.0
"""How long ``close`` waits for the last lines."""


class LogWriter:
    """
    A text stream for whole lines.

    The thread writes to the descriptor itself: a write that blocks would hold the lock of
    sys.stdout's buffer, and the interpreter would wait for that lock at exit.

    Args:
        stream: Where the lines go; it must have a file descriptor.
        most_bytes: See MOST_BYTES.
        patience: Seconds that ``close`` waits.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        most_bytes: int = MOST_BYTES,
        patience: float = _CLOSE_SECONDS,
    ) -> None:
        self._fd = stream.fileno()
        self._terminal = stream.isatty()
        self._most_bytes = most_bytes
        self._patience = patience
        self._lines: list[bytes] = []
        self._held = 0
        self._dropped = 0
        self._reported = 0
        """How many of the dropped lines were reported in the log."""
        self._closed = False
        self._changed = threading.Condition()
        self._on_drop: Callable[[int], None] = lambda _: None
        # A daemon: a write that blocks does not delay the end of the process.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def isatty(self) -> bool:
        return self._terminal

    def count_drops(self, on_drop: Callable[[int], None]) -> None:
        """Call *on_drop* with the number of lines dropped so far, and again for later ones."""
        with self._changed:
            self._on_drop = on_drop
            dropped = self._dropped
        on_drop(dropped)

    def write(self, line: str) -> None:
        """Queue a line, or drop it if too many bytes wait; never blocks, never raises."""
        raw = line.encode("utf-8", "backslashreplace")
        with self._changed:
            fits = self._held + len(raw) <= self._most_bytes
            if fits:
                self._held += len(raw)
                self._lines.append(raw)
                self._changed.notify()
        if not fits:
            self._drop(1)

    def flush(self) -> None:
        """Do nothing: the thread writes each line as soon as it can."""

    def close(self) -> None:
        """Write what is queued, for at most *patience* seconds, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(self._patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                lines = self._lines
                self._lines = []
            if not lines:
                return
            try:
                self._write_all(b"".join(lines))
                written = True
            except OSError:
                # The reader is gone; the gateway serves without a log.
                self._drop(len(lines))
                written = False
            with self._changed:
                self._held -= sum(map(len, lines))
            if written:
                self._report_drops()

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                # Another process that shares the descriptor made it non-blocking.
                select.select((), (self._fd,), ())

    def _drop(self, lines: int) -> None:
        with self._changed:
            self._dropped += lines
            on_drop = self._on_drop
        on_drop(lines)

    def _report_drops(self) -> None:
        """Log how many lines were dropped since the last report; now there is room again."""
        with self._changed:
            new = self._dropped - self._reported
            self._reported = self._dropped
        if new:
            structlog.get_logger("gateway.log").warning("log_lines_dropped", lines=new)
