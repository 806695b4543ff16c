"""``wan-gateway edits``: list, show and cancel the edits in the ledger."""

import json
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.commands import edits_cancel
from gateway.commands.tables import print_table
from gateway.config import ConfigError, load_server_and_state
from gateway.domain.clock import SystemClock
from gateway.domain.record import EditRecord, StrayTask
from gateway.ledger.errors import LedgerError
from gateway.ledger.reading import (
    Place,
    find_edit,
    find_ids,
    find_owners,
    list_edits,
    list_strays,
)

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_SHORTEST_ID = 4  # characters; fewer are taken for a typing error
_MOST_MATCHES = 5
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class _Beside:
    """What the ledger has beside its edits."""

    strays: Sequence[StrayTask]
    owners: Mapping[str, str]
    """By edit: the node that owns it; empty without a cluster."""

    @classmethod
    def of(cls, place: Place, edits: Sequence[EditRecord]) -> "_Beside":
        return cls(list_strays(place), find_owners(place, edits))


def run(args: Namespace, environ: Mapping[str, str]) -> int:
    """
    List, show or cancel edits.

    Returns:
        0; 1 if there is no such edit, or not all of its tasks were cancelled.

    Raises:
        ConfigError: the config or the ledger cannot be used.
    """
    server, state = load_server_and_state(args.config, environ)
    source = args.config or "environment"
    if state.url is None and state.path == "memory":
        what = 'is "memory", which only the gateway itself can read'
        raise ConfigError(f"{source}: state.path: {what}; set a file")
    place = state.url or Path(state.path)
    try:
        if args.action == "list":
            return _list(args, place)
        record = _named(place, args.edit_id)
        if record is None:
            return 1
        if args.action == "show":
            _show(record, _Beside.of(place, [record]), as_json=args.json)
            return 0
        return edits_cancel.cancel(args, environ, server, place, record)
    except LedgerError as error:
        raise ConfigError(f"{source}: {error.key}: {error}") from None


def _named(place: Place, edit_id: str) -> EditRecord | None:
    """Return the edit of that id or task, or the only one whose id starts so; else say why not."""
    record = find_edit(place, edit_id)
    if record is not None:
        return record
    ids = find_ids(place, edit_id, _MOST_MATCHES + 1) if len(edit_id) >= _SHORTEST_ID else []
    if len(ids) == 1:
        return find_edit(place, ids[0])
    if ids:
        more = " …" if len(ids) > _MOST_MATCHES else ""
        print(
            f"Several ids start so: {', '.join(ids[:_MOST_MATCHES])}{more}; give more characters."
        )
    else:
        print("There is no such edit; edits are kept for 24 hours.")
    return None


def _list(args: Namespace, place: Place) -> int:
    since = _since(args.since) if args.since else 0.0
    found = list_edits(place, tenant=args.tenant, state=args.state, since=since, limit=args.limit)
    beside = _Beside.of(place, found)
    if args.json:
        print(json.dumps([_plain(record, beside) for record in found], indent=2))
        return 0
    head = [
        f"BEGAN ({_zone()})",
        "EDIT",
        "TENANT",
        "REGION",
        "MODEL",
        "STATE",
        "DELIVERED",
        "REASON",
    ]
    rows = [
        [
            _here(record.created),
            record.edit_id,
            record.tenant,
            record.region,
            record.model,
            record.state,
            _yes(record.delivered),
            record.error_code or "",
        ]
        for record in found
    ]
    if beside.owners:
        head.append("NODE")
        for record, row in zip(found, rows, strict=True):
            row.append(beside.owners.get(record.edit_id, ""))
    print_table(head, rows, whole="EDIT")
    for stray in beside.strays:
        print(f"stray task: {stray.task_id} of {stray.edit_id} (docs/ledger.md, Strays)")
    return 0


def _since(text: str) -> float:
    """
    Return seconds since the epoch.

    Raises:
        ConfigError: *text* is not a time.
    """
    if ago := _AGO.fullmatch(text):
        return SystemClock().epoch() - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--since: {text!r} is not a time; use 30m, 2h or 2026-11-23T09:00"
        ) from None
    return when.timestamp()  # without an offset it is of the local zone


def _show(record: EditRecord, beside: _Beside, *, as_json: bool) -> None:
    plain = _plain(record, beside)
    if as_json:
        print(json.dumps(plain, indent=2))
        return
    tasks = plain.pop("tasks")
    plain["created"] = _here(record.created)
    for task, known in zip(tasks, record.tasks, strict=True):
        task["intended_at"] = _here(known.intended_at)
    print_table((), [(name, _text(value)) for name, value in plain.items()])
    for task in tasks:
        print()
        print_table((), [(name, _text(value)) for name, value in task.items()])


def _plain(record: EditRecord, beside: _Beside) -> dict[str, Any]:
    """Return everything that the ledger knows of an edit, with readable times."""
    plain = asdict(record)
    plain["strays"] = [it.task_id for it in beside.strays if it.edit_id == record.edit_id]
    if beside.owners:
        plain["node"] = beside.owners.get(record.edit_id)
    plain["created"] = _when(record.created)
    plain["scale_to"] = None if record.scale_to is None else str(record.scale_to)
    for task in plain["tasks"]:
        task["intended_at"] = _when(task["intended_at"])
    return plain


def _text(value: Any) -> str:
    match value:
        case bool():
            return _yes(value)
        case None:
            return ""
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _zone() -> str:
    return datetime.now().astimezone().tzname() or "local"


def _here(epoch: float) -> str:
    """Write a time for people: in the zone of this machine."""
    return datetime.fromtimestamp(epoch, UTC).astimezone().strftime("%Y-%m-%dT%H:%M:%S")


def _when(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
