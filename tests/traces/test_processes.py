"""Traces of processes: one that starts again, one that is told to stop, one without traces."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config.build import build as build_config
from gateway.sandbox import Constant
from tests.harness import (
    KEY,
    PLAIN,
    UPSTREAM_KEY,
    photo,
    pictures_of,
    region,
    serving_gateway,
    tables,
)
from tests.process import GatewayProcess, edit
from tests.process import region as region_process
from tests.process import tables as process_tables
from tests.trace_collector import collector, traces_table
from tests.warp import WarpClock

pytestmark = pytest.mark.anyio


async def _hand_in(home_url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=home_url, timeout=None, trust_env=False) as http:  # noqa: S113 - the gateway's deadlines
        return await http.post(
            "/v1/images/edits",
            data={"prompt": "make it sepia"},
            files={"image": ("a.png", photo(), "image/png")},
            headers={"authorization": f"Bearer {KEY}", **headers},
        )


async def test_a_restart(tmp_path: Path) -> None:
    """What a process leaves behind ends as interrupted; the next one traces it again."""
    clock = WarpClock()
    async with region(replace(PLAIN, latency=Constant(24)), clock) as url:
        more: dict[str, Any] = {"state": {"path": str(tmp_path / "g.db")}}
        with collector() as before:
            config = build_config(
                "test",
                tables({"beijing": url}, **more, traces=traces_table(before)),
                {"KEY": UPSTREAM_KEY},
            )
            async with serving_gateway(config, clock) as (_, _, harness):
                left = await _hand_in(harness, **{"x-stainless-read-timeout": "8"})
                assert left.status_code == 503
        with collector() as after:
            config = replace(config, traces=replace(config.traces, endpoint=after.url))
            async with serving_gateway(config, clock) as (_, _, harness):
                answer = await _hand_in(harness, **{"x-stainless-retry-count": "1"})
                assert pictures_of(answer)

    left_root, root = before.root(), after.root()
    assert left_root.attributes["wan_gateway.outcome"] == "interrupted"
    assert [one.name for one in before.below(left_root)] == ["queue", "submit", "poll"]
    assert root.attributes["wan_gateway.recovered"] is True
    assert root.attributes["wan_gateway.edit_id"] == left_root.attributes["wan_gateway.edit_id"]
    assert root.trace_id != left_root.trace_id
    assert [one.name for one in after.below(root)] == ["poll"]


@pytest.mark.slow
def test_sigterm_sends_what_is_left(tmp_path: Path) -> None:
    """A process that is told to stop sends its last spans before it ends."""
    with collector() as kept, region_process(0.5) as url:
        text = process_tables(tmp_path, url) + f'[traces]\nendpoint = "{kept.url}/v1/traces"\n'
        with GatewayProcess(tmp_path, text) as process:
            assert edit(process).status_code == 200
            process.send(signal.SIGTERM)
            assert process.end() == 0

    assert len(kept.below(kept.root())) == 5


@pytest.mark.slow
def test_sigterm_does_not_wait_for_a_dead_collector(tmp_path: Path) -> None:
    """A collector that takes the connection and says nothing holds the end for 5 s at most."""
    with socket.create_server(("127.0.0.1", 0)) as silent, region_process(0.5) as url:
        port = silent.getsockname()[1]
        text = process_tables(tmp_path, url) + f'[traces]\nendpoint = "http://127.0.0.1:{port}"\n'
        with GatewayProcess(tmp_path, text) as process:
            assert edit(process).status_code == 200
            process.send(signal.SIGTERM)
            assert process.end() == 0

        assert process.logged("traces_not_flushed")


OFF = """
import sys
from gateway.app import build
from gateway.config import config_from_environ
build(config_from_environ({"DASHSCOPE_API_KEY": "sk-x"}))
print(sorted(name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "requests")))
"""


def test_off_imports_nothing(tmp_path: Path) -> None:
    """Without [traces] no line of OpenTelemetry is read, whatever the environment says."""
    done = subprocess.run(
        [sys.executable, "-c", OFF],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "[]\n"
