"""After the storm: what was paid for a client who left must still be had."""

import json
import sqlite3
import threading
from base64 import b64decode
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from gateway.sandbox.pictures import read_labels
from tests.chaos.calls import SdkCalls, customer_key
from tests.chaos.notes import Note


class Claims:
    """
    Asks the gateway for pictures that nobody fetched, by the edit's id.

    The id is read from the gateway's ledger: a client that hung up before any answer was
    never told it.
    """

    def __init__(self, url: str, ledger: Path) -> None:
        self._url = url
        self._ledger = ledger
        self._http = httpx.Client(trust_env=False, timeout=60.0)

    def close(self) -> None:
        self._http.close()

    def obtainable(self, tenant: str, task: str) -> bool:
        edit = self.edit_of(task)
        if edit is None:
            return False
        answer = self._ended(
            f"{self._url}/v1/images/edits/{edit['edit_id']}",
            {"authorization": f"Bearer {customer_key(tenant)}"},
        )
        if answer.status_code != 200:
            return False
        (result,) = answer.json()["data"]
        return read_labels(b64decode(result["b64_json"])).get("sandbox-task") == task

    def _ended(self, address: str, headers: dict[str, str]) -> httpx.Response:
        """Ask until the gateway, too, knows that the task has ended; a minute at the longest."""
        for _ in range(120):
            answer = self._http.get(address, headers=headers)
            if answer.status_code != 202:
                break
            threading.Event().wait(0.5)
        return answer

    def edit_of(self, task: str) -> dict[str, Any] | None:
        """Return the ledger's row of the edit that *task* belongs to."""
        with closing(sqlite3.connect(f"file:{self._ledger}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            row = connection.execute(
                "SELECT edits.* FROM edits JOIN tasks USING (edit_id) WHERE tasks.task_id = ?",
                (task,),
            ).fetchone()
        return None if row is None else dict(row)

    def report(self, notes: Iterable[Note], twice: Iterable[str]) -> str:
        """Say all that is known of what was paid twice."""
        by_name = {note.wish.name: note for note in notes}
        lines = []
        for text in twice:
            name, _, tasks = text.partition(": ")
            lines.append(text)
            for task in tasks.rpartition(": ")[2].split(", "):
                edit = self.edit_of(task) or {}
                found = ("edit_id", "state", "delivered", "created", "idempotency_key")
                lines.append(f"  task {task}: { {key: edit.get(key) for key in found} }")
            note = by_name.get(name)
            lines += [f"  {note.wish}", *(f"    {end}" for end in note.ends)] if note else []
        return "\n".join(lines)


def replays(notes: Iterable[Note], url: str, most: int) -> tuple[int, list[str]]:
    """
    Send served edits with an Idempotency-Key again.

    Returns:
        How many, and what was wrong: each must bring the very task of before.
    """
    failed = []
    keyed = [note for note in notes if note.wish.key is not None and note.served is not None]
    with closing(SdkCalls(url)) as calls:
        for note in keyed[:most]:
            again = Note(note.wish)
            calls.edit(again)
            if again.served != note.served or again.wrong is not None:
                failed.append(f"{note.wish.name}: {again.served} in place of {note.served}")
    return len(keyed[:most]), failed


def left_when(log: Path) -> dict[str, int]:
    """Count, by the gateway's own log, how far the edits of clients were that hung up."""
    met = {"before its edit": 0, "before its task": 0, "before its picture": 0}
    for line in log.read_text("utf-8", "replace").splitlines():
        if '"outcome":"customer_left"' not in line:
            continue
        row = json.loads(line)
        found = "before its task" if row.get("edit_id") else "before its edit"
        met["before its picture" if row.get("task_ids") else found] += 1
    return met


def gateways_own(books: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Add up the regions' counters of calls."""
    total: dict[str, int] = {}
    for book in books.values():
        for name, times in book["counts"].items():
            total[name] = total.get(name, 0) + times
    return dict(sorted(total.items()))
