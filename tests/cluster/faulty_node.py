"""
``wan-gateway`` with faults that a test asks for by files; without one it is the gateway as it is.

``python -m tests.cluster.faulty_node ARGUMENTS``; the folder is in ``NODE_FAULTS``. An intent lasts
some seconds only, so that what happens after its end is seen within a test.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from signal import SIGSTOP
from typing import Any

BODY_SECONDS = 4.0
INTENT_SECONDS = 8.0

STOP_BEFORE_SUBMIT = "stop"
"""The process stops itself, once, between an intent's commit and the first byte of its submit."""
NO_EXPIRY = "no-expiry"
"""An intent never expires, nor does the lease by this node's own clock."""
OTHER_DIGEST = "other-digest"
"""From its start on it makes another digest of a request than other nodes."""


def put_in(folder: Path) -> None:
    """Make this process do what the files in *folder* are named after."""
    intent: Any = import_module("gateway.domain.intent")
    # Before the rest of the gateway is imported, which keeps what it finds.
    intent.BODY_SECONDS = BODY_SECONDS
    intent.INTENT_SECONDS = INTENT_SECONDS
    submitter = import_module("gateway.edits.submit").Submitter
    intend = submitter._intend
    expired = intent.Intent.expired.fget

    async def stopping(*args: Any) -> Any:
        made = await intend(*args)
        if made is not None and (folder / STOP_BEFORE_SUBMIT).exists():
            (folder / STOP_BEFORE_SUBMIT).unlink()
            os.kill(os.getpid(), SIGSTOP)
        return made

    submitter._intend = stopping
    intent.Intent.expired = property(
        lambda made: not (folder / NO_EXPIRY).exists() and expired(made)
    )
    if (folder / OTHER_DIGEST).exists():
        digest: Any = import_module("gateway.edits.digest")
        digest._VERSION = "other:"


if __name__ == "__main__":
    put_in(Path(os.environ["NODE_FAULTS"]))
    sys.exit(import_module("gateway.cli").main())
