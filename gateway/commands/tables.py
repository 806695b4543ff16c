"""A table for people: drawn on a terminal where rich is installed, aligned text elsewhere."""

import sys
from collections.abc import Sequence
from importlib import import_module

Row = Sequence[str]


def print_table(head: Row, rows: Sequence[Row], *, whole: str = "") -> None:
    """
    Print a table.

    Args:
        head: May be empty.
        rows: Texts; control characters are replaced.
        whole: The column that a narrow terminal does not fold, because people copy from it.
    """
    safe = [tuple(map(_printable, row)) for row in rows]
    if not (sys.stdout.isatty() and _drawn(head, safe, whole)):
        print(aligned([head, *safe] if head else safe))


def aligned(rows: Sequence[Row]) -> str:
    """Return *rows* with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _drawn(head: Row, rows: Sequence[Row], whole: str) -> bool:
    """Draw a table as wide as the terminal; return False where rich, an extra, is missing."""
    try:
        rich = {name: import_module(f"rich.{name}") for name in ("box", "console", "table", "text")}
    except ModuleNotFoundError:
        return False
    style = rich["box"].SIMPLE if head else None
    table = rich["table"].Table(box=style, show_header=bool(head))
    for name in head:
        table.add_column(name, no_wrap=name == whole)
    for row in rows:
        # As Text, so that no value is read as rich's own markup.
        table.add_row(*(rich["text"].Text(cell, overflow="fold") for cell in row))
    rich["console"].Console().print(table)
    return True


def _printable(text: str) -> str:
    """Replace what could control a terminal: some texts come from clients."""
    return "".join(c if c.isprintable() else "?" for c in text)
