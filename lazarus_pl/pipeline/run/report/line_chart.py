"""Lines as an SVG element that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 18, 14, 44
_COLOURS = 6


@dataclass(frozen=True)
class LineChart:
    """A few lines over a common axis.

    Attributes:
        lines: Points by the line's name.
        x_label: What the horizontal axis is.
        y_label: What the vertical one is.
        marks: Vertical lines by where they stand, with their words.
        log: Whether the vertical axis is logarithmic.
    """

    lines: Mapping[str, Points]
    x_label: str
    y_label: str
    marks: Sequence[tuple[float, str]] = field(default_factory=tuple)
    log: bool = False

    def __html__(self) -> str:
        """The element, with a legend below it; nothing where there are no points."""
        lines = {name: self._finite(points) for name, points in self.lines.items()}
        lines = {name: points for name, points in lines.items() if points}
        if not lines:
            return ""
        xs = [x for points in lines.values() for x, _ in points]
        ys = [self._scaled(y) for points in lines.values() for _, y in points]
        frame = _Frame(min(xs), max(xs), *_padded(min(ys), max(ys)))
        parts = [*self._axes(frame), *self._marks(frame)]
        for number, points in enumerate(lines.values()):
            places = [(frame.x(x), frame.y(self._scaled(y))) for x, y in points]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            colour = f"c{number % _COLOURS}"
            parts.append(f'<polyline class="line {colour}" points="{path}"/>')
            if len(places) == 1:
                x, y = places[0]
                parts.append(f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        label = Markup("{} by {}").format(self.y_label, self.x_label)
        body = "".join(parts)
        svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{body}</svg>'
        return f"{svg}{_legend(list(lines))}"

    def _finite(self, points: Points) -> list[tuple[float, float]]:
        least = 0.0 if self.log else -math.inf
        return [(x, y) for x, y in points if math.isfinite(y) and y > least]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def _axes(self, frame: _Frame) -> list[str]:
        parts = []
        for value in _ticks(frame.bottom, frame.top):
            y = frame.y(value)
            text = _number(10**value if self.log else value)
            ends = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}"'
            parts.append(
                f'<line class="rule" {ends} y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
        for value in _ticks(frame.left, frame.right):
            parts.append(
                f'<text x="{frame.x(value):.1f}" y="{_HEIGHT - _BOTTOM + 16}" '
                f'text-anchor="middle">{_number(value)}</text>'
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        label = Markup.escape(self.x_label)
        parts.append(
            f'<text class="soft" x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{label}</text>'
        )
        return parts

    def _marks(self, frame: _Frame) -> list[str]:
        parts = []
        for place, words in self.marks:
            if not frame.left <= place <= frame.right:
                continue
            x, label = frame.x(place), Markup.escape(words)
            parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" '
                f'y2="{_HEIGHT - _BOTTOM}"/>'
                f'<text class="mark-text" x="{x + 4:.1f}" y="{_TOP + 10}">{label}</text>'
            )
        return parts


@dataclass(frozen=True)
class _Frame:
    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        share = (value - self.left) / ((self.right - self.left) or 1)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / ((self.top - self.bottom) or 1)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def _ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round values between two ends."""
    span = (high - low) or 1
    step: float = 10 ** math.floor(math.log10(span / number))
    step *= next((m for m in (1, 2, 5, 10) if span / (m * step) <= number), 10)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 10_000 else f"{value:.0f}"


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    items = (
        Markup('<span><i class="c{}"></i>{}</span>').format(number % _COLOURS, name)
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{"".join(items)}</p>'
