"""A simulated DashScope region: an ASGI app of its own."""

from gateway.sandbox.app import create_sandbox
from gateway.sandbox.clock import Clock, RealClock
from gateway.sandbox.config import DEFAULT_LATENCY, Limits, Listing, SandboxConfig
from gateway.sandbox.fault_tables import read_fault
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
)
from gateway.sandbox.labels import read_labels
from gateway.sandbox.latency import Constant, Lognormal, Uniform, read_latency
from gateway.sandbox.serve import bind, running, running_regions, sandbox_server, serve_sandboxes
from gateway.sandbox.wire import PeerCut

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
