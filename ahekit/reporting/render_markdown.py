"""A report as Markdown, with its figures as SVGs beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from ahekit.reporting.build import Report
from ahekit.reporting.drawing import picture_name
from ahekit.sections import Figure, Section, Table, format_cell
from ahekit.wording import plain

# What would otherwise be markup, or a formula on GitHub: file and class names may hold any of it.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$]|&(?=\w+;|#))")
# What makes a list, a rule or an underlined heading of the line that begins with it.
_LINE_MARKUP = re.compile(r"^([-+=]|\d+(?=[.)]))")


def render_markdown(report: Report, figures: str) -> str:
    """The report in GitHub's Markdown.

    Args:
        figures: Folder of the SVGs, relative to the file.
    """
    blocks = [f"# {_text(report.title)}", _paragraph(report.subtitle)]
    if report.caveat:
        blocks.append(_paragraph(report.caveat))
    if report.verdict:
        blocks.append(f"**{_text(report.verdict)}**")
    blocks += [f"> **Missing:** {_text(missing.section)}: {_text(missing.reason)}" for missing in report.missing]
    for section in report.sections:
        blocks += _section(section, figures)
    if report.facts:
        blocks += [
            "## What was run",
            "\n".join(f"- **{_text(label)}:** {_text(value)}" for label, value in report.facts),
        ]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, figures: str) -> Iterator[str]:
    yield f"## {_text(section.title)}"
    yield _paragraph(section.reading)
    for figure in section.figures:
        yield from _figure(section, figure, figures)
    for widget in section.widgets:
        yield _paragraph(f"On the page: {widget.text}")
    for table in section.tables:
        yield from _table(table)


def _figure(section: Section, figure: Figure, figures: str) -> Iterator[str]:
    yield f"![{_text(figure.alt)}]({quote(f'{figures}/{picture_name(section, figure)}.svg')})"
    if figure.caption:
        yield _paragraph(figure.caption)


def _table(table: Table) -> Iterator[str]:
    yield f"**{_text(table.title)}**"
    lines = [[_text(column.name) for column in table.columns]]
    lines.append(["---:" if column.align == "right" else ":---" for column in table.columns])
    for row in table.rows:
        lines.append([_text(format_cell(cell, column)) for cell, column in zip(row, table.columns, strict=True)])
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    if table.note:
        yield _paragraph(table.note)


def _paragraph(text: str) -> str:
    """Text as a paragraph of its own, whatever it begins with."""
    return _LINE_MARKUP.sub(lambda start: f"{start[1]}\\" if start[1].isdigit() else f"\\{start[1]}", _text(text))


def _text(text: str) -> str:
    """Text within a line, as it is."""
    return _MARKUP.sub(r"\\\1", plain(" ".join(text.split())))
