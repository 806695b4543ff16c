"""What can be wrong in the document, its settings, its models and its regions, and what is said."""

import pytest

from gateway.config.regions import BUILT_IN
from gateway.config.table import one_of
from gateway.domain.models import Operation
from tests.models import MODELS, TABLE

REGIONS = one_of(BUILT_IN)
PRICE_TABLE = (
    ", or a table with picture, large_picture, large_pixels, input_picture, extended_picture"
)

_EDITORS = one_of(TABLE.that_do(Operation.EDIT))
_PAINTERS = one_of(TABLE.that_do(Operation.GENERATE))

WRONG_SETTINGS = [
    pytest.param(
        "a = = 1",
        ": is not valid TOML: Invalid value (at line 1, column 5); fix that line",
        id="no-toml",
    ),
    pytest.param(
        "[servr]", ": servr: unknown key; write server, or remove it", id="unknown-table-near"
    ),
    pytest.param("zzz = 1", ": zzz: unknown key; remove it", id="unknown-key"),
    pytest.param(
        '[dashboard]\non = true\ntoken = "env:K"',
        ": dashboard.token: it has fewer than 16 characters and could be guessed; "
        'make one with "openssl rand -hex 24"',
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
        '[state]\nsync = "fast"',
        ': state.sync: got "fast"; use "normal" or "full"',
        id="sync",
    ),
    pytest.param(
        '[state]\nurl = "mysql://db/gateway"',
        ": state.url: is not the URL of a PostgreSQL database; "
        'use "env:NAME" or "file:PATH" of postgres://USER:PASSWORD@HOST/DATABASE',
        id="url-of-another-database",
    ),
    pytest.param(
        '[state]\nurl = "postgres://db:port/gateway"',
        ": state.url: is not the URL of a PostgreSQL database; "
        'use "env:NAME" or "file:PATH" of postgres://USER:PASSWORD@HOST/DATABASE',
        id="url-with-a-wrong-port",
    ),
    pytest.param(
        '[state]\nurl = "postgres://db/"',
        ": state.url: is not the URL of a PostgreSQL database; "
        'use "env:NAME" or "file:PATH" of postgres://USER:PASSWORD@HOST/DATABASE',
        id="url-without-a-database",
    ),
    pytest.param(
        '[state]\nurl = "postgres://a:5432,:5433/gateway?target_session_attrs=primary"',
        ": state.url: is not the URL of a PostgreSQL database; "
        'use "env:NAME" or "file:PATH" of postgres://USER:PASSWORD@HOST/DATABASE',
        id="url-with-a-port-of-no-host",
    ),
    pytest.param(
        '[state]\nurl = "postgres://a,b/gateway"',
        ": state.url: names several hosts without ?target_session_attrs=primary, which finds the "
        'primary; use "env:NAME" or "file:PATH" of postgres://USER:PASSWORD@HOST/DATABASE',
        id="url-of-any-of-two-hosts",
    ),
    pytest.param(
        '[state]\nurl = "postgres://me:canary@db/gateway"',
        ': state.url: holds a password; use "env:NAME" or "file:PATH" of '
        "postgres://USER:PASSWORD@HOST/DATABASE",
        id="url-with-a-password",
    ),
    pytest.param(
        '[state]\nurl = "env:NOT_SET"',
        ": state.url: the environment variable NOT_SET is not set; set it, or use file:PATH",
        id="url-not-set",
    ),
    pytest.param(
        '[state]\nurl = "env:K"',
        ': state.url: "env:K" is not the URL of a PostgreSQL database; '
        "write postgres://USER:PASSWORD@HOST/DATABASE there",
        id="url-of-a-variable",
    ),
    pytest.param(
        '[state]\nurl = "postgres://db/gateway"\npath = "gateway.db"',
        ": state.path: is of a local file, and state.url names a database; remove one of them",
        id="url-and-path",
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
        f': models.default: "gpt-4o" is not a model; use {_EDITORS}, or a name of OpenAI\'s',
        id="default-model",
    ),
    pytest.param(
        '[models]\ndefault = "mine"\n[models.aliases]\nmine = "wan2.6-t2i"',
        ': models.default: "mine" is not a model that can edit; use '
        f"{_EDITORS}, or a name of OpenAI's",
        id="default-model-of-the-other-kind",
    ),
    pytest.param(
        '[models]\ndefault_generation = "wan2.6-image"',
        ': models.default_generation: "wan2.6-image" is not a model that can generate; use '
        f"{_PAINTERS}, or a name of OpenAI's",
        id="default-generation",
    ),
    pytest.param(
        '[models.aliases]\n"a.b" = "wan9"',
        f': models.aliases."a.b": got "wan9"; use {one_of(MODELS)}',
        id="alias-target",
    ),
    pytest.param(
        '[models.aliases]\na = {edit = "wan2.6-t2i"}',
        f': models.aliases.a.edit: got "wan2.6-t2i"; use {_EDITORS}',
        id="alias-target-of-the-other-kind",
    ),
    pytest.param(
        "[models.aliases.a]",
        ": models.aliases.a: is empty; name a model for edit or generate",
        id="alias-without-target",
    ),
    pytest.param(
        '[models.aliases.a]\nedits = "wan2.6-image"',
        ": models.aliases.a.edits: unknown key; write edit, or remove it",
        id="alias-with-another-key",
    ),
    pytest.param(
        '[models.aliases]\n"a b" = "wan2.5-i2i-preview"',
        ': models.aliases."a b": is not a model name; use letters, digits and . _ : / -',
        id="alias-name",
    ),
    pytest.param(
        '[regions."Bei Jing"]',
        ': regions."Bei Jing": is not a valid name; '
        "use up to 63 of a-z, 0-9, _ and -, a letter or digit first",
        id="name",
    ),
    pytest.param(
        "[regions.atlantis]",
        ': regions.atlantis.base_url: is missing; only "beijing", "singapore", "virginia" or '
        '"hongkong" have one built in',
        id="region-without-url",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "ftp://x"',
        ': regions.beijing.base_url: got "ftp://x"; '
        'use a URL such as "https://dashscope.aliyuncs.com/api/v1"',
        id="url-scheme",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "https://x/v1?k=v"',
        ': regions.beijing.base_url: got "https://x/v1?k=v"; '
        'use a URL such as "https://dashscope.aliyuncs.com/api/v1"',
        id="url-query",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "https://dashscope.aliyuncs.com/compatible-mode/v1"',
        ': regions.beijing.base_url: "/compatible-mode/v1" is not the native API of DashScope; '
        'use "https://dashscope.aliyuncs.com/api/v1"',
        id="url-of-another-api",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "https://llm-x.cn-beijing.maas.aliyuncs.com"',
        ': regions.beijing.base_url: "" is not the native API of DashScope; '
        'use "https://llm-x.cn-beijing.maas.aliyuncs.com/api/v1"',
        id="url-without-a-path",
    ),
    pytest.param(
        "[prices.mars]",
        f': prices.mars: "mars" is not a region; use {REGIONS}',
        id="price-of-no-region",
    ),
    pytest.param(
        '[prices.beijing]\n"wan2.6-imag" = 1',
        ': prices.beijing."wan2.6-imag": unknown key; write wan2.6-image, or remove it',
        id="price-of-no-model",
    ),
    pytest.param(
        '[prices.beijing]\n"wan2.6-image" = "free"',
        ': prices.beijing."wan2.6-image": got "free"; use a number from 0, in the currency of '
        f'the region, or a text such as "0.03 USD"{PRICE_TABLE}',
        id="price-in-words",
    ),
    *(
        pytest.param(
            f'[prices.beijing]\n"wan2.6-image" = {value}',
            f': prices.beijing."wan2.6-image": {what}; use a number from 0, in the currency of '
            f'the region, or a text such as "0.03 USD"{PRICE_TABLE}',
            id=f"price-{value}",
        )
        for value, what in (
            ("{ picture = 1, large = 2 }", 'holds the unknown key "large"'),
            ("{ input_picture = 1 }", "has no key picture"),
            (
                "{ picture = 1, large_picture = 2 }",
                "has one of large_picture and large_pixels without the other",
            ),
            (
                "{ picture = 1, large_pixels = 2 }",
                "has one of large_picture and large_pixels without the other",
            ),
            ('{ picture = 1, input_picture = "0.003 USD" }', "is in CNY and USD"),
            ("{ picture = 1, large_picture = 2, large_pixels = 0 }", "got 0"),
            ("{ picture = -1 }", "got -1"),
            ("true", "got true"),
        )
    ),
    pytest.param(
        '[regions.beijing]\nprevious = ["x"]',
        ': regions.beijing.previous: got "x"; '
        'use a list of URLs such as "https://dashscope.aliyuncs.com/api/v1", or []',
        id="previous",
    ),
    pytest.param(
        '[regions.beijing]\nbase_url = "https://me:canary@x/v1"',
        ": regions.beijing.base_url: holds a user name or password; "
        'use a URL such as "https://dashscope.aliyuncs.com/api/v1"',
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
]
