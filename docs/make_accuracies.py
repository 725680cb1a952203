"""Draws the figures of the results from their tables: python docs/make_accuracies.py.

One of accuracies with their intervals, and one of accuracy against multiply-adds.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"

# What a row is called, the page its table is on, and what tells its row there.
ROWS = (
    ("cnn5 from scratch, AHE-64", "cnn5.md", "strong recipe"),
    ("Lite0, new head alone, AHE-64", "transfer.md", "head alone: `ahekit"),
    ("Lite0, all layers, 128 px, AHE-64", "transfer.md", "all layers, mixing and strong"),
    ("Lite0, all layers, 160 px, AHE-64", "transfer.md", "at 112, then 144, then 160 px"),
    ("Lite2, all but early layers, AHE-64", "transfer.md", "on images of 120 px, measured at 160"),
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
.theirs { fill: none; stroke: #8d6e63; stroke-width: 2.5; }
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
    """The accuracies with their intervals as SVG, readable on light and dark ground."""
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
    return as_svg(parts, width=RIGHT + 30, height=foot + 26)


# --- accuracy against multiply-adds -----------------------------------------------------------------------------------

FEWEST, MOST = 0.08, 1.0  # multiply-adds of an image, G
WORST, BEST = 0.74, 1.0  # accuracy
SIDES = (56, 520, 16, 330)  # left, right, top and bottom of the plane, pixels
COVERS = 8  # pixels between the centres of circles that can't be labelled apart


def networks() -> list[tuple[str, float, float, float, float]]:
    """Of each network whose multiply-adds are known: name, multiply-adds in G, accuracy and its interval.

    A published figure has no interval in the table; both ends are then the figure itself.
    """
    lines = (DOCS / "results" / "networks.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    found = []
    for row in table:
        cells = dict(zip(table[0], row, strict=True))
        cost = re.fullmatch(r"(0\.\d+) G", cells["Multiply-adds"])
        reached = re.match(r"(0\.\d+)\**(?: \((0\.\d+)–(0\.\d+)\))?", cells["Accuracy"])
        if cost and reached:
            value, low, high = (float(part or reached[1]) for part in reached.groups())
            found.append((cells["Network"], float(cost[1]), value, low, high))
    return found


def beside(cost: float) -> float:
    """Where multiply-adds, in G, are on the axis below, in pixels; equal factors are equally long."""
    left, right, _, _ = SIDES
    return left + math.log(cost / FEWEST) / math.log(MOST / FEWEST) * (right - left)


def above(share: float) -> float:
    """Where an accuracy is on the axis at the left, in pixels."""
    _, _, top, foot = SIDES
    return foot - (share - WORST) / (BEST - WORST) * (foot - top)


def draw_networks() -> str:
    """Accuracy against multiply-adds, which grow by equal factors, as SVG."""
    left, right, top, foot = SIDES
    parts = []
    for cost in (0.1, 0.2, 0.5, 1.0):
        x = beside(cost)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{foot}"/>')
        parts.append(f'<text class="number" x="{x:.1f}" y="{foot + 16}">{cost:g} G</text>')
    for tick in (0.75, 0.80, 0.85, 0.90, 0.95, 1.0):
        y = above(tick)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="number" x="{left - 22}" y="{y + 4:.1f}">{tick:.2f}</text>')
    labels: dict[tuple[float, float], list[int]] = {}
    for number, (name, cost, value, low, high) in enumerate(networks(), start=1):
        x = beside(cost)
        y, under, over = map(above, (value, low, high))
        parts.append(f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{under:.1f}" y2="{over:.1f}"/>')
        kind = ' class="theirs"' if name.endswith("published") else ""
        parts.append(f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text x="{right + 24}" y="{top + 22 * number}">{number}  {name}</text>')
        # Of circles that cover each other the numbers stand side by side.
        place = next((other for other in labels if math.dist(other, (x, y)) < COVERS), (x, y))
        labels.setdefault(place, []).append(number)
    for (x, y), numbers in labels.items():
        parts.append(f'<text x="{x + 9:.1f}" y="{y + 4.5:.1f}">{", ".join(map(str, numbers))}</text>')
    parts.append(f'<text class="number" x="{(left + right) / 2}" y="{foot + 34}">multiply-adds for one image</text>')
    return as_svg(parts, width=right + 300, height=foot + 44)


def as_svg(parts: list[str], *, width: int, height: float) -> str:
    """Parts of a figure, `width` by `height` pixels, as a whole."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>", *parts, "</svg>\n"]
    )


FIGURES = {"accuracies.svg": draw, "networks.svg": draw_networks}

if __name__ == "__main__":
    for name, make in FIGURES.items():
        (IMAGES / name).write_text(make(), encoding="utf-8")
        print(IMAGES / name)
