"""Where a verb's config comes from: ``--config FILE``, or the environment alone."""

from collections.abc import Mapping
from pathlib import Path

from gateway.config import Config, config_from_environ, load_config
from gateway.config.proxies import refuse_proxies


def settings(file: Path | None, environ: Mapping[str, str]) -> Config:
    """
    Return the config of *file*, or of *environ* if there is none.

    Raises:
        ConfigError: it is wrong, or there is neither a file nor a key.
    """
    return config_from_environ(environ) if file is None else load_config(file, environ)


def settings_to_run(file: Path | None, environ: Mapping[str, str]) -> Config:
    """
    Return the same for a verb that calls DashScope, or that says whether it could.

    Raises:
        ConfigError: as above, or the way to DashScope leads over a proxy of an unknown kind.
    """
    config = settings(file, environ)
    refuse_proxies([up.region.base_url for up in config.upstreams.values()], environ)
    return config
