"""A client's picture brought into DashScope's rules; one that fits already is left alone."""

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
from gateway.imaging.opening import check_cost, opened, reading
from gateway.imaging.pixels import Colour, as_jpeg, flattened, turned

TAKEN = (JPEG, PNG, BMP, WEBP)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, and its words after "image 2", with the model's limits in braces."""

    name: str
    text: str

    def said(self, inputs: Inputs) -> str:
        """Return its words for pictures of a model with these *inputs*."""
        return self.text.format(inputs)


FORMAT = Rule("format", "must be JPEG, PNG, BMP or WEBP")
TOO_SMALL = Rule("too_small", "must be at least {0.shortest_side} pixels wide and high")
TOO_LARGE = Rule("too_large", "must be at most {0.longest_side} pixels wide and high")
TOO_HEAVY = Rule("too_heavy", "must be at most {0.most_bytes:,} bytes long")
ALPHA = Rule("alpha", "must have no transparency (alpha channel)")
TURNED = Rule("turned", "must be stored upright, not turned by Exif orientation")

_BROKEN: tuple[tuple[Rule, Callable[[Inspected, int, Inputs], bool]], ...] = (
    (FORMAT, lambda picture, *_: picture.format not in {taken.name for taken in TAKEN}),
    (TOO_SMALL, lambda picture, _, limits: picture.shortest_side < limits.shortest_side),
    (TOO_LARGE, lambda picture, _, limits: picture.longest_side > limits.longest_side),
    (TOO_HEAVY, lambda _, length, limits: length > limits.most_bytes),
    (ALPHA, lambda picture, *_: picture.has_alpha),
    (TURNED, lambda picture, *_: picture.orientation != 1),
)


def broken_rules(inspected: Inspected, length: int, inputs: Inputs) -> list[Rule]:
    """Return the rules that a picture of *length* bytes breaks, in the order above."""
    return [rule for rule, broken in _BROKEN if broken(inspected, length, inputs)]


WHITE: Colour = (255, 255, 255)
_STRIPPED: Mapping[str, Callable[[bytes], bytes]] = {
    "JPEG": jpeg.stripped,
    "PNG": png.stripped,
    "WEBP": webp.stripped,
}
_TAKEN = frozenset(taken.name for taken in TAKEN)
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
"""95 first: what is re-encoded should look the same, at a fourteenth of PNG's cost."""
_SMALLER = 0.8


@dataclass(frozen=True, slots=True)
class Aim:
    """What a picture is to become."""

    inputs: Inputs
    """The model's rules."""
    keep_metadata: bool = False
    """Exif, with its GPS position, goes on; its orientation is told as it has become."""
    background: Colour = WHITE
    """What shows where the picture was transparent."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How big a picture is to be drawn, and on what canvas; mostly these are the same."""

    drawn: Size
    canvas: Size


def frame_of(size: Size, inputs: Inputs) -> Frame:
    """
    Return the frame nearest to *size* whose sides are all within those of *inputs*.

    The ratio is kept. Beyond the longest side to the shortest no size has both sides
    within: such a picture is drawn as large as may be, up to its own size, and padded.
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
    drawn = _scaled(size, scale)
    canvas = Size(max(drawn.width, shortest), max(drawn.height, shortest))
    return Frame(drawn, canvas)


def keeps_pixels(inspected: Inspected, inputs: Inputs) -> bool:
    """Tell whether the pixels can stay as they are, whatever the file's length."""
    return (
        inspected.format in _TAKEN
        and inspected.mode == "RGB"
        and not inspected.has_alpha
        and inspected.orientation == 1
        and inspected.frames == 1
        and not inspected.foreign_colours
        and frame_of(inspected.size, inputs).canvas == inspected.size
    )


def fit(content: bytes, inspected: Inspected, aim: Aim) -> Picture:
    """
    Return *content* as DashScope takes it: the same object where nothing is wrong.

    Where only metadata is too much, it is cut out and the coded pixels stay byte for byte;
    then and where nothing is done, nothing is decoded. Everything else is re-encoded as
    JPEG: first frame, upright, sRGB, transparency on a background.

    Raises:
        InvalidImage: while re-encoding it turned out to be damaged; the reason alone.
    """
    return without_drawing(content, inspected, aim) or drawn_anew(content, inspected, aim)


def without_drawing(content: bytes, inspected: Inspected, aim: Aim) -> Picture | None:
    """Return *content*, at most without metadata, if that fits; nothing is decoded."""
    if not keeps_pixels(inspected, aim.inputs):
        return None
    fitted = as_it_is(content, inspected, aim)
    return fitted if len(fitted.content) <= aim.inputs.most_bytes else None


def as_it_is(content: bytes, inspected: Inspected, aim: Aim) -> Picture:
    """Return *content* byte for byte, but for what is not to be sent on."""
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


def drawn_anew(content: bytes, inspected: Inspected, aim: Aim) -> Picture:
    """
    Return *content* as a new JPEG; all of it is decoded on the way.

    Raises:
        InvalidImage: as fit.
    """
    frame = frame_of(inspected.upright, aim.inputs)
    most_bytes = aim.inputs.most_bytes
    plain = _plain(content, inspected, frame.drawn, aim.background)
    exif = upright(inspected.exif) if aim.keep_metadata else b""
    encode = partial(as_jpeg, exif=exif)
    light = _light(_framed(plain, frame, aim.background), encode, most_bytes)
    heavy = len(content) > most_bytes or light.tries > 1
    done = _done(inspected, frame, light.size, heavy=heavy, silent=not exif)
    return Picture(
        content=light.content, media_type=JPEG.media_type, size=light.size, adjusted=done
    )


def _plain(content: bytes, inspected: Inspected, drawn: Size, background: Colour) -> Image.Image:
    """Return the picture upright in sRGB, not smaller than *drawn* without need."""
    check_cost(content, inspected.format)
    scale = scale_of(inspected, inspected.lying(drawn))
    with opened(content, inspected.format) as source, reading():
        # A JPEG may be decoded small at once; other formats take no notice.
        source.draft(None, (source.width // scale, source.height // scale))
        source.load()
        picture = flattened(source, background, inspected.profile)
    return turned(picture, inspected.orientation)


def _framed(picture: Image.Image, frame: Frame, background: Colour) -> Image.Image:
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
class _Light:
    """A JPEG that is not too heavy, and how many tries it took."""

    content: bytes = field(repr=False)
    size: Size
    tries: int


def _light(
    picture: Image.Image, encode: Callable[[Image.Image, int], bytes], most_bytes: int
) -> _Light:
    for tries, quality in enumerate(_QUALITIES, start=1):
        made = encode(picture, quality)
        if len(made) <= most_bytes:
            return _Light(made, Size(*picture.size), tries)
    while len(made) > most_bytes:
        smaller = _scaled(Size(*picture.size), _SMALLER)
        picture = picture.resize((smaller.width, smaller.height), Image.Resampling.LANCZOS)
        made = encode(picture, _QUALITIES[-1])
    return _Light(made, Size(*picture.size), len(_QUALITIES) + 1)


def _done(
    inspected: Inspected, frame: Frame, made: Size, *, heavy: bool, silent: bool
) -> tuple[str, ...]:
    mode = _MODE_NAMES.get(inspected.mode, inspected.mode.lower())
    told = (
        (f"converted:{inspected.format.lower()}", inspected.format not in _TAKEN),
        (f"converted:{mode}", inspected.format in _TAKEN and inspected.mode not in _PLAIN_MODES),
        ("first_frame", inspected.frames > 1),
        ("alpha_flattened", inspected.has_alpha),
        ("colours:srgb", inspected.foreign_colours),
        ("rotated", inspected.orientation != 1),
        (f"scaled:{inspected.upright}->{frame.drawn}", inspected.upright != frame.drawn),
        (f"padded:{frame.drawn}->{frame.canvas}", frame.drawn != frame.canvas),
        ("reencoded", heavy),
        (f"scaled:{frame.canvas}->{made}", frame.canvas != made),
        ("rest_removed", inspected.rest > 0),
        ("metadata_removed", inspected.has_metadata and silent),
    )
    return tuple(note for note, true in told if true)


def _scaled(size: Size, scale: float) -> Size:
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))
