"""JSON bodies: anything that JSON can say, in the place of what is asked for."""

import json
from base64 import b64encode
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.wire import Shot
from tests.harness import photo

_URL = "data:image/png;base64," + b64encode(photo()).decode()
_NAMES = (
    *("prompt", "images", "image", "mask", "model", "n", "size", "stream", "seed", "quality"),
    *("response_format", "output_format", "output_compression", "background", "parameters"),
    *("negative_prompt", "watermark", "prompt_extend", "partial_images", "extra_body", "style", ""),
)
_KINDS = ("application/json", "application/json; charset=utf-16", "APPLICATION/vnd.x+json")

# No https URL: whether one can be read is for the region to say.
_addresses = st.sampled_from(
    [_URL, _URL[:60], "data:,", "data:image/png;base64,####", "data:;base64,", "ftp://x", "", "a b"]
)
_pictures = st.one_of(
    _addresses,
    st.fixed_dictionaries({"image_url": _addresses}),
    st.fixed_dictionaries({"image_url": st.fixed_dictionaries({"url": _addresses})}),
    st.fixed_dictionaries({"url": _addresses, "type": st.text(max_size=5)}),
    st.fixed_dictionaries({"file_id": st.text(max_size=5)}),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-5, 12),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        ["768x768", "auto", "png", "webp", "b64_json", "url", "wan2.5-i2i-preview", "wan2.6-t2i"]
    ),
)
_anything = st.recursive(
    st.one_of(_scalars, _pictures),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(_NAMES), st.text(max_size=8)), inner, max_size=4),
    ),
    max_leaves=12,
)


def _deep(depth: int) -> bytes:
    return b'{"prompt":"a","images":["x"],"a":' + b'{"a":[' * depth + b"]}" * depth + b"}"


def _written(text: Any, encoding: str, *, plain: bool) -> bytes:
    return json.dumps(text, ensure_ascii=plain).encode(encoding, "surrogatepass")


@st.composite
def near(draw: st.DrawFn) -> Shot:
    """An edit with anything in some of its fields."""
    fields: dict[str, Any] = {"prompt": "a hat", "images": [{"image_url": _URL}], "size": "768x768"}
    fields |= draw(st.dictionaries(st.sampled_from(_NAMES), _anything, max_size=3))
    if draw(st.booleans()):
        fields["images"] = draw(st.lists(_pictures, max_size=5))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig"]))
    return Shot(
        _written(fields, encoding, plain=draw(st.booleans())),
        draw(st.sampled_from(_KINDS)).encode(),
        cuts=draw(st.lists(st.integers(0, 4000), max_size=4).map(tuple)),
        chunked=draw(st.booleans()),
    )


@st.composite
def generations(draw: st.DrawFn) -> Shot:
    """A generation with anything in some of its fields."""
    fields: dict[str, Any] = {"prompt": "a hat", "size": "1280x1280"}
    fields |= draw(st.dictionaries(st.sampled_from(_NAMES), _anything, max_size=3))
    body = _written(fields, "utf-8", plain=draw(st.booleans()))
    return Shot(body, b"application/json", start=b"POST /v1/images/generations HTTP/1.1")


def far() -> st.SearchStrategy[Shot]:
    """Any JSON, nested to any depth, cut short, or none at all."""
    bodies = st.one_of(
        _anything.map(lambda text: _written(text, "utf-8", plain=True)),
        _anything.map(lambda text: _written(text, "utf-8", plain=True)[:-1]),
        st.sampled_from([1, 8, 9, 500, 1025, 100_000]).map(_deep),
        st.binary(max_size=60),
        st.sampled_from([b'{"n":1e999}', b'{"n":' + b"9" * 5000 + b"}", b'{"a":"\\ud800"}']),
    )
    return bodies.map(lambda body: Shot(body, b"application/json"))
