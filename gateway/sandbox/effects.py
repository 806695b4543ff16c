"""Visible effects, chosen by words of the prompt: what stands in for the model's art."""

from collections.abc import Callable
from hashlib import sha256
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from gateway.sandbox.order import Size

Picture = Image.Image
Effect = Callable[[Picture], Picture]


def _grayscale(picture: Picture) -> Picture:
    return picture.convert("L").convert("RGB")


def _sepia(picture: Picture) -> Picture:
    return ImageOps.colorize(picture.convert("L"), "#2b1706", "#fff1d6", mid="#a9783f")


def _blur(picture: Picture) -> Picture:
    return picture.filter(ImageFilter.BoxBlur(max(picture.size) // 80))


def _posterize(picture: Picture) -> Picture:
    return ImageEnhance.Color(ImageOps.posterize(picture, 2)).enhance(1.8)


def _edges(picture: Picture) -> Picture:
    edges = picture.convert("L").filter(ImageFilter.SMOOTH_MORE).filter(ImageFilter.FIND_EDGES)
    return ImageOps.autocontrast(ImageOps.invert(edges)).convert("RGB")


def _pixels(picture: Picture) -> Picture:
    small = picture.resize((max(1, picture.width // 24), max(1, picture.height // 24)))
    return small.resize(picture.size, Image.Resampling.NEAREST)


def _tinted(red: float, blue: float) -> Effect:
    def tint(picture: Picture) -> Picture:
        bands = picture.split()
        return Image.merge(
            "RGB",
            (
                bands[0].point(lambda level: level * red),
                bands[1],
                bands[2].point(lambda level: level * blue),
            ),
        )

    return tint


_WORDS: tuple[tuple[tuple[str, ...], Effect], ...] = (
    (("grayscale", "greyscale", "black and white", "monochrome", "黑白"), _grayscale),
    (("sepia", "vintage", "old photo", "复古"), _sepia),
    (("blur", "soft focus", "模糊"), _blur),
    (("mirror", "flip", "镜像"), ImageOps.mirror),
    (("invert", "negative", "反色"), ImageOps.invert),
    (("posterize", "pop art", "poster", "波普"), _posterize),
    (("edges", "sketch", "pencil", "drawing", "素描"), _edges),
    (("pixel", "8-bit", "mosaic", "像素"), _pixels),
    (("warm", "sunset", "暖"), _tinted(1.25, 0.7)),
    (("cold", "winter", "night", "冷"), _tinted(0.7, 1.25)),
)


def effect_for(prompt: str) -> Effect:
    """Choose by the first word that the prompt holds, else by the prompt's hash."""
    text = prompt.lower()
    for words, effect in _WORDS:
        if any(word in text for word in words):
            return effect
    return _WORDS[sha256(prompt.encode()).digest()[0] % len(_WORDS)][1]


def vary(picture: Picture, seed: int) -> Picture:
    """Change the light a little, so that pictures of neighbouring seeds differ."""
    dice = Random(seed)
    brighter = ImageEnhance.Brightness(picture).enhance(dice.uniform(0.9, 1.1))
    return ImageEnhance.Contrast(brighter).enhance(dice.uniform(0.9, 1.1))


def stamp(picture: Picture, text: str) -> Picture:
    """Write *text* into the bottom right corner."""
    width, height = picture.size
    ImageDraw.Draw(picture).text(
        (width - 16, height - 16), text, fill="white", anchor="rd", font_size=28,
        stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return picture


def placeholder(digest: str, size: Size) -> Picture:
    """Paint two colours of *digest* (hex) into each other, for a picture that is not fetched."""
    ramp = Image.linear_gradient("L").resize(size)
    return ImageOps.colorize(ramp, f"#{digest[:6]}", f"#{digest[6:12]}")
