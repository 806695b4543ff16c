"""``wan-gateway completion``: a script by which a shell completes commands and options."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


def run(args: Namespace, _environ: Mapping[str, str]) -> int:
    """
    Print the script; it names what this version has, so print it again after an upgrade.

    Args:
        args: The command line: ``shell``, and ``parser``, the parser of the whole command line.
    """
    shtab = import_module("shtab")
    _complete_paths(args.parser, shtab)
    print(shtab.complete(args.parser, args.shell))
    return 0


def _complete_paths(parser: ArgumentParser, shtab: Any) -> None:
    """Let options that take a path complete those of the disk, in all commands below *parser*."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to them
        if action.type is Path:
            place = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
            setattr(action, "complete", place)  # noqa: B010 - argparse does not know the name
        if isinstance(action.choices, Mapping):
            for command in action.choices.values():
                _complete_paths(command, shtab)
