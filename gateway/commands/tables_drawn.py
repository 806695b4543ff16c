"""Tables by rich, which is an extra: imported only where there is a terminal to draw on."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def draw(head: Sequence[str], rows: Sequence[Sequence[str]], whole: str) -> None:
    """Draw a table as wide as the terminal; text too long is folded, but in the column *whole*."""
    table = Table(box=box.SIMPLE if head else None, show_header=bool(head))
    for name in head:
        table.add_column(name, no_wrap=name == whole)
    for row in rows:
        # As Text, so that no value is read as rich's own markup.
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)
