"""Every row of docs/reference/fields.md that is a plain field: how it is read and refused."""

from dataclasses import replace

import pytest

from gateway.domain.edit import OutputOptions, ResponseFormat, Size
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import Catalog, Operation
from gateway.translate.openai_request import edit_of
from tests.models import MODELS
from tests.translate.openai_form import OFFER, PLAIN, WAN, edit

QWEN = "qwen-image-edit-plus"


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
            {"output": OutputOptions(ResponseFormat.B64_JSON)},
            id="b64_json",
        ),
        pytest.param(
            "response_format", "url", {"output": OutputOptions(ResponseFormat.URL)}, id="url"
        ),
        pytest.param(
            "output_format", "PNG", {"output": OutputOptions(output_format="png")}, id="png"
        ),
        pytest.param(
            "output_format", "jpeg", {"output": OutputOptions(output_format="jpeg")}, id="jpeg"
        ),
        pytest.param(
            "output_format", "WebP", {"output": OutputOptions(output_format="webp")}, id="webp"
        ),
        pytest.param("output_compression", "100", {"ignored": 1}, id="compression most"),
        pytest.param("output_compression", "0", {"ignored": 1}, id="compression least"),
        pytest.param("background", "auto", {"ignored": 1}, id="background auto"),
        pytest.param("background", "opaque", {"ignored": 1}, id="background opaque"),
        pytest.param("stream", "false", {}, id="no stream"),
        pytest.param("stream", "true", {"output": OutputOptions(stream=True)}, id="stream"),
        pytest.param("partial_images", "0", {"ignored": 1}, id="partial images least"),
        pytest.param("partial_images", "3", {"ignored": 1}, id="partial images most"),
        pytest.param("quality", "high", {"ignored": 1}, id="quality"),
        pytest.param("quality", "max", {"ignored": 1}, id="quality max"),
        pytest.param("complexity", "high", {"ignored": 1}, id="complexity"),
        pytest.param("frame_count", "16", {"ignored": 1}, id="frames"),
        pytest.param("frame_duration_ms", "20", {"ignored": 1}, id="duration of a frame"),
        pytest.param("svg[reasoning][effort]", "low", {"ignored": 1}, id="a member of svg"),
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

    result = edit((name, text))

    assert {field: getattr(result, field) for field in expected} == expected
    assert result.ignored == expected.get("ignored", ())


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
        pytest.param("size", "4096x4096", "no side over 3840", id="size too big"),
        pytest.param("size", "3841x2160", "8294400 pixels at most", id="size a bit too big"),
        pytest.param("size", "2881x2880", "8294400 pixels at most", id="square a bit too big"),
        pytest.param("response_format", "png", "'b64_json' or 'url'", id="response format"),
        pytest.param("output_format", "gif", "'png', 'jpeg' or 'webp'", id="gif"),
        pytest.param("output_format", "svg", "vector drawing cannot be made", id="svg"),
        pytest.param("complexity", "most", "'low' or 'medium' or 'high'", id="complexity"),
        pytest.param("frame_count", "17", "from 2 to 16", id="frames"),
        pytest.param("frame_duration_ms", "19", "from 20 to 655350", id="duration of a frame"),
        pytest.param("output_compression", "101", "from 0 to 100", id="compression"),
        pytest.param("background", "transparent", "no transparent pictures", id="transparent"),
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
    ("requested", "expected"),
    [
        pytest.param(Size(256, 256), Size(768, 768), id="dall-e-2's smallest"),
        pytest.param(Size(512, 512), Size(768, 768), id="dall-e-2's"),
        pytest.param(Size(1792, 1024), Size(1687, 964), id="dall-e-3's"),
        pytest.param(Size(3840, 2160), Size(1696, 954), id="gpt-image-2's largest"),
        pytest.param(Size(2160, 3840), Size(954, 1696), id="the same upright"),
        pytest.param(Size(2880, 2880), Size(1280, 1280), id="its largest square"),
        pytest.param(Size(400, 100), Size(1536, 384), id="4:1"),
    ],
)
def test_a_size_is_made_by_scaling(requested: Size, expected: Size) -> None:
    """DashScope makes the nearest it can, the answer has what was asked for, and it is told."""
    wanted = edit(("size", str(requested)))

    assert wanted.size == expected
    assert wanted.output == OutputOptions(scale_to=requested)
    assert wanted.adjusted == (f"size:{expected}->{requested}",)


def test_without_fit_no_size_is_scaled() -> None:
    """A tenant that wants nothing changed is told the rule and what comes nearest."""
    with pytest.raises(InvalidRequest, match=r"589824 to 1638400 .* nearest is 768x768") as refused:
        edit(("size", "512x512"), fit=False)

    assert refused.value.param == "size"
    assert edit(("size", "768x768"), fit=False).size == Size(768, 768)


def test_without_fit_a_models_sides_are_told() -> None:
    """Where more than pixels and ratio counts, that is part of the rule."""
    says = r"no side under 512 or over 2048.* nearest is 1920x512"
    given, catalog = (
        [("prompt", "a cat"), ("size", "1500x400")],
        Catalog(Operation.EDIT, {QWEN: MODELS[QWEN]}, QWEN),
    )
    with pytest.raises(InvalidRequest, match=says):
        edit_of(given, catalog=catalog, strict=False, fit=False)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_a_compression_counts_where_there_is_one(output_format: str) -> None:
    """It is the quality of jpeg and webp, and not listed as ignored; with png it is."""
    lossy = edit(("output_compression", "40"), ("output_format", output_format))
    png = edit(("extra_body[output_compression]", "40"), ("output_format", "png"))

    assert lossy.output == OutputOptions(output_format=output_format, compression=40)
    assert lossy.ignored == ()
    assert png.output == OutputOptions()
    assert png.ignored == ("extra_body[output_compression]",)


@pytest.mark.parametrize(
    ("name", "text"),
    [("size", "512x512"), ("output_format", "jpeg"), ("output_format", "webp")],
)
def test_an_url_shows_what_dashscope_made(name: str, text: str) -> None:
    """What we would have to change cannot be had as a URL; the field is named."""
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
        edit_of(fields, catalog=OFFER, strict=False, fit=True)

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
        edit_of([(name, "猫" * (most + 1))], catalog=OFFER, strict=False, fit=True)

    assert (refused.value.param, refused.value.code) == (name, "string_above_max_length")


def test_the_longest_prompt_is_taken() -> None:
    """2000 characters are 2000, however many bytes; Node's line ends count as one."""
    prompt = "猫" * 1998 + "\r\n" + "x"

    result = edit_of([("prompt", prompt)], catalog=OFFER, strict=False, fit=True)

    assert result.prompt == "猫" * 1998 + "\nx"


def test_equal_prompts_are_equal_however_sent() -> None:
    """Node turns each line end into CRLF; the edit is the same."""
    results = [
        edit_of([("prompt", text)], catalog=OFFER, strict=False, fit=True)
        for text in ("a\nb\n", "a\r\nb\r\n")
    ]

    assert results[0] == results[1]


def test_a_stream_of_urls() -> None:
    """A stream brings the pictures themselves: a URL beside it is refused by name."""
    with pytest.raises(InvalidRequest, match="leave 'response_format' out") as caught:
        edit(("stream", "true"), ("response_format", "url"))

    assert caught.value.param == "response_format"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("size", "1000x1000")], id="legal"),
        pytest.param([("size", "512x512")], id="scaled"),
        pytest.param([("output_format", "webp"), ("output_compression", "50")], id="encoded"),
        pytest.param([("stream", "true")], id="stream"),
    ],
)
def test_a_url_where_pictures_are_kept(fields: list[tuple[str, str]]) -> None:
    """Whatever can be had as a picture can be had by URL, and is otherwise the same."""
    by_url = edit(("response_format", "url"), *fields, keeps=True)
    as_picture = edit(*fields)

    assert by_url.output.response_format is ResponseFormat.URL
    output = replace(by_url.output, response_format=ResponseFormat.B64_JSON)
    assert replace(by_url, output=output) == as_picture


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
def test_a_url_by_default(model: str) -> None:
    """OpenAI's default under its two older names, where pictures are kept, and for no stream."""
    named = ("model", model)

    assert edit(named, keeps=True).output == OutputOptions(ResponseFormat.URL, url_by_default=True)
    assert edit(named).output == OutputOptions()
    output = edit(named, ("response_format", "b64_json"), keeps=True).output
    assert output == OutputOptions()
    assert edit(named, ("response_format", "url"), keeps=True).output.url_by_default is False
    assert edit(named, ("stream", "true"), keeps=True).output == OutputOptions(stream=True)


def test_no_url_by_default() -> None:
    """Every other name, and none, is answered with pictures."""
    for fields in ([("model", "gpt-image-1")], [("model", "wan2.5-i2i-preview")], []):
        assert edit(*fields, keeps=True).output == OutputOptions()


def test_an_azure_deployment_is_a_name_too() -> None:
    """The default follows the model in the path as it does the one in the form."""
    made = edit_of(
        [("prompt", "a cat")],
        catalog=OFFER,
        deployment="dall-e-3",
        strict=False,
        fit=True,
        keeps=True,
    )

    assert made.output.url_by_default
