"""``wan-gateway key``: make a key for a client; the config holds only its hash."""

from argparse import Namespace
from collections.abc import Mapping
from hashlib import sha256
from secrets import token_urlsafe

from gateway.config import ConfigError
from gateway.config.table import NAME

_RANDOM_BYTES = 32  # 43 characters; too many to guess, so a plain hash keeps it safe


def run(args: Namespace, _environ: Mapping[str, str]) -> int:
    """Print a new key once, and the line for the config."""
    if args.tenant is not None and not NAME.fullmatch(args.tenant):
        raise ConfigError("--tenant: is not a valid name; use up to 63 of a-z, 0-9, _ and -")
    key = f"wk-{token_urlsafe(_RANDOM_BYTES)}"
    print("For the client, shown only once:\n")
    print(f"  {key}\n")
    print("For the config:\n")
    if args.tenant is not None:
        print(f"  [tenants.{args.tenant}]")
    print(f'  keys = ["{hash_of(key)}"]')
    return 0


def hash_of(key: str) -> str:
    """Return what the config keeps of *key*: ``sha256:`` and 64 hex digits."""
    return f"sha256:{sha256(key.encode()).hexdigest()}"
