"""Bar charts as SVG, from a results file: plain text, readable on light and dark ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABELS, _TEXT, _BAR, _STEP, _TOP = 860, 300, 180, 16, 24, 44
_COLOURS = ("#4a7ebb", "#e0a030", "#9aa5b1")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#555}.head{font-size:15px;font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}}"
)


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
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *drawn, "</svg>", ""])
