"""What can be wrong in upstreams and tenants, and what is said."""

from hashlib import sha256

import pytest

from gateway.config.regions import BUILT_IN
from gateway.config.table import one_of
from tests.config.toml import ACME, GOOD, HASH, OTHER, UP, acme, up

REGIONS = one_of(BUILT_IN)

WRONG_TENANTS = [
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
        '[upstreams.main]\nregion = "mars"\nkey = "env:K"',
        f': upstreams.main.region: "mars" is not a region; use {REGIONS}',
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
        "(No such file or directory); fix its path or its mode",
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
        ": upstreams.main.key: the environment variable TWO has no key in it; "
        "put one word of ASCII there",
        id="variable-two-words",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:HAN"',
        ": upstreams.main.key: the environment variable HAN has no key in it; "
        "put one word of ASCII there",
        id="variable-not-ascii",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:QUOTED"',
        ": upstreams.main.key: the environment variable QUOTED has quotation marks around the "
        "key; remove them: they would be sent as part of the key",
        id="quotes-around-the-key",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "env:LINE"',
        ": upstreams.main.key: the environment variable LINE holds NAME=value; "
        "leave the key alone there, without its name",
        id="a-line-of-an-env-file",
    ),
    pytest.param(
        up("") + up("", "b"),
        ": upstreams.b.key: is the key of upstreams.main, which is of the account main; "
        'set account = "main" here, or use another key',
        id="one-key-two-accounts",
    ),
    pytest.param(
        '[upstreams.main]\nregion = "beijing"\nkey = "file:/nowhere/key"',
        ': upstreams.main.key: the file "/nowhere/key" cannot be read '
        "(No such file or directory); fix its path or its mode",
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
        up("account = 'Acme Corp'"),
        ': upstreams.main.account: got "Acme Corp"; '
        "use up to 63 of a-z, 0-9, _ and -, a letter or digit first",
        id="account-name",
    ),
    pytest.param(
        up("account = 'one'\nrunning_tasks = 5") + up("account = 'one'\nrunning_tasks = 3", "b"),
        ": upstreams.b.running_tasks: got 3, but upstreams.main of the same account says 5; "
        "state it once, or the same value",
        id="limits-disagree",
    ),
    pytest.param(
        up("account = 'one'")
        + '[upstreams.b]\nregion = "singapore"\nkey = "env:K"\naccount = "one"\n',
        ': upstreams.b.account: "one" is in beijing by upstreams.main; '
        'use another name in each region, such as "one-singapore"',
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
        f': tenants.acme.region: "mars" is not a region; use {REGIONS}',
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
        ': tenants.acme.upstreams: "x" is not an upstream; use "main"',
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
        ': server.host: "0.0.0.0" is not a loopback address, and the tenant acme is open; '
        "give the tenant keys (WAN_GATEWAY_KEY without a file), or use 127.0.0.1",
        id="open-to-the-network",
    ),
    pytest.param(
        UP + "[accounts.min]\nshared = true\n" + ACME,
        ': accounts.min: is not an account of an upstream; use "main"',
        id="account-unknown",
    ),
]
