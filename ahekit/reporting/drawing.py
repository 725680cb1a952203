"""A report's figures as picture files, drawn once for all renderings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from ahekit.errors import PluginError
from ahekit.registry import REPORTERS
from ahekit.reporting.build import Missing, Report, described
from ahekit.sections import Figure, Section

Kind = Literal["png", "light", "dark"]
"""PNG with its title and run for standing alone; SVG without them, in either theme, for a page."""

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
    providers = {entry.name: described(entry) for entry in REPORTERS.entries()}
    pictures: dict[str, dict[Kind, bytes]] = {}
    sections = []
    missing = list(report.missing)
    for section in report.sections:
        drawable = []
        for figure in section.figures:
            try:
                _check(section, figure)
                pictures[picture_name(section, figure)] = {kind: _draw(figure, kind, report.run) for kind in kinds}
            except PluginError as error:
                provider = providers.get(section.name)
                missing.append(Missing(section.name, f"{provider}: {error}" if provider else str(error)))
            else:
                drawable.append(figure)
        sections.append(replace(section, figures=tuple(drawable)))
    return replace(report, sections=tuple(sections), missing=tuple(missing)), pictures


def _check(section: Section, figure: Figure) -> None:
    if not isinstance(figure.name, str):
        raise PluginError(f"figure {figure.name!r} can't be drawn: its name is no text")
    if [other.name for other in section.figures].count(figure.name) > 1:
        raise PluginError(f"figure {figure.name!r} can't be drawn: the section has two of that name")
    for field, text in (("title", figure.title), ("alt", figure.alt), ("caption", figure.caption)):
        if not isinstance(text, str):
            raise PluginError(f"figure {figure.name!r} can't be drawn: its {field} is no text")


def _draw(figure: Figure, kind: Kind, run: str) -> bytes:
    from ahekit.reporting.style import DARK, LIGHT, render_figure

    if kind == "png":
        return render_figure(figure, heading=f"{figure.title}\n{run}")
    return render_figure(figure, theme=DARK if kind == "dark" else LIGHT, form="svg", heading="")
