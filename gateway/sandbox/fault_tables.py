"""
The JSON form of faults, for the admin door and for files.

::

    {"on": "submit", "do": "answer", "status": 429, "code": "Throttling.RateQuota", "count": 3}
    {"on": "submit", "do": "drop", "after": true, "prompt": "hat"}
    {"on": "download", "do": "cut", "bytes": 1000, "task": 0}
    {"on": "query", "do": "hang", "nth": 2}
    {"on": "submit", "do": "end", "status": "FAILED", "code": "DataInspectionFailed"}
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gateway.sandbox.faults import (
    OPERATIONS,
    Action,
    Answer,
    Cut,
    Drop,
    End,
    Fault,
    Forget,
    Hang,
    Late,
    Slow,
)

_ACTIONS: dict[str, Any] = {
    action.do: action for action in (Answer, Hang, Drop, Late, Cut, Slow, Forget, End)
}


def write_fault(fault: Fault) -> dict[str, Any]:
    """Turn a rule into its JSON form, leaving out what is at its default."""
    shown: dict[str, Any] = {"on": fault.on, "do": fault.action.do}
    for noun in (fault, fault.action):
        for part in fields(noun):
            value = getattr(noun, part.name)
            if part.name not in {"on", "action"} and value != part.default:
                shown[part.name] = value
    return shown


def read_fault(table: Mapping[str, Any]) -> Fault:
    """
    Read one rule.

    Raises:
        ValueError: An unknown, missing or mistyped operation, action or field; the text says which.
    """
    rest = dict(table)
    on = rest.pop("on", None)
    do = rest.pop("do", None)
    if on not in OPERATIONS:
        raise ValueError(f"fault.on: {on!r} is none of {list(OPERATIONS)}")
    if do not in _ACTIONS:
        raise ValueError(f"fault.do: {do!r} is none of {sorted(_ACTIONS)}")
    conditions = {part.name for part in fields(Fault)} - {"on", "action"}
    when = {name: rest.pop(name) for name in list(rest) if name in conditions}
    _check_types(Fault, when)
    return Fault(on=on, action=_read_action(_ACTIONS[do], rest), **when)


def _read_action(shape: Any, values: dict[str, Any]) -> Action:
    parts = {part.name: part for part in fields(shape)}
    for name in values:
        if name not in parts:
            raise ValueError(f"fault.{name}: not a field of {shape.do!r}: {sorted(parts)}")
    for name, part in parts.items():
        if part.default is MISSING and name not in values:
            raise ValueError(f"fault.{name}: {shape.do!r} needs it")
    _check_types(shape, values)
    if "images" in values:
        values = {**values, "images": tuple(values["images"])}
    action: Action = shape(**values)
    return action


def _check_types(shape: Any, values: Mapping[str, Any]) -> None:
    hints = get_type_hints(shape)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"fault.{name}: {value!r} is not of the right kind")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(type(item) is int for item in value)
    if hint is float:
        return type(value) in {int, float}
    return type(value) is (NoneType if hint is None else hint)
