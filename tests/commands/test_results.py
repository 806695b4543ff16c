import asyncio
import json
import os
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.domain.clock import SystemClock
from gateway.results.folder import FolderStore
from gateway.results.names import ResultName, owner_of
from tests.process import tables

_ENVIRON = {"KEY": "sk-x", "SECRET": "canary-" + "s" * 32}
_RESULTS = """
[results]
store = "folder:{}"
public_url = "https://pictures.test"
secret = "env:SECRET"
"""


def _name(tenant: str, edit_id: str) -> ResultName:
    return ResultName(owner_of(tenant), edit_id, 0, 0, "png")


YOUNG, OLD, FOREIGN = (
    _name("acme", "edit_young"),
    _name("acme", "edit_old"),
    _name("gone", "edit_x"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config and three pictures: of now, of two days ago, and of a tenant that is gone."""
    kept = tmp_path / "kept"
    (tmp_path / "g.toml").write_text(tables(tmp_path) + _RESULTS.format(kept))
    asyncio.run(_write(kept))
    now = SystemClock().epoch()
    os.utime(kept / OLD.owner / str(OLD), (now - 48 * 3600, now - 48 * 3600))
    return tmp_path


async def _write(folder: Path) -> None:
    store = FolderStore(
        folder, durable=False, clock=SystemClock(), on_failure=lambda *_: pytest.fail("failed")
    )
    for name in (YOUNG, OLD, FOREIGN):
        await store.put(name, b"picture")


def _run(folder: Path, *argv: str) -> int:
    return main(["results", *argv, "--config", str(folder / "g.toml")], _ENVIRON)


def _there(folder: Path) -> set[str]:
    return {file.name for file in (folder / "kept").rglob("*.png")}


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures are listed, the newest first, with their tenant, size and end."""
    assert _run(folder, "list", "--tenant", "acme") == 0

    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["WRITTEN", "(UTC)", "EXPIRES", "(UTC)", "TENANT", "BYTES", "PICTURE"]
    assert [row.split()[2:] for row in rows] == [
        ["acme", "7", str(YOUNG)],
        ["acme", "7", str(OLD)],
    ]


def test_list_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, too; who is not in the config any more has no name."""
    assert _run(folder, "list", "--json") == 0

    rows = json.loads(capsys.readouterr().out)
    by_name = {row["name"]: row for row in rows}
    assert set(by_name) == {str(YOUNG), str(OLD), str(FOREIGN)}
    assert by_name[str(FOREIGN)]["tenant"] is None
    assert by_name[str(YOUNG)]["tenant"] == "acme"
    assert by_name[str(YOUNG)]["edit_id"] == "edit_young"
    assert by_name[str(YOUNG)]["written"] < by_name[str(YOUNG)]["expires"]


@pytest.mark.parametrize(
    ("argv", "output", "left"),
    [
        pytest.param(["--tenant", "acme"], "deleted 2", {FOREIGN}, id="tenant"),
        pytest.param(["--expired"], "deleted 1", {YOUNG, FOREIGN}, id="expired"),
        pytest.param([str(OLD), str(FOREIGN)], "deleted 2", {YOUNG}, id="names"),
        pytest.param(
            [f"https://pictures.test/v1/images/results/{OLD}?expires=1&signature=2"],
            "deleted 1",
            {YOUNG, FOREIGN},
            id="url",
        ),
    ],
)
def test_delete(
    folder: Path,
    argv: list[str],
    output: str,
    left: set[ResultName],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those that are meant are deleted, and no other."""
    assert _run(folder, "delete", *argv) == 0

    assert capsys.readouterr().out == f"{output}\n"
    assert _there(folder) == {str(name) for name in left}


def test_delete_what_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are deleted; the exit code says that one was not."""
    absent = _name("acme", "edit_absent")

    assert _run(folder, "delete", str(OLD), str(absent)) == 1

    assert capsys.readouterr().out == f"deleted 1\nnot there: {absent}\n"


@pytest.mark.parametrize(
    ("argv", "output"),
    [
        pytest.param(["delete"], "one of the arguments", id="nothing"),
        pytest.param(["delete", "../x.png"], "NAME: '../x.png' is no name", id="no-name"),
        pytest.param(["delete", "--tenant", "acm"], "'acm' is not a tenant", id="no-tenant"),
        pytest.param(["list", "--tenant", "acm"], "use acme", id="no-tenant-to-list"),
    ],
)
def test_wrong_usage(
    folder: Path, argv: list[str], output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is deleted by a typing error."""
    try:
        code = _run(folder, *argv)
    except SystemExit as exit_:
        code = int(str(exit_.code))

    assert code == 2
    assert output in capsys.readouterr().err
    assert len(_there(folder)) == 3


def test_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config without a store keeps nothing."""
    (tmp_path / "g.toml").write_text(tables(tmp_path))

    assert _run(tmp_path, "list") == 2
    assert "results.store: is off" in capsys.readouterr().err


def test_a_store_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is told in one line."""
    (tmp_path / "kept").write_text("no folder")
    (tmp_path / "g.toml").write_text(tables(tmp_path) + _RESULTS.format(tmp_path / "kept"))

    assert _run(tmp_path, "list") == 2
    output = capsys.readouterr().err
    assert "the store fails (list: Not a directory)" in output
    assert output.count("\n") == 1
