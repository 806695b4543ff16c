"""``wan-gateway demo``: one photograph, two tenants, two regions, the real OpenAI SDK; no key."""

import asyncio
from argparse import Namespace
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.config import ConfigError

_PHOTO = Path(__file__).with_name("photo.jpg")


def run(
    asked: Namespace, _environ: Mapping[str, str], find: Callable[[str], Any] = find_spec
) -> int:
    """
    Play the demo to its end; 0 if both edits came home, 1 if not, 2 if it cannot begin.

    Args:
        asked: The command line: ``out``, ``photo``.
        find: Looks a package up, without importing it.
    """
    if find("openai") is None:
        raise ConfigError("demo: openai is not installed; pip install 'wan-gateway[demo]'")
    photo = asked.photo or _PHOTO
    try:
        picture = photo.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--photo: {photo} cannot be read ({error.strerror}); name another"
        ) from None
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out: {asked.out} cannot be made ({error.strerror}); name another"
        ) from None
    # Not imported above: without openai it cannot be.
    play = import_module("gateway.commands.demo_play").play
    return int(asyncio.run(play(photo.name, picture, asked.out)))
