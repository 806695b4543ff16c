import sys

import pytest

from gateway.commands.tables import aligned, print_table

_HEAD = ("EDIT", "STATE")
_ROWS = [("edit_1", "open"), ("[red]2\x1b[31m", "failed")]


def test_aligned() -> None:
    """Columns stand below each other, without blanks at the ends of lines."""
    assert aligned([("a", "b", "c"), ("long", "", "x")]) == "a     b  c\nlong     x"


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a file or a pipe go plain lines, and nothing that could steer a terminal."""
    print_table(_HEAD, _ROWS)
    print_table((), _ROWS[:1])

    assert capsys.readouterr().out == (
        "EDIT         STATE\nedit_1       open\n[red]2?[31m  failed\nedit_1  open\n"
    )


def test_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However narrow, one column stays as it is, to be copied."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")

    print_table(_HEAD, [("edit_" + "0" * 32, "long " * 20)], whole="EDIT")

    assert f"edit_{'0' * 32} " in capsys.readouterr().out


@pytest.mark.parametrize("head", [_HEAD, ()])
def test_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], head: tuple[str, ...]
) -> None:
    """On a terminal rich draws the table, and takes no value for its own markup."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    print_table(head, _ROWS)

    output = capsys.readouterr().out
    assert "[red]2?[31m" in output
    assert ("─" in output) is bool(head)


def test_a_terminal_without_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra a terminal gets the plain lines."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich.console", None)

    print_table(_HEAD, _ROWS[:1])

    assert capsys.readouterr().out == "EDIT    STATE\nedit_1  open\n"
