"""What a picture is, by its head alone, and whether the file is whole (D69)."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from gateway.domain.edit import Size
from gateway.domain.errors import InvalidImage
from gateway.imaging import avif, bmp, colour, icc, jpeg, png, webp
from gateway.imaging.formats import HEIF, PNG, Format, format_of, heif_readable
from gateway.imaging.metadata import Metadata, is_adobe_rgb, orientation
from gateway.imaging.opening import check_cost, check_size, decoder_errors, open_picture

_READABLE = "JPEG, PNG, WEBP, BMP, GIF, TIFF or AVIF"
_INSTALL = "the gateway's operator can install 'wan-gateway[heic]'"
_METADATA: Mapping[str, Callable[[bytes], Metadata]] = {
    "AVIF": lambda content: Metadata(
        profile=avif.profile(content),
        coded_pixels=avif.coded_pixels(content),
        frames=2 if avif.is_sequence(content) else 1,
    ),
    "BMP": lambda content: Metadata(
        rest=len(content) - bmp.end(content), profile=bmp.profile(content)
    ),
    "HEIF": lambda content: Metadata(profile=avif.profile(content)),
    "JPEG": jpeg.metadata,
    "PNG": png.metadata,
    "WEBP": webp.metadata,
}
_TURNS_ITSELF = frozenset({"TIFF", "HEIF"})
"""Decoders that hand out the picture upright already."""
_READ_HERE = frozenset({"BMP", "JPEG", "PNG", "WEBP"})
_PNG_DEPTH = 24
"""Where IHDR, always the first chunk, has its bits per sample."""
_FRAMES_IN_HEAD = frozenset({"PNG", "WEBP", "HEIF"})

_PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"


@dataclass(frozen=True, slots=True)
class Inspected:
    """
    A picture's head.

    *size* is as stored, before *orientation* (Exif, 1 to 8) is applied. *mode* is
    Pillow's, or ``RGB;16`` and the like for a PNG of 16 bits. *frames* above 1 means that
    only the first can be used; those of GIF and TIFF, which are converted anyway, are not
    counted: they stand all over the file. *rest* counts the bytes behind the picture's end.
    *profile* is the ICC profile of its colours, empty if there is none;
    *foreign_colours* means that they are not sRGB's. *one_pass* is false for a JPEG whose
    decoder must hold the whole picture's coefficients. *coded_pixels* are those that a
    decoder makes where that may be more than *size* says.
    """

    format: str
    media_type: str
    size: Size
    mode: str
    has_alpha: bool
    orientation: int = 1
    has_metadata: bool = False
    frames: int = 1
    exif: bytes = field(default=b"", repr=False, compare=False)
    """The block as it stands in the file, for those whose metadata goes on."""
    rest: int = 0
    profile: bytes = field(default=b"", repr=False, compare=False)
    foreign_colours: bool = False
    one_pass: bool = True
    coded_pixels: int = field(default=0, compare=False)

    @property
    def upright(self) -> Size:
        """The size as a person sees it."""
        if self.orientation < 5:
            return self.size
        return Size(self.size.height, self.size.width)

    def as_stored(self, upright: Size) -> Size:
        """Return the size of an *upright* picture as it is before Exif turns it."""
        return upright if self.orientation < 5 else Size(upright.height, upright.width)

    @property
    def shortest_side(self) -> int:
        return min(self.size.width, self.size.height)

    @property
    def longest_side(self) -> int:
        return max(self.size.width, self.size.height)


def inspect(content: bytes) -> Inspected:
    """
    Read the head of *content*; a declared media type is ignored.

    Raises:
        InvalidImage: not a picture that we read, or over 100 million pixels. The message
            is the reason alone, ``it has no bytes``: who knows its number adds that.
    """
    format_ = _format(content)
    if format_.name == "WEBP" and (canvas := webp.canvas(content)):
        check_size(canvas)
    read = _METADATA.get(format_.name)
    # Before Pillow, which unpacks what it finds.
    found = read(content) if read else Metadata()
    with open_picture(content, format_.name) as picture:
        exif = found.exif or _exif_beside(format_, picture)
        profile = _profile(found, exif, picture)
        return Inspected(
            format=format_.name,
            media_type=format_.media_type,
            size=Size(*picture.size),
            mode=_mode(content, format_, picture),
            has_alpha=picture.has_transparency_data,
            orientation=1 if format_.name in _TURNS_ITSELF else orientation(exif),
            has_metadata=found.present,
            frames=_frames(found, format_, picture),
            exif=exif,
            rest=found.rest,
            profile=profile,
            foreign_colours=colour.differs(profile, picture.mode),
            one_pass=format_.name != "JPEG" or jpeg.is_single_pass(content),
            coded_pixels=found.coded_pixels,
        )


def _format(content: bytes) -> Format:
    if not content:
        raise InvalidImage("it has no bytes")
    format_ = format_of(content)
    if format_ is None:
        raise InvalidImage(f"its bytes are not a {_READABLE} picture")
    if format_ is HEIF and not heif_readable():
        raise InvalidImage(f"HEIC cannot be read here; {_INSTALL}, or send {_READABLE}")
    return format_


def _mode(content: bytes, format_: Format, picture: Image.Image) -> str:
    # Pillow reduces 16 bits to 8 where there is more than gray, without saying so.
    deep = format_ is PNG and content[_PNG_DEPTH] == 16 and not picture.mode.startswith("I")
    return f"{picture.mode};16" if deep else picture.mode


def _frames(found: Metadata, format_: Format, picture: Image.Image) -> int:
    pillow_frames: int = getattr(picture, "n_frames", 1) if format_.name in _FRAMES_IN_HEAD else 1
    return max(found.frames, pillow_frames)


def _exif_beside(format_: Format, picture: Image.Image) -> bytes:
    """Return the Exif block of a format whose files are not read here."""
    if format_.name in _READ_HERE:
        return b""
    return picture.info.get("exif") or b""


def _profile(found: Metadata, exif: bytes, picture: Image.Image) -> bytes:
    """Return the profile in effect: the file's own, else the one that Exif names."""
    profile: object = picture.info.get("icc_profile")
    if found.profile is not None:
        profile = found.profile
    if isinstance(profile, bytes) and profile:
        return profile
    return icc.adobe_rgb() if is_adobe_rgb(exif) else b""


def pixels_of(content: bytes) -> Size | None:
    """
    Return the size of a picture that DashScope made; ``None`` if it is of no known form.

    DashScope makes PNG (dashscope.md 8), whose size stands in bytes 16 to 24: Pillow would
    run through every chunk in front of the pixels.
    """
    if content.startswith(_PNG_HEAD) and len(content) >= 24:
        return Size(*struct.unpack(">II", content[16:24]))
    if content[:4] == b"RIFF":
        return webp.canvas(content)
    try:
        return inspect(content).size
    except InvalidImage:
        return None


_SHRINK = 8
"""JPEG can be decoded at an eighth: all coded data is read, few pixels are made of it."""
_WHOLE_BYTES = 131_072
"""Up to here everything is decoded. Beyond, decoding 1 MB would cost more than moving it."""
_FIRST_BYTES = 65_536


_MOST_DECODED = 16_000_000
"""Pixels of a PNG: so many may stand in few bytes."""


def needs_decoding(content: bytes, inspected: Inspected) -> bool:
    """Return whether verify makes pixels of *content*; else it reads it as it is coded."""
    if inspected.format != "PNG":
        return True
    pixels = inspected.size.width * inspected.size.height
    return len(content) <= _WHOLE_BYTES and pixels <= _MOST_DECODED


def verify(content: bytes, inspected: Inspected) -> None:
    """
    Decode *content*, or enough of it to know that it is whole (D69), and drop the pixels.

    A large one-pass JPEG is decoded in its first part and walked through to its end: its
    coded data has no checksum, so that a decoder finds no more in the middle than a
    marker that does not belong there. In a large PNG every checksum is compared.

    Raises:
        InvalidImage: with the reason alone.
    """
    check_cost(content, inspected.format)
    if not needs_decoding(content, inspected):
        png.check_coding(content)
        return
    if len(content) > _WHOLE_BYTES and inspected.format == "JPEG" and inspected.one_pass:
        content = jpeg.first_part(content, _FIRST_BYTES)
    with open_picture(content, inspected.format) as picture, decoder_errors():
        # Luminance alone; other formats take no notice.
        picture.draft("L", (picture.width // _SHRINK, picture.height // _SHRINK))
        picture.load()
