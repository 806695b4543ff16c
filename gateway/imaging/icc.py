"""ICC profiles written from numbers: for pictures that describe their colours without one."""

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache

Primaries = tuple[float, float, float, float, float, float, float, float]
"""CIE x and y of white, red, green and blue, in this order."""
Curve = Callable[[float], float]
"""From a coded value to light, both 0 to 1."""

_D65 = (0.3127, 0.3290)
SRGB: Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# ITU-T H.273, tables 2 and 3; codes that mean sRGB, or nothing, are left out.
_PRIMARIES: Mapping[int, Primaries] = {
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_ADOBE_RGB: Primaries = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_REFERENCE_WHITE = 203.0
"""Candela per square metre: what is white on a screen of normal range (ITU-R BT.2408)."""
_POINTS = 1024
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_D50 = (0.9642, 1.0, 0.8249)
_TAG_BYTES = 12

_Matrix = Sequence[Sequence[float]]
_Vector = Sequence[float]


@cache
def adobe_rgb() -> bytes:
    return profile_of(_ADOBE_RGB, gamma_curve(563 / 256))


def srgb_curve(coded: float) -> float:
    return coded / 12.92 if coded <= 0.04045 else float(((coded + 0.055) / 1.055) ** 2.4)


def gamma_curve(gamma: float) -> Curve:
    return lambda coded: float(coded**gamma)


@lru_cache(maxsize=16)
def profile_of_codes(primaries: int, transfer: int) -> bytes:
    """
    Return the profile that two code points of H.273 mean; empty for sRGB and unknown ones.

    Light beyond the white of a normal screen, which HDR pictures have, is cut off.
    """
    curve = _TRANSFERS.get(transfer, srgb_curve)
    if primaries not in _PRIMARIES and transfer not in _TRANSFERS:
        return b""
    return profile_of(_PRIMARIES.get(primaries, SRGB), curve)


def profile_of(primaries: Primaries, curve: Curve) -> bytes:
    """Return a display profile of version 2: three primaries, one curve for all of them."""
    columns = _colorants(primaries)
    xyz = [struct.pack(">4s4x3i", b"XYZ ", *map(_fixed, column)) for column in columns]
    white = struct.pack(">4s4x3i", b"XYZ ", *map(_fixed, _D50))
    points = [round(65535 * min(1.0, max(0.0, curve(at / (_POINTS - 1))))) for at in range(_POINTS)]
    curves = struct.pack(f">4s4xI{_POINTS}H", b"curv", _POINTS, *points)
    text = b"desc\0\0\0\0\0\0\0\x08colours\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"rXYZ": xyz[0], b"gXYZ": xyz[1], b"bXYZ": xyz[2]}
    return _assembled({**tags, b"rTRC": curves, b"gTRC": curves, b"bTRC": curves})


def _perceptual_quantizer(coded: float) -> float:
    # SMPTE ST 2084: 1.0 is 10,000 candela per square metre.
    root = coded ** (1 / 78.84375)
    light = max(root - 0.8359375, 0.0) / (18.8515625 - 18.6875 * root)
    return float(light ** (1 / 0.1593017578125) * 10_000 / _REFERENCE_WHITE)


def _hybrid_log_gamma(coded: float) -> float:
    # ARIB STD-B67; 0.75 is the reference white, 0.265 of the light of 1.0.
    e = 2.718281828459045
    light = coded**2 / 3 if coded <= 0.5 else (e ** ((coded - 0.55991073) / 0.17883277)) / 12
    light += 0.0 if coded <= 0.5 else 0.28466892 / 12
    return float(light / 0.265)


_TRANSFERS: Mapping[int, Curve] = {
    4: gamma_curve(2.2),
    5: gamma_curve(2.8),
    8: gamma_curve(1.0),
    16: _perceptual_quantizer,
    18: _hybrid_log_gamma,
}


def _colorants(primaries: Primaries) -> list[_Vector]:
    """Return XYZ of red, green and blue at full light, as seen under the profile's white, D50."""
    white = _xyz(*primaries[:2])
    ends = [_xyz(primaries[at], primaries[at + 1]) for at in (2, 4, 6)]
    shares = _times(_inverse(_transposed(ends)), white)
    lit = [[part * share for part in end] for end, share in zip(ends, shares, strict=True)]
    inspected = _times(_BRADFORD, white)
    wanted = _times(_BRADFORD, _D50)
    scales = [there / here for here, there in zip(inspected, wanted, strict=True)]

    def adapted(colour: _Vector) -> _Vector:
        cones = _times(_BRADFORD, colour)
        scaled = [cone * scale for cone, scale in zip(cones, scales, strict=True)]
        return _times(_inverse(_BRADFORD), scaled)

    return [adapted(colour) for colour in lit]


def _xyz(x: float, y: float) -> _Vector:
    return x / y, 1.0, (1 - x - y) / y


def _times(matrix: _Matrix, vector: _Vector) -> _Vector:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def _transposed(matrix: _Matrix) -> _Matrix:
    return list(zip(*matrix, strict=True))


def _inverse(matrix: _Matrix) -> _Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    whole = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    rows = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return [[part / whole for part in row] for row in rows]


def _fixed(value: float) -> int:
    return round(value * 65536)


def _assembled(tags: Mapping[bytes, bytes]) -> bytes:
    """Return header, table of tags and their data; tags with equal data share it."""
    table = b""
    data = b""
    places: dict[bytes, int] = {}
    start = 128 + 4 + _TAG_BYTES * len(tags)
    for name, content in tags.items():
        if content not in places:
            places[content] = start + len(data)
            data += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    head = struct.pack(
        ">I4sI4s4s4s12s4s28s3i48s",
        start + len(data),
        b"",
        0x02400000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"",
        b"acsp",
        b"",
        *map(_fixed, _D50),
        b"",
    )
    return head + struct.pack(">I", len(tags)) + table + data
