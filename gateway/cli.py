"""
The command line: its commands, their options and their exit codes.

Exit codes are in EXIT_CODES; each command's help shows its own.
"""

import argparse
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.config import ConfigError
from gateway.observe.redact import printable_lines

_ANY_COMMAND = "2 wrong usage, 130 Ctrl-C, 141 the reader of the output has gone"
EXIT_CODES = {
    "serve": "0 after a drain; 2 bad config",
    "health": "0 it answers; 1 it does not, or there is none; 2 bad config",
    "check": "0; 2 bad config",
    "reload": "0 taken; 1 refused, or no gateway answers; 2 the file cannot be read",
    "key": "0",
    "doctor": "0 all work; 1 some do not; 2 bad config",
    "edits": "0; 1 no such edit, or not all cancelled; 2 bad config",
    "results": "0; 1 one of the named is not there; 2 bad config, or the store fails",
    "backup": "0; 2 bad config, or a file cannot be used",
    "restore": "0; 2 bad config, a file cannot be used, or a gateway runs",
    "top": "0; 1 it cannot be reached; 2 bad config",
    "sandbox": "0 after SIGTERM or SIGINT; 2 a port or a file cannot be used",
    "demo": "0; 1 something failed; 2 the photograph or the folder cannot be used",
    "completion": "0",
}
"""Of each command, as its help and docs/reference/cli.md say."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """
    Run one command.

    Args:
        argv: The arguments after the program's name; default: the process's own.
        environ: The environment; default: the process's own.

    Returns:
        The exit code.
    """
    args = _parser().parse_args(argv)
    command = _imported(args.command)
    try:
        code = int(command.run(args, os.environ if environ is None else environ))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        # One line stops a start; who checks wants to know all.
        lines = error.lines if args.command == "check" else error.lines[:1]
        print(*map(printable_lines, lines), sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Otherwise the interpreter would complain when it flushes again at exit.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 141


def _imported(command: str) -> Any:
    """Import the command and no other: `key` does not need a web server."""
    gc.disable()  # imports leave no garbage, and the collector takes a tenth of their time
    try:
        return import_module(f"gateway.commands.{command}")
    finally:
        gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wan-gateway",
        description="An OpenAI-compatible gateway to DashScope; no edit is paid for twice.",
        epilog="Without --config, DASHSCOPE_API_KEY is enough to serve one tenant on loopback.",
    )
    parser.add_argument("--version", action="version", version=f"wan-gateway {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _serve(commands)
    _health(commands)
    _check(commands)
    _reload(commands)
    _key(commands)
    _doctor(commands)
    _edits(commands)
    _results(commands)
    _backup(commands)
    _restore(commands)
    _top(commands)
    _sandbox(commands)
    _demo(commands)
    _completion(commands, parser)
    return parser


def _serve(commands: Any) -> None:
    command = _command(commands, "serve", "run the gateway")
    _config(command)
    command.add_argument("--host", help="listen here instead of server.host")
    command.add_argument("--port", type=_port, help="listen here instead of server.port")
    command.add_argument(
        "--abandon",
        action="store_true",
        help="start although open edits cannot be followed any more; they end as lost",
    )


def _health(commands: Any) -> None:
    command = _command(commands, "health", "ask a gateway whether it is well")
    _config(command)
    where = command.add_mutually_exclusive_group()
    where.add_argument("--url", help="URL of the gateway; default: by [server] of the config")
    where.add_argument(
        "--pid",
        type=_count,
        help="ask where this process listens, by its own config and options (Linux)",
    )
    command.add_argument(
        "--ready", action="store_true", help="ask whether it takes edits, not only whether it lives"
    )


def _check(commands: Any) -> None:
    command = _command(commands, "check", "check a config and explain what it means")
    _config(command)


def _reload(commands: Any) -> None:
    command = _command(
        commands, "reload", "have the running gateway read its config again, without a restart"
    )
    _config(command)


def _key(commands: Any) -> None:
    command = _command(commands, "key", "make a key for a client, and the line for the config")
    command.add_argument(
        "--tenant", metavar="NAME", help="the client's tenant; also prints the table's header"
    )


def _doctor(commands: Any) -> None:
    command = _command(commands, "doctor", "try every upstream key in its region; costs nothing")
    _config(command)


def _edits(commands: Any) -> None:
    command = _command(commands, "edits", "list, show or cancel the edits in the ledger")
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _command(
        actions, "list", "list edits, newest first; a gateway may run meanwhile", of="edits"
    )
    listing.add_argument("--tenant", metavar="NAME", help="only edits of this tenant")
    states = ("open", "succeeded", "failed")
    listing.add_argument("--state", choices=states, help="only edits in this state")
    listing.add_argument(
        "--since",
        metavar="WHEN",
        help="only edits since then: 30m, 2h, or 2026-11-23T09:00 (local time)",
    )
    listing.add_argument(
        "--limit", type=_count, default=50, metavar="N", help="list at most so many (%(default)s)"
    )
    show = _command(
        actions, "show", "show everything about one edit; a gateway may run meanwhile", of="edits"
    )
    cancel = _command(
        actions,
        "cancel",
        "cancel the tasks of an edit that do not run yet; costs nothing",
        of="edits",
    )
    cancel.add_argument(
        "--key",
        metavar="REF",
        help="env:NAME or file:PATH of a key of its tenant, for the gateway if one runs",
    )
    cancel.add_argument("--url", help="URL of that gateway; default: by [server] of the config")
    for command in (show, cancel):
        command.add_argument(
            "edit_id",
            metavar="ID",
            help="an id of the edit or of one of its tasks, or the start of one",
        )
    for command in (listing, show):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (listing, show, cancel):
        _config(command)


def _results(commands: Any) -> None:
    command = _command(commands, "results", "list or delete the pictures that [results] keeps")
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _command(
        actions, "list", "list pictures, newest first; a gateway may run meanwhile", of="results"
    )
    listing.add_argument("--tenant", metavar="NAME", help="only pictures of this tenant")
    listing.add_argument("--json", action="store_true", help="print JSON")
    delete = _command(
        actions, "delete", "delete pictures; a gateway may run meanwhile", of="results"
    )
    which = delete.add_mutually_exclusive_group(required=True)
    which.add_argument("--tenant", metavar="NAME", help="all pictures of this tenant")
    which.add_argument("--expired", action="store_true", help="those whose time is over")
    which.add_argument("names", nargs="*", default=[], metavar="NAME", help="these pictures")
    for command in (listing, delete):
        _config(command)


def _backup(commands: Any) -> None:
    command = _command(
        commands, "backup", "copy the ledger and its edits' files; a gateway may run meanwhile"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the backup, one file")
    _config(command)


def _restore(commands: Any) -> None:
    command = _command(commands, "restore", "put a backup in the place of the ledger")
    command.add_argument("file", type=Path, metavar="FILE", help="what backup wrote")
    command.add_argument(
        "--replace", action="store_true", help="put a ledger that is there aside, under a new name"
    )
    command.add_argument(
        "--submit-promised",
        action="store_true",
        help="submit edits that were answered with 202 and not submitted before the backup; only "
        "if no gateway has run since then, else they are paid for twice",
    )
    _config(command)


def _top(commands: Any) -> None:
    command = _command(commands, "top", "show what a running gateway does; needs [dashboard] on")
    _config(command)
    command.add_argument("--url", help="URL of the gateway; default: by [server] of the config")
    command.add_argument(
        "--token", metavar="env:NAME", help="token of its dashboard, if not the config's"
    )
    command.add_argument("--once", action="store_true", help="show one update and exit")
    command.add_argument("--json", action="store_true", help="print each update as a line of JSON")


def _sandbox(commands: Any) -> None:
    command = _command(commands, "sandbox", "run two simulated DashScope regions")
    command.add_argument("--host", default="127.0.0.1", help="listen here (%(default)s)")
    for region, port in (("beijing", 8001), ("singapore", 8002)):
        command.add_argument(
            f"--{region}-port",
            type=_port,
            default=port,
            help="port of this region (%(default)s); 0: a free one",
        )
    command.add_argument(
        "--speed", type=_factor, default=1.0, help="how many times as fast as DashScope (1)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of latencies and pictures (0)")
    command.add_argument(
        "--faults", type=Path, metavar="FILE", help="faults to inject: a JSON list"
    )
    command.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help='keys by region and account, as JSON: {"beijing": {"acme": ["sk-1"]}, ...}; '
        "read again whenever it changes",
    )


def _demo(commands: Any) -> None:
    command = _command(commands, "demo", "edit one photograph as two tenants; no key, no cost")
    command.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the pictures go (%(default)s)",
    )
    command.add_argument(
        "--photo", type=Path, metavar="FILE", help="the photograph to edit; default: a built-in one"
    )


def _completion(commands: Any, parser: argparse.ArgumentParser) -> None:
    command = _command(
        commands, "completion", "print a script that completes commands and options in a shell"
    )
    command.add_argument("shell", choices=("bash", "zsh", "fish"))
    command.set_defaults(parser=parser)


def _command(commands: Any, name: str, summary: str, *, of: str = "") -> argparse.ArgumentParser:
    """Add the command *name*, or the action *name* of the command *of*."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"Exit codes: {EXIT_CODES[of or name]}; {_ANY_COMMAND}.",
    )
    return parser


def _config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file; default: the environment alone"
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: use a whole number from 1")
    return int(text)


def _factor(text: str) -> float:
    factor = float(text)
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed: use a number above 0")
    return factor
