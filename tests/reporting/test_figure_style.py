"""Themes of figures, and their rendering."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from PIL import Image

from ahekit.errors import PluginError
from ahekit.reporting.style import DARK, LIGHT, Form, Theme, render_figure
from ahekit.sections import Figure

if TYPE_CHECKING:
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure as MplFigure

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)


def luminance(colour: str | tuple[float, float, float]) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(first: str, second: str) -> float:
    """Contrast ratio of WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@THEMES
def test_text_and_lines_stand_out_from_the_background(theme: Theme) -> None:
    assert contrast(theme.text, theme.background) > 7
    assert contrast(theme.muted, theme.background) > 4.5
    # The lines' names are written in their colours.
    assert all(contrast(line, theme.background) > 3.5 for line in theme.lines)


@THEMES
def test_ramp_goes_steadily_away_from_the_background(theme: Theme) -> None:
    red, green, blue, opacity = mpl.colormaps[f"ahekit-{theme.name}"](np.linspace(0, 1, 64)).T
    background = to_rgb(theme.background)
    mixed = [
        channel * opacity + base * (1 - opacity) for channel, base in zip((red, green, blue), background, strict=True)
    ]
    ramp = list(zip(*mixed, strict=True))
    steps = np.diff([luminance(colour) for colour in ramp])

    assert (steps < 0).all() if theme is LIGHT else (steps > 0).all()
    assert contrast(mpl.colors.to_hex(ramp[0]), theme.background) < 1.2, "an empty cell doesn't shine"


@THEMES
def test_picture_has_the_themes_background(theme: Theme, line_figure: Figure) -> None:
    pixel = Image.open(BytesIO(render_figure(line_figure, theme=theme))).convert("RGB").getpixel((1, 1))

    assert pixel == tuple(round(255 * channel) for channel in to_rgb(theme.background))


def test_rendering_leaves_the_settings_alone(line_figure: Figure) -> None:
    before = dict(mpl.rcParams)

    render_figure(line_figure, theme=DARK)

    assert dict(mpl.rcParams) == before


def test_heading_is_the_title_unless_told_otherwise(line_figure: Figure) -> None:
    untitled = render_figure(line_figure, heading="")

    assert render_figure(line_figure) == render_figure(line_figure, heading="A line") != untitled


def test_dollar_signs_in_names_are_no_formula(line_figure: Figure) -> None:
    figure = replace(line_figure, title=r"price $\frac{1$ of it")

    assert render_figure(figure).startswith(b"\x89PNG")


def test_script_that_the_font_lacks_breaks_nothing(line_figure: Figure) -> None:
    assert render_figure(replace(line_figure, title="拱门")).startswith(b"\x89PNG")


def test_failing_drawing_is_named_and_leaves_the_settings_alone(line_figure: Figure) -> None:
    def fail(figure: MplFigure) -> None:
        raise ValueError("no\npixels")

    before = dict(mpl.rcParams)

    with pytest.raises(PluginError, match=r"figure 'line' can't be drawn: ValueError: no pixels"):
        render_figure(replace(line_figure, draw=fail))
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_figure_is_drawn_once_for_its_file(form: Form) -> None:
    drawn = []

    class Counted(Line2D):
        def draw(self, renderer: RendererBase) -> None:
            drawn.append(form)
            super().draw(renderer)

    def draw(canvas: MplFigure) -> None:
        canvas.add_subplot().add_line(Counted([0, 1], [0, 1]))

    render_figure(Figure(name="once", title="Once", alt="A line.", draw=draw), form=form)

    assert drawn == [form]
