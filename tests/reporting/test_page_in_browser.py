"""The page as a browser sees it: its script runs under its own policy, tables sort, figures have a size."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ahekit.reporting.build import Report
from ahekit.reporting.drawing import draw_report
from ahekit.reporting.render_html import render_html
from ahekit.sections import Column, Table

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")

# Runs beside the page's own script, in a copy of the page without its policy.
PROBE = """
const out = {figures: [], sorted: {}};
for (const svg of document.querySelectorAll("figure svg")) {
  const box = svg.getBoundingClientRect();
  out.figures.push([box.width, box.height]);
}
const table = document.querySelector("table");
const column = (place) => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent.trim());
[...table.tHead.rows[0].cells].forEach((head, place) => {
  head.querySelector("button").click();
  out.sorted[place] = [head.getAttribute("aria-sort"), column(place)];
  head.querySelector("button").click();
  out.sorted[place].push(head.getAttribute("aria-sort"), column(place));
});
document.body.dataset.probe = JSON.stringify(out);
"""


@pytest.fixture
def page(small_report: Report, tmp_path: Path) -> Path:
    report, pictures = draw_report(small_report, ["svg"])
    file = tmp_path / "report.html"
    file.write_text(render_html(report, pictures))
    return file


@pytest.fixture
def probe(page: Path, tmp_path: Path) -> Path:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    file = tmp_path / "probe.html"
    file.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"))
    return file


def probed(probe: Path, folder: Path, *options: str) -> dict[str, Any]:
    """What the probe saw."""
    found = re.search(r'data-probe="([^"]*)"', opened(probe, folder, *options)[0])
    assert found
    seen: dict[str, Any] = json.loads(unescape(found[1]))
    return seen


def opened(page: Path, folder: Path, *options: str) -> tuple[str, str, Path]:
    """The page's elements after its script ran, what the browser logged, and its log of the network."""
    log = folder / "net.json"
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", f"--log-net-log={log}"),
            *(*options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, done.stderr, log


@needs_browser
def test_page_runs_its_script_and_asks_the_network_for_nothing(page: Path, tmp_path: Path) -> None:
    elements, messages, log = opened(page, tmp_path)

    assert elements.count('title="Sort"') == 3
    assert [line for line in messages.splitlines() if "CONSOLE" in line] == []
    # What the page itself asks for has its own address, that of a file, as initiator; the browser's requests haven't.
    assert not re.search(r'"initiator":"(file|null)[^"]*"[^{}]*"url":"https?:', log.read_text())


@needs_browser
def test_tables_sort_both_ways_and_figures_have_a_size(probe: Path, tmp_path: Path) -> None:
    seen = probed(probe, tmp_path)
    assert seen["figures"]
    assert all(width > 50 and height > 50 for width, height in seen["figures"])
    # Words from A; numbers from the largest, and what is empty last either way.
    assert seen["sorted"]["0"][:2] == ["ascending", ["<b>altar</b>", "a_b|c*d*", "apse"]]
    assert seen["sorted"]["1"] == ["descending", ["0.99", "–", "–"], "ascending", ["0.99", "–", "–"]]
    assert seen["sorted"]["2"] == ["descending", ["1,200", "7", "0"], "ascending", ["0", "7", "1,200"]]


@needs_browser
@pytest.mark.parametrize("width", [360, 1200])
def test_page_is_never_wider_than_the_screen(small_report: Report, tmp_path: Path, width: int) -> None:
    wide = Table("Wide", tuple(Column(f"A rather long heading {n}") for n in range(12)), (("word" * 9,) * 12,) * 30)
    section = replace(
        small_report.sections[0],
        tables=(wide, *small_report.sections[0].tables),
        figures=tuple(replace(figure, size=(9.0, 2.0)) for figure in small_report.sections[0].figures),
    )
    report, pictures = draw_report(replace(small_report, sections=(section,)), ["svg"])
    # Chromium's window has a least width, a frame within it hasn't.
    (tmp_path / "page.html").write_text(render_html(report, pictures))
    frame = f'<iframe id="page" src="page.html" style="border: 0; width: {width}px; height: 900px"></iframe>'
    script = """
    document.getElementById("page").addEventListener("load", (event) => {
      const root = event.target.contentDocument.documentElement;
      const seen = {over: root.scrollWidth - root.clientWidth, width: root.clientWidth};
      document.body.dataset.probe = JSON.stringify(seen);
    });
    """
    (tmp_path / "frame.html").write_text(
        f"<!doctype html><body><script>{script}</script></body>".replace("<script>", frame + "<script>")
    )

    seen = probed(tmp_path / "frame.html", tmp_path, "--allow-file-access-from-files")

    assert seen["over"] <= 0
    assert abs(seen["width"] - width) <= 20


def test_only_the_pages_own_script_may_run(page: Path) -> None:
    text = page.read_text()

    assert re.search(r"default-src 'none'; [^\"]*script-src 'sha256-[\w+/=]{44}'\"", text)
    assert text.count("<script>") == 1
    assert not re.search(r'(src|href|srcset)="(?!data:|#)', text)
