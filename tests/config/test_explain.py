import re
from pathlib import Path

import pytest

from gateway.config import config_from_environ, explain, load_config
from gateway.domain.models import DEFAULTS, Operation
from tests.models import TABLE

ENVIRON = {"DASHSCOPE_API_KEY": "sk-canary"}

_EDITORS = sorted(TABLE.that_do(Operation.EDIT).keys() - {"wan2.6-image"})


def _others(operation: Operation) -> str:
    """Name the models beside the default."""
    default = DEFAULTS[operation]
    return "; ".join(name for name in TABLE.that_do(operation) if name != default)


def test_explain_says_it_all() -> None:
    """The text says what an operator must know, from address to tenants."""
    assert explain(config_from_environ(ENVIRON)) == (
        "environment is good.\n"
        "\n"
        "listens   on 127.0.0.1:8080\n"
        "reads     bodies of up to 64 MiB, 512 MiB of them at once\n"
        "waits     up to 540 s for an edit\n"
        "drains    for up to 150 s after SIGTERM\n"
        "remembers edits in state/gateway.db, which survives SIGKILL\n"
        "metrics   with the rest, for anyone\n"
        "logs      from info on, format auto\n"
        "edits     by wan2.5-i2i-preview, also called any of OpenAI's names of image models; "
        f"{_others(Operation.EDIT)}\n"
        "generates by wan2.5-t2i-preview, also called any of OpenAI's names of image models; "
        f"{_others(Operation.GENERATE)}\n"
        "\n"
        "region beijing: https://dashscope.aliyuncs.com/api/v1, results from *.aliyuncs.com\n"
        "  account default: 20 polls/s; keys default\n"
        "    5 submits/s, 5 running and 1 ahead: wan2.5-i2i-preview, wan2.5-t2i-preview, "
        "wan2.6-image, wan2.7-image, wan2.7-image-pro\n"
        "    1 submits/s, 5 running and 1 ahead: wan2.6-t2i\n"
        "    20 submits/min, 10 running and 1 ahead: qwen-image-3.0, qwen-image-2.1-pro\n"
        "    5 submits/min, 10 running and 1 ahead: qwen-image-3.0-pro\n"
        "    2 submits/s, 10 running and 1 ahead: qwen-image-2.1-turbo\n"
        "    2 submits/min: "
        f"{_named('qwen-image-2.0-pro', 'qwen-image-edit-max', 'qwen-image-max')}\n"
        "    2 submits/s: "
        f"{_named('qwen-image-2.0', 'qwen-image-edit-plus', 'qwen-image-edit')}, "
        f"{_named('qwen-image-plus')}, qwen-image, z-image-turbo\n"
        "  a picture costs\n"
        "    0.2 CNY: wan2.5-i2i-preview, wan2.5-t2i-preview, wan2.6-image, wan2.6-t2i, "
        "wan2.7-image, qwen-image-2.0, qwen-image-2.0-2026-03-03, "
        f"{_named('qwen-image-edit-plus', 'qwen-image-plus')}\n"
        "    0.5 CNY: wan2.7-image-pro, "
        f"{_named('qwen-image-2.0-pro', 'qwen-image-edit-max', 'qwen-image-max')}\n"
        "    0.18 CNY, and 0.02 CNY for each put in: qwen-image-3.0\n"
        "    0.25 CNY, 0.5 CNY above 2250000 pixels, and 0.02 CNY for each put in: "
        "qwen-image-3.0-pro\n"
        "    0.25 CNY: qwen-image-2.1-pro, qwen-image\n"
        "    0.1 CNY: qwen-image-2.1-turbo\n"
        "    0.3 CNY: qwen-image-edit\n"
        "    0.1 CNY, 0.2 CNY with prompt_extend: z-image-turbo\n"
        "\n"
        "tenant default: any key; beijing by default; pictures are fitted; masks are kept; "
        "unknown fields are ignored; weight 1; 1000 may wait; as many as the account may run"
    )


def _named(*models: str) -> str:
    """Return the names of these models, each with its dated snapshots."""
    every = TABLE.by_name
    dated = re.compile(f"({'|'.join(map(re.escape, models))})(-\\d{{4}}-\\d\\d-\\d\\d)?")
    return ", ".join(name for name in every if dated.fullmatch(name))


def _explained(tmp_path: Path, text: str) -> str:
    file = tmp_path / "g.toml"
    file.write_text(text)
    return explain(load_config(file, {"K": "sk-canary", "T": "canary-token-0123"}))


BEIJING = '[upstreams.bj]\nregion = "beijing"\nkey = "env:K"\n'
SINGAPORE = '[upstreams.sg]\nregion = "singapore"\nkey = "env:K"\n'
OPEN = '[tenants.any]\nregion = "beijing"\nopen = true\n'
TWO = "".join(
    f'[tenants.{name}]\nregion = "beijing"\nkeys = ["sha256:{number:064x}"]\n'
    for number, name in enumerate(("one", "two"))
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            BEIJING + TWO,
            "metrics   with the rest, for anyone, tenants added up: to see each, set "
            "metrics.token or metrics.port",
            id="metrics-of-two",
        ),
        pytest.param(
            BEIJING + OPEN + '[tenants.any.models]\nallow = ["wan2.5-i2i*"]',
            "tenant any: any key; beijing by bj; pictures are fitted; masks are kept; unknown "
            "fields are ignored; weight 1; 1000 may wait; as many as the account may run; "
            "edits by wan2.5-i2i-preview; no model generates",
            id="a-tenant-that-only-edits",
        ),
        pytest.param(
            BEIJING + OPEN + '[tenants.any.models]\ndefault = "wan2.6-image"',
            "tenant any: any key; beijing by bj; pictures are fitted; masks are kept; unknown "
            "fields are ignored; weight 1; 1000 may wait; as many as the account may run; "
            f"edits by wan2.6-image, {', '.join(_EDITORS)}",
            id="a-tenant-with-its-own-default",
        ),
        pytest.param(
            BEIJING + "[accounts.bj]\nshared = true\n" + OPEN,
            "  account bj: 20 polls/s, shared with others; keys bj",
            id="shared",
        ),
        pytest.param(
            BEIJING + 'running_tasks = 3\n[upstreams.bj.limits."wan2.6-t2i"]\nrunning = 8\n' + OPEN,
            "    1 submits/s, 8 running and 1 ahead: wan2.6-t2i\n",
            id="limits",
        ),
        pytest.param(
            '[upstreams.jp]\nregion = "tokyo"\nkey = "env:K"\nworkspace = "llm-0123456789abcdef"\n'
            '[tenants.any]\nregion = "tokyo"\nopen = true\n[tenants.any.models]\n'
            'default = "qwen-image-3.0"\ndefault_generation = "qwen-image-3.0"\n',
            "keys jp\n    20 submits/min, 10 running and 1 ahead: qwen-image-3.0, "
            "qwen-image-2.1-pro\n",
            id="limits-of-the-models-of-the-region",
        ),
        pytest.param(
            BEIJING + OPEN + '[prices.beijing]\n"qwen-image" = "0.03 EUR"\n',
            "    0.03 EUR: qwen-image\n",
            id="a-price-of-its-own",
        ),
        pytest.param(
            '[upstreams.hk]\nregion = "hongkong"\nkey = "env:K"\n'
            '[tenants.any]\nregion = "hongkong"\nopen = true\n[tenants.any.models]\n'
            'default = "qwen-image-3.0"\ndefault_generation = "qwen-image-3.0"\n',
            "    not known: qwen-image-3.0, qwen-image-3.0-pro\n    0.25 CNY: qwen-image-2.1-pro\n",
            id="no-price",
        ),
        pytest.param(
            '[state]\npath = "memory"\n' + BEIJING + OPEN,
            'warning: with state.path = "memory" a restart forgets edits that were paid for',
            id="memory",
        ),
        pytest.param(
            '[state]\npath = "memory"\n' + BEIJING + OPEN,
            "remembers edits until it exits",
            id="ledger-memory",
        ),
        pytest.param(
            '[state]\nsync = "full"\n' + BEIJING + OPEN,
            "remembers edits in state/gateway.db, which survives a loss of power",
            id="ledger-full",
        ),
        pytest.param(
            BEIJING + SINGAPORE + OPEN,
            "warning: no tenant uses the upstream sg",
            id="idle-upstream",
        ),
        pytest.param(
            '[regions.beijing]\nbase_url = "http://sandbox:8001/api/v1"\n' + BEIJING + OPEN,
            "warning: keys of beijing travel unencrypted: its base_url is http",
            id="plain-http",
        ),
        pytest.param(
            '[regions.beijing]\nbase_url = "https://proxy.example/dashscope"\n' + BEIJING + OPEN,
            "warning: regions.beijing.base_url does not end in /api/v1",
            id="not-the-native-api",
        ),
        pytest.param(
            '[server]\ncors_origins = ["https://a.example", "https://b.example"]\n'
            + BEIJING
            + OPEN,
            "lets      scripts of https://a.example, https://b.example call",
            id="origins",
        ),
        pytest.param(
            "[dashboard]\non = true\n" + BEIJING + OPEN,
            "shows     a live page at /dashboard, to this machine alone\n",
            id="dashboard",
        ),
        pytest.param(
            '[dashboard]\non = true\nthumbnails = true\ntoken = "env:T"\n' + BEIJING + OPEN,
            "at /dashboard, to holders of its token, with small pictures\n",
            id="dashboard-with-a-token",
        ),
        pytest.param(
            BEIJING + OPEN + 'keep_alive = "whitespace"',
            "as many as the account may run; blanks are sent while a task runs",
            id="keep-alive",
        ),
        pytest.param('[server]\nhost = "::1"\n' + BEIJING + OPEN, "on [::1]:8080", id="ipv6"),
        pytest.param(
            BEIJING + OPEN + "fit = false\nmask = 'refuse'\nstrict = true\ncut_off_seconds = 60\n"
            "max_running = 2",
            "tenant any: any key; beijing by bj; pictures are refused unless they fit; "
            "masks are refused; unknown fields are refused; weight 1; 1000 may wait; 2 may run; "
            "answered before its proxy cuts at 60 s",
            id="strict-tenant",
        ),
        pytest.param(
            BEIJING + '[tenants.a]\nregion = "beijing"\nkeys = ["sha256:' + "ab" * 32 + '"]',
            "tenant a: 1 key; ",
            id="one-key",
        ),
        pytest.param(
            BEIJING
            + '[tenants.a]\nregion = "beijing"\nkeys = ["sha256:'
            + "ab" * 32
            + '", "sha256:'
            + "cd" * 32
            + '"]',
            "tenant a: 2 keys; ",
            id="two-keys",
        ),
    ],
)
def test_lines(tmp_path: Path, text: str, line: str) -> None:
    """Each setting shows where it matters, and what is risky is called out."""
    explained = _explained(tmp_path, text)

    assert line in explained
    assert "canary" not in explained


def test_accounts_stand_under_their_region(tmp_path: Path) -> None:
    """Each region lists its own accounts with the keys that share them."""
    explained = _explained(tmp_path, BEIJING + SINGAPORE + OPEN)

    regions = [line.split(":")[0].strip() for line in explained.splitlines()]
    assert regions.index("region beijing") + 1 == regions.index("account bj")
    assert regions.index("region singapore") + 1 == regions.index("account sg")


def test_a_sandbox_on_loopback_is_no_risk(tmp_path: Path) -> None:
    """Plain http that never leaves the machine is not worth a warning."""
    sandbox = '[regions.beijing]\nbase_url = "http://[::1]:8001/api/v1"\n'

    assert "mind" not in _explained(tmp_path, sandbox + BEIJING + OPEN)
