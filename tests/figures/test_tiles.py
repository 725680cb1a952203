"""Tables of tiles: room for words, pictures in their own shape, maps over what the network was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MplFigure

from ahekit.figures.tiles import Bar, Tile, Tiles
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import Original

MAP = np.arange(4.0).reshape(2, 2)


def drawn(table: Tiles) -> MplFigure:
    figure = MplFigure(figsize=table.size, layout="constrained")
    table.draw(figure)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return figure


LONG = "backbone.blocks.5.3.conv_dw_of_a_network_with_long_names"


def test_long_words_do_not_meet() -> None:
    row = tuple(Tile(MAP, text=f"unit 847 of {LONG}") for _ in range(3))
    table = Tiles((f"picture.png\npredicted: {LONG} 33%",) * 2, (LONG,) * 3, (row, row), tile=0.85, caption=LONG * 3)
    figure = drawn(table)
    words = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, *axes.texts) if text.get_text()]
    boxes = [text.get_window_extent() for text in words]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :]), words[number].get_text()


@pytest.mark.parametrize(
    ("fit", "box"),
    [
        ("stretch", (0, 0, 40, 20)),
        # The shorter side, centred.
        ("crop", (10, 0, 30, 20)),
        # The longer side, beyond the picture above and below.
        ("pad", (0, -10, 40, 30)),
    ],
)
def test_maps_lie_over_what_the_network_was_given(fit: str, box: tuple[float, ...]) -> None:
    assert Preprocessing(size=8, fit=fit).input_box(40, 20) == box  # type: ignore[arg-type]
    original = Original(np.zeros((20, 40, 3), np.uint8), Preprocessing(size=8, fit=fit).input_box(40, 20))  # type: ignore[arg-type]
    figure = drawn(Tiles(("",), ("picture", "map", "overlay"), ((
        Tile(original.pixels, "picture"), Tile(MAP, on=original), Tile(MAP, "overlay", on=original),
    ),)))  # fmt: skip
    picture, alone, overlay = figure.axes[1:]
    left, top, right, bottom = box
    assert tuple(picture.images[0].get_extent()) == (0, 40, 20, 0)
    assert tuple(alone.images[0].get_extent()) == (left, right, bottom, top)
    assert tuple(overlay.images[-1].get_extent()) == (left, right, bottom, top)
    for axes in (picture, alone, overlay):
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 40), (20, 0))


def test_a_common_scale_has_a_bar_that_says_what_it_is() -> None:
    figure = drawn(Tiles(("",), ("map",), ((Tile(MAP, "signed", high=3.0),),), bar=Bar("signed", -3.0, 3.0, "logits")))
    assert figure.axes[1].images[0].get_clim() == (-3.0, 3.0)
    assert figure.axes[-1].get_xlabel() == "logits"
    assert figure.axes[-1].get_xlim() == (-3.0, 3.0)
