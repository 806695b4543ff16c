"""The storm by hand: ``python -m tests.fuzz.run --seconds 300``; prints what came of it."""

import argparse
import time

import structlog
from hypothesis import strategies as st

from tests.fuzz import documents, files, forms, heads
from tests.fuzz.storm import Storm, fire, memory, storm
from tests.fuzz.wire import Shot

_KINDS: dict[str, st.SearchStrategy[Shot]] = {
    "sound forms": forms.sound(),
    "broken forms": forms.broken(),
    "urlencoded": forms.urlencoded(),
    "JSON near an edit": documents.near(),
    "JSON near a generation": documents.generations(),
    "any JSON": documents.far(),
    "mutated pictures": files.pictures(),
    "junk in the head": heads.heads(),
}


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("--seconds", type=float, default=300)
    args.add_argument("--seed", type=int, default=1)
    requested = args.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with storm() as under:
        _say(f"at the start: {memory() >> 20} MB")
        for nth in (1, 2):  # what the first pass leaves in memory, the second does not again
            for kind, shots in _KINDS.items():
                _fire(under, kind, shots, requested.seed + nth * 10**6, requested.seconds / 2)
            _say(f"after pass {nth}: {memory() >> 20} MB")
        for end, n in under.tally.ends.most_common():
            _say(f"{n:8} {end}")
        _say(f"refused by the region: {under.refused_upstream()}")


def _fire(
    under: Storm, kind: str, shots: st.SearchStrategy[Shot], seed: int, seconds: float
) -> None:
    before, under.tally.slowest = under.tally.ends.total(), 0.0
    until = time.monotonic() + seconds / len(_KINDS)
    last = fire(under, shots, salvoes=100, until=until, seed=seed)
    shot, slowest = under.tally.ends.total() - before, under.tally.slowest
    _say(f"{kind}: {shot} shots, seeds {seed} to {last}, slowest answer {slowest:.2f} s")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
