import io

from gateway.commands.demo_progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_line_for_each_change() -> None:
    """A log is not filled with a line each second."""
    pipe = io.StringIO()
    progress = Progress(pipe)

    progress.show(0.2, {})
    progress.show(1.2, {"singapore": "pending", "beijing": "running"})
    progress.show(2.2, {"beijing": "running", "singapore": "pending"})
    progress.show(3.2, {"beijing": "downloading"})
    progress.end()

    assert pipe.getvalue() == (
        "    0 s  waiting\n"
        "    1 s  beijing running, singapore pending\n"
        "    3 s  beijing downloading\n"
    )


def test_a_terminal_gets_one_line_rewritten() -> None:
    """On a terminal the line counts the seconds in place, and is left in the end."""
    terminal = Terminal()
    progress = Progress(terminal)

    progress.show(1, {"beijing": "running"})
    progress.show(2, {"beijing": "running"})
    progress.end()

    first, second = f"{'    1 s  beijing running':<78}", f"{'    2 s  beijing running':<78}"
    assert terminal.getvalue() == f"\r{first}\r{second}\n"
