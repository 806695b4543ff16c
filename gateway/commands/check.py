"""``wan-gateway check``: is this config good, and what does it mean?"""

from argparse import Namespace
from collections.abc import Mapping

from gateway.commands.settings import settings
from gateway.config import explain


def run(asked: Namespace, environ: Mapping[str, str]) -> int:
    """Print what the config means; raise ConfigError if it is wrong."""
    print(explain(settings(asked.config, environ)))
    return 0
