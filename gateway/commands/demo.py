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
    args: Namespace, _environ: Mapping[str, str], find: Callable[[str], Any] = find_spec
) -> int:
    """
    Run the demo; return 0 if both edits succeeded, else 1.

    Args:
        args: The command line: ``out``, ``photo``.
        find: Finds a package without importing it.

    Raises:
        ConfigError: a package, the photograph or the folder is missing.
    """
    if find("openai") is None:
        raise ConfigError("demo: openai is not installed; pip install 'wan-gateway[demo]'")
    photo = args.photo or _PHOTO
    try:
        picture = photo.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--photo: {photo} cannot be read ({error.strerror}); name another"
        ) from None
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out: {args.out} cannot be created ({error.strerror}); name another"
        ) from None
    # Imported here: it needs openai.
    run_demo = import_module("gateway.commands.demo_run").run_demo
    return int(asyncio.run(run_demo(photo.name, picture, args.out)))
