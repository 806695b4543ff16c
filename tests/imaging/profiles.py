"""ICC profiles from their published numbers, and the difference between colours that is seen."""

import struct
from collections.abc import Mapping
from math import dist

Rgb = tuple[int, int, int]
Lab = tuple[float, float, float]

_D50 = (0.9642, 1.0, 0.8249)
# Columns X Y Z of red, green and blue under D50, as their makers' profiles have them.
_SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
_DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
_ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_SRGB_CURVE = struct.pack(
    ">4s4xHxx5i",
    b"para",
    3,
    *(round(65536 * part) for part in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
)
_GAMMA_22 = struct.pack(">4s4xIH2x", b"curv", 1, 563)


def _profile(kind: bytes, space: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table = data = b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    length = start + len(data)
    head = struct.pack(">I4xI4s4s4s", length, 0x02400000, kind, space, tags.get(b"pcs", b"XYZ "))
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", *(round(65536 * part) for part in _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def _xyz(*parts: float) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * part) for part in parts))


def _screen(columns: tuple[tuple[float, ...], ...], curve: bytes) -> bytes:
    red, green, blue = (_xyz(*column) for column in columns)
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags = {b"wtpt": _xyz(*_D50), b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue, **curves}
    return _profile(b"mntr", b"RGB ", tags)


DISPLAY_P3 = _screen(_DISPLAY_P3, _SRGB_CURVE)
ADOBE_RGB = _screen(_ADOBE, _GAMMA_22)
SRGB = _screen(_SRGB, _SRGB_CURVE)
GRAY_18 = _profile(
    b"mntr",
    b"GRAY",
    {b"wtpt": _xyz(*_D50), b"kTRC": struct.pack(">4s4xIH2x", b"curv", 1, 461)},
)


def _press() -> bytes:
    """A press of four inks, each corner of whose colours has a Lab value of its own."""
    corners = b""
    for at in range(16):
        cyan, magenta, yellow, black = (at >> shift & 1 for shift in (3, 2, 1, 0))
        light = (100 - 30 * cyan - 35 * magenta - 5 * yellow) * (0.2 if black else 1)
        a, b = -30 * cyan + 60 * magenta, -40 * cyan + 70 * yellow
        corners += bytes((round(light * 2.55), min(255, a + 128), min(255, b + 128)))
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 if at % 4 == 0 else 0 for at in range(9)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + corners + identity * 3
    return _profile(b"prtr", b"CMYK", {b"A2B0": lut, b"wtpt": _xyz(*_D50)}).replace(
        b"CMYKXYZ ", b"CMYKLab ", 1
    )


PRESS = _press()


def lab_of(colour: Rgb, space: str = "sRGB") -> Lab:
    """CIE L*a*b* of *colour* under D50, by the numbers of its space."""
    columns, curve = {
        "sRGB": (_SRGB, _srgb_light),
        "Display P3": (_DISPLAY_P3, _srgb_light),
        "Adobe RGB": (_ADOBE, lambda part: part ** (563 / 256)),
    }[space]
    light = [curve(part / 255) for part in colour]
    x, y, z = (
        sum(part * column[row] for part, column in zip(light, columns, strict=True)) / _D50[row]
        for row in range(3)
    )
    f = [_cube_root(part) for part in (x, y, z)]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def delta_e(one: Lab, other: Lab) -> float:
    """CIE dE*ab: about 2.3 is just seen."""
    return dist(one, other)


def _srgb_light(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _cube_root(part: float) -> float:
    return float(part ** (1 / 3)) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116
