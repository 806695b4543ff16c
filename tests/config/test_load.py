from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.config import (
    Config,
    ConfigError,
    config_from_environ,
    config_keys,
    listen_at,
    load_config,
)
from gateway.config.schema import Dashboard
from gateway.domain.models import Does
from gateway.domain.tenant import Account, KeepAlive, MaskRule, Region

HASH = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
ENVIRON = {"K": "sk-canary-one", "L": "sk-canary-two", "BLANK": " ", "TWO": "a b", "HAN": "钥"}
UP = '[upstreams.main]\nregion = "beijing"\nkey = "env:K"\n'
ACME = f'[tenants.acme]\nregion = "beijing"\nkeys = ["{HASH}"]\n'
GOOD = UP + ACME


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "g.toml"
    file.write_text(text, "utf-8")
    return load_config(file, ENVIRON)


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
    assert config.offers[Does.EDIT].default == "wan2.5-i2i-preview"
    assert config.accounts == {"main": Account("main", "beijing")}
    assert config.open_tenant is None


def test_regions_are_built_in(tmp_path: Path) -> None:
    """Both regions of DashScope are there without a line."""
    config = load(tmp_path, GOOD)

    assert config.regions == {
        "beijing": Region("beijing", "https://dashscope.aliyuncs.com/api/v1", ("*.aliyuncs.com",)),
        "singapore": Region(
            "singapore", "https://dashscope-intl.aliyuncs.com/api/v1", ("*.aliyuncs.com",)
        ),
    }


def test_builtin_models(tmp_path: Path) -> None:
    """OpenAI's names of image models mean DashScope's, beside its own name."""
    config = load(tmp_path, GOOD)

    models = dict(config.offers[Does.EDIT].models)
    for name in ("wan2.6-image", "qwen-image-edit-plus"):
        assert models.pop(name) == name
    assert models == dict.fromkeys(
        [
            "wan2.5-i2i-preview",
            "gpt-image-1",
            "gpt-image-1-mini",
            "gpt-image-1.5",
            "gpt-image-2",
            "chatgpt-image-latest",
            "dall-e-2",
        ],
        "wan2.5-i2i-preview",
    )


def test_aliases_join_the_builtin_ones(tmp_path: Path) -> None:
    """An alias of the config stands beside the built-in ones and may be the default."""
    models = '[models]\ndefault = "mine"\n[models.aliases]\nmine = "wan2.5-i2i-preview"\n'

    config = load(tmp_path, models + GOOD)

    offer = config.offers[Does.EDIT]
    assert offer.models["mine"] == offer.models["dall-e-2"] == "wan2.5-i2i-preview"
    assert offer.default == "wan2.5-i2i-preview"


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

    said: dict[str, Any] = {limit: 7}
    expected = Account("one", "beijing", **said)
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

    assert off.dashboard == unread.dashboard == Dashboard(on=False, token=None, thumbnails=False)
    assert config.dashboard == Dashboard(on=True, token="canary-token-0123", thumbnails=True)
    assert alone.dashboard == Dashboard(on=True)
    assert "canary" not in repr(config)


def up(lines: str, name: str = "main") -> str:
    return f'[upstreams.{name}]\nregion = "beijing"\nkey = "env:K"\n{lines}\n'


def acme(lines: str) -> str:
    return f'{UP}[tenants.acme]\nregion = "beijing"\n{lines}\n'


COMPLAINTS = [
    pytest.param(
        "a = = 1",
        ": is no TOML: Invalid value (at line 1, column 5); mend that line",
        id="no-toml",
    ),
    pytest.param(
        "[servr]", ": servr: unknown key; write server, or remove it", id="unknown-table-near"
    ),
    pytest.param("zzz = 1", ": zzz: unknown key; remove it", id="unknown-key"),
    pytest.param(
        '[dashboard]\non = true\ntoken = "env:K"',
        ": dashboard.token: it has fewer than 16 characters and could be guessed; "
        'make one by "openssl rand -hex 24"',
        id="token-short",
    ),
    pytest.param(
        '[dashboard]\non = true\ntoken = "env:NOT_SET"',
        ": dashboard.token: the environment variable NOT_SET is not set; set it, or use file:PATH",
        id="token-not-set",
    ),
    pytest.param(
        '[dashboard]\ntoken = "hunter2"',
        ': dashboard.token: is not a reference to a key; use "env:NAME" or "file:PATH"',
        id="token-written-down",
    ),
    pytest.param("server = 1", ": server: got 1; make it a table", id="no-table"),
    pytest.param(
        "[server]\nprot = 1",
        ": server.prot: unknown key; write port, or remove it",
        id="unknown-in-table",
    ),
    pytest.param(
        "[server]\nport = 65536",
        ": server.port: got 65536; use a whole number from 0 to 65535",
        id="port-high",
    ),
    pytest.param(
        "[server]\nport = true",
        ": server.port: got true; use a whole number from 0 to 65535",
        id="port-bool",
    ),
    pytest.param(
        '[server]\nport = "8080"',
        ': server.port: got "8080"; use a whole number from 0 to 65535',
        id="port-text",
    ),
    pytest.param('[server]\nhost = ""', ': server.host: got ""; use a text', id="host-empty"),
    pytest.param(
        '[server]\nhost = "a\\nb"', ': server.host: got "a\\nb"; use a text', id="host-two-lines"
    ),
    pytest.param(
        "[server]\nmax_wait_seconds = 0",
        ": server.max_wait_seconds: got 0; use a number above 0",
        id="wait-zero",
    ),
    pytest.param(
        "[server]\nmax_wait_seconds = inf",
        ": server.max_wait_seconds: got inf; use a number above 0",
        id="wait-inf",
    ),
    pytest.param(
        "[server]\nmax_wait_seconds = nan",
        ": server.max_wait_seconds: got nan; use a number above 0",
        id="wait-nan",
    ),
    pytest.param(
        "[server]\ndrain_seconds = -1.5",
        ": server.drain_seconds: got -1.5; use a number from 0",
        id="drain-negative",
    ),
    pytest.param(
        "[server]\nbody_seconds = false",
        ": server.body_seconds: got false; use a number above 0",
        id="seconds-bool",
    ),
    pytest.param(
        "[server]\nidle_body_seconds = 2026-11-23",
        ": server.idle_body_seconds: got a date or time; use a number above 0",
        id="seconds-date",
    ),
    pytest.param(
        "[server]\nmax_body_bytes = 10",
        ": server.max_body_bytes: got 10; use a whole number from 1024",
        id="body-tiny",
    ),
    pytest.param(
        "[server]\nmax_bytes_in_flight = 1024",
        ": server.max_bytes_in_flight: got 1024, less than one body of max_body_bytes; "
        "use at least 67108864",
        id="budget-under-one-body",
    ),
    pytest.param(
        '[state]\nsync = "fast"',
        ': state.sync: got "fast"; use "normal" or "full"',
        id="sync",
    ),
    pytest.param(
        "[state]\npath = [1]", ': state.path: got a list; use a file, or "memory"', id="state-path"
    ),
    pytest.param(
        '[log]\nlevel = "loud"',
        ': log.level: got "loud"; use "debug", "info", "warning" or "error"',
        id="level",
    ),
    pytest.param(
        "[log]\nformat = {}",
        ': log.format: got a table; use "auto", "json" or "text"',
        id="format",
    ),
    pytest.param(
        '[models]\ndefault = "gpt-4o"',
        ': models.default: "gpt-4o" is no model; use "wan2.5-i2i-preview", "wan2.6-image", '
        '"qwen-image-edit-plus", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", '
        '"gpt-image-2", '
        '"chatgpt-image-latest" or "dall-e-2"',
        id="default-model",
    ),
    pytest.param(
        '[models]\ndefault = "mine"\n[models.aliases]\nmine = "wan2.6-t2i"',
        ': models.default: "mine" is no model that can edit; use "wan2.5-i2i-preview", '
        '"wan2.6-image", "qwen-image-edit-plus", "gpt-image-1", "gpt-image-1-mini", '
        '"gpt-image-1.5", "gpt-image-2", '
        '"chatgpt-image-latest" or "dall-e-2"',
        id="default-model-of-the-other-kind",
    ),
    pytest.param(
        '[models]\ndefault_generation = "wan2.6-image"',
        ': models.default_generation: "wan2.6-image" is no model that can generate; use '
        '"wan2.5-t2i-preview", "wan2.6-t2i", "gpt-image-1", "gpt-image-1-mini", '
        '"gpt-image-1.5", "gpt-image-2", "chatgpt-image-latest", "dall-e-2" or "dall-e-3"',
        id="default-generation",
    ),
    pytest.param(
        '[models.aliases]\n"a.b" = "wan9"',
        ': models.aliases."a.b": got "wan9"; use "wan2.5-i2i-preview", '
        '"wan2.5-t2i-preview", "wan2.6-image", "wan2.6-t2i" or "qwen-image-edit-plus"',
        id="alias-target",
    ),
    pytest.param(
        '[models.aliases]\n"a b" = "wan2.5-i2i-preview"',
        ': models.aliases."a b": is no name of a model; use letters, digits and . _ : / -',
        id="alias-name",
    ),
    pytest.param(
        up("account = 'Acme Corp'"),
        ': upstreams.main.account: got "Acme Corp"; '
        "use up to 63 of a-z, 0-9, _ and -, a letter or digit first",
        id="account-name",
    ),
    pytest.param(
        '[regions."Bei Jing"]',
        ': regions."Bei Jing": is no name; '
        "use up to 63 of a-z, 0-9, _ and -, a letter or digit first",
        id="name",
    ),
    pytest.param(
        "[regions.virginia]",
        ': regions.virginia.base_url: is missing; only "beijing" or "singapore" have one built in',
        id="region-without-url",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "ftp://x"',
        ': regions.beijing.base_url: got "ftp://x"; '
        'use an URL such as "https://dashscope.aliyuncs.com/api/v1"',
        id="url-scheme",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "https://x/v1?k=v"',
        ': regions.beijing.base_url: got "https://x/v1?k=v"; '
        'use an URL such as "https://dashscope.aliyuncs.com/api/v1"',
        id="url-query",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "https://me:canary@x/v1"',
        ": regions.beijing.base_url: holds a user name or password; "
        'use an URL such as "https://dashscope.aliyuncs.com/api/v1"',
        id="url-password",
    ),
    pytest.param(
        '[regions.beijing]\nresult_hosts = ["*"]',
        ': regions.beijing.result_hosts: holds "*"; '
        'use a list of hosts such as "*.aliyuncs.com" or "127.0.0.1:8001"',
        id="hosts-any",
    ),
    pytest.param(
        '[regions.beijing]\nresult_hosts = "x"',
        ': regions.beijing.result_hosts: got "x"; '
        'use a list of hosts such as "*.aliyuncs.com" or "127.0.0.1:8001"',
        id="hosts-no-list",
    ),
    pytest.param(
        "[regions.beijing]\nresult_hosts = []",
        ": regions.beijing.result_hosts: is empty; "
        'use a list of hosts such as "*.aliyuncs.com" or "127.0.0.1:8001"',
        id="hosts-empty",
    ),
    pytest.param(
        ACME,
        ": upstreams: is empty; add [upstreams.NAME] with a region and a key",
        id="no-upstream",
    ),
    pytest.param(
        '[upstreams.main]\nkey = "env:K"',
        ": upstreams.main.region: is missing; use the name of a region",
        id="upstream-no-region",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "tokyo"\nkey = "env:K"',
        ': upstreams.main.region: "tokyo" is no region; use "beijing" or "singapore"',
        id="upstream-region",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "sk-canary"',
        ': upstreams.main.key: is not a reference to a key; use "env:NAME" or "file:PATH"',
        id="key-itself",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:sk-canary"',
        ': upstreams.main.key: is not a reference to a key; use "env:NAME" or "file:PATH"',
        id="key-itself-behind-env",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "file:sk-canary"',
        ": upstreams.main.key: the file what looks like a key cannot be read "
        "(No such file or directory); mend its path or its mode",
        id="key-itself-behind-file",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:NOPE"',
        ": upstreams.main.key: the environment variable NOPE is not set; set it, or use file:PATH",
        id="variable-missing",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:BLANK"',
        ": upstreams.main.key: the environment variable BLANK is empty; put the key there",
        id="variable-blank",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:TWO"',
        ": upstreams.main.key: the environment variable TWO holds no key; "
        "put one word of ASCII there",
        id="variable-two-words",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:HAN"',
        ": upstreams.main.key: the environment variable HAN holds no key; "
        "put one word of ASCII there",
        id="variable-not-ascii",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "file:/nowhere/key"',
        ': upstreams.main.key: the file "/nowhere/key" cannot be read '
        "(No such file or directory); mend its path or its mode",
        id="file-missing",
    ),
    pytest.param(
        up("api_key = 'sk-canary'"),
        ": upstreams.main.api_key: unknown key; write key, or remove it",
        id="key-under-another-name",
    ),
    pytest.param(
        up("running_tasks = 0"),
        ": upstreams.main.running_tasks: got 0; use a whole number from 1",
        id="running-zero",
    ),
    pytest.param(
        up("account = 'one'\nrunning_tasks = 5") + up("account = 'one'\nrunning_tasks = 3", "b"),
        ": upstreams.b.running_tasks: got 3, but upstreams.main of the same account says 5; "
        "say it once, or alike",
        id="limits-disagree",
    ),
    pytest.param(
        up("account = 'one'")
        + '[upstreams.b]\nregion = "singapore"\nkey = "env:K"\naccount = "one"\n',
        ': upstreams.b.account: "one" is in beijing by upstreams.main; '
        'name it apart by region, such as "one-singapore"',
        id="account-in-two-regions",
    ),
    pytest.param(
        UP,
        ': tenants: is empty; add [tenants.NAME]; "wan-gateway key --tenant NAME" prints one',
        id="no-tenant",
    ),
    pytest.param(
        acme(""),
        ': tenants.acme.keys: is missing; "wan-gateway key --tenant acme" prints the line',
        id="tenant-no-keys",
    ),
    pytest.param(
        acme("keys = 'wk-canary'"),
        ": tenants.acme.keys: is not a list; "
        'use the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]',
        id="keys-no-list",
    ),
    pytest.param(
        acme("keys = []"),
        ": tenants.acme.keys: is empty; "
        'use the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]',
        id="keys-empty",
    ),
    pytest.param(
        acme(f"keys = ['{HASH}', 'wk-canary']"),
        ": tenants.acme.keys: entry 2 is not a sha256 hash; "
        'use the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]',
        id="keys-plain",
    ),
    pytest.param(
        acme("keys = [1]"),
        ": tenants.acme.keys: entry 1 is not a sha256 hash; "
        'use the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]',
        id="keys-number",
    ),
    pytest.param(
        acme(f"keys = ['sha256:{sha256(b'').hexdigest()}']"),
        ": tenants.acme.keys: entry 1 is the hash of an empty key; "
        'use the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]',
        id="keys-of-nothing",
    ),
    pytest.param(
        acme(f"keys = ['{HASH}', '{HASH.replace('ab', 'AB')}']"),
        ": tenants.acme.keys: holds the same hash twice; "
        'use the lines that "wan-gateway key" prints, as in ["sha256:<64 hex digits>"]',
        id="keys-twice",
    ),
    pytest.param(
        GOOD + f'[tenants.b]\nregion = "beijing"\nkeys = ["{OTHER}", "{HASH}"]',
        ": tenants.b.keys: entry 2 is a key of tenants.acme too; "
        "a key belongs to one tenant: make another",
        id="keys-of-another",
    ),
    pytest.param(
        UP + f'[tenants.acme]\nregion = "mars"\nkeys = ["{HASH}"]',
        ': tenants.acme.region: "mars" is no region; use "beijing" or "singapore"',
        id="tenant-region",
    ),
    pytest.param(
        UP + f'[tenants.acme]\nregion = "singapore"\nkeys = ["{HASH}"]',
        ": tenants.acme.region: no upstream is in singapore; "
        'add [upstreams.NAME] with region = "singapore"',
        id="tenant-region-empty",
    ),
    pytest.param(
        acme(f"keys = ['{HASH}']\nupstreams = ['x']"),
        ': tenants.acme.upstreams: "x" is no upstream; use "main"',
        id="tenant-upstream-unknown",
    ),
    pytest.param(
        '[upstreams.far]\nregion = "singapore"\nkey = "env:K"\n'
        + acme(f"keys = ['{HASH}']\nupstreams = ['far']"),
        ': tenants.acme.upstreams: far is in singapore, the tenant in beijing; use "main"',
        id="tenant-upstream-of-another-region",
    ),
    pytest.param(
        acme("upstreams = []"),
        ": tenants.acme.upstreams: is empty; use a list of names",
        id="tenant-upstreams-empty",
    ),
    pytest.param(
        acme("upstreams = ['main', 'main']"),
        ': tenants.acme.upstreams: holds "main" twice; use a list of names',
        id="tenant-upstreams-twice",
    ),
    pytest.param(
        acme("upstreams = [1]"),
        ": tenants.acme.upstreams: holds 1; use a list of names",
        id="tenant-upstreams-number",
    ),
    pytest.param(acme("fit = 1"), ": tenants.acme.fit: got 1; use true or false", id="fit"),
    pytest.param(
        acme("mask = 'drop'"),
        ': tenants.acme.mask: got "drop"; use "refuse" or "composite"',
        id="mask",
    ),
    pytest.param(
        acme("cut_off_seconds = -1"),
        ": tenants.acme.cut_off_seconds: got -1; use a number from 0",
        id="cut-off",
    ),
    pytest.param(
        acme("keep_alive = 'on'"),
        ': tenants.acme.keep_alive: got "on"; use "off" or "whitespace"',
        id="keep-alive",
    ),
    pytest.param(
        "[server]\ncors_origins = ['https://app.example/']",
        ': server.cors_origins: holds "https://app.example/"; '
        'use a list of origins such as "https://app.example", or ["*"]',
        id="origin-with-a-slash",
    ),
    pytest.param(
        "[server]\ncors_origins = 'https://app.example'",
        ': server.cors_origins: got "https://app.example"; '
        'use a list of origins such as "https://app.example", or ["*"]',
        id="origins-no-list",
    ),
    pytest.param(
        acme("weight = 0"), ": tenants.acme.weight: got 0; use a whole number from 1", id="weight"
    ),
    pytest.param(
        acme(f"keys = ['{HASH}']\nopen = true"),
        ": tenants.acme.open: an open tenant takes any key; remove keys, or open",
        id="open-with-keys",
    ),
    pytest.param(
        acme("open = true") + '[tenants.b]\nregion = "beijing"\nopen = true\n',
        ": tenants.b.open: tenants.acme is open too; give one of them keys",
        id="open-twice",
    ),
    pytest.param(
        '[server]\nhost = "0.0.0.0"\n' + acme("open = true"),
        ': server.host: "0.0.0.0" is no loopback, and the tenant acme is open; '
        "give the tenant keys (WAN_GATEWAY_KEY without a file), or use 127.0.0.1",
        id="open-to-the-network",
    ),
]


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


@pytest.mark.parametrize(("text", "complaint"), COMPLAINTS)
def test_complaints(tmp_path: Path, text: str, complaint: str) -> None:
    """Each wrong config stops the start with one line: place, fault, remedy, and no key."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    assert str(caught.value) == f"{tmp_path / 'g.toml'}{complaint}"
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("path", [known.path for known in config_keys()])
def test_a_key_in_the_wrong_place_is_not_shown(tmp_path: Path, path: str) -> None:
    """Whichever setting a key is pasted into, no complaint repeats it."""
    table, _, name = path.replace("NAME", "x").rpartition(".")
    values = {"region": "beijing", "key": "env:K"} if table == "upstreams.x" else {}
    values |= {"region": "beijing"} if table == "tenants.x" else {}
    values[name] = "sk-canary0123456789abcdef0123456789"
    lines = [f'{key} = "{value}"' for key, value in values.items()]

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "\n".join([f"[{table}]", *lines]))

    assert "canary" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "no.toml", {})

    there = tmp_path / "no.toml"
    assert str(caught.value) == (
        f"{there}: cannot be read (No such file or directory); mend --config"
    )


def test_file_in_another_encoding(tmp_path: Path) -> None:
    """A file that is no UTF-8 is told where."""
    file = tmp_path / "g.toml"
    file.write_bytes(b"# caf\xe9\n")

    with pytest.raises(ConfigError) as caught:
        load_config(file, {})

    assert str(caught.value) == f"{file}: byte 5 is not UTF-8; save it as UTF-8"


def test_long_values_are_cut(tmp_path: Path) -> None:
    """A complaint stays one short line whatever it quotes."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[log]\nlevel = "{"a b " * 100}"')

    assert len(str(caught.value)) < 250


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


def test_environment_alone() -> None:
    """A DashScope key is enough: one open tenant on loopback in Beijing."""
    config = config_from_environ({"DASHSCOPE_API_KEY": " sk-canary "})

    assert config.source == "environment"
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert config.open_tenant == "default"
    tenant = config.tenants["default"]
    assert (tenant.region, tenant.upstreams[0].key) == ("beijing", "sk-canary")
    assert tenant.upstreams[0].region.base_url == "https://dashscope.aliyuncs.com/api/v1"


def test_environment_names_region_base_url_and_customers_key() -> None:
    """The variables choose region, base URL and the customers' key."""
    config = config_from_environ(
        {
            "DASHSCOPE_API_KEY": "sk-canary",
            "DASHSCOPE_REGION": "singapore",
            "DASHSCOPE_BASE_URL": "http://127.0.0.1:8002/api/v1",
            "WAN_GATEWAY_KEY": "mine\n",
        }
    )

    assert config.open_tenant is None
    assert config.tenant_by_key == {sha256(b"mine").digest(): "default"}
    region = config.tenants["default"].upstreams[0].region
    assert (region.name, region.base_url) == ("singapore", "http://127.0.0.1:8002/api/v1")
    assert "127.0.0.1:8002" in region.result_hosts


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        pytest.param(
            {}, "DASHSCOPE_API_KEY: is not set; set it, or give --config FILE", id="no-key"
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": " "},
            "DASHSCOPE_API_KEY: is not set; set it, or give --config FILE",
            id="blank-key",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary two"},
            "upstreams.default.key: the environment variable DASHSCOPE_API_KEY holds no key; "
            "put one word of ASCII there",
            id="odd-key",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary", "DASHSCOPE_REGION": "tokyo"},
            'DASHSCOPE_REGION: got "tokyo"; use "beijing" or "singapore"',
            id="region",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary", "DASHSCOPE_BASE_URL": "dashscope"},
            'DASHSCOPE_BASE_URL: got "dashscope"; '
            'use an URL such as "https://dashscope.aliyuncs.com/api/v1"',
            id="base-url",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "sk-canary", "WAN_GATEWAY_KEY": ""},
            "WAN_GATEWAY_KEY: is empty; give it a value, or unset it",
            id="empty-customers-key",
        ),
    ],
)
def test_environment_complaints(environ: dict[str, str], complaint: str) -> None:
    """What is wrong with the environment names its variable, and no key."""
    with pytest.raises(ConfigError) as caught:
        config_from_environ(environ)

    assert str(caught.value) == f"environment: {complaint}"
    assert "canary" not in str(caught.value)


def test_empty_variables_count_as_not_set() -> None:
    """A container that passes variables on empty gets the defaults."""
    config = config_from_environ(
        {"DASHSCOPE_API_KEY": "sk-canary", "DASHSCOPE_REGION": "", "DASHSCOPE_BASE_URL": ""}
    )

    assert config.tenants["default"].region == "beijing"


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        pytest.param(None, None, ("127.0.0.1", 8080), id="as-it-was"),
        pytest.param("localhost", None, ("localhost", 8080), id="host"),
        pytest.param("::1", 0, ("::1", 0), id="both"),
    ],
)
def test_listen_at(host: str | None, port: int | None, expected: tuple[str, int]) -> None:
    """The command line changes the address and nothing else."""
    config = config_from_environ({"DASHSCOPE_API_KEY": "sk-canary"})

    moved = listen_at(config, host=host, port=port)

    assert (moved.server.host, moved.server.port) == expected
    assert replace(moved, server=config.server) == config


def test_listen_at_keeps_an_open_tenant_in() -> None:
    """--host cannot open a tenant without keys to the network."""
    config = config_from_environ({"DASHSCOPE_API_KEY": "sk-canary"})

    with pytest.raises(ConfigError) as caught:
        listen_at(config, host="0.0.0.0")

    assert str(caught.value) == (
        'environment: server.host: "0.0.0.0" is no loopback, and the tenant default is open; '
        "give the tenant keys (WAN_GATEWAY_KEY without a file), or use 127.0.0.1"
    )
