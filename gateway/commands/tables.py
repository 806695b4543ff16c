"""A table for eyes: drawn on a terminal where rich is installed, aligned text elsewhere."""

import sys
from collections.abc import Sequence
from importlib import import_module

Row = Sequence[str]


def print_table(head: Row, rows: Sequence[Row], *, whole: str = "") -> None:
    """
    Print a table.

    Args:
        head: May be empty.
        rows: May hold anything.
        whole: The column that is not folded in a narrow terminal: its values are copied.
    """
    safe = [tuple(map(_printable, row)) for row in rows]
    if sys.stdout.isatty():
        try:
            drawn = import_module("gateway.commands.tables_drawn")
        except ModuleNotFoundError:
            pass  # the extra `top` is not installed
        else:
            drawn.draw(head, safe, whole)
            return
    print(aligned([head, *safe] if head else safe))


def aligned(rows: Sequence[Row]) -> str:
    """Return *rows* with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Return *text* without what could steer a terminal: some of it is a client's."""
    return "".join(c if c.isprintable() else "?" for c in text)
