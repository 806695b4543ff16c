"""The fields of a request together: nested, sent twice, unknown; which model a path names."""

from dataclasses import replace

import pytest

from gateway.domain.errors import InvalidRequest, UnknownModel
from gateway.translate.openai_request import edit_of
from tests.models import MODELS as BUILT_IN
from tests.translate.openai_form import MODELS, OFFER, PLAIN, WAN, edit


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("seed", "7"), ("watermark", "true")], id="plain"),
        pytest.param([("parameters[seed]", "7"), ("parameters[watermark]", "true")], id="nested"),
        pytest.param([("extra_body[seed]", "7"), ("extra_body[watermark]", "1")], id="extra_body"),
        pytest.param(
            [("extra_body[parameters][seed]", "7"), ("input[watermark]", "true")], id="both"
        ),
        pytest.param([("parameters", '{"seed": 7, "watermark": true}')], id="JSON text"),
        pytest.param(
            [("extra_body", '{"parameters": {"seed": 7.0}, "watermark": 1}')], id="deeper"
        ),
        pytest.param(
            [("extra_body[parameters]", '{"seed":7}'), ("watermark", "true")], id="JSON in nested"
        ),
    ],
)
def test_dashscopes_own_fields_are_found_where_clients_put_them(
    fields: list[tuple[str, str]],
) -> None:
    """What an SDK makes of nested values means the same as plain fields, strict or not."""
    for strict in (False, True):
        result = edit(*fields, strict=strict)

        assert (result.seed, result.watermark, result.ignored) == (7, True, ())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("parameters", "[object Object]", id="the AI SDK's"),
        pytest.param("parameters", "[1]", id="a list"),
        pytest.param("extra_body", "7", id="a number"),
    ],
)
def test_nested_fields_that_a_client_lost_are_not_lost_in_silence(name: str, text: str) -> None:
    """A text where an object should be is refused, with the way to send it."""
    with pytest.raises(InvalidRequest, match=r"\[seed\]") as refused:
        edit((name, text))

    assert refused.value.param == name


@pytest.mark.parametrize(
    ("deployment", "model", "meant"),
    [
        pytest.param("", None, WAN, id="none"),
        pytest.param("az", None, "wan2.6-image", id="deployment"),
        pytest.param("az", "gpt-image-1", WAN, id="form-first"),
        pytest.param("az", "mine", "wan2.6-image", id="unknown-in-the-form"),
        pytest.param("mine", "gpt-image-1", WAN, id="unknown-in-the-path"),
    ],
)
def test_deployment(deployment: str, model: str | None, meant: str) -> None:
    """Azure's path names the model where the form has none that exists."""
    given = [("prompt", "a cat")] + ([("model", model)] if model else [])

    result = edit_of(
        given,
        catalog=replace(OFFER, models={**MODELS, "az": BUILT_IN["wan2.6-image"]}),
        deployment=deployment,
        strict=False,
        fit=True,
    )

    assert result.model == meant


@pytest.mark.parametrize(("model", "named"), [(None, "mine"), ("yours", "yours")])
def test_unknown_deployment(model: str | None, named: str) -> None:
    """A deployment that is not a model is refused like one, unless the form names another."""
    given = [("prompt", "a cat")] + ([("model", model)] if model else [])

    with pytest.raises(UnknownModel, match=f"'{named}' does not exist"):
        edit_of(given, catalog=OFFER, deployment="mine", strict=False, fit=True)


@pytest.mark.parametrize("text", [pytest.param("", id="empty"), pytest.param("null", id="null")])
@pytest.mark.parametrize("name", ["n", "size", "model", "stream", "parameters", "quality", "x"])
def test_empty_is_absent(name: str, text: str) -> None:
    """An empty text and null are what an unset field looks like."""
    assert edit((name, text), strict=True) == PLAIN


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        pytest.param([("n", "1"), ("n", "2")], "n", id="n"),
        pytest.param([("seed", "1"), ("parameters[seed]", "2")], "seed", id="in two places"),
        pytest.param([("prompt", "a dog")], "prompt", id="prompt"),
        pytest.param([("user", "a"), ("user", "b")], "user", id="even if ignored"),
    ],
)
def test_two_values_are_one_too_many(fields: list[tuple[str, str]], name: str) -> None:
    """A field with several different values is refused: which one counts is a guess."""
    with pytest.raises(InvalidRequest, match=f"Duplicate parameter: '{name}'") as refused:
        edit(*fields)

    assert refused.value.param == name


def test_the_same_value_twice_is_one() -> None:
    """Repeating oneself does no harm."""
    result = edit(("n", "2"), ("n", "2.0"), ("extra_body[n]", "2"))

    assert result.n == 2


def test_an_unknown_model_is_told_the_known_ones() -> None:
    """An unknown model is refused in OpenAI's words."""
    with pytest.raises(UnknownModel, match="The model 'dall-e-9' does not exist") as refused:
        edit(("model", "dall-e-9"))

    assert refused.value.param == "model"
    assert all(name in refused.value.message for name in MODELS)


@pytest.mark.parametrize(
    "name", ["style", "parameters[x]", "images[0][detail]", "constructor", "PROMPT"]
)
def test_an_unknown_field(name: str) -> None:
    """An unknown field is listed as sent, or refused where the tenant is strict."""
    assert edit((name, "x")).ignored == (name,)

    with pytest.raises(InvalidRequest) as refused:
        edit((name, "x"), strict=True)

    assert refused.value.message == f"Unknown parameter: '{name}'."
    assert (refused.value.param, refused.value.code) == (name, "unknown_parameter")


@pytest.mark.parametrize("name", ["file_id", "images[0][file_id]", "mask[file_id]"])
def test_a_file_of_openais_storage_is_refused(name: str) -> None:
    """A file_id is never ignored: it stands for a picture."""
    with pytest.raises(InvalidRequest, match="send the image itself") as refused:
        edit((name, "file-1"))

    assert refused.value.param == "images"


def test_ignored_fields_are_listed_once_in_the_order_sent() -> None:
    """The list has each name once, and nothing that could break a header."""
    result = edit(
        ("user", "a"), ("style", "x"), ("user", "a"), ("a b,\r\nc: é", "x"), ("z" * 99, "x")
    )

    assert result.ignored == ("user", "style", "a?b???c???", "z" * 64)


def test_the_list_of_ignored_fields_has_an_end() -> None:
    """What no header can hold is refused, not dropped."""
    with pytest.raises(InvalidRequest, match="Too many parameters"):
        edit(*((f"x{nth}", "x") for nth in range(33)))


def test_an_endless_name_is_just_unknown() -> None:
    """A name nested without end costs no time."""
    assert edit(("input[" + "input][" * 100_000 + "seed]", "7")).ignored[0].startswith("input[")


def test_an_edit_keeps_its_prompt_to_itself() -> None:
    """Prompts do not show in the repr, which may be logged."""
    assert "cat" not in repr(edit(("negative_prompt", "catty")))


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("reference_image_url", "c.png", id="a URL, whatever it says"),
        pytest.param("reference_image", "https://a.b/c", id="another vendor's"),
        pytest.param("messages[][content][][image_url][url]", "https://a.b/c", id="the chat API's"),
        pytest.param("mask_image", "data:image/png;base64,iVBO", id="a data URL"),
        pytest.param("x", " DATA:image/png;base64,iVBO", id="a data URL under any name"),
        pytest.param("x", PNG, id="base64 of a PNG"),
        pytest.param("x[][y]", "_9j_4AAQSkZJRgABAQAA", id="base64url of a JPEG"),
        pytest.param("style_reference", "https://a.b/c.JPEG?x=1", id="a picture's URL"),
        pytest.param("extra_body[image]", "https://a.b/c", id="nested"),
        pytest.param("input[images][]", "https://a.b/c", id="DashScope's own"),
        pytest.param("parameters", '{"mask": "https://a.b/c"}', id="in JSON"),
    ],
)
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
def test_a_picture_is_never_ignored(name: str, text: str, strict: bool) -> None:
    """A picture in a field that takes none is refused by the field's name."""
    with pytest.raises(InvalidRequest, match="would be ignored") as refused:
        edit((name, text), strict=strict)

    assert (refused.value.code, refused.value.status) == ("unknown_parameter", 400)
    assert str(refused.value.param).startswith(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("webhook", "https://a.b/c", id="a web hook"),
        pytest.param("image_count", "2", id="a number"),
        pytest.param("image_url", "null", id="null"),
        pytest.param("note", "QUJDREVGR0hJSktMTU5PUA==", id="base64 of something else"),
        pytest.param("note", "Photo of a cat: see https://a.b/c.png", id="a text"),
        pytest.param("user", "https://a.b/image.png", id="a field with a meaning"),
    ],
)
def test_what_is_no_picture_is_ignored(name: str, text: str) -> None:
    """Other unknown fields are listed, as before."""
    assert edit((name, text)).ignored == (() if text == "null" else (name,))


def test_a_nul_is_refused() -> None:
    """A NUL character would end the prompt somewhere on its way: it is refused."""
    with pytest.raises(InvalidRequest, match="NUL character") as refused:
        edit(("negative_prompt", "a\0b"))

    assert refused.value.param == "negative_prompt"


def test_a_mark_before_a_text() -> None:
    """The byte order mark of Windows' editors is no part of a text."""
    text = edit(("negative_prompt", "\ufeffdogs"), ("n", "\ufeff2"))

    assert (text.negative_prompt, text.n) == ("dogs", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"seed": 1, "seed": 2}', "Duplicate parameter: 'seed'", id="a name twice"),
        pytest.param("{seed: 1}", "Expected a JSON object", id="no JSON"),
        pytest.param('{"x": [' + "0," * 5000 + "0]}", "has more than 4000 values", id="values"),
        pytest.param(
            '{"x": "data:image/png;base64,' + "A" * 400 + '"}', "would be ignored", id="a picture"
        ),
    ],
)
def test_json_in_a_field(text: str, message: str) -> None:
    """JSON inside a field is bounded and read like a body."""
    with pytest.raises(InvalidRequest, match=message):
        edit(("parameters", text))


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("n[]", "n"),
        ("size[width]", "size"),
        ("model[]", "model"),
        ("prompt[0]", "prompt"),
        ("parameters[seed][]", "seed"),
    ],
)
def test_a_list_for_a_value(name: str, param: str) -> None:
    """A field that decides the result is never ignored because it came in another shape."""
    with pytest.raises(InvalidRequest, match="got a list or an object") as caught:
        edit_of([("prompt", "a cat"), (name, "2")], catalog=OFFER, strict=False, fit=True)

    assert caught.value.param == param


def test_a_list_for_what_has_no_effect() -> None:
    """It is listed like the value itself would be."""
    given = [("prompt", "a cat"), ("user[name]", "x")]

    assert edit_of(given, catalog=OFFER, strict=False, fit=True).ignored == ("user[name]",)
