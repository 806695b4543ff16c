"""Clients who are kept awake: what they send, when their edit ends, what they read."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from gateway.domain.errors import GatewayError
from gateway.domain.tenant import KeepAlive
from gateway.edits.request import EditResult, EditStatus
from tests.downstream.harness import (
    ACME,
    FILES,
    FORM,
    KEY,
    RUNNING_STATUS,
    EdgeHarness,
    FakeConnection,
    FakeWaiter,
    request_of,
)

STREAM = {**FORM, "stream": "true"}
BLANK = replace(ACME, keep_alive=KeepAlive.WHITESPACE)


def end_with(
    harness: EdgeHarness,
    outcome: EditResult | GatewayError,
    *,
    after: float = 0.0,
    status: EditStatus = RUNNING_STATUS,
) -> FakeWaiter:
    async def ends() -> EditResult:
        await asyncio.sleep(after)
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    harness.service.waiter = FakeWaiter(ends, status=status)
    return harness.service.waiter


async def send(
    harness: EdgeHarness,
    form: Mapping[str, str] = STREAM,
    wire: FakeConnection | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> FakeConnection:
    """POST an edit over a connection by hand."""
    wire = wire or FakeConnection()
    request = httpx.Request(
        "POST",
        "http://gateway/v1/images/edits",
        data=dict(form),
        files=FILES,
        headers={"authorization": f"Bearer {KEY}", **(headers or {})},
    )
    scope, messages = request_of(request)
    wire.script += messages
    await harness.app(scope, wire.receive, wire.send)
    return wire


def events(body: bytes) -> list[tuple[str, Any]]:
    """Read server-sent events as a browser would; comments are dropped."""
    read: list[tuple[str, Any]] = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if fields:
            read.append((fields["event"], json.loads(fields["data"])))
    return read
