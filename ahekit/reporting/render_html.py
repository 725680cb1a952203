"""A report as one HTML page that opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from functools import cache, lru_cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from PIL import Image

from ahekit import __version__
from ahekit.reporting.build import Report
from ahekit.reporting.drawing import Pictures, picture_name
from ahekit.sections import Cell, format_cell
from ahekit.wording import plain

_CSS_DOTS_PER_INCH = 96
_SHORT_TEXT = 28  # characters of a cell that isn't broken into lines: a class, a run's name
_WIDE_FIGURE = 6.5  # inches; on a narrow screen wider ones are moved sideways rather than shrunk beyond reading
_LONG_TABLE = 15  # rows; longer ones scroll in a box of their own
_WEBP_QUALITY = 88
# matplotlib's SVG: comments repeat each text, and pictures stand as PNGs in lines of base64.
_IDLE = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", re.DOTALL)
_PATH = re.compile(r'\bd="([^"]*)"')
_EMBEDDED = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
_URI_SAFE = "!$'()*+,-./:;=?@[]_~"


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
        long_table=_LONG_TABLE,
        wide_figure=_WIDE_FIGURE,
        short_text=_SHORT_TEXT,
        pixels=lambda inches: round(inches * _CSS_DOTS_PER_INCH),
        version=__version__,
    )


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
    """Text with what stands in backticks, as commands do, set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(plain(" ".join(text.split()))))))


def _data_uri(svg: bytes) -> Markup:
    """An SVG as an address without spaces or double quotes: text, and so a quarter shorter than base64."""
    text = _PATH.sub(_shorter, _EMBEDDED.sub(_lighter, _IDLE.sub("", svg.decode())))
    text = re.sub("([>:;]) ", lambda space: space[1], " ".join(text.replace('"', "'").split()))
    return Markup("data:image/svg+xml,") + Markup(quote(text, safe=_URI_SAFE))


def _shorter(path: re.Match[str]) -> str:
    """A path with commas between its numbers, which an address needn't encode, and nothing around its letters."""
    return f'd="{re.sub(",?([A-Za-z]),?", lambda letter: letter[1], ",".join(path[1].split()))}"'


def _lighter(picture: re.Match[str]) -> str:
    return _light_picture(picture[1])


@lru_cache(maxsize=1024)
def _light_picture(encoded: str) -> str:
    """A PNG's address as that of a lossy WebP where that is less than half its bytes, as it is for photographs.

    The themes show the same photographs, so each is asked for twice.
    """
    png = base64.b64decode(encoded)
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.save(file, "webp", quality=_WEBP_QUALITY, method=4)
    if len(file.getvalue()) < len(png) / 2:
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f"data:image/png;base64,{encoded}"
