"""Draws which part may import which, from the table that a test enforces: python docs/make_import_map.py.

A line from a part down to another one that it may import, unless that follows from the other lines.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "images" / "import-map.svg"

ROW, BOX, GAP, LETTER, WIDTH = 58, 26, 14, 7.4, 620  # pixels

STYLE = """
rect { fill: #fff; stroke: #5e35b1; }
.plugins rect { fill: #ede7f6; }
text { font: 12.5px ui-monospace, 'DejaVu Sans Mono', monospace; fill: #1c1b1f; text-anchor: middle; }
path { fill: none; stroke: #7e57c2; stroke-opacity: .45; }
@media (prefers-color-scheme: dark) {
  rect { fill: #22232e; stroke: #b39ddb; }
  .plugins rect { fill: #35304a; }
  text { fill: #e6e1e9; }
  path { stroke: #b39ddb; }
}
"""


def parts() -> dict[str, set[str]]:
    """Each part with those it may import; a module named by itself counts to its package."""
    rules: dict[str, str] = runpy.run_path(str(ROOT / "tests" / "test_import_rules.py"))["MAY_IMPORT"]
    found: dict[str, set[str]] = {}
    for name, allowed in rules.items():
        package = name.partition(".")[0]
        targets = {target.partition(".")[0] for target in allowed.split()}
        found.setdefault(package, set()).update(targets - {package, "ahekit"})
    return {name: targets for name, targets in found.items() if name not in ("ahekit", "__main__")}


def reachable(graph: Mapping[str, set[str]], name: str) -> set[str]:
    """All that a part imports, by others too."""
    return graph[name].union(*(reachable(graph, each) for each in graph[name]))


def direct(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The lines that don't follow from others."""
    return {
        name: {each for each in targets if not any(each in reachable(graph, other) for other in targets - {each})}
        for name, targets in graph.items()
    }


def depth(graph: Mapping[str, set[str]], name: str) -> int:
    """How many parts lie below one, in the longest way down."""
    return max((depth(graph, each) + 1 for each in graph[name]), default=0)


def places(graph: Mapping[str, set[str]]) -> dict[str, tuple[float, float]]:
    """The middle of each part's box: rows by depth, and within a row below whoever imports it."""
    depths = {name: depth(graph, name) for name in graph}
    top = max(depths.values())
    at: dict[str, tuple[float, float]] = {}
    for level in range(top, -1, -1):
        row = [name for name in graph if depths[name] == level]
        above = {name: [at[each][0] for each in at if name in graph[each]] for name in row}
        row.sort(key=lambda name: (sum(above[name]) / len(above[name]) if above[name] else WIDTH / 2, name))
        left = (WIDTH - sum(map(box_width, row)) - GAP * (len(row) - 1)) / 2
        for name in row:
            at[name] = (left + box_width(name) / 2, ROW * (top - level) + BOX)
            left += box_width(name) + GAP
    return at


def box_width(name: str) -> float:
    """Of a part's box."""
    return LETTER * len(name) + 18


def line(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    """A curve from the foot of one box to the head of another."""
    (x, y), (to_x, to_y) = upper, lower
    start = y + BOX / 2
    end = to_y - BOX / 2
    middle = (start + end) / 2
    return f'<path d="M{x:.0f} {start:.0f}C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {end:.0f}"/>'


def box(name: str, x: float, y: float) -> str:
    """A part's box with its name."""
    width = box_width(name)
    corner = f'x="{x - width / 2:.0f}" y="{y - BOX / 2:.0f}"'
    kind = "plugins" if name == "ahekit_plugins" else "part"
    return (
        f'<g class="{kind}"><rect {corner} width="{width:.0f}" height="{BOX}" rx="5"/>'
        f'<text x="{x:.0f}" y="{y + 4.5:.1f}">{name}</text></g>'
    )


def draw() -> str:
    """The map as SVG, readable on light and dark ground."""
    graph = direct(parts())
    at = places(graph)
    height = max(y for _, y in at.values()) + BOX
    lines = [line(at[name], at[target]) for name in graph for target in sorted(graph[name])]
    boxes = [box(name, *place) for name, place in at.items()]
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *lines, *boxes, "</svg>"]) + "\n"


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
