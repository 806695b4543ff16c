import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from gateway.observe.log_writer import LogWriter
from gateway.observe.logs import configure_logs, log_line
from gateway.server import log_stray_errors

_PIPE = 65_536


@contextmanager
def _pipe() -> Iterator[tuple[TextIO, TextIO]]:
    read, write = os.pipe()
    with os.fdopen(read, encoding="utf-8") as reader, os.fdopen(write, "w") as writer:
        yield reader, writer


def _read_all(reader: TextIO, into: list[str]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.extend(reader))
    thread.start()
    return thread


def test_lines_come_in_order_to_the_last() -> None:
    """What was logged before the end is written before the end."""
    with _pipe() as (reader, stream):
        with LogWriter(stream) as log:
            for number in range(200):
                log.write(f"{number} \N{SNOWMAN} \udc80\n")
                log.flush()
        stream.close()

        assert reader.readlines() == [f"{number} \N{SNOWMAN} \\udc80\n" for number in range(200)]


def test_nobody_reads() -> None:
    """A full pipe stops nobody: lines beyond the bound are dropped, counted, and told of later."""
    reported: list[int] = []
    got: list[str] = []
    with _pipe() as (reader, stream):
        with LogWriter(stream, most_bytes=100_000) as log:
            configure_logs("info", "json", log)
            for number in range(2000):
                log_line({"request_id": f"r-{number}", "text": "x" * 100})
            log.count_drops(reported.append)
            log_line({"request_id": "r-last", "text": "x" * 100_000})
            thread = _read_all(reader, got)
        stream.close()
        thread.join()

    lines = [json.loads(line) for line in got]
    dropped = sum(reported)
    assert len(reported) == 2
    assert 2000 - (100_000 + _PIPE) // 200 < dropped < 2000
    assert sum(line["event"] == "request" for line in lines) == 2001 - dropped
    assert sum(line.get("lines", 0) for line in lines) == dropped


def test_the_end_waits_only_so_long() -> None:
    """A pipe that stays full holds the end up for some moments, not for ever."""
    with _pipe() as (_, stream):
        with LogWriter(stream, patience=0.01) as log:
            log.write("x" * 2 * _PIPE)

        assert log._thread.is_alive()
    log._thread.join(60)


def test_the_reader_goes() -> None:
    """A pipe without a reader costs the lines, and nothing else."""
    reported: list[int] = []
    with _pipe() as (reader, stream):
        reader.close()
        with LogWriter(stream) as log:
            log.count_drops(reported.append)
            log.write("lost\n")

    assert sum(reported) == 1


def test_a_descriptor_that_does_not_block() -> None:
    """Where somebody made the descriptor non-blocking, all still arrives."""
    got: list[str] = []
    with _pipe() as (reader, stream):
        os.set_blocking(stream.fileno(), False)
        with LogWriter(stream, patience=60) as log:
            log.write("x" * 10 * _PIPE + "\n")
            thread = _read_all(reader, got)
        stream.close()
        thread.join()

    assert sum(map(len, got)) == 10 * _PIPE + 1


def test_a_terminal_is_known() -> None:
    """Whoever asks whether somebody looks is told."""
    with _pipe() as (_, stream):
        assert not LogWriter(stream).isatty()


def test_what_python_prints_is_logged() -> None:
    """A thread's bug, what nobody can catch and a warning are log lines, without their words."""
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    log_stray_errors()

    thread = threading.Thread(target=[].pop)
    thread.start()
    thread.join()
    error = ValueError("a prompt")
    sys.unraisablehook(_Unraisable(error))  # type: ignore[arg-type]  # of its shape
    sys.unraisablehook(_Unraisable(None))  # type: ignore[arg-type]
    threading.excepthook(threading.ExceptHookArgs((SystemExit, None, None, None)))
    logging.getLogger("py.warnings").warning("odd")

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["bug_in_thread", "unraisable", "odd"]
    assert "IndexError" in lines[0]["bug"]
    assert "a prompt" not in stream.getvalue()


class _Unraisable:
    def __init__(self, value: BaseException | None) -> None:
        self.exc_value = value
