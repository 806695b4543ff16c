"""Whether this process takes new edits."""

from dataclasses import dataclass

from gateway.domain.errors import Draining


@dataclass(slots=True)
class Readiness:
    """One switch, thrown by SIGTERM, read by /readyz and by every new edit."""

    draining: bool = False

    def refuse_while_draining(self) -> None:
        """
        Refuse a new edit while the running ones end.

        Raises:
            Draining: the process is about to stop; another takes the retry.
        """
        if self.draining:
            raise Draining("This server is restarting. Please try again.", retry_after=1.0)
