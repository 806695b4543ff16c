"""The file that names the process of a config, and how its last reload ended."""

import json
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.observe.process_file import (
    ProcessFile,
    ProcessStatus,
    process_file_of,
    read_process,
)


def test_it_is_beside_the_ledger(tmp_path: Path) -> None:
    """A gateway with a ledger of its own has it there, whatever its config is called."""
    ledger = tmp_path / "state" / "gateway.db"

    assert process_file_of(ledger, "a.toml") == tmp_path / "state" / "gateway.db.process"


def test_without_a_ledger_it_has_the_name_of_the_config(tmp_path: Path) -> None:
    """One config, one file, by whatever path it is named; two configs, two files."""
    one, same, other = (
        process_file_of(None, str(tmp_path / name)) for name in ("a.toml", "x/../a.toml", "b.toml")
    )

    assert one == same != other
    assert str(os.getuid()) in one.name


def test_a_process_that_lives(tmp_path: Path) -> None:
    """It says which process it is, and how many reloads began and ended; nobody else reads it."""
    path = tmp_path / "g.process"
    with ProcessFile(path) as file:
        first = read_process(path)
        file.begin()
        began = read_process(path)
        file.end(refusal="it is wrong " * 99)
        refused = read_process(path)
        file.begin()
        file.end(outcome="done")
        taken = read_process(path)

    assert first == ProcessStatus(os.getpid())
    assert began is not None
    assert (began.begun, began.ended) == (1, 0)
    assert refused is not None
    assert refused.refusal.startswith("it is wrong")
    assert taken == ProcessStatus(os.getpid(), 2, 2, "", "done")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    """A file that nobody holds names nobody; nor does one that is not there."""
    path = tmp_path / "g.process"
    with ProcessFile(path):
        pass

    assert read_process(path) is None
    assert read_process(tmp_path / "none") is None
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_another_process_has_it(tmp_path: Path) -> None:
    """The second one is told so, and the first one's file stays as it is."""
    path = tmp_path / "g.process"
    with ProcessFile(path):
        with pytest.raises(BlockingIOError), ProcessFile(path):
            raise AssertionError
        process = read_process(path)

    assert process == ProcessStatus(os.getpid())


def test_nothing_is_written_before_and_after(tmp_path: Path) -> None:
    """A gateway whose file could not be opened reloads all the same."""
    file = ProcessFile(tmp_path / "none" / "g.process")
    with pytest.raises(FileNotFoundError):
        file.__enter__()

    file.begin()
    file.end(outcome="done")

    assert file.status.ended == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link that a stranger laid where the file should be is neither written nor read."""
    (tmp_path / "theirs").write_text("{}")
    (tmp_path / "g.process").symlink_to(tmp_path / "theirs")

    with pytest.raises(OSError), ProcessFile(tmp_path / "g.process"):  # noqa: PT011 - ELOOP has no class
        raise AssertionError
    with pytest.raises(OSError):  # noqa: PT011 - the same
        read_process(tmp_path / "g.process")


@pytest.mark.skipif(os.getuid() != 0, reason="needs to have a process of somebody else")
def test_a_process_of_somebody_else(tmp_path: Path) -> None:
    """A file that names a process which is not its owner's is not believed."""
    theirs = subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=65534)
    try:
        with ProcessFile(tmp_path / "g.process") as file:
            file.status = replace(file.status, pid=theirs.pid)
            file.begin()

            with pytest.raises(PermissionError, match=f"process {theirs.pid}"):
                read_process(tmp_path / "g.process")
    finally:
        theirs.communicate(b"\n")
