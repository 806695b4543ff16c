"""Which models clients may request, and what their pictures cost."""

from typing import Any

import pytest

from gateway.config.model_table import read_models
from gateway.config.models import catalogs_of, read_offer, tenant_catalogs
from gateway.config.table import ConfigError, Table
from gateway.domain.models import Catalog, Operation
from tests.models import EDITOR, MODELS, PAINTER, TABLE

EDIT, PAINT = EDITOR.name, PAINTER.name


def catalogs(**values: Any) -> tuple[Catalog, Catalog]:
    table = Table("g.toml", "models", values)
    made = catalogs_of(table, read_offer(table, TABLE))
    return made[Operation.EDIT], made[Operation.GENERATE]


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        pytest.param("gpt-image-2.6-flare", True, id="of November 2026"),
        pytest.param("gpt-image-3-2027-01-31", True, id="of next year"),
        pytest.param("chatgpt-image-next", True, id="of ChatGPT"),
        pytest.param("dall-e-3", True, id="retired"),
        pytest.param("gpt-image-", False, id="no name"),
        pytest.param("gpt-image-2 ", False, id="a space"),
        pytest.param("my-gpt-image-2", False, id="another prefix"),
        pytest.param("gpt-image-" + "1" * 200, False, id="too long"),
        pytest.param("gpt-4o", False, id="another kind of model"),
    ],
)
def test_names_of_openai_that_come_later(name: str, taken: bool) -> None:
    """A name in OpenAI's pattern is taken on the day it comes; others are not."""
    edits, generations = catalogs()

    assert (edits.model_of(name), generations.model_of(name)) == (
        (EDITOR, PAINTER) if taken else (None, None)
    )


def test_openais_names_follow_the_default() -> None:
    """Where the config has another default, OpenAI's names mean that."""
    edits, generations = catalogs(default="wan2.6-image", default_generation="wan2.6-t2i")

    assert edits.models["gpt-image-1"].name == edits.default == "wan2.6-image"
    assert generations.models["dall-e-2"].name == generations.default == "wan2.6-t2i"


def test_a_default_by_openais_name() -> None:
    """One of OpenAI's names as the default means the gateway's own."""
    edits, _ = catalogs(default="gpt-image-1")

    assert edits.default == edits.models["gpt-image-1"].name == EDIT


def test_an_alias_serves_both_paths() -> None:
    """An alias means its model where that can be had, and the default at the other path."""
    edits, generations = catalogs(
        default="wan2.6-image", aliases={"painter": "wan2.6-t2i", "gpt-image-1": EDIT}
    )

    assert (edits.models["painter"].name, generations.models["painter"].name) == (
        "wan2.6-image",
        "wan2.6-t2i",
    )
    assert (edits.models["gpt-image-1"], generations.models["gpt-image-1"]) == (EDITOR, PAINTER)


def test_an_alias_that_names_a_model_for_each_path() -> None:
    """A table names what an alias means at each path; what it leaves out means the default."""
    edits, generations = catalogs(
        default_generation="wan2.5-t2i-preview",
        aliases={
            "both": {"edit": "wan2.6-image", "generate": "wan2.6-t2i"},
            "one": {"edit": "wan2.6-image"},
        },
    )

    both = MODELS["wan2.6-image"], MODELS["wan2.6-t2i"]
    assert (edits.model_of("both"), generations.model_of("both")) == both
    assert (edits.model_of("one"), generations.model_of("one")) == (both[0], PAINTER)


def test_a_name_of_openais_for_each_path() -> None:
    """One of OpenAI's names may mean another model than the default, at one path or both."""
    edits, generations = catalogs(
        aliases={"gpt-image-2": {"edit": "wan2.6-image", "generate": "wan2.6-t2i"}}
    )

    assert edits.model_of("gpt-image-2") == MODELS["wan2.6-image"]
    assert edits.model_of("gpt-image-1") == EDITOR
    assert generations.model_of("gpt-image-2") == MODELS["wan2.6-t2i"]


def test_an_alias_as_the_default() -> None:
    """An alias can be the default, and OpenAI's names mean its model then."""
    edits, _ = catalogs(default="house", aliases={"house": "wan2.6-image"})

    assert edits.model_of("gpt-image-9") == edits.models["house"] == MODELS["wan2.6-image"]


def named(catalog: Catalog, name: str) -> str | None:
    """Return DashScope's name of the model that *name* means, if it is one."""
    model = catalog.model_of(name)
    return None if model is None else model.name


def of_a_tenant(values: dict[str, Any], **general: Any) -> tuple[Catalog, Catalog]:
    table = Table("g.toml", "models", general)
    of_tenant = Table("g.toml", "tenants.acme.models", values)
    made = tenant_catalogs(of_tenant, read_offer(table, TABLE), "beijing")
    return made[Operation.EDIT], made[Operation.GENERATE]


def test_a_tenant_without_a_choice_has_all() -> None:
    """A tenant that chooses nothing has what the config offers."""
    aliases = {"painter": "wan2.6-t2i"}

    assert of_a_tenant({}, aliases=aliases) == catalogs(aliases=aliases)


def test_a_tenants_own_defaults() -> None:
    """Its defaults are what its requests without a model, and OpenAI's names, mean."""
    edits, generations = of_a_tenant({"default": "wan2.6-image"}, default_generation="wan2.6-t2i")

    assert edits.default == named(edits, "gpt-image-9") == "wan2.6-image"
    assert generations.default == named(generations, "dall-e-3") == "wan2.6-t2i"
    assert named(edits, EDIT) == EDIT


def test_what_a_tenant_may_not_use() -> None:
    """A model that no pattern matches is refused by each of its names; the rest stays."""
    edits, generations = of_a_tenant(
        {"default": "ours", "default_generation": "wan2.6-t2i", "allow": ["wan2.6-*"]},
        aliases={"ours": "wan2.6-image", "theirs": "qwen-image-edit-plus"},
    )

    assert {it.name for it in edits.models.values()} == {"wan2.6-image"}
    assert {it.name for it in generations.models.values()} == {"wan2.6-t2i"}
    assert {EDIT, PAINT, "theirs", "qwen-image-edit-plus"} <= set(edits.refused)
    assert not {"ours", "wan2.6-image", "gpt-image-1"} & set(edits.refused)
    assert (named(edits, "theirs"), named(edits, "gpt-image-1")) == (None, "wan2.6-image")


def test_a_tenant_that_only_edits() -> None:
    """Where a tenant may use no model of a path, that path takes no name at all."""
    edits, generations = of_a_tenant({"allow": [EDIT]})

    assert edits.default == EDIT
    assert (dict(generations.models), generations.model_of("gpt-image-1")) == ({}, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"allow": ["wan9*"]}, '"wan9\\*" matches no model; use', id="no-match"),
        pytest.param(
            {"allow": ["wan2.6-image"]},
            f'models.default: "{EDIT}" means {EDIT}, which is not allowed; use "wan2.6-image"',
            id="general-default",
        ),
        pytest.param(
            {"default": "gpt-image-1", "allow": ["wan2.6-image"]},
            f'"gpt-image-1" means {EDIT}, which is not allowed',
            id="a-name-of-openais",
        ),
        pytest.param({"default": PAINT}, "is not a model that can edit", id="paints"),
    ],
)
def test_a_choice_that_does_not_add_up(values: dict[str, Any], message: str) -> None:
    """A tenant's default must be one of the models that it may use, and patterns match some."""
    with pytest.raises(ConfigError, match=message):
        of_a_tenant(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"default": PAINT}, "is not a model that can edit", id="paints"),
        pytest.param({"default_generation": EDIT}, "is not a model that can generate", id="edits"),
        pytest.param({"default": "wan9"}, '"wan9" is not a model; use', id="unknown"),
        pytest.param(
            {"default": "p", "aliases": {"p": PAINT}}, "is not a model that can edit", id="an alias"
        ),
    ],
)
def test_a_default_that_does_something_else(values: dict[str, str], message: str) -> None:
    """A default must do what its path is for."""
    with pytest.raises(ConfigError, match=message):
        catalogs(**values)


def test_every_model_has_a_price() -> None:
    """The cost of every model's pictures is estimated, in the currency of the region."""
    _, prices = read_models(Table("g.toml", "models", {}))

    for model in MODELS:
        assert prices["beijing", model].currency == "CNY"
        assert prices["singapore", model].currency == "USD"
