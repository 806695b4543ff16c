"""``[results]``: where pictures are kept that are answered by a URL, and who may read them."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from gateway.config.rules import read
from gateway.config.schema import ResultsConfig, ResultsTable
from gateway.config.secret import secret
from gateway.config.table import Table
from gateway.results.store import Bucket

_SHORTEST_SECRET = 32  # characters
_SECRETS = ("secret", "previous_secret", "s3_access_key", "s3_secret_key")
_REMEDIES = {
    "public_url": 'use the address that clients call, such as "https://images.example.com"',
    "secret": 'make one with "openssl rand -hex 32", and use "env:NAME" or "file:PATH"',
}


def read_results(table: Table, environ: Mapping[str, str]) -> ResultsConfig | None:
    """
    Return the table with its secrets; ``None`` if the store is off.

    Raises:
        ConfigError: a key is missing or does not fit, or a package is not installed.
    """
    values = read(ResultsTable, table)
    if values.store == "off":
        return None
    for name, remedy in _REMEDIES.items():
        if getattr(values, name) is None:
            raise table.wrong(name, "is missing", remedy)
    secrets = {
        name: secret(table, name, reference, environ)
        for name in _SECRETS
        if (reference := getattr(values, name)) is not None
    }
    for name in ("secret", "previous_secret"):
        if len(secrets.get(name, "x" * _SHORTEST_SECRET)) < _SHORTEST_SECRET:
            what = f"it has fewer than {_SHORTEST_SECRET} characters and could be guessed"
            raise table.wrong(name, what, _REMEDIES["secret"])
    _check_s3(table, values)
    return ResultsConfig(**{**asdict(values), **secrets})


def place_of(results: ResultsConfig) -> Path | Bucket:
    """Return the folder or the bucket that ``results.store`` names."""
    scheme, _, place = results.store.partition(":")
    if scheme == "folder":
        return Path(place).resolve()
    name, _, prefix = place.removeprefix("//").partition("/")
    return Bucket(
        name,
        prefix.strip("/"),
        endpoint=results.s3_endpoint,
        region=results.s3_region,
        bucket_in_host=results.s3_bucket_in_host,
        access_key=results.s3_access_key,
        secret_key=results.s3_secret_key,
    )


def _check_s3(table: Table, values: ResultsTable) -> None:
    """Refuse keys of a bucket without one, half a key pair, and a package that is missing."""
    bucket = values.store.startswith("s3://")
    for name in table.values:
        if name.startswith("s3_") and not bucket:
            what = f"{values.store.partition(':')[0]} is no bucket"
            raise table.wrong(name, what, 'remove it, or use store = "s3://BUCKET/PREFIX"')
    if (values.s3_access_key is None) is not (values.s3_secret_key is None):
        missing = "s3_access_key" if values.s3_access_key is None else "s3_secret_key"
        raise table.wrong(missing, "is missing", "give both, or neither")
    if values.s3_bucket_in_host and values.s3_endpoint is None:
        raise table.wrong("s3_bucket_in_host", "needs s3_endpoint", "set s3_endpoint, or remove it")
    if bucket and find_spec("obstore") is None:
        what = "needs a package that is not installed"
        raise table.wrong("store", what, "run pip install 'wan-gateway[s3]', or use a folder")
