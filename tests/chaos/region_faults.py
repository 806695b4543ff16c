"""What goes wrong at DashScope: faults, drawn from a menu by seeded dice."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import httpx

Rule = dict[str, Any]
_Spell = Callable[[Random], list[Rule]]


def _rule(on: str, do: str, often: float, **more: Any) -> Rule:
    return {"on": on, "do": do, "probability": often, **more}


def _answers_lost(dice: Random) -> list[Rule]:
    """Submits whose connection breaks: before the task, after it, or long before it appears."""
    return [
        _rule("submit", "drop", 0.15, reset=dice.random() < 0.5),
        _rule("submit", "drop", 0.4, after=True, reset=dice.random() < 0.5),
        _rule("submit", "late", 0.4, seconds=dice.uniform(0.3, 3.0)),
    ]


def _submit_errors(dice: Random) -> list[Rule]:
    """5xx at submit, of which some hide a task that was made."""
    return [
        _rule("submit", "answer", 0.3, status=500, code="InternalError"),
        _rule("submit", "answer", 0.3, status=504, body="<html>504</html>", after=True),
        _rule("submit", "answer", 0.2, status=503, code="ModelUnavailable", after=True),
        _rule("submit", "hang", 0.2, seconds=dice.uniform(1.0, 5.0), after=True),
    ]


def _refused_between(dice: Random) -> list[Rule]:
    """A middlebox that has passed the submit on, or not, and answers a page of its own."""
    status = dice.choice((400, 401, 403, 404, 413, 451))
    page = f"<html><body><h1>{status}</h1><p>Your request was blocked.</p></body></html>"
    return [
        _rule("submit", "answer", 0.3, status=status, body=page, after=True),
        _rule("submit", "answer", 0.2, status=status, body=page),
    ]


def asleep() -> list[Rule]:
    """What breaks submits while the gateway's machine sleeps: their answers, and late ones."""
    return [
        _rule("submit", "drop", 0.4, after=True, seconds=1.5),
        _rule("submit", "drop", 0.3, after=True),
        _rule("submit", "late", 0.5, seconds=2.0),
    ]


def _throttled(dice: Random) -> list[Rule]:
    often = dice.uniform(0.2, 0.7)
    code = "Throttling.RateQuota"
    return [_rule(on, "answer", often, status=429, code=code) for on in ("submit", "query", "list")]


def _polls_broken(dice: Random) -> list[Rule]:
    return [
        _rule("query", "drop", 0.3, reset=dice.random() < 0.5),
        _rule("query", "answer", 0.3, status=500, code="SystemError"),
        _rule("query", "hang", 0.1, seconds=3.0),
        _rule("list", "drop", 0.3),
        _rule("list", "answer", 0.3, status=500, code="SystemError"),
        _rule("list", "hang", 0.1, seconds=3.0),
        _rule("cancel", "drop", 0.5, after=dice.random() < 0.5),
    ]


def _downloads_cut(dice: Random) -> list[Rule]:
    return [
        _rule("download", "cut", 0.4, bytes=dice.randrange(1, 120_000), reset=dice.random() < 0.5),
        _rule("download", "drop", 0.2),
        _rule("download", "answer", 0.2, status=503, code="ServiceUnavailable"),
        _rule("download", "slow", 0.2, start=dice.uniform(0.1, 2.0), bytes_per_second=100_000),
    ]


def _tasks_fail(_: Random) -> list[Rule]:
    return [_rule("submit", "end", 0.3, status="FAILED", code="InternalError.Timeout")]


_MENU: tuple[_Spell, ...] = (
    _answers_lost,
    _submit_errors,
    _refused_between,
    _throttled,
    _polls_broken,
    _downloads_cut,
    _tasks_fail,
)


def draw_faults(dice: Random) -> list[Rule]:
    """Draw the faults of the next few seconds: none, or up to three of the menu."""
    chosen = dice.sample(_MENU, dice.choice((0, 1, 1, 2, 3)))
    return [rule for faults in chosen for rule in faults(dice)]


class RegionAdmin:
    """The admin APIs of all regions."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._http = httpx.Client(trust_env=False, timeout=20.0)

    def close(self) -> None:
        self._http.close()

    def change(self, dice: Random) -> None:
        """Replace the faults of every region by others."""
        for url in self._urls.values():
            self._put(url, draw_faults(dice))

    def put(self, rules: list[Rule]) -> None:
        """Replace the faults of every region by *rules*."""
        for url in self._urls.values():
            self._put(url, rules)

    def _put(self, url: str, rules: list[Rule]) -> None:
        self._http.put(f"{url}/_sandbox/faults", json=rules).raise_for_status()

    def clear(self) -> None:
        for url in self._urls.values():
            self._http.delete(f"{url}/_sandbox/faults").raise_for_status()

    def quiet(self) -> bool:
        """Say whether every task has ended."""
        tasks = [task for book in self.books().values() for task in book["tasks"]]
        return all(task["status"] not in {"PENDING", "RUNNING"} for task in tasks)

    def tasks(self, words: str) -> int:
        """Count the tasks whose prompt holds *words*."""
        tasks = [task for book in self.books().values() for task in book["tasks"]]
        return sum(words in task["prompt"] for task in tasks)

    def books(self) -> dict[str, dict[str, Any]]:
        """Return what each region made and billed."""
        return {
            region: self._http.get(f"{url}/_sandbox/books").raise_for_status().json()
            for region, url in self._urls.items()
        }
