"""
A gateway that stops itself once in the middle of a submit, as by SIGSTOP.

``python -m tests.faults.stopping PIECE serve ...``: PIECE is the piece of the body that is about
to leave, ``first`` or ``last``. Its intents last for 2 s instead of 30.
"""

import os
import sys
from collections.abc import Iterator
from signal import SIGSTOP

from gateway.cli import main
from gateway.domain import intent
from gateway.translate.dashscope_request import SubmitBody

INTENT_SECONDS = 2.0


def _stop_before(piece: str) -> None:
    whole = SubmitBody.pieces
    stopped = False

    def pieces(body: SubmitBody) -> Iterator[bytes]:
        nonlocal stopped
        found = list(whole(body))
        for index, each in enumerate(found):
            if not stopped and index == (0 if piece == "first" else len(found) - 1):
                stopped = True
                os.kill(os.getpid(), SIGSTOP)
            yield each

    SubmitBody.pieces = pieces  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    intent.BODY_SECONDS = INTENT_SECONDS
    _stop_before(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
