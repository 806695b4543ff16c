"""Client pictures fitted to DashScope's rules; one that fits already is left unchanged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from gateway.domain.edit import Picture, Size
from gateway.domain.models import Inputs
from gateway.imaging import jpeg, png, webp
from gateway.imaging.cost import scale_of
from gateway.imaging.formats import BMP, JPEG, PNG, WEBP
from gateway.imaging.inspect import Inspected
from gateway.imaging.metadata import upright
from gateway.imaging.opening import check_cost, decoder_errors, open_picture
from gateway.imaging.pixels import Colour, as_jpeg, flatten, turn_upright

_KEPT = frozenset(kept.name for kept in (JPEG, PNG, BMP, WEBP))
"""Formats whose files may go up as they are; metadata can be cut out of these."""


@dataclass(frozen=True, slots=True)
class PictureRule:
    """One rule: its name, and its words after "image 2", with the model's limits in braces."""

    name: str
    text: str

    def text_for(self, inputs: Inputs) -> str:
        """Return its words for pictures of a model with these *inputs*."""
        *most, last = inputs.formats
        formats = f"{', '.join(most)} or {last}" if most else last
        return self.text.format(inputs, formats=formats)


FORMAT = PictureRule("format", "must be {formats}")
TOO_SMALL = PictureRule("too_small", "must be at least {0.shortest_side} pixels wide and high")
TOO_LARGE = PictureRule("too_large", "must be at most {0.longest_side} pixels wide and high")
TOO_LONG = PictureRule("too_long", "must be at most {0.most_ratio} times as long as wide")
TOO_HEAVY = PictureRule("too_heavy", "must be at most {0.most_bytes:,} bytes long")
ALPHA = PictureRule("alpha", "must have no transparency (alpha channel)")
TURNED = PictureRule("turned", "must be stored upright, not turned by Exif orientation")

_BROKEN: tuple[tuple[PictureRule, Callable[[Inspected, int, Inputs], bool]], ...] = (
    (FORMAT, lambda picture, _, limits: picture.format not in limits.formats),
    (TOO_SMALL, lambda picture, _, limits: picture.shortest_side < limits.shortest_side),
    (TOO_LARGE, lambda picture, _, limits: picture.longest_side > limits.longest_side),
    (
        TOO_LONG,
        lambda picture, _, limits: picture.longest_side > limits.most_ratio * picture.shortest_side,
    ),
    (TOO_HEAVY, lambda _, length, limits: length > limits.most_bytes),
    (ALPHA, lambda picture, _, limits: picture.has_alpha and not limits.alpha),
    (TURNED, lambda picture, *_: picture.orientation != 1),
)


def violated_rules(inspected: Inspected, length: int, inputs: Inputs) -> list[PictureRule]:
    """Return the rules that a picture of *length* bytes breaks, in the order above."""
    return [rule for rule, broken in _BROKEN if broken(inspected, length, inputs)]


_OPAQUE = frozenset({"RGB"})
_WITH_ALPHA = frozenset({"RGB", "RGBA"})
WHITE: Colour = (255, 255, 255)
_STRIPPED: Mapping[str, Callable[[bytes], bytes]] = {
    "JPEG": jpeg.strip_metadata,
    "PNG": png.strip_metadata,
    "WEBP": webp.strip_metadata,
}
_PLAIN_MODES = frozenset({"RGB", "RGBA"})
_MODE_NAMES = {
    "1": "gray",
    "L": "gray",
    "LA": "gray",
    "P": "palette",
    "I": "16bit",
    "I;16": "16bit",
    "RGB;16": "16bit",
    "RGBA;16": "16bit",
    "LA;16": "16bit",
}
_QUALITIES = (95, 90, 85, 80)
"""95 first: it should look the same, and costs a fourteenth of PNG's time."""
_SMALLER = 0.8


@dataclass(frozen=True, slots=True)
class Aim:
    """What a picture is fitted to."""

    inputs: Inputs
    """The model's rules."""
    keep_metadata: bool = False
    """Whether Exif, with its GPS position, is sent on (D90); its orientation is updated."""
    background: Colour = WHITE
    """Replaces what was transparent."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The size that a picture is scaled to, and of its canvas; mostly the same."""

    drawn: Size
    canvas: Size


def frame_of(size: Size, inputs: Inputs) -> Frame:
    """
    Return the frame nearest to *size* whose sides are all within those of *inputs*.

    The ratio is kept. If it is above that of the longest to the shortest side, or above the
    model's own, no size fits: the picture is then scaled to the longest side, but not enlarged,
    and padded.
    """
    shortest = inputs.shortest_side
    longest = inputs.longest_side
    short = min(size.width, size.height)
    long = max(size.width, size.height)
    if long * shortest > short * longest:
        scale = min(1.0, longest / long)
    elif short < shortest:
        scale = shortest / short
    else:
        scale = min(1.0, longest / long)
    drawn = _scale_size(size, scale)
    least = max(shortest, -(-max(drawn.width, drawn.height) // inputs.most_ratio))
    canvas = Size(max(drawn.width, least), max(drawn.height, least))
    return Frame(drawn, canvas)


def keeps_pixels(inspected: Inspected, inputs: Inputs) -> bool:
    """Return whether the pixels can stay as they are, whatever the file's length."""
    return (
        inspected.format in inputs.formats
        and inspected.format in _KEPT
        and inspected.mode in (_WITH_ALPHA if inputs.alpha else _OPAQUE)
        and (inputs.alpha or not inspected.has_alpha)
        and inspected.orientation == 1
        and inspected.frames == 1
        and not inspected.foreign_colours
        and frame_of(inspected.size, inputs).canvas == inspected.size
    )


def keeps_file(inspected: Inspected) -> bool:
    """Return whether a file that breaks no rule can go up as it is, but for its metadata."""
    return inspected.format in _KEPT and not inspected.foreign_colours


def fit(content: bytes, inspected: Inspected, aim: Aim) -> Picture:
    """
    Return *content* as DashScope accepts it: the same object if nothing has to be done.

    Metadata alone is cut out without decoding, and the coded pixels stay byte for byte.
    Everything else is re-encoded as JPEG: first frame, upright, sRGB, on a background.

    Raises:
        InvalidImage: it turned out to be damaged; the reason alone.
    """
    return fit_without_decoding(content, inspected, aim) or reencode(content, inspected, aim)


def fit_without_decoding(content: bytes, inspected: Inspected, aim: Aim) -> Picture | None:
    """Return *content*, perhaps without its metadata, if that fits; nothing is decoded."""
    if not keeps_pixels(inspected, aim.inputs):
        return None
    fitted = pass_through(content, inspected, aim)
    return fitted if len(fitted.content) <= aim.inputs.most_bytes else None


def pass_through(content: bytes, inspected: Inspected, aim: Aim) -> Picture:
    """Return *content* byte for byte, except for metadata and bytes after the end."""
    done: tuple[str, ...] = ()
    if inspected.rest:
        content = content[: -inspected.rest]
        done = ("rest_removed",)
    if inspected.has_metadata and not aim.keep_metadata:
        content = _STRIPPED[inspected.format](content)
        done = (*done, "metadata_removed")
    return Picture(
        content=content, media_type=inspected.media_type, size=inspected.size, adjusted=done
    )


def reencode(content: bytes, inspected: Inspected, aim: Aim) -> Picture:
    """
    Return *content* as a new JPEG, from a full decoding.

    Raises:
        InvalidImage: as fit.
    """
    frame = frame_of(inspected.upright, aim.inputs)
    most_bytes = aim.inputs.most_bytes
    plain = _decode_plain(content, inspected, frame.drawn, aim.background)
    exif = upright(inspected.exif) if aim.keep_metadata else b""
    encode = partial(as_jpeg, exif=exif)
    light = _encode_within(_frame(plain, frame, aim.background), encode, most_bytes)
    heavy = len(content) > most_bytes or light.tries > 1
    done = _adjustments(inspected, frame, light.size, heavy=heavy, silent=not exif)
    in_place = inspected.orientation == 1 and (
        inspected.upright == frame.drawn == frame.canvas == light.size
    )
    return Picture(
        content=light.content,
        media_type=JPEG.media_type,
        size=light.size,
        adjusted=done,
        moved=not in_place,
    )


def _decode_plain(
    content: bytes, inspected: Inspected, drawn: Size, background: Colour
) -> Image.Image:
    """Return the picture upright in sRGB, if possible at least as large as *drawn*."""
    check_cost(content, inspected.format)
    scale = scale_of(inspected, inspected.as_stored(drawn))
    with open_picture(content, inspected.format) as source, decoder_errors():
        # A JPEG can be decoded at a fraction; other formats ignore this.
        source.draft(None, (source.width // scale, source.height // scale))
        source.load()
        picture = flatten(source, background, inspected.profile)
    return turn_upright(picture, inspected.orientation)


def _frame(picture: Image.Image, frame: Frame, background: Colour) -> Image.Image:
    drawn = (frame.drawn.width, frame.drawn.height)
    if picture.size != drawn:
        picture = picture.resize(drawn, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if frame.canvas == frame.drawn:
        return picture
    canvas = Image.new("RGB", (frame.canvas.width, frame.canvas.height), background)
    left = (frame.canvas.width - frame.drawn.width) // 2
    top = (frame.canvas.height - frame.drawn.height) // 2
    canvas.paste(picture, (left, top))
    return canvas


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A JPEG within the limit of bytes, and how many tries it took."""

    content: bytes = field(repr=False)
    size: Size
    tries: int


def _encode_within(
    picture: Image.Image, encode: Callable[[Image.Image, int], bytes], most_bytes: int
) -> _Encoded:
    for tries, quality in enumerate(_QUALITIES, start=1):
        encoded = encode(picture, quality)
        if len(encoded) <= most_bytes:
            return _Encoded(encoded, Size(*picture.size), tries)
    while len(encoded) > most_bytes:
        smaller = _scale_size(Size(*picture.size), _SMALLER)
        picture = picture.resize((smaller.width, smaller.height), Image.Resampling.LANCZOS)
        encoded = encode(picture, _QUALITIES[-1])
    return _Encoded(encoded, Size(*picture.size), len(_QUALITIES) + 1)


def _adjustments(
    inspected: Inspected, frame: Frame, result: Size, *, heavy: bool, silent: bool
) -> tuple[str, ...]:
    mode = _MODE_NAMES.get(inspected.mode, inspected.mode.lower())
    notes = (
        (f"converted:{inspected.format.lower()}", inspected.format not in _KEPT),
        (f"converted:{mode}", inspected.format in _KEPT and inspected.mode not in _PLAIN_MODES),
        ("first_frame", inspected.frames > 1),
        ("alpha_flattened", inspected.has_alpha),
        ("colours:srgb", inspected.foreign_colours),
        ("rotated", inspected.orientation != 1),
        (f"scaled:{inspected.upright}->{frame.drawn}", inspected.upright != frame.drawn),
        (f"padded:{frame.drawn}->{frame.canvas}", frame.drawn != frame.canvas),
        ("reencoded", heavy),
        (f"scaled:{frame.canvas}->{result}", frame.canvas != result),
        ("rest_removed", inspected.rest > 0),
        ("metadata_removed", inspected.has_metadata and silent),
    )
    return tuple(note for note, true in notes if true)


def _scale_size(size: Size, scale: float) -> Size:
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))
