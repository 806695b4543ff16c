"""A real Prometheus with the shipped configuration, hastened: it looks every second."""

import asyncio
import json
import math
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx

from tests.observability.shipped import PROMETHEUS
from tests.ports import free_port

SCRAPED_EVERY = "1s"
"""Also how long a page of metrics may take, so that a slow machine has the time to write it."""
WINDOW = "300s"
"""What each range of the rules becomes; a test's whole story fits, on a slow machine too."""

UP = 'up{job="wan-gateway"}'
_RECORDED = "instance:wan_gateway_inflight_body_bytes:ratio"
"""By a rule that has a value whenever the last look saw the gateway."""
_STARTS_WITHIN = 60.0
_SEES_WITHIN = 180.0
_PAUSE = Event()
"""Never set: what waits on it waits in real time, whatever loop it is in."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs, and is asked by HTTP."""

    url: str
    targets: Path

    def scrape(self, gateway_url: str) -> None:
        """Have it look at a gateway, in place of any before."""
        address = gateway_url.removeprefix("http://")
        # A rename, as file_sd wants it: a half-written file is an error in its log.
        new = self.targets.with_suffix(".new")
        new.write_text(json.dumps([{"targets": [address]}]), "utf-8")
        new.replace(self.targets)

    async def sees(self, expression: str) -> float:
        """Wait, in real time, until an instant query finds something; return of which instant."""
        until = monotonic() + _SEES_WITHIN
        while monotonic() < until:
            if found := await asyncio.to_thread(self.query, expression):
                return float(found[0]["value"][0])
            await asyncio.to_thread(_PAUSE.wait, 0.1)
        raise AssertionError(f"not seen: {expression}")

    async def looks(self) -> float:
        """
        Wait until it has looked at the gateway once more, and recorded what its rules say of that.

        Return an instant at which no figure is missing: a look that failed leaves gaps.
        """
        now = await asyncio.to_thread(self.now)
        lately = (f"timestamp({it}) > {now}" for it in (UP, _RECORDED))
        return await self.sees(f"{UP} == 1 and {' and on() '.join(lately)}")

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return what an instant query finds, without what is not a number."""
        fields: dict[str, str | float] = {"query": expression} | ({"time": at} if at else {})
        found = self._ask("query", fields)["result"]
        return [it for it in found if not math.isnan(float(it["value"][1]))]

    def now(self) -> float:
        """Tell its own time, in epoch seconds."""
        return float(self._ask("query", {"query": "time()"})["result"][1])

    def lines(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return what a range query finds."""
        fields = {"query": expression, "start": start, "end": end, "step": step}
        found: list[dict[str, Any]] = self._ask("query_range", fields)["result"]
        return found

    def firing(self, at: float) -> set[str]:
        """Return the names of the alerts that fired at an instant."""
        found = self.query('ALERTS{alertstate="firing"}', at)
        return {it["metric"]["alertname"] for it in found}

    def _ask(self, what: str, query: dict[str, Any]) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=query, trust_env=False)
        assert answer.status_code == 200, f"{query}: {answer.text}"
        return answer.json()["data"]


def hastened(text: str) -> str:
    """Return a shipped file with short intervals, windows and no pending time."""
    text = re.sub(r"(scrape|evaluation)_interval: \S+", rf"\1_interval: {SCRAPED_EVERY}", text)
    text = re.sub(r"\[\d+[smhd]\]", f"[{WINDOW}]", text)
    return re.sub(r"\bfor: \d+[smh]\b", "for: 0s", text)


@contextmanager
def prometheus(folder: Path) -> Iterator[Prometheus]:
    """Run one over a hastened copy of config/prometheus; nothing is scraped yet."""
    (folder / "rules").mkdir()
    for file in (PROMETHEUS / "prometheus.yml", *(PROMETHEUS / "rules").glob("*.yml")):
        copy = folder / file.relative_to(PROMETHEUS)
        copy.write_text(hastened(file.read_text("utf-8")), "utf-8")
    (folder / "targets.yml").write_text("[]", "utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            url = f"http://{address}"
            asyncio.run(_ready(url))
            yield Prometheus(url, folder / "targets.yml")
        finally:
            process.terminate()


async def _ready(url: str) -> None:
    async with asyncio.timeout(_STARTS_WITHIN), httpx.AsyncClient(trust_env=False) as http:
        async for _ in _often():
            with suppress(httpx.TransportError):
                if (await http.get(f"{url}/-/ready")).status_code == 200:
                    return


async def _often() -> AsyncIterator[None]:
    while True:
        yield
        await asyncio.sleep(0.05)
