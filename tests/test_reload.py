"""gateway.reload: reloads one after another, each taken or refused as a whole, and logged."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import Config, ConfigError, config_from_environ
from gateway.config.changes import Changes
from gateway.observe.process_file import ProcessFile
from gateway.reload import Reloader
from tests.harness import eventually

pytestmark = pytest.mark.anyio

CONFIG = config_from_environ({"DASHSCOPE_API_KEY": "sk-canary", "WAN_GATEWAY_KEY": "wk-canary"})


@dataclass
class FakeGateway:
    """Takes every config, or raises."""

    changes: Changes = field(default_factory=Changes)
    error: Exception | None = None
    taken: list[Config] = field(default_factory=list)
    refused: int = 0

    def reload(self, config: Config) -> Changes:
        if self.error is not None:
            raise self.error
        self.taken.append(config)
        return self.changes

    def refuse_reload(self) -> None:
        self.refused += 1


async def _of(answer: bool) -> bool:
    return answer


async def reloaded(
    folder: Path, gateway: FakeGateway, load: Callable[[], Config] = lambda: CONFIG
) -> tuple[ProcessFile, list[dict[str, object]]]:
    """Have one reload performed; return the file that tells of it, and the log."""
    taken: list[Config] = []
    with ProcessFile(folder / "g.process") as file, capture_logs() as log:
        reloader = Reloader(load, gateway, file, taken.append)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(reloader.run())
            reloader.request()
            await eventually(lambda: _of(file.status.ended > 0))
            running.cancel()
    assert taken == gateway.taken
    return file, [dict(line) for line in log]


async def test_a_config_is_taken(tmp_path: Path) -> None:
    """The log and the command tell what changed, by key path; the log's level is set."""
    changes = Changes(added=("tenants.initech",), changed=("upstreams.main.key",))
    logging.getLogger("gateway").setLevel(logging.ERROR)

    file, log = await reloaded(tmp_path, FakeGateway(changes))

    assert log[0] == {
        "event": "config_reloaded",
        "log_level": "info",
        "added": "tenants.initech",
        "changed": "upstreams.main.key",
    }
    assert file.status.outcome == (
        "The config is reloaded.\nadded: tenants.initech\nchanged: upstreams.main.key"
    )
    assert logging.getLogger("gateway").level == logging.INFO
    assert "canary" not in str(log)


async def test_nothing_has_changed(tmp_path: Path) -> None:
    """It is said so."""
    file, _ = await reloaded(tmp_path, FakeGateway())

    assert file.status.outcome == "The config is reloaded; nothing in it has changed."


async def test_many_changes(tmp_path: Path) -> None:
    """The first fifty are named, and how many more there are."""
    changes = Changes(added=tuple(f"tenants.t{i}" for i in range(60)))

    file, _ = await reloaded(tmp_path, FakeGateway(changes))

    assert file.status.outcome.endswith("tenants.t49 and 10 more")


@pytest.mark.parametrize("where", ["read", "taken"])
async def test_a_config_is_refused(tmp_path: Path, where: str) -> None:
    """In one line, in the log and by the command; it is counted."""
    error = ConfigError("g.toml: server.port: cannot be changed")

    def load() -> Config:
        if where == "read":
            raise error
        return CONFIG

    gateway = FakeGateway(error=error)
    file, log = await reloaded(tmp_path, gateway, load)

    (line,) = log
    assert (line["event"], line["reason"]) == ("config_reload_failed", str(error))
    assert file.status.refusal == str(error)
    assert gateway.refused == 1


async def test_a_bug_is_a_refusal(tmp_path: Path) -> None:
    """The config in force stays, and the message of the bug, which may quote a key, is not told."""
    gateway = FakeGateway(error=ValueError("sk-canary"))

    file, log = await reloaded(tmp_path, gateway)

    assert [line["event"] for line in log] == ["bug", "config_reload_failed"]
    assert file.status.refusal.startswith("The gateway failed while it read the config")
    assert gateway.refused == 1
    assert "canary" not in f"{log}{file.status}"


async def test_requests_during_a_reload(tmp_path: Path) -> None:
    """However many come while one runs, one more follows: it reads what was written meanwhile."""
    gateway = FakeGateway()
    with ProcessFile(tmp_path / "g.process") as file:
        loads: list[int] = []

        def load() -> Config:
            loads.append(1)
            if len(loads) == 1:
                for _ in range(5):
                    loop.call_soon_threadsafe(reloader.request)
            return CONFIG

        loop = asyncio.get_running_loop()
        reloader = Reloader(load, gateway, file, lambda _: None)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(reloader.run())
            reloader.request()
            await eventually(lambda: _of(len(gateway.taken) == 2))
            await asyncio.sleep(0.1)
            running.cancel()

    assert len(loads) == 2


async def test_warnings(tmp_path: Path) -> None:
    """What a start warns of, a reload warns of, too."""
    forgetful = replace(CONFIG, state=replace(CONFIG.state, path="memory"))

    _, log = await reloaded(tmp_path, FakeGateway(), lambda: forgetful)

    assert [line["event"] for line in log] == ["config_reloaded", "config"]
