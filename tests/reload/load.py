"""
Reloads under load: a real process, clients that edit without a pause, and a config that changes.

``python -m tests.reload.load --reloads 1000`` runs it by hand and prints what it counted.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from gateway.commands import reload
from gateway.sandbox import AccountLimits
from tests.harness import KEY, UPSTREAM_KEY, hashed, photo
from tests.process import GatewayProcess, region

_TASK_SECONDS = 0.4
_WIDE = AccountLimits(submits_per_second=100, running_tasks=100, task_calls_per_second=200)
_CLIENTS = 6


@dataclass
class Counted:
    """What clients got, and what the region made."""

    answers: Counter[int] = field(default_factory=Counter)
    """Edits by the status of their answer; 0: none."""
    reloads: int = 0
    refused: int = 0
    """Reloads that were to be refused, and were."""
    slowest: float = 0.0
    """Seconds of one ``wan-gateway reload``."""
    tasks: int = 0
    made_twice: int = 0


def tables(folder: Path, region_url: str, number: int) -> str:
    """Return the config of reload *number*: keys, limits, tenants, names and models come and go."""
    account = "one" if number % 4 < 2 else "another"
    extra = f'[tenants.t{number % 3}]\nregion = "beijing"\nkeys = ["{hashed(f"wk-{number}")}"]'
    return f"""
        [server]
        port = 0
        max_wait_seconds = {60 + number % 2}
        [state]
        path = "{folder / "gateway.db"}"
        [log]
        level = "{"info" if number % 2 else "warning"}"
        [regions.beijing]
        base_url = "{region_url}/api/v1"
        [upstreams.main-{number % 2}]
        region = "beijing"
        account = "{account}"
        key = "file:{folder / "key"}"
        submits_per_second = 100
        running_tasks = {20 + number % 5}
        polls_per_second = 200
        [models.aliases]
        alias-{number % 3} = "wan2.5-i2i-preview"
        [tenants.acme]
        region = "beijing"
        keys = ["{hashed(KEY)}"]
        weight = {1 + number % 3}
        {extra if number % 2 else ""}
    """


def wrong(folder: Path, region_url: str, number: int) -> str:
    """Return a config that must be refused: by its form, by a key, or by what needs a restart."""
    good = tables(folder, region_url, number)
    return (
        good.replace("[server]", "[server"),
        good.replace("weight", "wieght"),
        good.replace("port = 0", "port = 9"),
    )[number % 3]


@contextmanager
def _editing(url: str, counted: Counted, clients: int) -> Iterator[None]:
    """Have clients edit, one edit after another, each with a prompt of its own."""
    over = threading.Event()
    counting = threading.Lock()

    def client(name: int) -> None:
        with httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False
        ) as http:
            number = 0
            while not over.is_set():
                number += 1
                try:
                    answer = http.post(
                        "/v1/images/edits",
                        data={"prompt": f"client {name} edit {number}", "size": "768x768"},
                        files={"image": ("a.png", photo(), "image/png")},
                    ).status_code
                except httpx.HTTPError:
                    answer = 0
                with counting:
                    counted.answers[answer] += 1

    threads = [threading.Thread(target=client, args=(name,)) for name in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def run(folder: Path, reloads: int, clients: int = _CLIENTS) -> Counted:
    """Reload so often while clients edit; return what was counted."""
    counted = Counted()
    (folder / "key").write_text(UPSTREAM_KEY)
    file = folder / "g.toml"
    with (
        region(_TASK_SECONDS, _WIDE) as region_url,
        GatewayProcess(folder, tables(folder, region_url, 1)) as process,
    ):
        with _editing(process.url, counted, clients):
            for number in range(reloads):
                refuses = number % 7 == 6
                make = wrong if refuses else tables
                file.write_text(make(folder, region_url, number))
                since = time.monotonic()
                code = reload.run(Namespace(config=_readable(file, folder)), {})
                counted.slowest = max(counted.slowest, time.monotonic() - since)
                counted.reloads += code == 0
                counted.refused += refuses and code == 1
        process.terminate()
        assert process.end() == 0
        books = httpx.get(f"{region_url}/_sandbox/books", trust_env=False).json()
    prompts = Counter(task["prompt"] for task in books["tasks"])
    counted.tasks = len(books["tasks"])
    counted.made_twice = sum(times - 1 for times in prompts.values())
    return counted


def _readable(file: Path, folder: Path) -> Path:
    """Return a config by which the command finds the process, even while *file* is broken."""
    place = folder / "place.toml"
    place.write_text(f'[state]\npath = "{folder / "gateway.db"}"\n')
    return place if "[server]" not in file.read_text() else file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=_CLIENTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counted = run(Path(folder), args.reloads, args.clients)
    sys.stdout.write(json.dumps(counted.__dict__, indent=1) + "\n")


if __name__ == "__main__":
    main()
