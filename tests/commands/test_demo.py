import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from PIL import Image

from gateway.cli import main
from gateway.commands import demo
from gateway.config import ConfigError


def test_without_the_sdk(tmp_path: Path) -> None:
    """The demo says how to get the SDK if it is not installed."""
    with pytest.raises(ConfigError) as caught:
        demo.run(Namespace(out=tmp_path, photo=None), {}, lambda _: None)

    assert str(caught.value) == ("demo: openai is not installed; pip install 'wan-gateway[demo]'")


def test_without_the_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A photograph that is not there is named before anything starts."""
    photo = tmp_path / "no.jpg"

    code = main(["demo", "--photo", str(photo), "--out", str(tmp_path)], {})

    assert code == 2
    assert capsys.readouterr().err == (
        f"--photo: {photo} cannot be read (No such file or directory); name another\n"
    )


def test_without_a_place_for_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that cannot be created is named before anything starts."""
    (tmp_path / "file").touch()

    code = main(["demo", "--out", str(tmp_path / "file" / "dir")], {})

    assert code == 2
    assert capsys.readouterr().err == (
        f"--out: {tmp_path / 'file' / 'dir'} cannot be created (Not a directory); name another\n"
    )


@pytest.mark.slow
def test_two_customers_get_their_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each tenant's edit is served by its own region; pictures, tasks and counts are shown."""
    out = tmp_path / "new" / "out"

    code = main(["demo", "--out", str(out)], {})

    output = capsys.readouterr().out
    assert code == 0, output
    row = r"^(\w+) +(\S+\.png) +[\d.]+ s +(\w+), task ([0-9a-f-]{36})$"
    served = re.findall(row, output, re.MULTILINE)
    assert [(tenant, file, region) for tenant, file, region, _ in served] == [
        ("acme", str(out / "acme.png"), "beijing"),
        ("globex", str(out / "globex.png"), "singapore"),
    ]
    for _, file, _, _ in served:
        with Image.open(file) as picture:
            picture.load()
            assert picture.format == "PNG"
    for region in ("beijing", "singapore"):
        gain = rf'^  \+1  wan_gateway_tasks_total{{.*outcome="succeeded",region="{region}".*}}$'
        assert re.search(gain, output, re.MULTILINE)
    assert "running" in output


@pytest.mark.slow
def test_an_edit_that_fails_is_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no photograph is refused by the gateway, and the demo says so."""
    photo = tmp_path / "notes.jpg"
    photo.write_text("This is not a picture.")

    code = main(["demo", "--photo", str(photo), "--out", str(tmp_path)], {})

    output = capsys.readouterr().out
    assert code == 1
    assert "acme: Error code: 400" in output
    assert "globex: Error code: 400" in output


@pytest.mark.slow
def test_the_program_ends_by_itself(tmp_path: Path) -> None:
    """As a program of its own it ends with code 0, and has nothing to complain about."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
