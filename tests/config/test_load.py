"""A file of TOML becomes one frozen config: defaults, regions, models, upstreams, tenants."""

from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
from openai.types import ImageModel

from gateway.config import ConfigError, load_config
from gateway.config.schema import DashboardConfig
from gateway.domain.models import Operation
from gateway.domain.price import Price
from gateway.domain.tenant import Account, KeepAlive, MaskRule, Region
from tests.config.toml import ACME, GOOD, HASH, UP, load, up
from tests.models import EDITOR, MODELS, TABLE


def test_least_config_means_the_defaults(tmp_path: Path) -> None:
    """A key and a tenant are enough; all else has a default."""
    config = load(tmp_path, GOOD)

    assert config.source == str(tmp_path / "g.toml")
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert (config.server.max_wait_seconds, config.server.drain_seconds) == (540, 150)
    assert (config.server.max_body_bytes, config.server.max_bytes_in_flight) == (2**26, 2**29)
    assert (config.server.body_seconds, config.server.idle_body_seconds) == (120, 20)
    assert (config.state.path, config.state.sync) == ("state/gateway.db", "normal")
    assert (config.log.level, config.log.format) == ("info", "auto")
    assert config.catalogs[Operation.EDIT].default == "wan2.5-i2i-preview"
    assert config.accounts == {"main": Account("main", "beijing")}
    assert config.open_tenant is None


def test_regions_are_built_in(tmp_path: Path) -> None:
    """All six regions of DashScope are there without a line; two have hosts of workspaces only."""
    config = load(tmp_path, GOOD)

    assert {name: region.base_url for name, region in config.regions.items()} == {
        "beijing": "https://dashscope.aliyuncs.com/api/v1",
        "singapore": "https://dashscope-intl.aliyuncs.com/api/v1",
        "virginia": "https://dashscope-us.aliyuncs.com/api/v1",
        "frankfurt": "",
        "tokyo": "",
        "hongkong": "https://cn-hongkong.dashscope.aliyuncs.com/api/v1",
    }
    for region in config.regions.values():
        assert region.result_hosts == ("*.aliyuncs.com",)


def test_builtin_models(tmp_path: Path) -> None:
    """OpenAI's names of image models mean DashScope's, beside its own name."""
    config = load(tmp_path, GOOD)

    models = dict(config.catalogs[Operation.EDIT].models)
    for name in TABLE.that_do(Operation.EDIT):
        if name != EDITOR.name:
            assert models.pop(name) == MODELS[name]
    assert models == dict.fromkeys(["wan2.5-i2i-preview", *get_args(ImageModel)], EDITOR)


def test_aliases_join_the_builtin_ones(tmp_path: Path) -> None:
    """An alias of the config stands beside the built-in ones and may be the default."""
    models = '[models]\ndefault = "mine"\n[models.aliases]\nmine = "wan2.5-i2i-preview"\n'

    config = load(tmp_path, models + GOOD)

    catalog = config.catalogs[Operation.EDIT]
    assert catalog.models["mine"] == catalog.models["dall-e-2"] == EDITOR
    assert catalog.default == "wan2.5-i2i-preview"


def test_tenant_is_joined_with_its_upstreams(tmp_path: Path) -> None:
    """A tenant holds key, base URL and account in one frozen object, in the order asked for."""
    text = """
        [upstreams.a]
        region = "singapore"
        key = "env:K"
        account = "acme-intl"
        running_tasks = 9
        [upstreams.b]
        region = "singapore"
        key = "env:L"
        account = "acme-intl"
        polls_per_second = 2.5
        running_tasks = 9
        [tenants.acme]
        region = "singapore"
        upstreams = ["b", "a"]
        fit = false
        mask = "refuse"
        strict = true
        cut_off_seconds = 60
        keep_alive = "whitespace"
        weight = 2
        max_waiting = 3
        max_running = 4
    """

    config = load(tmp_path, f'{text}keys = ["{HASH}"]\n')

    tenant = config.tenants["acme"]
    assert [up.name for up in tenant.upstreams] == ["b", "a"]
    assert [up.key for up in tenant.upstreams] == ["sk-canary-two", "sk-canary-one"]
    account = Account("acme-intl", "singapore", running_tasks=9, polls_per_second=2.5)
    assert {up.account for up in tenant.upstreams} == {account}
    assert {up.region for up in tenant.upstreams} == {config.regions["singapore"]}
    assert (tenant.fit, tenant.mask, tenant.strict) == (False, MaskRule.REFUSE, True)
    assert (tenant.cut_off_seconds, tenant.weight) == (60, 2)
    assert tenant.keep_alive is KeepAlive.WHITESPACE
    assert (tenant.max_waiting, tenant.max_running) == (3, 4)


@pytest.mark.parametrize(
    "limit", ["submits_per_second", "running_tasks", "polls_per_second", "pending_ahead"]
)
def test_a_limit_said_once_holds_for_the_account(tmp_path: Path, limit: str) -> None:
    """Whichever upstream of an account states a limit, all of them obey it."""
    silent, stating = up("account = 'one'"), up(f"account = 'one'\n{limit} = 7", "b")

    config = load(tmp_path, silent + stating + ACME)

    fields: dict[str, Any] = {limit: 7}
    expected = Account("one", "beijing", **fields)
    assert config.accounts == {"one": expected}
    assert [it.account for it in config.upstreams.values()] == [expected, expected]


def test_default_upstreams_are_all_of_the_region(tmp_path: Path) -> None:
    """Without a list, a tenant gets every upstream of its region in the file's order."""
    more = '[upstreams.far]\nregion = "singapore"\nkey = "env:K"\n'
    spare = '[upstreams.aaa]\nregion = "beijing"\nkey = "env:L"\n'

    config = load(tmp_path, UP + more + spare + ACME)

    assert [up.name for up in config.tenants["acme"].upstreams] == ["main", "aaa"]


def test_customers_key_is_found_by_its_raw_hash(tmp_path: Path) -> None:
    """The hash of a key, in either case, leads to its tenant."""
    digest = sha256(b"wk-secret")
    keys = f'[tenants.b]\nregion = "beijing"\nkeys = ["sha256:{digest.hexdigest().upper()}"]\n'

    config = load(tmp_path, GOOD + keys)

    assert config.tenant_by_key == {bytes.fromhex("ab" * 32): "acme", digest.digest(): "b"}


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        pytest.param("http://127.0.0.1:8001/api/v1", ("*.aliyuncs.com", "127.0.0.1:8001"), id="ip"),
        pytest.param("http://[::1]:8001/api/v1", ("*.aliyuncs.com", "[::1]:8001"), id="ipv6"),
        pytest.param("https://w.cn-beijing.maas.aliyuncs.com/api/v1", ("*.aliyuncs.com",), id="ws"),
        pytest.param("https://notaliyuncs.com", ("*.aliyuncs.com", "notaliyuncs.com"), id="other"),
    ],
)
def test_result_hosts_follow_the_base_url(tmp_path: Path, url: str, hosts: tuple[str, ...]) -> None:
    """Results come from Aliyun, and from another base_url's own host: a sandbox serves them."""
    config = load(tmp_path, f'[regions.beijing]\nbase_url = "{url}/"\n{GOOD}')

    assert config.regions["beijing"] == Region("beijing", url, hosts)


def test_region_table_overrides_key_by_key(tmp_path: Path) -> None:
    """What a region's table leaves out stays built in; other regions may be added."""
    regions = """
        [regions.beijing]
        result_hosts = ["*.oss-cn-beijing.aliyuncs.com"]
        [regions.virginia]
        base_url = "https://dashscope-us.aliyuncs.com/api/v1"
    """

    config = load(tmp_path, regions + GOOD)

    assert config.regions["beijing"].base_url == "https://dashscope.aliyuncs.com/api/v1"
    assert config.regions["beijing"].result_hosts == ("*.oss-cn-beijing.aliyuncs.com",)
    assert config.regions["virginia"].name == "virginia"


def test_quotes_in_a_key_file_are_refused(tmp_path: Path) -> None:
    """Quotation marks that were saved with the key would be sent as part of it."""
    (tmp_path / "key").write_text('"sk-canary-file"\n')

    with pytest.raises(ConfigError, match="has quotation marks around the key; remove them") as it:
        load(tmp_path, f'[upstreams.main]\nregion = "beijing"\nkey = "file:{tmp_path}/key"\n{ACME}')

    assert "canary" not in str(it.value)


def test_one_key_in_two_regions_is_taken(tmp_path: Path) -> None:
    """Regions share nothing, so that a key under two accounts of two regions is no fault."""
    other = '[upstreams.b]\nregion = "singapore"\nkey = "env:K"\n'

    assert set(load(tmp_path, GOOD + other).accounts) == {"main", "b"}


def test_key_from_a_file_is_stripped(tmp_path: Path) -> None:
    """A secret's file may end in a line break."""
    (tmp_path / "key").write_text("sk-from-file\r\n")
    up = f'[upstreams.main]\nregion = "beijing"\nkey = "file:{tmp_path}/key"\n'

    config = load(tmp_path, up + ACME)

    assert config.upstreams["main"].key == "sk-from-file"


def test_open_tenant_on_loopback(tmp_path: Path) -> None:
    """An open tenant needs no keys where nobody else can reach it."""
    config = load(tmp_path, UP + '[tenants.any]\nregion = "beijing"\nopen = true\n')

    assert config.open_tenant == "any"
    assert config.tenant_by_key == {}


def test_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """A file saved with a byte order mark is read all the same."""
    config = load(tmp_path, f"\ufeff{GOOD}")

    assert list(config.tenants) == ["acme"]


def test_a_dashboard(tmp_path: Path) -> None:
    """The dashboard is off unless it is switched on; then its token is fetched, and never shown."""
    (tmp_path / "token").write_text("canary-token-0123\n")
    on = f'[dashboard]\non = true\nthumbnails = true\ntoken = "file:{tmp_path}/token"\n'

    off, config = load(tmp_path, GOOD), load(tmp_path, on + GOOD)
    alone = load(tmp_path, "[dashboard]\non = true\n" + GOOD)
    unread = load(tmp_path, '[dashboard]\ntoken = "env:NOT_SET"\n' + GOOD)

    assert (
        off.dashboard == unread.dashboard == DashboardConfig(on=False, token=None, thumbnails=False)
    )
    assert config.dashboard == DashboardConfig(on=True, token="canary-token-0123", thumbnails=True)
    assert alone.dashboard == DashboardConfig(on=True)
    assert "canary" not in repr(config)


@pytest.mark.parametrize(
    "origins",
    [
        pytest.param([], id="none"),
        pytest.param(["*"], id="all"),
        pytest.param(["https://app.example", "http://[::1]:3000"], id="some"),
    ],
)
def test_origins(tmp_path: Path, origins: list[str]) -> None:
    """Origins are what browsers send; all of them and none are to be had."""
    text = f"[server]\ncors_origins = {origins}\n{GOOD}"

    assert load(tmp_path, text).server.cors_origins == tuple(origins)


def test_keys_are_in_no_repr(tmp_path: Path) -> None:
    """Printing a config, or any part of it, shows neither keys nor their hashes."""
    config = load(tmp_path, GOOD)

    assert "canary" not in repr(config)
    assert repr(bytes.fromhex("ab" * 32)) not in repr(config)


def test_config_cannot_be_changed(tmp_path: Path) -> None:
    """What was checked stays as it was checked."""
    config = load(tmp_path, GOOD)

    with pytest.raises(TypeError):
        config.tenants["evil"] = config.tenants["acme"]  # type: ignore[index]  # the point


@pytest.mark.parametrize(
    ("more", "region"), [("", "beijing"), ('upstreams = ["sg"]\n', "singapore")]
)
def test_a_tenant_that_names_no_region(tmp_path: Path, more: str, region: str) -> None:
    """Its edits are made where its first upstream is."""
    file = tmp_path / "g.toml"
    file.write_text(
        '[upstreams.bj]\nregion = "beijing"\nkey = "env:K"\n'
        '[upstreams.sg]\nregion = "singapore"\nkey = "env:K"\n'
        f"[tenants.any]\nopen = true\n{more}"
    )

    assert load_config(file, {"K": "sk-x"}).tenants["any"].region == region


@pytest.mark.parametrize(("line", "shared"), [("shared = true", True), ("", False)])
def test_an_account_that_others_use(tmp_path: Path, line: str, *, shared: bool) -> None:
    """An account says whether other programs make tasks on it; by default none does."""
    config = load(tmp_path, f"[accounts.main]\n{line}\n{GOOD}")

    assert config.accounts["main"].shared is shared
    assert config.upstreams["main"].account.shared is shared
    assert config.tenants["acme"].upstreams[0].account.shared is shared


def test_prices(tmp_path: Path) -> None:
    """A price of the config stands over the list's, in the region's currency or in its own."""
    file = tmp_path / "g.toml"
    file.write_text(
        '[upstreams.bj]\nregion = "beijing"\nkey = "env:K"\n[tenants.any]\nopen = true\n'
        '[prices.beijing]\n"wan2.6-image" = 0.15\n'
        '[prices.singapore]\n"wan2.6-image" = 0.02\n"wan2.6-t2i" = "0.25 CNY"\n'
    )

    prices = load_config(file, {"K": "sk-x"}).prices

    assert prices["beijing", "wan2.5-i2i-preview"] == Price(0.20, "CNY")
    assert prices["beijing", "wan2.6-image"] == Price(0.15, "CNY")
    assert prices["singapore", "wan2.6-image"] == Price(0.02, "USD")
    assert prices["singapore", "wan2.6-t2i"] == Price(0.25, "CNY")
