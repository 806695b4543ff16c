"""
A process full of customers: each takes the next wish, and asks until it is served.

A person presses the button again after every error, be it the gateway's or the network's,
with a new call that carries no mark of a retry.
"""

import argparse
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from tests.chaos.calls import SdkCalls, call_and_leave
from tests.chaos.notes import Note, clock, write_notes
from tests.chaos.wishes import Wish, pictures, wishes


class Crowd:
    """
    Customers of one gateway, one thread each.

    Args:
        url: Of the gateway.
        seed: Of their wishes.
        until: Epoch seconds after which nobody wants anything new.
        give_up: Epoch seconds after which nobody asks again; nobody should have to.
    """

    def __init__(self, url: str, seed: str, *, until: float, give_up: float) -> None:
        self._url = url
        self._seed = seed
        self._until = until
        self._give_up = give_up
        self._wishes: Iterator[Wish] = wishes(seed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.notes: list[Note] = []

    def run(self, customers: int) -> None:
        """Let so many customers live until all have what they want."""
        pictures()
        threads = [threading.Thread(target=self._live, args=(n,)) for n in range(customers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _live(self, number: int) -> None:
        dice = Random(f"{self._seed}:{number}")
        with closing(SdkCalls(self._url)) as calls:
            while clock() < self._until:
                with self._lock:
                    note = Note(next(self._wishes))
                    self.notes.append(note)
                self._pursue(note, calls, dice)

    def _pursue(self, note: Note, calls: SdkCalls, dice: Random) -> None:
        wish = note.wish
        marked = False
        if wish.leave:
            call_and_leave(note, self._url)
            if note.served is not None or note.gone:
                return
            self._stop.wait(wish.back_after)
            marked = wish.back == "marked"
        while not note.over and clock() < self._give_up:
            calls.edit(note, marked=marked)
            marked = False
            if not note.over:
                self._stop.wait(dice.uniform(1.0, 3.0))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    asked = parser.parse_args(argv)
    print("ready", flush=True)  # noqa: T201 - read by our parent, which then says how long
    until, give_up = map(float, sys.stdin.readline().split())
    crowd = Crowd(asked.url, asked.seed, until=until, give_up=give_up)
    crowd.run(asked.customers)
    write_notes(asked.notes, crowd.notes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
