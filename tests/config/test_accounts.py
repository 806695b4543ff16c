"""gateway.config.accounts: the limits of an account, by model."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, load_config
from gateway.domain.models import ModelLimits
from gateway.domain.tenant import Account

OPEN = "[tenants.any]\nopen = true\n"


def account_of(tmp_path: Path, text: str) -> Account:
    file = tmp_path / "g.toml"
    file.write_text(text + OPEN)
    (account,) = load_config(file, {"K": "sk-x"}).accounts.values()
    return account


def up(text: str = "", name: str = "main", region: str = "beijing") -> str:
    return f'[upstreams.{name}]\nregion = "{region}"\nkey = "env:K"\naccount = "one"\n{text}\n'


def test_each_model_has_its_own_limits(tmp_path: Path) -> None:
    """What nobody states is DashScope's own limit there; a minute's is told by the second."""
    account = account_of(tmp_path, up())

    assert account.limits_of("wan2.5-i2i-preview") == ModelLimits(5, 5)
    assert account.limits_of("wan2.6-t2i") == ModelLimits(1, 5)
    assert account.limits_of("qwen-image-3.0-pro") == ModelLimits(5 / 60, 10)
    assert account.limits_of("qwen-image-2.0-pro-2026-04-22").running_tasks == 0
    assert account.limits_of("removed") == ModelLimits(5, 5)


def test_limits_are_of_a_region(tmp_path: Path) -> None:
    """A model may have another limit in another region."""
    account = account_of(tmp_path, up(region="singapore"))

    assert account.limits_of("wan2.6-t2i") == ModelLimits(5, 5)


def test_an_upstream_states_limits(tmp_path: Path) -> None:
    """Of all models, then of one, each key on its own; any upstream of the account may."""
    first = up('running_tasks = 7\nlimits."wan2.6-t2i" = { submits = "90 per minute" }')
    second = up('limits."qwen-image-3.0" = { running = 0 }', "second")

    account = account_of(tmp_path, first + second)

    assert account.limits_of("wan2.6-image") == ModelLimits(5, 7)
    assert account.limits_of("wan2.6-t2i") == ModelLimits(1.5, 7)
    assert account.limits_of("qwen-image-3.0") == ModelLimits(20 / 60, 0)


def test_limits_of_a_model_of_the_config(tmp_path: Path) -> None:
    """A model of the config may state its limits, by region or for all; else they are 5 and 5."""
    model = '[models."wan9"]\nfamily = "messages"\ngenerations = true\npixels = [1, 9]\n'
    stated = 'submits = "2 per second"\nrunning = { beijing = 9, singapore = 3 }\n'

    silent = account_of(tmp_path, model + up())
    here = account_of(tmp_path, model + stated + up())
    there = account_of(tmp_path, model + stated + up(region="singapore"))
    elsewhere = account_of(tmp_path, model + stated + _HONGKONG)

    assert silent.limits_of("wan9") == ModelLimits(5, 5)
    assert here.limits_of("wan9") == ModelLimits(2, 9)
    assert there.limits_of("wan9") == ModelLimits(2, 3)
    assert elsewhere.limits_of("wan9") == ModelLimits(2, 5)


_HONGKONG = (
    up(region="hongkong")
    + "[tenants.any.models]\n"
    + 'default = "qwen-image-3.0"\ndefault_generation = "qwen-image-3.0"\n'
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            up('limits."wan2.6-i2t" = { running = 1 }'),
            'upstreams.main.limits."wan2.6-i2t": unknown key; write wan2.6-t2i, or remove it',
        ),
        (
            up('limits."wan2.6-t2i" = { run = 1 }'),
            'upstreams.main.limits."wan2.6-t2i".run: unknown key; write running, or remove it',
        ),
        (
            up('limits."wan2.6-t2i" = { submits = 5 }'),
            (
                'upstreams.main.limits."wan2.6-t2i".submits: got 5; use a text such as '
                '"5 per second" or "20 per minute"'
            ),
        ),
        (
            up('limits."wan2.6-t2i" = { submits = "0 per minute" }'),
            'upstreams.main.limits."wan2.6-t2i".submits: got "0 per minute"; use a text',
        ),
        (
            up('limits."wan2.6-t2i" = { running = 2 }')
            + up('limits."wan2.6-t2i" = { running = 3 }', "second"),
            (
                'upstreams.second.limits."wan2.6-t2i".running: got 3, but upstreams.main of the '
                "same account says 2; state it once, or the same value"
            ),
        ),
        (up("limits = 3"), "upstreams.main.limits: got 3; make it a table"),
        (
            '[models."wan2.6-t2i"]\nsubmits = { beijing = 3 }\n' + up(),
            (
                'models."wan2.6-t2i".submits: got 3; use a text such as "5 per second" or '
                '"20 per minute", or a table of them by region'
            ),
        ),
    ],
)
def test_wrong_limits(tmp_path: Path, text: str, complaint: str) -> None:
    """The error names the key, and what it takes."""
    with pytest.raises(ConfigError) as error:
        account_of(tmp_path, text)

    assert complaint in str(error.value)
