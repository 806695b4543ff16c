"""A simulated DashScope region: an ASGI app of its own."""

from gateway.sandbox.app import create_sandbox
from gateway.sandbox.config import (
    DEFAULT_LATENCY,
    Clock,
    Constant,
    Limits,
    Listing,
    Lognormal,
    RealClock,
    SandboxConfig,
    Uniform,
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
    "Answer",
    "Clock",
    "Constant",
    "Cut",
    "Drop",
    "End",
    "Fault",
    "Forget",
    "Hang",
    "Late",
    "Limits",
    "Listing",
    "Lognormal",
    "PeerCut",
    "RealClock",
    "SandboxConfig",
    "Slow",
    "Uniform",
    "bind",
    "create_sandbox",
    "read_fault",
    "read_labels",
    "read_latency",
    "running",
    "running_regions",
    "sandbox_server",
    "serve_sandboxes",
]
