"""A report as one HTML page that opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from ahekit import __version__
from ahekit.reporting.build import Report
from ahekit.reporting.drawing import Pictures, picture_name
from ahekit.reporting.render_json import plain_values
from ahekit.reporting.style import DARK, LIGHT
from ahekit.reporting.svg import inline, variables
from ahekit.sections import Cell, Widget, format_cell
from ahekit.wording import plain

_SHORT_TEXT = 28  # characters of a cell that isn't broken into lines: a class, a run's name
_WIDE_FIGURE = 6.5  # inches; on a narrow screen wider ones are moved sideways rather than shrunk beyond reading
_LONG_TABLE = 15  # rows; longer ones scroll in a box of their own
_URL = re.compile(r"https?://[^\s<>\"'`)\]]*[^\s<>\"'`)\].,;:]")


def render_html(report: Report, pictures: Pictures) -> str:
    """The page, with its figures as SVG in the page's own colours, light or dark as the reader has set.

    Args:
        pictures: What `draw_report` drew, with the kind "svg".
    """
    alts = {
        picture_name(section, figure): plain(figure.alt) for section in report.sections for figure in section.figures
    }
    drawn = {name: inline(picture["svg"], alt=alts[name]) for name, picture in pictures.items()}
    glyphs = {name: glyph for picture in drawn.values() for name, glyph in picture.glyphs.items()}
    script = files("ahekit.reporting").joinpath("report.js").read_text(encoding="utf-8") + _widget_scripts(report)
    return _template().render(
        script=Markup(script),
        # The page's own script and no other may run, whatever a file or class name holds.
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        sort_value=_sort_value,
        widget_data=_widget_data,
        widget_styles=Markup("\n".join(dict.fromkeys(w.style for s in report.sections for w in s.widgets))),
        report=report,
        pictures={name: Markup(picture.element) for name, picture in drawn.items()},
        glyphs=Markup("".join(glyphs.values())),
        light=Markup(variables(LIGHT)),
        dark=Markup(variables(DARK)),
        picture_name=picture_name,
        format_cell=format_cell,
        long_table=_LONG_TABLE,
        wide_figure=_WIDE_FIGURE,
        short_text=_SHORT_TEXT,
        version=__version__,
    )


def _widget_scripts(report: Report) -> str:
    """What fills the widgets: each one's function by its name, and a call for each place."""
    functions = [
        f"widgets[{json.dumps(f'{section.name}/{widget.name}')}] = (root, data) => {{\n{widget.script}\n}};"
        for section in report.sections
        for widget in section.widgets
    ]
    if not functions:
        return ""
    fill = (
        'for (const root of document.querySelectorAll(".widget")) {\n'
        "  root.replaceChildren();\n"
        "  widgets[root.dataset.widget](root, JSON.parse(root.nextElementSibling.textContent));\n"
        "}\n"
    )
    return "\n".join(["", "const widgets = {};", *functions, fill])


def _widget_data(widget: Widget) -> Markup:
    """Its data as JSON that no text in it can end."""
    text = json.dumps(plain_values(widget.data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _harmless(value: object) -> object:
    """Text of the page with the control and direction marks of other people's names spelled out."""
    return plain(" ".join(value.split())) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("ahekit", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
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
    """Text with what stands in backticks, as commands do, set as code, and addresses as links."""
    escaped = str(escape(plain(" ".join(text.split()))))
    linked = _URL.sub(lambda url: f'<a href="{url[0]}" rel="noreferrer">{url[0]}</a>', escaped)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", linked))
