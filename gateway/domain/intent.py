"""The right to send one submit, and how long it lasts (D103)."""

import secrets
from collections.abc import Callable

from gateway.domain.clock import Clock

BODY_SECONDS = 30.0
"""From just before an intent is written until the last piece of its submit leaves."""
UNACKNOWLEDGED_SECONDS = 15.0
"""From then until the kernel drops what DashScope has not acknowledged."""
INTENT_SECONDS = BODY_SECONDS + UNACKNOWLEDGED_SECONDS
"""An intent that is so old makes no task any more, whatever became of its process."""


class Intent:
    """
    One try to submit; made before the ledger is asked to write it.

    A process or machine may be suspended at any moment and go on when another one has looked
    for the task, found none and submitted again. So a submit is left unfinished once its intent
    has expired. Two clocks decide, since a suspended machine may stop one of them; a calendar
    that was set back counts as well, because it proves nothing any more.

    Args:
        clock: The machine's.
        leased: Whether this process may submit at all at the moment.
    """

    __slots__ = ("_clock", "_leased", "attempt", "epoch", "now")

    def __init__(self, clock: Clock, leased: Callable[[], bool] = lambda: True) -> None:
        self._clock = clock
        self._leased = leased
        self.now = clock.now()
        self.epoch = clock.epoch()
        self.attempt = secrets.token_hex(8)
        """Tells its writes in the ledger from those of another try."""

    @property
    def expired(self) -> bool:
        """Whether no more of its submit may leave."""
        return (
            self._clock.now() - self.now > BODY_SECONDS
            or abs(self._clock.epoch() - self.epoch) > BODY_SECONDS
            or not self._leased()
        )
