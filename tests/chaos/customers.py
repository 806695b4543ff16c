"""
A process full of clients: each takes the next wish, and asks until it is served.

A person presses the button again after every error, be it the gateway's or the network's,
with a new call that carries no mark of a retry.
"""

import argparse
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from tests.chaos.calls import SdkCalls, call_and_leave
from tests.chaos.notes import Note, clock, write_notes
from tests.chaos.wishes import HELD, Wish, pictures, wishes


class ChaosClients:
    """
    Clients of one gateway, one thread each.

    Args:
        url: Of the gateway.
        seed: Of their wishes.
    """

    def __init__(self, url: str, seed: str) -> None:
        self._url = url
        self._seed = seed
        self._until = math.inf
        self._give_up = math.inf
        self._wishes: Iterator[Wish] = wishes(seed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.notes: list[Note] = []

    def enough(self, give_up: float) -> None:
        """Let nobody want anything new, nor ask again after the epoch second *give_up*."""
        self._give_up = give_up
        self._until = clock()

    def run(self, clients: int) -> None:
        """Let so many clients live until all have what they want."""
        pictures()
        threads = [threading.Thread(target=self._live, args=(n,)) for n in range(clients)]
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
        if wish.tenant == HELD:
            self._behind_a_proxy_that_holds_on(note)
        elif wish.leave == "read":
            calls.break_the_next()
        elif wish.leave:
            call_and_leave(note, self._url)
            if note.served is not None or note.gone:
                return
            self._stop.wait(wish.back_after)
            marked = wish.back == "marked"
        while not note.over and clock() < self._give_up:
            calls.edit(note, marked=marked)
            marked = wish.leave == "read"  # the mark alone tells that the answer did not arrive
            if not note.over:
                self._stop.wait(dice.uniform(1.0, 3.0))

    def _behind_a_proxy_that_holds_on(self, note: Note) -> None:
        """Ask once more while the first call is still open; what either brings is taken."""
        first, second = Note(note.wish), Note(note.wish)
        held = threading.Thread(target=self._call_once, args=(first,))
        held.start()
        held.join(note.wish.leave_after)
        if held.is_alive():
            self._call_once(second)
        held.join()
        for each in (first, second):
            note.ends += each.ends
            note.served = note.served or each.served
            note.wrong = note.wrong or each.wrong

    def _call_once(self, note: Note) -> None:
        with closing(SdkCalls(self._url)) as calls:
            calls.edit(note)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    args = parser.parse_args(argv)
    crowd = ChaosClients(args.url, args.seed)
    living = threading.Thread(target=crowd.run, args=(args.clients,))
    print("ready", flush=True)  # noqa: T201 - read by our parent, which says when and how long
    sys.stdin.readline()
    living.start()
    crowd.enough(float(sys.stdin.readline()))
    living.join()
    write_notes(args.notes, crowd.notes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
