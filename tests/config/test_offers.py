"""gateway.config.offers."""

from typing import Any

import pytest

from gateway.config.offers import offers_of
from gateway.config.table import ConfigError, Table
from gateway.domain.models import Does, Offer

EDIT, PAINT = "wan2.5-i2i-preview", "wan2.5-t2i-preview"


def offers(**values: Any) -> tuple[Offer, Offer]:
    made = offers_of(Table("g.toml", "models", values))
    return made[Does.EDIT], made[Does.GENERATE]


def test_openais_names_mean_the_default_of_each_path() -> None:
    """gpt-image-1 edits with one model and generates with another; dall-e-3 only generates."""
    edits, generations = offers()

    assert (edits.does, generations.does) == (Does.EDIT, Does.GENERATE)
    assert (edits.default, generations.default) == (EDIT, PAINT)
    assert edits.models["gpt-image-1"] == edits.models["dall-e-2"] == EDIT
    assert generations.models["gpt-image-1"] == generations.models["dall-e-3"] == PAINT
    assert "dall-e-3" not in edits.models
    assert "dall-e-3" in edits.elsewhere


def test_openais_names_follow_the_default() -> None:
    """Where the config has another default, OpenAI's names mean that."""
    edits, generations = offers(default="wan2.6-image", default_generation="wan2.6-t2i")

    assert edits.models["gpt-image-1"] == edits.default == "wan2.6-image"
    assert generations.models["dall-e-2"] == generations.default == "wan2.6-t2i"


def test_a_default_by_openais_name() -> None:
    """One of OpenAI's names as the default means the gateway's own."""
    edits, _ = offers(default="gpt-image-1")

    assert edits.default == edits.models["gpt-image-1"] == EDIT


def test_an_alias_goes_where_its_model_is() -> None:
    """An alias is offered at the path of what its model does, and known to the other."""
    edits, generations = offers(aliases={"painter": "wan2.6-t2i", "gpt-image-1": "wan2.6-image"})

    assert "painter" not in edits.models
    assert "painter" in edits.elsewhere
    assert generations.models["painter"] == "wan2.6-t2i"
    assert (edits.models["gpt-image-1"], generations.models["gpt-image-1"]) == (
        "wan2.6-image",
        PAINT,
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"default": PAINT}, "is no model that can edit", id="paints"),
        pytest.param({"default_generation": EDIT}, "is no model that can generate", id="edits"),
        pytest.param({"default": "wan9"}, '"wan9" is no model; use', id="unknown"),
    ],
)
def test_a_default_that_does_something_else(values: dict[str, str], said: str) -> None:
    """A default must do what its path is for."""
    with pytest.raises(ConfigError, match=said):
        offers(**values)
