from gateway.config import ConfigKey, config_keys


def test_every_key_is_documented() -> None:
    """Each key says what it takes, what absent means and what it does."""
    for known in config_keys():
        assert known.takes
        assert known.default
        assert known.meaning.endswith(".")


def test_paths() -> None:
    """The list names every table, each key once, in the file's order."""
    paths = [known.path for known in config_keys()]

    assert len(set(paths)) == len(paths)
    assert list(dict.fromkeys(path.rpartition(".")[0] for path in paths)) == [
        "server",
        "state",
        "cluster",
        "models",
        "models.aliases",
        "models.NAME",
        "regions.NAME",
        "upstreams.NAME",
        "upstreams.NAME.limits.MODEL",
        "accounts.NAME",
        "tenants.NAME",
        "tenants.NAME.models",
        "dashboard",
        "log",
        "metrics",
        "traces",
        "traces.headers",
        "results",
        "prices.REGION",
    ]


def test_rows_are_made_from_the_schema() -> None:
    """Defaults are spelled as TOML does; a key without one is required."""
    by_path = {known.path: known for known in config_keys()}

    assert by_path["server.port"] == ConfigKey(
        path="server.port",
        takes="a whole number from 0 to 65535",
        default="8080",
        unit="",
        meaning="The port; 0 takes a free one.",
        live=False,
    )
    assert by_path["server.max_wait_seconds"].unit == "seconds"
    assert by_path["tenants.NAME.mask"].default == '"composite"'
    assert by_path["tenants.NAME.fit"].default == "true"
    assert by_path["upstreams.NAME.key"].default == "required"
    assert by_path["upstreams.NAME.account"].default == "its own name"
