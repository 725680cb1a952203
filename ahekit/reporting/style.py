"""How figures look, in a light and a dark theme, and their rendering to PNG and SVG."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib as mpl
from cycler import cycler
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure as MplFigure
from matplotlib.text import Text

from ahekit.errors import PluginError
from ahekit.figures.fonts import BASE, families_for
from ahekit.sections import Figure

Form = Literal["png", "svg", "pdf"]

PNG_DPI = 150
MAX_PIXELS = 150_000_000
"""Of a PNG: half a gigabyte while it is drawn."""

# The same figure is the same file, whenever it is drawn.
_NO_DATE: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
_LETTERS = 12  # named of those that no font has
# The library's own settings rather than those of the user's matplotlibrc, style sheet or notebook, where one line
# (`image.origin: lower`) turns every picture upside down. The backend stays: no figure here is shown on one.
_DEFAULTS = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith(("backend", "interactive"))}


@dataclass(frozen=True)
class Theme:
    """Colours of one theme.

    Attributes:
        muted: Axes, ticks and their labels.
        lines: Told apart by readers of any colour vision; figures vary the line style beside them.
        ramp: Colour of shades, which go from next to none to all of its opacity: in even steps on any background.
    """

    name: Literal["light", "dark"]
    background: str
    text: str
    muted: str
    grid: str
    lines: tuple[str, ...]
    ramp: str


# The lines' hues are those of M. Okabe and K. Ito, Color Universal Design, https://jfly.uni-koeln.de/color/,
# brightened for the dark theme.
LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1c2430",
    muted="#5a6472",
    grid="#e3e7ec",
    lines=("#0072b2", "#d55e00", "#00805f", "#b0558b", "#a06a00", "#3a3f47"),
    ramp="#08519c",
)
DARK = Theme(
    name="dark",
    background="#14181f",
    text="#e8ecf1",
    muted="#9aa5b3",
    grid="#2b323c",
    lines=("#56b4e9", "#ff8f3f", "#2fcf9f", "#e39ac6", "#f0c040", "#cfd6df"),
    ramp="#6cb6ea",
)
for _theme in (LIGHT, DARK):
    _start = (*to_rgb(_theme.ramp), 0.04)
    _shades = LinearSegmentedColormap.from_list(f"ahekit-{_theme.name}", [_start, (*_start[:3], 1.0)])
    mpl.colormaps.register(_shades, force=True)
PAGE = replace(LIGHT, background="#fffffe")
"""What figures of a page are drawn in before its own colours are put in; white that a plugin draws stays white."""


def style(theme: Theme) -> Any:
    """The theme as settings for `matplotlib.rc_context`: all there are, so that nobody's own shine through."""
    return _DEFAULTS | {
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.muted,
        "axes.prop_cycle": cycler(color=theme.lines),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.linewidth": 0.8,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "text.color": theme.text,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text,
        "image.cmap": f"ahekit-{theme.name}",
        # Several pictures on one set of axes stay as they are instead of being drawn into one at the page's size.
        "image.composite_image": False,
        "lines.linewidth": 1.8,
        "font.family": BASE,
        # Text that other programs can search and edit.
        "pdf.fonttype": 42,
        "font.size": 10,
        "figure.titlesize": 12,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.1,
        "legend.frameon": False,
        # Class names and file names are shown as they are, dollar signs too.
        "text.parse_math": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "ahekit",
    }


def render_figure(
    figure: Figure,
    *,
    theme: Theme = LIGHT,
    form: Form = "png",
    heading: str | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> bytes:
    """Draw a figure in a theme.

    Letters that matplotlib's own font lacks are taken from the installed fonts that have them.

    Args:
        form: PNG of `PNG_DPI` dots per inch; SVG with its text as outlines; PDF with its fonts, for print.
        heading: Written above, for a picture that stands alone; None: the figure's title. Empty: nothing.
        tell: Called with what the user should know: which letters no installed font has.

    Raises:
        PluginError: The figure's own drawing failed.
    """
    with warnings.catch_warnings():
        # matplotlib's remarks on fonts and layout are no lines for a user's terminal; missing letters are told below.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=r".*(layout not applied|no gridspecs with layoutgrids)")
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        try:
            with mpl.rc_context(style(theme)):
                canvas = _drawn(figure, heading)
            families, missing = families_for(_words(canvas))
            settings = style(theme) | {"font.family": families}
            with mpl.rc_context(settings):
                # Fonts are chosen when words are made, and which words there are is known once they are.
                canvas = canvas if families == (BASE,) else _drawn(figure, heading)
                file = io.BytesIO()
                canvas.savefig(file, format=form, dpi=PNG_DPI, metadata=None if form == "png" else _NO_DATE[form])
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(f"figure {figure.name!r} can't be drawn: {reason}") from error
    if missing:
        tell(
            f"figure {figure.name}: no installed font has {' '.join(missing[:_LETTERS])}"
            f"{' …' if len(missing) > _LETTERS else ''}, drawn as boxes; install one (Noto Sans of that script)"
        )
    return file.getvalue()


def _drawn(figure: Figure, heading: str | None) -> MplFigure:
    """A figure with all in its place."""
    canvas = MplFigure(figsize=figure.size, dpi=PNG_DPI, layout="constrained")
    figure.draw(canvas)
    if heading != "":
        canvas.suptitle(figure.title if heading is None else heading)
    # While it has a layout engine, a figure is drawn twice to save it: once for the sizes of its words alone.
    if engine := canvas.get_layout_engine():
        engine.execute(canvas)
        canvas.set_layout_engine(None)
    return canvas


def _words(canvas: MplFigure) -> str:
    """All letters on a figure, each once."""
    texts: list[Any] = canvas.findobj(Text)
    return "".join({letter for text in texts for letter in text.get_text()})
