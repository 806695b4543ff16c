"""A simulated DashScope region: an ASGI app that shares no code with the gateway (D53)."""

from gateway.sandbox.app import create_sandbox
from gateway.sandbox.config import (
    DEFAULT_LATENCY,
    AccountLimits,
    Accounts,
    Constant,
    ListOptions,
    Lognormal,
    RealClock,
    SandboxClock,
    SandboxConfig,
    Uniform,
    check_accounts,
    read_latency,
)
from gateway.sandbox.faults import (
    Answer,
    Cut,
    Drop,
    End,
    Fault,
    Forget,
    Hang,
    Late,
    Slow,
    read_fault,
)
from gateway.sandbox.injection import PeerCut
from gateway.sandbox.pictures import read_labels
from gateway.sandbox.serve import bind, running, running_regions, sandbox_server, serve_sandboxes

__all__ = [
    "DEFAULT_LATENCY",
    "AccountLimits",
    "Accounts",
    "Answer",
    "Constant",
    "Cut",
    "Drop",
    "End",
    "Fault",
    "Forget",
    "Hang",
    "Late",
    "ListOptions",
    "Lognormal",
    "PeerCut",
    "RealClock",
    "SandboxClock",
    "SandboxConfig",
    "Slow",
    "Uniform",
    "bind",
    "check_accounts",
    "create_sandbox",
    "read_fault",
    "read_labels",
    "read_latency",
    "running",
    "running_regions",
    "sandbox_server",
    "serve_sandboxes",
]
