"""What the door out asks of the world around it; the app hands in who answers."""

from typing import Protocol


class UpstreamCalls(Protocol):
    """Who counts the calls; gateway.observe.metrics answers it. Must not raise."""

    def upstream_call(self, region: str, operation: str, code: str, seconds: float) -> None:
        """
        Count one call.

        Args:
            region: The region's name.
            operation: submit, poll, list, cancel, download or upload.
            code: The HTTP status, or ``error`` when no whole answer came back.
            seconds: From the call to the end of its answer.
        """
        ...

    def upstream_retried(self, region: str, operation: str, reason: str) -> None:
        """
        Count one call tried again; reasons: network, status, content.

        An upload that is given up counts too: its picture is tried inline.
        """
        ...
