"""A customer's picture brought into DashScope's rules; one that fits already is left alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from gateway.domain.edit import Size
from gateway.imaging import jpeg, png, webp
from gateway.imaging.encoding import as_jpeg, profile_for
from gateway.imaging.formats import JPEG
from gateway.imaging.inspect import Inspected
from gateway.imaging.opening import check_cost, opened, reading
from gateway.imaging.pixels import Colour, flattened, turned
from gateway.imaging.rules import LONGEST_SIDE, MOST_BYTES, SHORTEST_SIDE, TAKEN

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
"""95 first: what is drawn anew should look the same, at a fourteenth of PNG's cost."""
_SMALLER = 0.8


@dataclass(frozen=True, slots=True)
class Fitted:
    """A picture that DashScope takes, and what had to be done to it, in order."""

    content: bytes = field(repr=False)
    media_type: str
    size: Size
    adjusted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """How big a picture is to be drawn, and on what canvas; mostly these are the same."""

    drawn: Size
    canvas: Size


def frame_of(size: Size) -> Frame:
    """
    Return the frame nearest to *size* whose sides are all within 384 to 5000.

    The ratio is kept. Beyond 5000:384 no size has both sides within: such a picture is
    drawn as large as 5000 allows, up to its own size, and padded.
    """
    short, long = min(size.width, size.height), max(size.width, size.height)
    if long * SHORTEST_SIDE > short * LONGEST_SIDE:
        scale = min(1.0, LONGEST_SIDE / long)
    elif short < SHORTEST_SIDE:
        scale = SHORTEST_SIDE / short
    else:
        scale = min(1.0, LONGEST_SIDE / long)
    drawn = _scaled(size, scale)
    canvas = Size(max(drawn.width, SHORTEST_SIDE), max(drawn.height, SHORTEST_SIDE))
    return Frame(drawn, canvas)


def keeps_pixels(inspected: Inspected) -> bool:
    """Tell whether the pixels can stay as they are, whatever the file's length."""
    return (
        inspected.format in _TAKEN
        and inspected.mode == "RGB"
        and not inspected.has_alpha
        and inspected.orientation == 1
        and inspected.frames == 1
        and frame_of(inspected.size).canvas == inspected.size
    )


def fit(content: bytes, inspected: Inspected, background: Colour = WHITE) -> Fitted:
    """
    Return *content* as DashScope takes it: the same object where nothing is wrong.

    Where only metadata is too much, it is cut out and the coded pixels stay byte for byte;
    then and where nothing is done, nothing is decoded. Everything else is drawn anew as
    JPEG: first frame, upright, RGB, transparency on *background*, with its ICC profile.

    Raises:
        InvalidImage: while drawing anew it turned out to be damaged; the reason alone.
    """
    return without_drawing(content, inspected) or drawn_anew(content, inspected, background)


def without_drawing(content: bytes, inspected: Inspected) -> Fitted | None:
    """Return *content*, at most without metadata, if that fits; nothing is decoded."""
    if not keeps_pixels(inspected):
        return None
    lighter = _STRIPPED[inspected.format](content) if inspected.has_metadata else content
    if len(lighter) > MOST_BYTES:
        return None
    done = ("metadata_removed",) if inspected.has_metadata else ()
    return Fitted(lighter, inspected.media_type, inspected.size, done)


def drawn_anew(content: bytes, inspected: Inspected, background: Colour = WHITE) -> Fitted:
    """
    Return *content* as a new JPEG; all of it is decoded on the way.

    Raises:
        InvalidImage: as fit.
    """
    frame = frame_of(inspected.upright)
    plain, profile = _plain(content, inspected, frame.drawn, background)
    light = _light(_framed(plain, frame, background), profile)
    heavy = len(content) > MOST_BYTES or light.tries > 1
    done = _done(inspected, frame, light.size, heavy=heavy)
    return Fitted(light.content, JPEG.media_type, light.size, done)


def _plain(
    content: bytes, inspected: Inspected, drawn: Size, background: Colour
) -> tuple[Image.Image, bytes | None]:
    """Return the picture upright in RGB, not smaller than *drawn* without need; its profile."""
    check_cost(content, inspected.format)
    lying = inspected.orientation >= 5
    least = (drawn.height, drawn.width) if lying else (drawn.width, drawn.height)
    with opened(content, inspected.format) as source, reading():
        # A JPEG may be decoded small at once; other formats take no notice.
        source.draft(None, least)
        source.load()
        picture = turned(flattened(source, background), inspected.orientation)
        return picture, profile_for(source)


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


def _light(picture: Image.Image, profile: bytes | None) -> _Light:
    for tries, quality in enumerate(_QUALITIES, start=1):
        made = as_jpeg(picture, quality, profile)
        if len(made) <= MOST_BYTES:
            return _Light(made, Size(*picture.size), tries)
    while len(made) > MOST_BYTES:
        smaller = _scaled(Size(*picture.size), _SMALLER)
        picture = picture.resize((smaller.width, smaller.height), Image.Resampling.LANCZOS)
        made = as_jpeg(picture, _QUALITIES[-1], profile)
    return _Light(made, Size(*picture.size), len(_QUALITIES) + 1)


def _done(inspected: Inspected, frame: Frame, made: Size, *, heavy: bool) -> tuple[str, ...]:
    mode = _MODE_NAMES.get(inspected.mode, inspected.mode.lower())
    told = (
        (f"converted:{inspected.format.lower()}", inspected.format not in _TAKEN),
        (f"converted:{mode}", inspected.format in _TAKEN and inspected.mode not in _PLAIN_MODES),
        ("first_frame", inspected.frames > 1),
        ("alpha_flattened", inspected.has_alpha),
        ("rotated", inspected.orientation != 1),
        (f"scaled:{inspected.upright}->{frame.drawn}", inspected.upright != frame.drawn),
        (f"padded:{frame.drawn}->{frame.canvas}", frame.drawn != frame.canvas),
        ("reencoded", heavy),
        (f"scaled:{frame.canvas}->{made}", frame.canvas != made),
        ("metadata_removed", inspected.has_metadata),
    )
    return tuple(note for note, true in told if true)


def _scaled(size: Size, scale: float) -> Size:
    return Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))
