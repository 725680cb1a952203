"""A report's figures as picture files, drawn once for all renderings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from ahekit.errors import PluginError
from ahekit.registry import REPORTERS
from ahekit.reporting.build import Missing, Report
from ahekit.sections import Figure, Section

Kind = Literal["svg", "png", "pdf"]
"""SVG without a heading, in the theme `PAGE`, for the page and Markdown; PNG and PDF with one, to stand alone."""

Pictures = Mapping[str, Mapping[Kind, bytes]]
"""Pictures by `picture_name`, and kind."""


def picture_name(section: Section, figure: Figure) -> str:
    """File stem of a figure: unique in the report, and harmless whatever a plugin calls it."""
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip("._") for part in (section.name, figure.name))


def draw_report(report: Report, kinds: Collection[Kind]) -> tuple[Report, Pictures]:
    """Draw every figure in the kinds asked for.

    Returns:
        The report without the figures that can't be drawn, each noted in its `missing`; and the pictures.
    """
    entries = {entry.name: entry for entry in REPORTERS.entries()}
    pictures: dict[str, dict[Kind, bytes]] = {}
    sections = []
    missing = list(report.missing)
    for section in report.sections:
        drawable = []
        for figure in section.figures:
            try:
                if fault := _fault(section, figure):
                    reason = f"figure {figure.name!r} can't be drawn: {fault}"
                    entry = entries.get(section.name)
                    raise entry.broken(reason) if entry else PluginError(reason)
                pictures[picture_name(section, figure)] = {kind: _draw(figure, kind, report) for kind in kinds}
            except PluginError as error:
                missing.append(Missing(section.name, str(error)))
            else:
                drawable.append(figure)
        sections.append(replace(section, figures=tuple(drawable)))
    return replace(report, sections=tuple(sections), missing=tuple(missing)), pictures


def _fault(section: Section, figure: Figure) -> str:
    """What keeps a figure from being drawn at all; empty where nothing does."""
    from ahekit.reporting.style import MAX_PIXELS, PNG_DPI

    width, height = figure.size
    if width * height * PNG_DPI**2 > MAX_PIXELS:
        return f"{width:g} x {height:g} inches are too large"
    if [picture_name(section, other) for other in section.figures].count(picture_name(section, figure)) > 1:
        return "the section has two of that name"
    return ""


def _draw(figure: Figure, kind: Kind, report: Report) -> bytes:
    from ahekit.reporting.style import PAGE, render_figure

    if kind == "svg":
        return render_figure(figure, theme=PAGE, form="svg", heading="")
    mark = " (sample of drawings)" if report.caveat else ""
    return render_figure(figure, form=kind, heading=f"{figure.title}\n{report.run}{mark}")
