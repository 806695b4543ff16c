"""Texts, ids and numbers of DashScope's answers, which may hold anything, as plain short ones."""

import re
from collections.abc import Mapping
from typing import Any

LONGEST_CODE = 128
LONGEST_TASK_ID = 512
_NUMBER = re.compile(r"-?[0-9]{1,15}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def text_of(said: Mapping[str, Any], name: str) -> str:
    """Return a text, or an empty one where there is none."""
    value = said.get(name)
    return value if isinstance(value, str) else ""


def code_of(said: Mapping[str, Any], name: str) -> str:
    """Return a code or an id for logs and headers: visible ASCII; a number as its digits."""
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return plain(str(value))


def plain(text: str) -> str:
    """Return at most 128 characters of *text* that may stand in a log and in a header."""
    return _UNPRINTABLE.sub("?", text[:LONGEST_CODE]).strip()


def task_id_of(said: Mapping[str, Any]) -> str:
    """Return the task id as it came, since only so it can be asked for; empty if it is none."""
    task_id = text_of(said, "task_id")
    return task_id if len(task_id) <= LONGEST_TASK_ID else ""


def number_of(value: object) -> float | None:
    """Return a number, also where it comes as a string."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def count_of(value: object) -> int | None:
    """Return a whole number that counts something."""
    number = number_of(value)
    return None if number is None or number < 0 else int(number)
