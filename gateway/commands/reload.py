"""
``wan-gateway reload``: have the running gateway read its config again, and say how it went.

It sends SIGHUP to the process that the file beside the ledger names, and waits for the outcome.
"""

import asyncio
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.config import ConfigError, StateConfig, load_server_and_state
from gateway.domain.clock import SystemClock
from gateway.observe.process_file import ProcessStatus, process_file_of, read_process

_LONGEST_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def run(
    args: Namespace,
    environ: Mapping[str, str],
    seconds: float = _LONGEST_SECONDS,
    kill: Callable[[int, int], None] = os.kill,
) -> int:
    """
    Reload the config of the running gateway.

    Args:
        args: The command line: ``config``.
        environ: As for every command.
        seconds: How long to wait for the outcome.
        kill: Sends the signal; a test passes its own.

    Returns:
        0 if the config was taken; 1 if it was refused, or no gateway answers.

    Raises:
        ConfigError: the file cannot be read at all.
    """
    _, state = load_server_and_state(args.config, environ)
    path = _path(args.config, state)
    source = str(args.config or "environment")
    process = _read(path)
    if process is None:
        return _fail(
            f"{source}: no gateway runs here with this config (no process holds {path}); start "
            "one with serve, or send SIGHUP to its process yourself"
        )
    try:
        kill(process.pid, signal.SIGHUP)
    except OSError as error:
        return _fail(f"process {process.pid} cannot be signalled ({error.strerror})")
    outcome = asyncio.run(_wait(path, process.begun + 1, seconds))
    if outcome is None:
        return _fail(f"process {process.pid} has ended, or did not answer in {seconds:g} s")
    if outcome.refusal:
        return _fail(f"{outcome.refusal}\nThe config that was in force stays in force.")
    print(outcome.outcome)
    return 0


def _path(config: Path | None, state: StateConfig) -> Path:
    return process_file_of(state.file, str(config or "environment"))


def _read(path: Path) -> ProcessStatus | None:
    try:
        return read_process(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); run this as the user who runs the gateway"
        ) from None


async def _wait(path: Path, number: int, seconds: float) -> ProcessStatus | None:
    """Return how the reload with this *number*, or a later one, ended."""
    clock = SystemClock()
    until = clock.now() + seconds
    while clock.now() < until:
        with suppress(ValueError):  # it is being written
            process = read_process(path)
            if process is None or process.ended >= number:
                return process
        await clock.sleep(_LOOK_SECONDS)
    return None


def _fail(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1
