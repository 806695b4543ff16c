"""A line that says how far the demo is: rewritten on a terminal, added to on a pipe."""

from collections.abc import Mapping
from typing import TextIO

_WIDTH = 78


class Progress:
    """Says seconds and states: each second on a terminal, at each change elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: str | None = None

    def show(self, seconds: float, states: Mapping[str, str]) -> None:
        said = ", ".join(f"{region} {state}" for region, state in sorted(states.items()))
        line = f"  {seconds:3.0f} s  {said or 'waiting'}"
        if self._out.isatty():
            self._out.write(f"\r{line:<{_WIDTH}}")
        elif said != self._last:
            self._out.write(f"{line}\n")
        self._out.flush()
        self._last = said

    def end(self) -> None:
        """Leave a terminal's line."""
        if self._out.isatty():
            self._out.write("\n")
