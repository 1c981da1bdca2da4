"""Bar and line charts as SVG, from a results file: plain text, readable on light and dark ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABELS, _TEXT, _BAR, _STEP, _TOP = 860, 300, 180, 16, 24, 44
_COLOURS = ("#4a7ebb", "#e0a030", "#9aa5b1", "#5aa469", "#c0504d")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#555}.head{font-size:15px;font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}}"
)


_LEFT, _HEIGHT, _BELOW, _LEGEND, _TICKS = 70, 240, 34, 210, 4
"""Of a line chart: room for the numbers beside and below it, for names at its right; steps of its grid."""


@dataclass(frozen=True)
class Bar:
    """One line: its parts, added up, and the text behind it."""

    label: str
    parts: Sequence[float]
    text: str


def draw(title: str, bars: Sequence[Bar], legend: Sequence[str] = (), *, logarithmic: bool = False) -> str:
    """The chart. `legend` names the parts; a logarithmic one is for bars of one part."""
    longest = max(sum(bar.parts) for bar in bars)
    room = _WIDTH - _LABELS - _TEXT

    def length(value: float) -> float:
        share = math.log10(max(value, 1)) / math.log10(longest) if logarithmic else value / longest
        return round(room * share, 1)

    height = _TOP + _STEP * len(bars) + (24 if legend else 4)
    drawn = [f'<text x="8" y="22" class="head">{escape(title)}</text>']
    for line, bar in enumerate(bars):
        y = _TOP + _STEP * line
        drawn.append(f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>')
        x = float(_LABELS)
        for part, colour in zip(bar.parts, _COLOURS, strict=False):
            width = length(part)
            drawn.append(f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{_BAR}" fill="{colour}"/>')
            x += width
        drawn.append(f'<text x="{x + 6:g}" y="{y + 13}">{escape(bar.text)}</text>')
    x = float(_LABELS)
    for name, colour in zip(legend, _COLOURS, strict=False):
        drawn.append(f'<rect x="{x:g}" y="{height - 20}" width="12" height="12" fill="{colour}"/>')
        drawn.append(f'<text x="{x + 17:g}" y="{height - 10}">{escape(name)}</text>')
        x += 40 + 7 * len(name)
    return _svg(height, drawn)


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, and its points from left to right."""

    label: str
    points: Sequence[tuple[float, float]]


def lines(title: str, drawn: Sequence[Line], *, logarithmic: bool = False) -> str:
    """The chart, upwards from 0. A logarithmic one has its steps to the right where its points are."""
    places = sorted({x for line in drawn for x, _ in line.points})
    top = _ceiling(max(y for line in drawn for _, y in line.points))
    width, bottom = _WIDTH - _LEFT - _LEGEND, _TOP + _HEIGHT
    scale = math.log10 if logarithmic else float
    first, last = scale(places[0]), scale(places[-1])

    def across(x: float) -> float:
        return round(_LEFT + width * (scale(x) - first) / ((last - first) or 1), 1)

    def up(y: float) -> float:
        return round(bottom - _HEIGHT * y / top, 1)

    parts = [f'<text x="8" y="22" class="head">{escape(title)}</text>']
    for step in range(_TICKS + 1):
        y = up(top * step / _TICKS)
        parts.append(f'<path d="M{_LEFT} {y:g}H{_LEFT + width}" stroke="#888" stroke-opacity=".3"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{top * step / _TICKS:,g}</text>')
    marks = places if logarithmic else [places[-1] * step / _TICKS for step in range(_TICKS + 1)]
    for mark in marks:
        parts.append(
            f'<text x="{across(mark):g}" y="{bottom + 20}" text-anchor="middle">{round(mark, 1):,g}</text>'
        )
    for number, line in enumerate(drawn):
        # Where the colours come again, lines are dashed.
        again, colour = divmod(number, len(_COLOURS))
        style = f'stroke="{_COLOURS[colour]}"' + (f' stroke-dasharray="{6 // again} 3"' if again else "")
        path = "L".join(f"{across(x):g} {up(y):g}" for x, y in line.points)
        parts.append(f'<path d="M{path}" fill="none" stroke-width="2" {style}/>')
        x, y = _LEFT + width + 16, _TOP + 18 * number + 8
        parts.append(f'<path d="M{x} {y}h22" stroke-width="2" {style}/>')
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(line.label)}</text>')
    return _svg(max(bottom + _BELOW, _TOP + 18 * len(drawn) + 8), parts)


def _ceiling(most: float) -> float:
    """The next round number: where the scale ends."""
    digit = 10.0 ** math.floor(math.log10(most or 1))
    return next(step * digit for step in (1, 2, 4, 6, 8, 10) if step * digit >= (most or 1))


def _svg(height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])
