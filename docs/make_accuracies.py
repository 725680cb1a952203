"""Draws the accuracies of the results' tables with their intervals: python docs/make_accuracies.py."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent
FILE = DOCS / "images" / "accuracies.svg"

# What a row is called, the page its table is on, and what tells its row there.
ROWS = (
    ("cnn5 from scratch, AHE-64", "cnn5.md", "strong recipe"),
    ("Lite0, new head alone, AHE-64", "transfer.md", "head alone: `ahekit"),
    ("Lite0, all layers, 128 px, AHE-64", "transfer.md", "all layers, mixing and strong"),
    ("Lite0, all layers, 160 px, AHE-64", "transfer.md", "at 112, then 144, then 160 px"),
    ("Lite2, the packaged model, originals", "transfer.md", "EfficientNet-Lite2 at 176 px"),
)

LOW, HIGH = 0.87, 1.0  # of the axis
LEFT, RIGHT, ROW, TOP = 260, 640, 30, 14  # pixels

STYLE = """
text { font: 13px system-ui, 'DejaVu Sans', sans-serif; fill: #1c1b1f; }
.number { text-anchor: middle; fill: #666; font-size: 11.5px; }
.name { text-anchor: end; }
line { stroke: #ddd; }
.interval { stroke: #5e35b1; stroke-width: 2.5; }
circle { fill: #5e35b1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e1e9; }
  .number { fill: #aaa; }
  line { stroke: #3a3a48; }
  .interval { stroke: #b39ddb; }
  circle { fill: #b39ddb; }
}
"""


def accuracy(page: str, words: str) -> tuple[float, float, float]:
    """The first figure of a row, and its interval.

    Raises:
        ValueError: There is no such row, or several.
    """
    lines = (DOCS / "results" / page).read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith("|") and words in line]
    found = re.search(r"\|\s*\**(0\.\d+)\**\s*\((0\.\d+)–(0\.\d+)\)", row)
    if found is None:
        raise ValueError(f"{page}: no figure with an interval in the row of {words!r}")
    value, low, high = map(float, found.groups())
    return value, low, high


def across(share: float) -> float:
    """Where a share lies on the axis, in pixels."""
    return LEFT + (share - LOW) / (HIGH - LOW) * (RIGHT - LEFT)


def draw() -> str:
    """The figure as SVG, readable on light and dark ground."""
    foot = TOP + ROW * len(ROWS)
    parts = []
    for tick in (0.88, 0.90, 0.92, 0.94, 0.96, 0.98, 1.0):
        x = f"{across(tick):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{foot}"/>')
        parts.append(f'<text class="number" x="{x}" y="{foot + 16}">{tick:.2f}</text>')
    for number, (name, page, words) in enumerate(ROWS):
        y = TOP + ROW * (number + 0.5)
        value, low, high = accuracy(page, words)
        parts.append(f'<text class="name" x="{LEFT - 14}" y="{y + 4.5}">{name}</text>')
        parts.append(f'<line class="interval" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle cx="{across(value):.1f}" cy="{y}" r="5"/>')
    size = f'viewBox="0 0 {RIGHT + 30} {foot + 26}" width="{RIGHT + 30}" height="{foot + 26}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>", *parts, "</svg>\n"]
    )


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
