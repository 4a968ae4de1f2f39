"""How often a model is right when it says how sure it is, as an SVG element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SIDE, _LEFT, _BOTTOM, _TOP, _RIGHT = 280, 40, 36, 10, 20


@dataclass(frozen=True)
class ReliabilityChart:
    """A reliability diagram; the line is what a calibrated model would show.

    Attributes:
        bins: ``from``, ``to``, ``photos``, ``confidence`` and ``accuracy`` of each.
    """

    bins: Sequence[Mapping[str, float]]

    def __html__(self) -> str:
        """The element."""
        most = max((row["photos"] for row in self.bins), default=1)
        parts = [*_axes()]
        for row in self.bins:
            x, width = _x(row["from"]), _x(row["to"]) - _x(row["from"])
            y = _y(row["accuracy"])
            # bars of few photos are pale
            weight = 0.35 + 0.65 * (row["photos"] / most) ** 0.3
            words = (
                f"{row['photos']:.0f} photos, said {row['confidence']:.0%}, "
                f"right {row['accuracy']:.0%}"
            )
            parts.append(
                f'<rect class="bar" x="{x + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" '
                f'height="{_y(0) - y:.1f}" opacity="{weight:.2f}"><title>{words}</title></rect>'
            )
        parts.append(f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>')
        body = "".join(parts)
        return (
            f'<svg class="square" viewBox="0 0 {_SIDE} {_SIDE}" role="img" '
            f'aria-label="share that is right by probability">{body}</svg>'
        )


def _axes() -> list[str]:
    parts = []
    below = _SIDE - _BOTTOM + 15
    for step in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<line class="rule" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(step)}" y2="{_y(step)}"/>'
            f'<text x="{_LEFT - 5}" y="{_y(step) + 4}" text-anchor="end">{step:.0%}</text>'
            f'<text x="{_x(step)}" y="{below}" text-anchor="middle">{step:.0%}</text>'
        )
    parts.append(
        f'<text class="soft" x="{(_x(0) + _x(1)) / 2}" y="{_SIDE - 4}" text-anchor="middle">'
        "probability that it gives</text>"
    )
    return parts


def _x(share: float) -> float:
    return round(_LEFT + share * (_SIDE - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_SIDE - _BOTTOM - share * (_SIDE - _TOP - _BOTTOM), 1)
