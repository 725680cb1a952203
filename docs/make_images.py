"""Draws the pictures of the documentation: python docs/make_images.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ahekit.data.classes import AHE_CLASSES, display_name
from ahekit.data.random import generator
from ahekit.sample import draw

IMAGES = Path(__file__).parent / "images"


def sample_sheet(path: Path, *, rows: int = 3) -> None:
    """Some drawings of each class, side by side."""
    figure = Figure(figsize=(11, 1.05 * rows + 0.35), dpi=110, layout="constrained")
    axes = figure.subplots(rows, len(AHE_CLASSES))
    for column, name in enumerate(AHE_CLASSES):
        axes[0, column].set_title(display_name(name), fontsize=9)
        for row in range(rows):
            axes[row, column].imshow(np.asarray(draw(name, generator("sheet", name, row))))
            axes[row, column].set_axis_off()
    FigureCanvasAgg(figure).print_png(path)
    # A third of the bytes, and no difference to see.
    Image.open(path).convert("RGB").quantize(200).save(path, optimize=True)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    sample_sheet(IMAGES / "sample.png")
