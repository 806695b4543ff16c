"""What a TOML config file means."""

from gateway.config.explain import explain
from gateway.config.load import (
    config_from_environ,
    listen_at,
    load_config,
    load_config_to_run,
    load_server,
    load_server_and_dashboard,
    load_server_and_state,
)
from gateway.config.reference import ConfigKey, config_keys
from gateway.config.schema import Config, LogConfig, ServerConfig, StateConfig
from gateway.config.table import ConfigError

__all__ = [
    "Config",
    "ConfigError",
    "ConfigKey",
    "LogConfig",
    "ServerConfig",
    "StateConfig",
    "config_from_environ",
    "config_keys",
    "explain",
    "listen_at",
    "load_config",
    "load_config_to_run",
    "load_server",
    "load_server_and_dashboard",
    "load_server_and_state",
]
