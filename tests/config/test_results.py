"""``[results]``: complete or refused, and its secrets nowhere to be seen."""

from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, ConfigError
from gateway.config.build import build
from gateway.config.explain import explain, warnings
from gateway.config.results import place_of
from gateway.results.store import Bucket

ENVIRON = {"KEY": "sk-x", "SECRET": "canary-" + "s" * 32, "OLD": "canary-" + "o" * 32}
GOOD = {"store": "folder:kept", "public_url": "https://pictures.test", "secret": "env:SECRET"}
BUCKET = GOOD | {"store": "s3://pictures/a/b"}


def a_config(results: dict[str, Any], **environ: str) -> Config:
    values = {
        "upstreams": {"main": {"region": "beijing", "key": "env:KEY"}},
        "tenants": {"acme": {"open": True}},
        "results": results,
    }
    return build("test", values, ENVIRON | environ)


@pytest.mark.parametrize("results", [{}, {"store": "off"}, {"store": "off", "keep_hours": 1}])
def test_off(results: dict[str, Any]) -> None:
    """Without a store there are no results, whatever else is said."""
    assert a_config(results).results is None


def test_a_folder() -> None:
    """A relative folder is one of the working directory; a slash at the URL's end does no harm."""
    results = a_config({**GOOD, "public_url": "https://pictures.test/", "keep_hours": 0.5}).results

    assert results is not None
    assert place_of(results) == Path.cwd() / "kept"
    assert results.public_url == "https://pictures.test"
    assert results.keep_seconds == 1800.0
    assert (results.secret, results.previous_secret) == (ENVIRON["SECRET"], None)


@pytest.mark.parametrize(
    ("store", "name", "prefix"),
    [
        ("s3://pictures", "pictures", ""),
        ("s3://pictures/", "pictures", ""),
        ("s3://my.pictures-1/a/b_c.d/", "my.pictures-1", "a/b_c.d"),
    ],
)
def test_a_bucket(store: str, name: str, prefix: str) -> None:
    """Bucket and prefix are in one address; without keys the environment has them."""
    results = a_config({**GOOD, "store": store}).results

    assert results is not None
    assert place_of(results) == Bucket(name, prefix)


def test_everything_of_a_bucket() -> None:
    """Every key is where the store looks for it."""
    results = a_config(
        {
            **BUCKET,
            "previous_secret": "env:OLD",
            "s3_endpoint": "https://oss-cn-beijing.aliyuncs.com",
            "s3_region": "cn-beijing",
            "s3_bucket_in_host": True,
            "s3_access_key": "env:AK",
            "s3_secret_key": "env:SK",
        },
        AK="LTAI-canary",
        SK="canary",
    ).results

    assert results is not None
    assert results.previous_secret == ENVIRON["OLD"]
    assert place_of(results) == Bucket(
        "pictures",
        "a/b",
        endpoint="https://oss-cn-beijing.aliyuncs.com",
        region="cn-beijing",
        bucket_in_host=True,
        access_key="LTAI-canary",
        secret_key="canary",
    )
    assert "canary" not in repr(results)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        pytest.param({"store": "disk"}, 'store: got "disk"', id="no-store"),
        pytest.param({"store": 1}, "store: got 1", id="no-text"),
        pytest.param({"store": "folder:"}, 'store: got "folder:"', id="no-folder"),
        pytest.param({"store": "folder: "}, 'store: got "folder: "', id="blank-folder"),
        pytest.param({"store": "s3://"}, 'store: got "s3://"', id="no-bucket"),
        pytest.param({"store": "s3://A"}, 'store: got "s3://A"', id="no-name-of-a-bucket"),
        pytest.param({"store": "s3://pictures//a"}, "store: got", id="empty-folder"),
        pytest.param({"store": "s3://pictures/../a"}, "store: got", id="dots"),
        pytest.param({"store": "s3://pictures/."}, "store: got", id="dot"),
        pytest.param({"public_url": None}, "public_url: is missing; use the address", id="no-url"),
        pytest.param({"public_url": "pictures"}, 'public_url: got "pictures"', id="wrong-url"),
        pytest.param({"secret": None}, 'secret: is missing; make one with "openssl', id="unsigned"),
        pytest.param({"secret": "canary" * 9}, "secret: is not a reference", id="secret-itself"),
        pytest.param({"secret": "env:KEY"}, "secret: it has fewer than 32", id="short"),
        pytest.param({"previous_secret": "env:KEY"}, "previous_secret: it has", id="short-before"),
        pytest.param({"previous_secret": "env:NONE"}, "previous_secret: the env", id="not-set"),
        pytest.param({"keep_hours": 0}, "keep_hours: got 0", id="for-no-time"),
        pytest.param({"s3_region": "eu"}, "s3_region: folder is no bucket", id="no-bucket-for-it"),
        pytest.param(
            {"store": "s3://pictures", "s3_access_key": "env:KEY"},
            "s3_secret_key: is missing; give both",
            id="half-a-key",
        ),
        pytest.param(
            {"store": "s3://pictures", "s3_secret_key": "env:KEY"},
            "s3_access_key: is missing; give both",
            id="other-half",
        ),
        pytest.param(
            {"store": "s3://pictures", "s3_bucket_in_host": True},
            "s3_bucket_in_host: needs s3_endpoint",
            id="in-which-host",
        ),
    ],
)
def test_refused(results: dict[str, Any], message: str) -> None:
    """What is missing or wrong is named, and no secret is shown."""
    table = {name: value for name, value in (GOOD | results).items() if value is not None}

    with pytest.raises(ConfigError) as refused:
        a_config(table)

    assert f"test: results.{message}" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket without its library is refused with the command that installs it."""

    def absent(_: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr("gateway.config.results.find_spec", absent)

    with pytest.raises(ConfigError, match=r"pip install 'wan-gateway\[s3\]'"):
        a_config(BUCKET)
    assert a_config(GOOD).results is not None


@pytest.mark.parametrize(
    ("results", "line"),
    [
        (
            GOOD,
            "keeps     pictures answered by URL in kept for 24 h, at https://pictures.test",
        ),
        (
            {**GOOD, "store": "s3://pics", "public_url": "host", "keep_hours": 1.5},
            "keeps     pictures answered by URL in s3://pics for 1.5 h, at the request's Host",
        ),
    ],
)
def test_explained(results: dict[str, Any], line: str) -> None:
    """`check` says where pictures are kept, for how long, and where clients find them."""
    explained = explain(a_config(results))

    assert line in explained.splitlines()
    assert "canary" not in explained


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://pictures.test", True),
        ("https://pictures.test", False),
        ("http://127.0.0.1:8080", False),
        ("host", False),
    ],
)
def test_unencrypted(url: str, warned: bool) -> None:
    """A public URL without TLS is warned of."""
    found = list(warnings(a_config({**GOOD, "public_url": url})))

    assert any("public_url is http" in warning for warning in found) is warned
