"""
Write tests/data/pictures: small real files of every format, sound and broken.

    python tests/data/make_pictures.py

Made from gateway/commands/photo.jpg; docs/pictures.md tells where that is from.
"""

import importlib
import importlib.util
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

HERE = Path(__file__).parent
PHOTO = HERE.parent.parent / "gateway" / "commands" / "photo.jpg"
WIDTH, HEIGHT = 480, 400
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><who>Ada Example</who></x:xmpmeta>'


def photo(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    with Image.open(PHOTO) as picture:
        return picture.convert("RGB").resize((width, height))


def flat(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A drawing: it packs well without loss."""
    picture = Image.new("RGB", (width, height), (240, 240, 235))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((20, 20, width // 2, height // 2), fill=(200, 60, 40))
    draw.ellipse((width // 2, height // 3, width - 40, height - 40), fill=(30, 110, 160))
    return picture


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    into = BytesIO()
    picture.save(into, kind, **options)
    return into.getvalue()


def exif(orientation: int, *, gps: bool = False) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    if gps:
        block[0x013B] = "Ada Example"
        block.get_ifd(0x8825).update(
            {1: "N", 2: (51.0, 28.0, 40.0), 3: "W", 4: (0.0, 0.0, 5.0)},
        )
    return block


def clear(picture: Image.Image) -> Image.Image:
    """The picture with a hole in its middle that fades out."""
    alpha = Image.new("L", picture.size, 255)
    draw = ImageDraw.Draw(alpha)
    draw.ellipse((120, 100, 360, 300), fill=128)
    draw.ellipse((160, 140, 320, 260), fill=0)
    picture = picture.copy()
    picture.putalpha(alpha)
    return picture


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, interlace: int = 0) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def deep_rows() -> bytes:
    line = b"\x00" + b"".join(
        struct.pack(">HHH", x * 130, 32768, 65535 - x * 130) for x in range(WIDTH)
    )
    return line * HEIGHT


def interlaced() -> bytes:
    picture, rows = flat(), bytearray()
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    pixels = picture.load()
    assert pixels is not None
    for left, top, across, down in passes:
        for y in range(top, HEIGHT, down):
            rows.append(0)
            for x in range(left, WIDTH, across):
                pixel = pixels[x, y]
                assert isinstance(pixel, tuple)
                rows.extend(int(value) for value in pixel)
    return png(WIDTH, HEIGHT, 8, 2, bytes(rows), interlace=1)


def gray16() -> bytes:
    line = b"\x00" + b"".join(struct.pack(">H", x * 65535 // (WIDTH - 1)) for x in range(WIDTH))
    return png(WIDTH, HEIGHT, 16, 0, line * HEIGHT)


def text_notes() -> PngInfo:
    notes = PngInfo()
    notes.add_text("Author", "Ada Example")
    notes.add_itxt("Comment", "made by hand", zip=True)
    return notes


def jpegs() -> dict[str, bytes]:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = saved(photo(), "JPEG", quality=80)
    result = {
        "plain.jpg": plain,
        "progressive.jpg": saved(photo(), "JPEG", quality=80, progressive=True),
        "gray.jpg": saved(photo().convert("L"), "JPEG", quality=80),
        "cmyk.jpg": saved(flat().convert("CMYK"), "JPEG", quality=80),
        "icc.jpg": saved(photo(), "JPEG", quality=80, icc_profile=srgb),
        "small.jpg": saved(photo(300, 200), "JPEG", quality=80),
        "wide.jpg": saved(flat(5400, 400), "JPEG", quality=50),
        "sliver.jpg": saved(flat(2000, 100), "JPEG", quality=60),
        "exif_gps.jpg": saved(
            photo(),
            "JPEG",
            quality=80,
            exif=exif(1, gps=True),
            xmp=XMP,
            comment="by Ada Example",
            icc_profile=srgb,
        ),
        "truncated.jpg": plain[: len(plain) // 2],
        "head_only.jpg": plain[:200],
    }
    for turn in (3, 6, 8):
        result[f"exif_{turn}.jpg"] = saved(photo(), "JPEG", quality=80, exif=exif(turn, gps=True))
    return result


def pngs() -> dict[str, bytes]:
    plain = saved(flat(), "PNG", optimize=True)
    hurt = bytearray(plain)
    hurt[len(hurt) // 2] ^= 0x55
    frames = [flat(), flat().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    palette = flat().quantize(16)
    return {
        "rgb.png": plain,
        "rgba.png": saved(clear(flat()), "PNG", optimize=True),
        "palette.png": saved(palette, "PNG", optimize=True),
        "palette_clear.png": saved(palette, "PNG", optimize=True, transparency=0),
        "gray.png": saved(flat().convert("L"), "PNG", optimize=True),
        "gray_alpha.png": saved(clear(flat()).convert("LA"), "PNG", optimize=True),
        "bilevel.png": saved(flat().convert("1"), "PNG", optimize=True),
        "gray16.png": gray16(),
        "rgb16.png": png(WIDTH, HEIGHT, 16, 2, deep_rows()),
        "interlaced.png": interlaced(),
        "exif_6.png": saved(flat(), "PNG", optimize=True, exif=exif(6)),
        "notes.png": saved(flat(), "PNG", optimize=True, pnginfo=text_notes()),
        "animated.png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "truncated.png": plain[: len(plain) * 2 // 3],
        "corrupt.png": bytes(hurt),
        "bomb.png": png(60000, 60000, 8, 2, b"\x00" * 64),
        "no_pixels.png": png(0, 400, 8, 2, b""),
    }


def others() -> dict[str, bytes]:
    frames = [flat(), flat().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    lossy = saved(photo(), "WEBP", quality=70)
    return {
        "palette.bmp": saved(flat(384, 384).quantize(8), "BMP"),
        "rgb.bmp": saved(flat(384, 384), "BMP"),
        "lossy.webp": lossy,
        "lossless.webp": saved(flat(), "WEBP", lossless=True),
        "alpha.webp": saved(clear(flat()), "WEBP", quality=70),
        "animated.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "exif_8.webp": saved(photo(), "WEBP", quality=70, exif=exif(8)),
        "exif_gps.webp": saved(photo(), "WEBP", quality=70, exif=exif(1, gps=True), xmp=XMP),
        "truncated.webp": lossy[: len(lossy) // 2],
        "still.gif": saved(flat().quantize(16), "GIF"),
        "animated.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "lzw.tiff": saved(flat(), "TIFF", compression="tiff_lzw"),
        "exif_6.tiff": saved(flat(), "TIFF", compression="tiff_lzw", exif=exif(6)),
        "photo.avif": saved(photo(), "AVIF", quality=60),
        "exif_6.avif": saved(photo(), "AVIF", quality=60, exif=exif(6)),
        "truncated.gif": saved(flat().quantize(16), "GIF")[:900],
        "empty.png": b"",
        "text.png": b"This is not a picture, whatever it is called.\n",
        "page.jpg": b"<!doctype html><title>404</title>\n",
    }


def heic() -> dict[str, bytes]:
    """Only where the package is: the gateway does without it, too."""
    if importlib.util.find_spec("pillow_heif") is None:
        return {}
    importlib.import_module("pillow_heif").register_heif_opener()
    return {"photo.heic": saved(photo(), "HEIF", quality=50)}


def main() -> None:
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    for name, content in (jpegs() | pngs() | others() | heic()).items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
