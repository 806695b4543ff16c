import subprocess
import sys
from pathlib import Path

from tests.shared_install import copy_files, exclusive

_ROOT = Path(__file__).parents[1]
_ANOTHER = """
import sys
from pathlib import Path
from tests.shared_install import exclusive

folder = Path(sys.argv[1])
print("here", flush=True)
with exclusive(folder):
    print((folder / "made").exists(), flush=True)
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    """Whoever comes second waits, and finds what the first has made."""
    with exclusive(tmp_path / "cache"):
        other = subprocess.Popen(
            [sys.executable, "-c", _ANOTHER, str(tmp_path / "cache")],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        (tmp_path / "cache" / "made").touch()
    output, _ = other.communicate(timeout=60)

    assert output == "True\n"


def test_what_is_the_same_stays(tmp_path: Path) -> None:
    """A file that another worker's program may read is not written again; one that changed is."""
    source, folder = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    folder.mkdir()
    for name in ("same", "changes"):
        (source / name).write_text(name)
    copy_files(source, folder)
    before = {name: (folder / name).stat().st_ino for name in ("same", "changes")}
    (source / "changes").write_text("changed")

    copy_files(source, folder)

    after = {name: (folder / name).stat().st_ino for name in ("same", "changes")}
    assert after["same"] == before["same"]
    assert (folder / "changes").read_text() == "changed"
    assert sorted(file.name for file in folder.iterdir()) == ["changes", "same"]
