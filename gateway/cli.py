"""
The command line: which verbs there are, what they take, and how they end.

Exit codes: 0 well, 1 a fault was found, 2 wrong usage or config, 130 Ctrl-C, 141 when
the reader of our output left.
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
from gateway.observe.printable import printable_lines


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """
    Run one verb.

    Args:
        argv: What follows the program's name; default: the process's own.
        environ: Variables; default: the process's own.

    Returns:
        The exit code.
    """
    asked = _parser().parse_args(argv)
    verb = _imported(asked.verb)
    try:
        code = int(verb.run(asked, os.environ if environ is None else environ))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        print(printable_lines(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Else the interpreter would complain when it flushes once more at exit.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 141


def _imported(verb: str) -> Any:
    """Import the verb asked for and no other: `key` need not wait for a web server."""
    gc.disable()  # nothing of what importing makes is rubbish, and looking for it takes a tenth
    try:
        return import_module(f"gateway.commands.{verb}")
    finally:
        gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wan-gateway",
        description="OpenAI's image edits in, DashScope's tasks out, each paid for once.",
        epilog="Without --config, DASHSCOPE_API_KEY alone runs it for one tenant on loopback.",
    )
    parser.add_argument("--version", action="version", version=f"wan-gateway {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _serve(verbs)
    _check(verbs)
    _key(verbs)
    _doctor(verbs)
    _edits(verbs)
    _top(verbs)
    _sandbox(verbs)
    _demo(verbs)
    return parser


def _serve(verbs: Any) -> None:
    verb = _verb(verbs, "serve", "run the gateway")
    _config(verb)
    verb.add_argument("--host", help="listen here instead of server.host")
    verb.add_argument("--port", type=_port, help="listen here instead of server.port")
    verb.add_argument(
        "--abandon",
        action="store_true",
        help="end open edits as lost whose upstream is gone from the config",
    )


def _check(verbs: Any) -> None:
    verb = _verb(verbs, "check", "check a config and say what it means")
    _config(verb)


def _key(verbs: Any) -> None:
    verb = _verb(verbs, "key", "make a key for a customer, and the line for the config")
    verb.add_argument("--tenant", metavar="NAME", help="whom it is for; adds the table's head")


def _doctor(verbs: Any) -> None:
    verb = _verb(verbs, "doctor", "try every upstream key against its region; costs nothing")
    _config(verb)


def _edits(verbs: Any) -> None:
    verb = _verb(verbs, "edits", "list, show or cancel the edits that the ledger knows")
    what = verb.add_subparsers(dest="what", metavar="WHAT", required=True)
    several = _verb(what, "list", "list edits, the newest first; beside a running gateway too")
    several.add_argument("--tenant", metavar="NAME", help="only of this tenant")
    states = ("open", "succeeded", "failed")
    several.add_argument("--state", choices=states, help="only in this state")
    several.add_argument("--since", metavar="WHEN", help="30m, 2h, or 2026-11-23T09:00 (UTC)")
    several.add_argument(
        "--limit", type=_count, default=50, metavar="N", help="at most (%(default)s)"
    )
    one = _verb(what, "show", "show all that is known of one edit; beside a running gateway too")
    cancel = _verb(what, "cancel", "cancel at DashScope what has not begun to run; costs nothing")
    cancel.add_argument(
        "--key",
        metavar="REF",
        help="env:NAME or file:PATH of a key of its tenant: while a gateway runs, it is asked",
    )
    cancel.add_argument("--url", help="of that gateway; default: by [server] of the config")
    for verb in (one, cancel):
        verb.add_argument("edit_id", metavar="ID", help="whole, or as top and the dashboard cut it")
    for verb in (several, one):
        verb.add_argument("--json", action="store_true", help="for programs")
    for verb in (several, one, cancel):
        _config(verb)


def _top(verbs: Any) -> None:
    verb = _verb(verbs, "top", "show what a running gateway does; needs [dashboard] on")
    _config(verb)
    verb.add_argument("--url", help="where it serves; default: as the config says")
    verb.add_argument("--token", metavar="env:NAME", help="its token, if not the config's")
    verb.add_argument("--once", action="store_true", help="one look, and end")
    verb.add_argument("--json", action="store_true", help="as JSON, a line for each look")


def _sandbox(verbs: Any) -> None:
    verb = _verb(verbs, "sandbox", "run two simulated DashScope regions")
    verb.add_argument("--host", default="127.0.0.1", help="listen here (%(default)s)")
    for region, port in (("beijing", 8001), ("singapore", 8002)):
        verb.add_argument(
            f"--{region}-port", type=_port, default=port, help="%(default)s; 0: a free one"
        )
    verb.add_argument("--speed", type=_factor, default=1.0, help="times real speed (1)")
    verb.add_argument("--seed", type=int, default=0, help="of latencies and pictures (0)")
    verb.add_argument("--faults", type=Path, metavar="FILE", help="faults to play: a JSON list")


def _demo(verbs: Any) -> None:
    verb = _verb(verbs, "demo", "edit one photograph as two tenants; no key, no cost")
    verb.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="%(default)s"
    )
    verb.add_argument("--photo", type=Path, metavar="FILE", help="yours instead of ours")


def _verb(verbs: Any, name: str, says: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=says, description=f"{says[0].upper()}{says[1:]}."
    )
    return parser


def _config(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML; default: the environment alone"
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
