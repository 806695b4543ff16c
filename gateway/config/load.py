"""Load a config from a TOML file, or from the environment alone."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.config.build import (
    build,
    read_dashboard,
    read_state,
    refuse_open_to_the_network,
)
from gateway.config.proxies import refuse_proxies
from gateway.config.regions import BUILT_IN, shared_url
from gateway.config.rules import BaseUrl, Choice, Rule, Workspace, read, take
from gateway.config.schema import Config, DashboardConfig, ServerConfig, StateConfig
from gateway.config.table import ConfigError, Table

_ENVIRONMENT = "environment"


def load_config(file: Path | None, environ: Mapping[str, str]) -> Config:
    """
    Read and check *file*, or take the config from the environment if there is no file.

    Args:
        file: TOML.
        environ: Holds the keys to which the file refers by ``env:NAME``.

    Raises:
        ConfigError: one line, ``FILE: key.path: what is wrong; what to do``.
    """
    if file is None:
        return config_from_environ(environ)
    return build(str(file), _toml(file), environ)


def load_config_to_run(file: Path | None, environ: Mapping[str, str]) -> Config:
    """
    Load a config for a command that calls DashScope, or that checks whether it could.

    Raises:
        ConfigError: as for load_config, or a proxy in the environment cannot be used.
    """
    config = load_config(file, environ)
    refuse_proxies([up.region.base_url for up in config.upstreams.values()], environ)
    return config


def load_server(file: Path | None) -> ServerConfig:
    """
    Read only ``[server]``, for commands that need nothing else.

    Raises:
        ConfigError: one line, as for load_config.
    """
    if file is None:
        return ServerConfig()
    return read(ServerConfig, Table(str(file), "", _toml(file)).table("server"))


def load_server_and_state(
    file: Path | None, environ: Mapping[str, str]
) -> tuple[ServerConfig, StateConfig]:
    """
    Read only ``[server]`` and ``[state]``, for commands that need no other keys.

    Raises:
        ConfigError: one line, as for load_config.
    """
    if file is None:
        return ServerConfig(), StateConfig()
    root = Table(str(file), "", _toml(file))
    return read(ServerConfig, root.table("server")), read_state(root.table("state"), environ)


def load_server_and_dashboard(
    file: Path, environ: Mapping[str, str]
) -> tuple[ServerConfig, DashboardConfig]:
    """
    Read only ``[server]`` and ``[dashboard]``, for commands that need no other keys.

    Raises:
        ConfigError: one line, as for load_config.
    """
    root = Table(str(file), "", _toml(file))
    return read(ServerConfig, root.table("server")), read_dashboard(
        root.table("dashboard"), environ
    )


def config_from_environ(environ: Mapping[str, str]) -> Config:
    """
    Make the config of one tenant, ``default``, on loopback, without a file.

    ``DASHSCOPE_API_KEY`` is required; ``DASHSCOPE_REGION`` (beijing) and
    ``DASHSCOPE_BASE_URL`` (that region's), or ``DASHSCOPE_WORKSPACE``, say where it is valid.
    Clients use
    ``WAN_GATEWAY_KEY`` if it is set; else any key is taken.

    Raises:
        ConfigError: a variable is missing or does not fit.
    """
    table = Table(_ENVIRONMENT, "", environ)
    if not environ.get("DASHSCOPE_API_KEY", "").strip():
        raise table.wrong("DASHSCOPE_API_KEY", "is not set", "set it, or give --config FILE")
    region = _variable(table, "DASHSCOPE_REGION", Choice(tuple(BUILT_IN))) or "beijing"
    base_url = _variable(table, "DASHSCOPE_BASE_URL", BaseUrl())
    workspace = _variable(table, "DASHSCOPE_WORKSPACE", Workspace()) or ""
    if not (workspace or base_url or shared_url(region)):
        what = f"is not set, and in {region} only workspaces have hosts"
        raise table.wrong("DASHSCOPE_WORKSPACE", what, "set it to the id of the key's workspace")
    values = {
        "regions": {region: {"base_url": base_url} if base_url else {}},
        "upstreams": {
            "default": {
                "region": region,
                "key": "env:DASHSCOPE_API_KEY",
                "workspace": workspace,
            }
        },
        "tenants": {"default": {"region": region} | _clients(table)},
    }
    return build(_ENVIRONMENT, values, environ)


def listen_at(config: Config, *, host: str | None = None, port: int | None = None) -> Config:
    """
    Return *config* for another address, as ``serve --host --port`` asks.

    Raises:
        ConfigError: an open tenant would be reachable from the network.
    """
    server = replace(
        config.server,
        host=host or config.server.host,
        port=config.server.port if port is None else port,
    )
    moved = replace(config, server=server)
    refuse_open_to_the_network(moved)
    return moved


def _toml(file: Path) -> dict[str, Any]:
    try:
        # Some editors put a byte order mark first.
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); fix --config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}; fix that line") from None


def _variable(table: Table, name: str, rule: Rule) -> Any:
    """Return the variable's value; an empty one counts as not set."""
    return take(table, name, rule) if table.values.get(name) else None


def _clients(table: Table) -> dict[str, Any]:
    """Return the tenant's keys; an empty variable is a mistake, not an open tenant."""
    key = table.values.get("WAN_GATEWAY_KEY")
    if key is None:
        return {"open": True}
    if not key.strip():
        raise table.wrong("WAN_GATEWAY_KEY", "is empty", "give it a value, or unset it")
    return {"keys": [f"sha256:{sha256(key.strip().encode()).hexdigest()}"]}
