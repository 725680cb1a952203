"""The files a report becomes, as bytes by relative path; whoever calls decides where they go."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from typing import Literal

from ahekit.reporting.build import Report
from ahekit.reporting.drawing import Kind, draw_report
from ahekit.reporting.render_csv import prediction_files, table_files
from ahekit.reporting.render_html import render_html
from ahekit.reporting.render_json import render_json
from ahekit.reporting.render_latex import render_latex
from ahekit.reporting.render_markdown import render_markdown
from ahekit.reporting.svg import standalone

FileFormat = Literal["html", "md", "json", "csv", "latex", "svg", "png", "pdf"]

_KINDS: dict[FileFormat, Kind] = {"html": "svg", "md": "svg", "svg": "svg", "png": "png", "pdf": "pdf"}


def report_files(
    report: Report, formats: Collection[FileFormat], *, pages: str = "", figures: str = "figures"
) -> tuple[Report, dict[str, bytes]]:
    """Render a report.

    Args:
        formats: "html" is one self-contained file; "md" brings the figures as SVG; "svg", "png" and "pdf" are the
            figures alone; "csv" every table, and the predictions of each image; "latex" the tables in one file.
        pages: Folder of the pages and tables, relative to where all is to go.
        figures: Folder of the figures, likewise.

    Returns:
        The report as rendered, with the figures that could not be drawn among its `missing`; and the content of each
        file by its relative path.
    """
    kinds = {_KINDS[form] for form in formats if form in _KINDS}
    report, pictures = draw_report(report, sorted(kinds))
    files = {}
    for name, drawn in pictures.items():
        if {"md", "svg"} & {*formats}:
            files[posixpath.join(figures, f"{name}.svg")] = standalone(drawn["svg"])
        for kind in ("png", "pdf"):
            if kind in drawn:
                files[posixpath.join(figures, f"{name}.{kind}")] = drawn[kind]
    beside = posixpath.relpath(figures, pages or ".")
    forms = [form for form in ("svg", "png", "pdf") if form in formats or (form == "svg" and "md" in formats)]
    if "html" in formats:
        files[posixpath.join(pages, "report.html")] = render_html(report, pictures).encode()
    if "md" in formats:
        files[posixpath.join(pages, "report.md")] = render_markdown(report, beside).encode()
    if "json" in formats:
        files[posixpath.join(pages, "report.json")] = render_json(report, beside, forms).encode()
    if "csv" in formats:
        tables = table_files(report) | prediction_files(report.predictions)
        files |= {posixpath.join(pages, "tables", name): content for name, content in tables.items()}
    if "latex" in formats:
        files[posixpath.join(pages, "report.tex")] = render_latex(report).encode()
    return report, files
