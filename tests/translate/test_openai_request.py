"""Every row of product.md section 4 that is no picture, both ways in."""

from dataclasses import replace

import pytest

from gateway.domain.edit import AnswerForm, Edit, ResponseFormat, Size
from gateway.domain.errors import InvalidRequest, UnknownModel
from gateway.domain.models import Does, Offer
from gateway.translate.openai_request import edit_of

WAN = "wan2.5-i2i-preview"
MODELS = {WAN: WAN, "gpt-image-1": WAN, "dall-e-2": WAN}
OFFER = Offer(Does.EDIT, MODELS, WAN)
PLAIN = Edit(model=WAN, prompt="a cat")


def edit(*fields: tuple[str, str], strict: bool = False, fit: bool = True) -> Edit:
    """Return the edit of *fields* beside a prompt."""
    given = [("prompt", "a cat"), *fields]
    return edit_of(given, offer=OFFER, strict=strict, fit=fit)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("model", WAN, {"model": WAN}, id="model"),
        pytest.param("model", "gpt-image-1", {"model": WAN}, id="alias"),
        pytest.param("n", "1", {"n": 1}, id="n least"),
        pytest.param("n", "10", {"n": 10}, id="n most"),
        pytest.param("n", " 2.0 ", {"n": 2}, id="n as a float"),
        pytest.param("size", "auto", {"size": None}, id="size auto"),
        pytest.param("size", "1024x1024", {"size": Size(1024, 1024)}, id="size"),
        pytest.param("size", "1536X1024", {"size": Size(1536, 1024)}, id="size in capitals"),
        pytest.param("size", "1280*720", {"size": Size(1280, 720)}, id="DashScope's size"),
        pytest.param(
            "response_format",
            "b64_json",
            {"answer": AnswerForm(ResponseFormat.B64_JSON)},
            id="b64_json",
        ),
        pytest.param(
            "response_format", "url", {"answer": AnswerForm(ResponseFormat.URL)}, id="url"
        ),
        pytest.param("output_format", "PNG", {"answer": AnswerForm(output_format="png")}, id="png"),
        pytest.param(
            "output_format", "jpeg", {"answer": AnswerForm(output_format="jpeg")}, id="jpeg"
        ),
        pytest.param(
            "output_format", "WebP", {"answer": AnswerForm(output_format="webp")}, id="webp"
        ),
        pytest.param("output_compression", "100", {"ignored": 1}, id="compression most"),
        pytest.param("output_compression", "0", {"ignored": 1}, id="compression least"),
        pytest.param("background", "auto", {"ignored": 1}, id="background auto"),
        pytest.param("background", "opaque", {"ignored": 1}, id="background opaque"),
        pytest.param("stream", "false", {}, id="no stream"),
        pytest.param("stream", "true", {"answer": AnswerForm(stream=True)}, id="stream"),
        pytest.param("partial_images", "0", {"ignored": 1}, id="partial images least"),
        pytest.param("partial_images", "3", {"ignored": 1}, id="partial images most"),
        pytest.param("quality", "high", {"ignored": 1}, id="quality"),
        pytest.param("input_fidelity", "high", {"ignored": 1}, id="input_fidelity"),
        pytest.param("moderation", "low", {"ignored": 1}, id="moderation"),
        pytest.param("user", "u-1", {"ignored": 1}, id="user"),
        pytest.param("safety_identifier", "s-1", {"ignored": 1}, id="safety_identifier"),
        pytest.param("negative_prompt", "blur", {"negative_prompt": "blur"}, id="negative"),
        pytest.param(
            "negative_prompt", "x" * 500, {"negative_prompt": "x" * 500}, id="negative longest"
        ),
        pytest.param("seed", "0", {"seed": 0}, id="seed least"),
        pytest.param("seed", "2147483647", {"seed": 2147483647}, id="seed most"),
        pytest.param("watermark", "true", {"watermark": True}, id="watermark"),
        pytest.param("watermark", "False", {"watermark": False}, id="in capitals"),
        pytest.param("prompt_extend", "1", {"prompt_extend": True}, id="1"),
        pytest.param("prompt_extend", "0", {"prompt_extend": False}, id="0"),
        pytest.param("style", "vivid", {"ignored": 1}, id="unknown"),
        pytest.param("image", "https://a.b/c.png", {}, id="a picture is not ours"),
        pytest.param("mask[image_url]", "https://a.b/c.png", {}, id="nor is a mask"),
    ],
)
def test_each_field(name: str, text: str, expected: dict[str, object]) -> None:
    """A field is mapped, or without effect and listed by its name."""
    if "ignored" in expected:
        expected = {"ignored": (name,)}

    made = edit((name, text))

    assert {field: getattr(made, field) for field in expected} == expected
    assert made.ignored == expected.get("ignored", ())


def test_a_prompt_alone_is_an_edit() -> None:
    """All but the prompt has a default; n is 1, unlike DashScope's."""
    assert edit() == PLAIN
    assert PLAIN.n == 1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        pytest.param("n", "0", "from 1 to 10", id="n 0"),
        pytest.param("n", "11", "from 1 to 10", id="n 11"),
        pytest.param("n", "two", "from 1 to 10", id="n in words"),
        pytest.param("n", "1.5", "from 1 to 10", id="half an n"),
        pytest.param("n", "٣", "from 1 to 10", id="n in other digits"),
        pytest.param("n", "1" * 5000, "from 1 to 10", id="n endless"),
        pytest.param("size", "big", "WIDTHxHEIGHT", id="size in words"),
        pytest.param("size", "0x1024", "WIDTHxHEIGHT", id="size of nothing"),
        pytest.param("size", "1024x", "WIDTHxHEIGHT", id="half a size"),
        pytest.param("size", "3000x300", "1:4 to 4:1", id="size too wide"),
        pytest.param("size", "4096x4096", "3840x2160 or 2160x3840 at most", id="size too big"),
        pytest.param(
            "size", "3841x2160", "3840x2160 or 2160x3840 at most", id="size a bit too big"
        ),
        pytest.param("response_format", "png", "'b64_json' or 'url'", id="response format"),
        pytest.param("output_format", "gif", "'png' or 'jpeg' or 'webp'", id="gif"),
        pytest.param("output_compression", "101", "from 0 to 100", id="compression"),
        pytest.param("background", "transparent", "cannot be made", id="transparent"),
        pytest.param("stream", "perhaps", "true or false", id="stream in words"),
        pytest.param("partial_images", "4", "from 0 to 3", id="partial images"),
        pytest.param("seed", "-1", "leave it out for a random one", id="seed -1"),
        pytest.param("seed", "2147483648", "from 0 to 2147483647", id="seed too big"),
        pytest.param("watermark", "yes", "true or false", id="watermark"),
        pytest.param("prompt_extend", "2", "true or false", id="prompt_extend"),
    ],
)
def test_each_refusal(name: str, text: str, says: str) -> None:
    """A bad value names its field, and says what would be good."""
    with pytest.raises(InvalidRequest, match=says) as refused:
        edit((name, text))

    assert type(refused.value) is InvalidRequest
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        pytest.param(Size(256, 256), Size(768, 768), id="dall-e-2's smallest"),
        pytest.param(Size(512, 512), Size(768, 768), id="dall-e-2's"),
        pytest.param(Size(1792, 1024), Size(1687, 964), id="dall-e-3's"),
        pytest.param(Size(3840, 2160), Size(1696, 954), id="gpt-image-2's largest"),
        pytest.param(Size(2160, 3840), Size(954, 1696), id="the same upright"),
        pytest.param(Size(400, 100), Size(1536, 384), id="4:1"),
    ],
)
def test_a_size_is_made_by_scaling(asked: Size, made: Size) -> None:
    """DashScope makes the nearest it can, the answer has what was asked for, and it is told."""
    wanted = edit(("size", str(asked)))

    assert wanted.size == made
    assert wanted.answer == AnswerForm(scale_to=asked)
    assert wanted.adjusted == (f"size:{made}->{asked}",)


def test_without_fit_no_size_is_scaled() -> None:
    """A tenant that wants nothing changed is told the rule and what comes nearest."""
    with pytest.raises(InvalidRequest, match=r"589824 to 1638400 .* nearest is 768x768") as refused:
        edit(("size", "512x512"), fit=False)

    assert refused.value.param == "size"
    assert edit(("size", "768x768"), fit=False).size == Size(768, 768)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_a_compression_counts_where_there_is_one(output_format: str) -> None:
    """It is the quality of jpeg and webp, and not listed as ignored; with png it is."""
    lossy = edit(("output_compression", "40"), ("output_format", output_format))
    png = edit(("extra_body[output_compression]", "40"), ("output_format", "png"))

    assert lossy.answer == AnswerForm(output_format=output_format, compression=40)
    assert lossy.ignored == ()
    assert png.answer == AnswerForm()
    assert png.ignored == ("extra_body[output_compression]",)


@pytest.mark.parametrize(
    ("name", "text"),
    [("size", "512x512"), ("output_format", "jpeg"), ("output_format", "webp")],
)
def test_an_url_shows_what_dashscope_made(name: str, text: str) -> None:
    """What we would have to change cannot be had as an URL; the field is named."""
    with pytest.raises(InvalidRequest, match="DashScope's own file") as refused:
        edit((name, text), ("response_format", "url"))

    assert refused.value.param == name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param(" \n", id="blank"),
        pytest.param("null", id="null"),
    ],
)
def test_a_prompt_is_required(text: str | None) -> None:
    """Without words in it there is no prompt."""
    fields = [] if text is None else [("prompt", text)]

    with pytest.raises(InvalidRequest, match="Missing required parameter: 'prompt'") as refused:
        edit_of(fields, offer=OFFER, strict=False, fit=True)

    assert (refused.value.param, refused.value.code) == ("prompt", "missing_required_parameter")


@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param("prompt", 2000, id="prompt"),
        pytest.param("negative_prompt", 500, id="negative_prompt"),
    ],
)
def test_a_text_that_dashscope_would_cut_is_refused(name: str, most: int) -> None:
    """A text is counted in characters, and refused in OpenAI's words one over the limit."""
    wanted = f"maximum length {most}, but got a string with length {most + 1} instead"

    with pytest.raises(InvalidRequest, match=wanted) as refused:
        edit_of([(name, "猫" * (most + 1))], offer=OFFER, strict=False, fit=True)

    assert (refused.value.param, refused.value.code) == (name, "string_above_max_length")


def test_the_longest_prompt_is_taken() -> None:
    """2000 characters are 2000, however many bytes; Node's line ends count as one."""
    prompt = "猫" * 1998 + "\r\n" + "x"

    made = edit_of([("prompt", prompt)], offer=OFFER, strict=False, fit=True)

    assert made.prompt == "猫" * 1998 + "\nx"


def test_equal_prompts_are_equal_however_sent() -> None:
    """Node turns each line end into CRLF; the edit is the same."""
    made = [
        edit_of([("prompt", text)], offer=OFFER, strict=False, fit=True)
        for text in ("a\nb\n", "a\r\nb\r\n")
    ]

    assert made[0] == made[1]


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
        made = edit(*fields, strict=strict)

        assert (made.seed, made.watermark, made.ignored) == (7, True, ())


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


def test_a_stream_of_urls() -> None:
    """A stream brings the pictures themselves: an URL beside it is refused by name."""
    with pytest.raises(InvalidRequest, match="leave 'response_format' out") as caught:
        edit(("stream", "true"), ("response_format", "url"))

    assert caught.value.param == "response_format"


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

    made = edit_of(
        given,
        offer=replace(OFFER, models={**MODELS, "az": "wan2.6-image"}),
        deployment=deployment,
        strict=False,
        fit=True,
    )

    assert made.model == meant


@pytest.mark.parametrize(("model", "named"), [(None, "mine"), ("yours", "yours")])
def test_unknown_deployment(model: str | None, named: str) -> None:
    """A deployment that is no model is refused like one, unless the form names another."""
    given = [("prompt", "a cat")] + ([("model", model)] if model else [])

    with pytest.raises(UnknownModel, match=f"'{named}' does not exist"):
        edit_of(given, offer=OFFER, deployment="mine", strict=False, fit=True)


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
    made = edit(("n", "2"), ("n", "2.0"), ("extra_body[n]", "2"))

    assert made.n == 2


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
    made = edit(
        ("user", "a"), ("style", "x"), ("user", "a"), ("a b,\r\nc: é", "x"), ("z" * 99, "x")
    )

    assert made.ignored == ("user", "style", "a?b???c???", "z" * 64)


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
