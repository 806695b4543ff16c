"""Forms: sound ones in every dress, and such as no library would write."""

from hypothesis import strategies as st

from tests.fuzz.wire import Shot
from tests.harness import origin, photo

_NAMES = (
    *("prompt", "model", "n", "size", "seed", "quality", "stream", "response_format", "user"),
    *("image", "image[]", "image[0]", "image[2]", "image[-1]", "image[x]", "images[]", "mask"),
    *("output_format", "output_compression", "background", "partial_images", "watermark"),
    *("negative_prompt", "parameters[seed]", "parameters[prompt_extend]", "file_id", ""),
)
_TEXTS = (
    "",
    "a hat",
    "1",
    "0",
    "-1",
    "10",
    "1e3",
    "768x768",
    "auto",
    "true",
    "null",
    "png",
    "webp",
)
_CHARSETS = ("utf-8", "latin-1", "gbk", "utf-16", "shift_jis", "nonsense", '"', "")
_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r")

_cuts = st.lists(st.integers(0, 2**20), max_size=12).map(tuple)
_token = st.text("abcXYZ0189'()+_,-./:=?", min_size=1, max_size=70)
_words = st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
_junk = st.binary(max_size=30)


def _parts(draw: st.DrawFn, prompt: str, pictures: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Head and content of each part of a sound form."""
    of = {"name": "image" if len(pictures) == 1 else draw(st.sampled_from(["image", "image[]"]))}
    charset = draw(st.sampled_from(["", "\r\nContent-Type: text/plain; charset=utf-8"]))
    file_type = draw(
        st.sampled_from(
            ["", "\r\nContent-Type: image/png", "\r\ncontent-type:application/octet-stream"]
        )
    )
    file_name = draw(
        st.sampled_from(['; filename="a.png"', "; filename=blob", "; filename*=utf-8''%C3%BC.png"])
    )
    results = [
        (f'Content-Disposition: form-data; name="{of["name"]}"{file_name}{file_type}', picture)
        for picture in pictures
    ]
    texts = {"prompt": prompt, "size": "768x768", "quality": "high"}
    results += [
        (f'Content-Disposition: form-data; name="{name}"{charset}', text.encode())
        for name, text in texts.items()
    ]
    return [(head.encode(), content) for head, content in results]


@st.composite
def sound(draw: st.DrawFn) -> Shot:
    """A form that must be an edit of its picture, wherever it is cut."""
    prompt = draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
    prompt = prompt.replace("[sandbox:", "").replace("\r", "")  # CRLF would become LF
    prompt = prompt.replace("\0", "").lstrip("\ufeff")  # one is refused, the other taken off
    prompt = "a hat" if prompt.strip() in ("", "null") else prompt  # both count as absent
    pictures = [photo(shade) for shade in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))]
    parts = _parts(draw, prompt, pictures)
    places = draw(st.permutations(range(len(parts))))
    in_order = sorted(places[: len(pictures)])  # pictures keep their order among themselves
    mixed = dict(zip(in_order, parts, strict=False))
    rest = [place for place in range(len(parts)) if place not in mixed]
    mixed |= dict(zip(rest, parts[len(pictures) :], strict=True))
    boundary, quote = draw(_token).encode(), draw(st.sampled_from([b"", b'"']))
    body = b"".join(
        b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, *mixed[place]) for place in range(len(parts))
    )
    return Shot(
        body=draw(st.sampled_from([b"", b"\r\n"]))
        + body
        + b"--%s--" % boundary
        + draw(st.sampled_from([b"", b"\r\n", b"\r\n\r\n"])),
        content_type=b"multipart/form-data; boundary=" + quote + boundary + quote,
        cuts=draw(_cuts),
        chunked=draw(st.booleans()),
        owner=origin(prompt, pictures[-1]),
    )


@st.composite
def _head(draw: st.DrawFn) -> bytes:
    name = draw(st.one_of(st.sampled_from(_NAMES).map(str.encode), _words))
    quote = draw(st.sampled_from([b'"', b'"', b"", b"'"]))
    file = draw(st.sampled_from([b"", b'; filename="a.png"', b'; filename=""', b"; filename*=x"]))
    end = draw(st.sampled_from(_ENDS))
    charset = draw(st.sampled_from(_CHARSETS)).encode()
    more = draw(
        st.sampled_from(
            [
                *(b"", b"Content-Type: image/png", b"Content-Transfer-Encoding: base64"),
                *(b"Content-Type: text/plain; charset=" + charset, b"X" * 9000 + b": y", b":"),
            ]
        )
    )
    lines = [b"Content-Disposition: form-data; name=" + quote + name + quote + file, more]
    lines += draw(st.lists(_junk, max_size=2))
    return end.join(line for line in draw(st.permutations(lines)) if line)


@st.composite
def broken(draw: st.DrawFn) -> Shot:
    """Anything that is nearly a form."""
    boundary = draw(st.one_of(_token.map(str.encode), _junk))
    end = draw(st.sampled_from(_ENDS))
    content = st.one_of(
        st.sampled_from(_TEXTS).map(str.encode),
        _words,
        st.binary(max_size=300),
        st.sampled_from([photo(), photo(1, "JPEG"), photo()[:200], b"x" * 70_000]),
        st.sampled_from([b"--" + boundary, b"\r\n--" + boundary, b"\r\n--" + boundary + b"--"]),
    )
    parts = draw(st.lists(st.tuples(_head(), content), max_size=8))
    parts *= draw(st.sampled_from([1, 1, 1, 1, 20]))
    body = b"".join(
        b"--" + boundary + end + head + end + end + text + end for head, text in parts
    ) + draw(st.sampled_from([b"--" + boundary + b"--" + end, b"--" + boundary, b""]))
    body = draw(st.sampled_from([b"", b"", b"preamble\r\n"])) + body
    if draw(st.integers(0, 3)) == 0:
        body = body[: draw(st.integers(0, max(0, len(body))))]
    reported = draw(st.one_of(st.just(boundary), _junk)).translate(None, b"\r\n\0")
    kind = draw(st.sampled_from([b"multipart/form-data", b"MULTIPART/Form-Data", b"multipart/x"]))
    sign = draw(st.sampled_from([b"; boundary=", b';boundary="', b"; charset=x; BOUNDARY = "]))
    return Shot(
        body=body,
        content_type=kind + sign + reported,
        cuts=draw(_cuts),
        chunked=draw(st.booleans()),
        leaves=draw(st.integers(0, 9)) == 0,
    )


@st.composite
def urlencoded(draw: st.DrawFn) -> Shot:
    """What aiohttp sends without files, and worse."""
    name = st.one_of(st.sampled_from(_NAMES).map(str.encode), _words)
    pairs = draw(st.lists(st.tuples(name, _words), max_size=80))
    return Shot(b"&".join(b"=".join(pair) for pair in pairs), b"application/x-www-form-urlencoded")
