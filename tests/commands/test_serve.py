import gc
import platform
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator

import pytest

from gateway.cli import main
from gateway.commands import serve
from gateway.config import Config, ConfigError

ENVIRON = {"DASHSCOPE_API_KEY": "sk-canary"}


@pytest.fixture(autouse=True)
def _collected_again() -> Iterator[None]:
    """The objects of the other tests are garbage one day."""
    yield
    gc.unfreeze()


def test_serves_the_config_at_the_address_asked_for() -> None:
    """The command line's address wins over the config's, also when that is read again."""
    served: list[Config] = []

    def fake(config: Config, load: Callable[[], Config]) -> int:
        served.extend([config, load()])
        return 7

    code = serve.run(Namespace(config=None, host="localhost", port=9, abandon=False), ENVIRON, fake)

    assert code == 7
    assert [(it.server.host, it.server.port) for it in served] == [("localhost", 9)] * 2


def test_the_collector_leaves_the_start_alone() -> None:
    """While it serves, a full collection looks only at what came since."""
    watched: list[int] = []

    def fake(_: Config, __: Callable[[], Config]) -> int:
        watched.append(len(gc.get_objects()))
        return 0

    before = len(gc.get_objects())
    serve.run(Namespace(config=None, host="localhost", port=9, abandon=False), ENVIRON, fake)

    assert before > 10_000
    assert watched[0] < before / 10


def test_nothing_to_serve(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a file nor a key: code 2 and a line that helps."""
    code = main(["serve"], {})

    assert code == 2
    assert capsys.readouterr().err == (
        "environment: DASHSCOPE_API_KEY: is not set; set it, or give --config FILE\n"
    )


def test_an_open_tenant_is_not_served_to_the_network() -> None:
    """--host cannot hand the operator's money to everyone around."""
    with pytest.raises(ConfigError):
        serve.run(
            Namespace(config=None, host="0.0.0.0", port=None, abandon=False), ENVIRON, lambda *_: 0
        )


_PROOF = """
import ctypes, resource
from gateway.commands.serve import keep_buffers
if {kept}:
    assert keep_buffers()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(2**23); before = faults()
for _ in range(20):
    bytearray(2**23)
print(faults() - before)
"""


def _page_faults(*, kept: bool) -> int:
    words = [sys.executable, "-c", _PROOF.format(kept=kept)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_buffers_are_kept() -> None:
    """A buffer of 8 MiB that is used again and again is not mapped again each time."""
    assert _page_faults(kept=True) < _page_faults(kept=False) / 2


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_other_libraries_are_left_alone(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no glibc nothing happens."""

    def none(_: object) -> Callable[[int, int], int]:
        raise error

    monkeypatch.setattr("ctypes.CDLL", none)

    assert not serve.keep_buffers()
