"""matplotlib's SVG made small, and its colours those of whatever page it stands on.

A figure is drawn once, in the theme `PAGE`. Each of that theme's colours becomes a variable of the page's style sheet,
so that the page's light and dark theme, and print, need no drawing of their own.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass

from markupsafe import escape
from PIL import Image

from ahekit.reporting.style import DARK, LIGHT, PAGE, Theme

_WEBP_QUALITY = 88
_CSS_DOTS_PER_POINT = 96 / 72
# matplotlib's SVG: comments repeat each text, pictures stand as PNGs in lines of base64, groups have names of no use.
_IDLE = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>|<style.*?</style>", re.DOTALL)
_ROOT = re.compile(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', re.DOTALL)
_GROUP = re.compile(r'<g id="[^"]*"')
_GLYPH = re.compile(r'<path id="([A-Za-z]\w*-[0-9a-f]+)"[^>]*/>', re.DOTALL)
_PATH = re.compile(r'\bd="([^"]*)"')
_EMBEDDED = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)")
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}(?![0-9a-f])")


@dataclass(frozen=True)
class Inline:
    """A figure as part of a page.

    Attributes:
        element: Of SVG, without the letters' shapes.
        glyphs: The letters' shapes by id, which figures of one page share.
    """

    element: str
    glyphs: dict[str, str]


def inline(svg: bytes, *, alt: str) -> Inline:
    """What `render_figure` drew in the theme `PAGE`, for a page whose style sheet holds `variables`.

    Args:
        alt: What a reader who can't see it should know.
    """
    text = _compact(svg.decode())
    glyphs = {glyph[1]: glyph[0] for glyph in _GLYPH.finditer(text)}
    root = _ROOT.search(text)
    width, height = (float(root[1]), float(root[2])) if root else (1.0, 1.0)
    start = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{escape(alt)}" '
        f'width="{width * _CSS_DOTS_PER_POINT:.0f}" height="{height * _CSS_DOTS_PER_POINT:.0f}" '
        f'viewBox="0 0 {width:g} {height:g}">'
    )
    return Inline(_ROOT.sub(lambda _: start, _GLYPH.sub("", text), count=1), glyphs)


def standalone(svg: bytes) -> bytes:
    """The same as a file of its own, in the light or dark theme that its reader has set."""
    text = _compact(svg.decode())
    style = f"<style>{style_sheet()}</style>"
    return (_ROOT.sub(lambda root: root[0] + style, text, count=1) + "\n").encode()


def style_sheet() -> str:
    """The variables in either theme, and how matplotlib's lines end."""
    return (
        f":root{{{variables(LIGHT)}}}@media screen and (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
        "svg *{stroke-linejoin:round;stroke-linecap:butt}"
    )


def variables(theme: Theme) -> str:
    """A theme's colours as the style sheet names them."""
    return "".join(f"--{name}:{colour};" for name, colour in _names(theme).items())


def _names(theme: Theme) -> dict[str, str]:
    lines = {f"c{number}": colour for number, colour in enumerate(theme.lines)}
    return {
        "background": theme.background,
        "text": theme.text,
        "muted": theme.muted,
        "line": theme.grid,
        "ramp": theme.ramp,
        **lines,
    }


_VARIABLES = {colour: f"var(--{name})" for name, colour in _names(PAGE).items()}


def _compact(text: str) -> str:
    text = _IDLE.sub("", text)
    text = _PATH.sub(_shorter, _EMBEDDED.sub(lambda picture: _light_picture(picture[1]), text))
    text = _GROUP.sub("<g", text)
    text = _COLOUR.sub(lambda colour: _VARIABLES.get(colour[0], colour[0]), text)
    return re.sub(r">\s+<", "><", " ".join(text.split()))


def _shorter(path: re.Match[str]) -> str:
    """A path without the blanks around its letters."""
    return f'd="{re.sub(" ?([A-Za-z]) ?", lambda letter: letter[1], " ".join(path[1].split()))}"'


def _light_picture(encoded: str) -> str:
    """A PNG's address as that of a lossy WebP where that is less than half its bytes, as it is for photographs."""
    png = base64.b64decode(encoded)
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.save(file, "webp", quality=_WEBP_QUALITY, method=4)
    if len(file.getvalue()) < len(png) / 2:
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f"data:image/png;base64,{''.join(encoded.split())}"
