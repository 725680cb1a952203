"""A report as one HTML page that opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from ahekit import __version__
from ahekit.reporting.build import Report
from ahekit.reporting.drawing import Pictures, picture_name
from ahekit.reporting.sections import Cell, format_cell

_CSS_DOTS_PER_INCH = 96


def render_html(report: Report, pictures: Pictures) -> str:
    """The page, with its figures as SVG in a light and a dark theme that follow the reader's settings.

    Args:
        pictures: What `draw_report` drew, with the kinds "light" and "dark".
    """
    script = files("ahekit.reporting").joinpath("report.js").read_text(encoding="utf-8")
    return _template().render(
        script=Markup(script),
        # The page's own script and no other may run, whatever a file or class name holds.
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        sort_value=_sort_value,
        report=report,
        pictures=pictures,
        picture_name=picture_name,
        format_cell=format_cell,
        data_uri=_data_uri,
        pixels=lambda inches: round(inches * _CSS_DOTS_PER_INCH),
        version=__version__,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("ahekit", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    return environment.get_template("report.html.j2")


def _sort_value(cell: Cell) -> Markup:
    """The number behind a cell, for the page's script to sort by; a format rounds it."""
    if cell is None or isinstance(cell, str) or cell != cell:
        return Markup("")
    return Markup(' data-value="{}"').format(cell)


def _with_code(text: str) -> Markup:
    """Text with what stands in backticks, as commands do, set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
