"""The files a report becomes, as bytes by relative path; whoever calls decides where they go."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from typing import Literal

from ahekit.reporting.build import Report
from ahekit.reporting.drawing import Kind, draw_report
from ahekit.reporting.render_html import render_html
from ahekit.reporting.render_json import render_json
from ahekit.reporting.render_markdown import render_markdown

FileFormat = Literal["html", "md", "json", "png"]

_KINDS: dict[FileFormat, tuple[Kind, ...]] = {"html": ("light", "dark"), "md": ("png",), "json": (), "png": ("png",)}


def report_files(
    report: Report, formats: Collection[FileFormat], *, pages: str = "", figures: str = "figures"
) -> tuple[Report, dict[str, bytes]]:
    """Render a report.

    Args:
        formats: "html" is one self-contained file, "md" needs the PNGs and brings them, "png" are those alone.
        pages: Folder of report.html, report.md and report.json, relative to where all is to go.
        figures: Folder of the PNGs, likewise.

    Returns:
        The report as rendered, with the figures that could not be drawn among its `missing`; and the content of each
        file by its relative path.
    """
    kinds = {kind for form in formats for kind in _KINDS[form]}
    report, pictures = draw_report(report, sorted(kinds))
    files = {}
    if "png" in kinds:
        files = {posixpath.join(figures, f"{name}.png"): picture["png"] for name, picture in pictures.items()}
    beside = posixpath.relpath(figures, pages or ".")
    if "html" in formats:
        files[posixpath.join(pages, "report.html")] = render_html(report, pictures).encode()
    if "md" in formats:
        files[posixpath.join(pages, "report.md")] = render_markdown(report, beside).encode()
    if "json" in formats:
        pngs = beside if "png" in kinds else None
        files[posixpath.join(pages, "report.json")] = render_json(report, pngs).encode()
    return report, files
