"""Figures as small SVG: bars beside each other, or lines; no library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _BAR, _GAP, _LEFT, _RIGHT, _TOP = 720, 22, 14, 190, 90, 56
_COLOURS = ("#2563eb", "#94a3b8", "#f59e0b", "#dc2626", "#10b981", "#7c3aed")
_HEIGHT, _BOTTOM = 300, 46  # of a figure of lines


@dataclass(frozen=True, slots=True)
class Axis:
    title: str
    unit: str


Rows = Mapping[str, Mapping[str, float]]
"""Group → name → value: a group is a row of bars; names have the same colour in each."""


def bars(ticket: Path, figure: Axis, rows: Rows) -> None:
    """Write horizontal bars, from 0, with their values beside them."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    most = max(value for row in rows.values() for value in row.values()) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts, y = [], float(_TOP)
    for group, row in rows.items():
        for name, value in row.items():
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            label = f"{group}, {name}" if group else name
            middle = y + _BAR * 0.7
            parts += [
                _text(_LEFT - 8, middle, label, "end"),
                _rect(y, value * scale, colour),
                _text(_LEFT + value * scale + 6, middle, _formatted(value)),
            ]
            y += _BAR
        y += _GAP
    _write(ticket, figure, parts, y)


def lines(ticket: Path, figure: Axis, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Write lines over a common x axis, y from 0, with the values at their points."""
    points = [point for queue in series.values() for point in queue]
    most_x = max(x for x, _ in points)
    most_y = max(y for _, y in points) * 1.15
    width, floor = _WIDTH - 140, _TOP + _HEIGHT

    def at(x: float, y: float) -> tuple[float, float]:
        return 70 + x / most_x * width, floor - y / most_y * _HEIGHT

    parts = [
        f'<path d="M70 {_TOP}V{floor}H{70 + width}" fill="none" stroke="#94a3b8"/>',
    ]
    for number, (name, queue) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in queue))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in queue:
            left, top = at(x, y)
            parts += [
                f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>',
                _text(left, top - 9, _formatted(y), "middle"),
                _text(left, floor + 16, f"{x:g}", "middle"),
            ]
        parts.append(_text(_WIDTH - 60, at(*queue[-1])[1], name))
    _write(ticket, figure, parts, floor + _BOTTOM)


def _formatted(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rect(y: float, width: float, colour: str) -> str:
    size = f'width="{max(1.0, width):.1f}" height="{_BAR - 4}"'
    return f'<rect x="{_LEFT}" y="{y:.0f}" {size} fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _write(ticket: Path, figure: Axis, parts: Sequence[str], height: float) -> None:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        'font-family="sans-serif" font-size="12" fill="#0f172a">'
        '<rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text x="16" y="24" font-size="15" font-weight="bold">{escape(figure.title)}</text>'
    )
    body = [head, _text(16, 42, figure.unit), *parts, "</svg>", ""]
    ticket.write_text("\n".join(body))
