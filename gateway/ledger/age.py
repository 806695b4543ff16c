"""How long a ledger has lived, by a clock that no step of the calendar moves."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what names the running boot of this machine; empty where it cannot be told."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


class Age:
    """
    Counts the seconds that a ledger has lived, over any number of processes.

    Within one boot of the machine it goes by the monotonic clock. What lies between two boots
    is known from the calendar alone, which may be wrong then; a negative time counts as none.

    Args:
        epoch: Seconds since 1970.
        elapsed: Seconds of a clock that is never set; the same for all processes of a boot.
        boot: Names the boot; empty: a mark of another process is never of this one.
    """

    def __init__(
        self, epoch: Callable[[], float], elapsed: Callable[[], float], boot: str = ""
    ) -> None:
        self._epoch = epoch
        self._elapsed = elapsed
        self._boot = boot
        self._lived = 0.0
        self._resumed_at = elapsed()

    def __call__(self) -> float:
        return self._lived + self._elapsed() - self._resumed_at

    def resume(self, connection: sqlite3.Connection) -> None:
        """Go on from the mark that the process before left in the ledger."""
        mark = connection.execute("SELECT boot, elapsed, epoch, lived FROM age").fetchone()
        self._resumed_at = self._elapsed()
        if mark is None:
            self._lived = 0.0
            return
        boot, elapsed, epoch, lived = mark
        if boot and boot == self._boot and elapsed <= self._resumed_at:
            passed = self._resumed_at - elapsed
        else:
            passed = max(0.0, self._epoch() - epoch)
        self._lived = lived + passed

    def mark(self, connection: sqlite3.Connection) -> None:
        """Write down how long the ledger has lived by now."""
        connection.execute("DELETE FROM age")
        connection.execute(
            "INSERT INTO age (boot, elapsed, epoch, lived) VALUES (?, ?, ?, ?)",
            (self._boot, self._elapsed(), self._epoch(), self()),
        )
