"""Every name and field of the installed openai package: a new one fails here, not at a client."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.resources.images import Images
from openai.types import ImageModel
from openai.types.image_edit_params import ImageEditParamsBase
from openai.types.image_generate_params import ImageGenerateParamsBase

from gateway.config.models import catalogs_of, read_offer
from gateway.config.table import Table
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import Operation
from gateway.translate.openai_fields import FIELDS
from gateway.translate.openai_pictures import is_picture
from gateway.translate.openai_request import edit_of
from tests.docs.pages import REFERENCE, spans, table_with
from tests.models import TABLE

METHODS: dict[Operation, Callable[..., Any]] = {
    Operation.EDIT: Images.edit,
    Operation.GENERATE: Images.generate,
}
TYPES = {Operation.EDIT: ImageEditParamsBase, Operation.GENERATE: ImageGenerateParamsBase}
OF_THE_CALL = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
EMPTY = Table("g.toml", "models", {})
CATALOGS = catalogs_of(EMPTY, read_offer(EMPTY, TABLE))
REFUSED = {("output_format", "gif"), ("output_format", "svg"), ("background", "transparent")}
"""What the package's types allow and no model here makes."""


def parameters() -> Iterator[tuple[Operation, str]]:
    for operation, method in METHODS.items():
        for name in inspect.signature(method).parameters:
            if name not in OF_THE_CALL:
                yield operation, name


def literals(hint: Any) -> Iterator[str]:
    """Yield the texts that a type allows by name."""
    if get_origin(hint) is Literal:
        yield from (it for it in get_args(hint) if isinstance(it, str))
        return
    for inner in get_args(hint):
        yield from literals(inner)


def values() -> Iterator[tuple[Operation, str, str]]:
    for operation, kind in TYPES.items():
        for name, hint in get_type_hints(kind).items():
            # A member of an object is not a value of the field: svg[reasoning][effort].
            yield from ((operation, name, value) for value in literals(hint))


@pytest.mark.parametrize("name", get_args(ImageModel))
def test_every_name_is_listed_and_taken(name: str) -> None:
    """Each name of the package's own type is in /v1/models, and taken at both paths."""
    for catalog in CATALOGS.values():
        assert name in catalog.models
        assert catalog.model_of(name) == catalog.models[catalog.default]


@pytest.mark.parametrize(("operation", "name"), [*parameters()])
def test_every_field_has_a_reader_and_a_row(operation: Operation, name: str) -> None:
    """Each parameter of images.edit and images.generate is read, and is in the table of fields."""
    named = {it for row in table_with(REFERENCE / "fields.md", "image") for it in spans(row[0])}

    assert name in FIELDS[operation] or is_picture(name)
    assert name in named


@pytest.mark.parametrize(("operation", "name", "value"), [*values()])
def test_every_value_is_taken_or_refused_by_name(
    operation: Operation, name: str, value: str
) -> None:
    """Each value that the package's types name is taken, but for those that are known not to be."""
    with pytest.raises(InvalidRequest) if (name, value) in REFUSED else nullcontext() as refused:
        edit_of(
            [("prompt", "a cat"), (name, value)],
            catalog=CATALOGS[operation],
            strict=True,
            fit=True,
        )

    assert refused is None or refused.value.param == name
