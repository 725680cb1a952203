"""Random fields: smooth noise, and the courses of a wall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahekit.sample.drawings.canvas import NEUTRAL

Field = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, *, pixels: int, cells: int) -> Field:
    """Noise `(pixels, pixels)` of about unit spread that varies over `1 / cells` of the picture."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC))


def masonry(rng: np.random.Generator, projection: NDArray[np.float64], *, pixels: int) -> Image.Image:
    """A wall's texture as a grain layer: stains, and mostly courses of stone in the perspective of `projection`."""
    # At half the resolution: stone has no finer grain at the size kept, and noise is what takes the time.
    half = pixels // 2
    value = 0.07 * smooth_noise(rng, pixels=half, cells=6) + 0.05 * smooth_noise(rng, pixels=half, cells=half // 2)
    if rng.random() < 0.75:
        value = value + _courses(rng, projection, half)
    grain = np.clip(NEUTRAL * (1.0 + value), 0, 255).astype(np.uint8)
    return Image.fromarray(grain).resize((pixels, pixels), Image.Resampling.BILINEAR)


def _courses(rng: np.random.Generator, projection: NDArray[np.float64], pixels: int) -> Field:
    """Blocks of differing brightness in staggered rows, with darker joints."""
    axis = (np.arange(pixels) + 0.5) / pixels
    x, y = np.meshgrid(axis, axis)
    # Every pixel is taken back to the wall, so that joints converge as the perspective does.
    inverse = np.linalg.inv(projection)
    across, down, divisor = (row[0] * x + row[1] * y + row[2] for row in inverse)
    course = rng.uniform(0.03, 0.09)
    down = down / divisor / course
    row = np.floor(down).astype(np.int64)
    across = across / divisor / (course * rng.uniform(1.2, 2.8)) + 0.5 * (row % 2)
    column = np.floor(across).astype(np.int64)
    # 64 x 64 brightnesses, repeated: more blocks than a picture shows.
    block = rng.standard_normal((64, 64))[row % 64, column % 64]
    joint = (down - row < 0.16) | (across - column < 0.08)
    value: Field = (rng.uniform(0.04, 0.13) * block - rng.uniform(0.0, 0.25) * joint).astype(np.float32)
    return value
