"""Photos to measure prediction with: smooth noise with shapes on it, as large and as heavy as those of a survey."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZES = {"12mp": (4000, 3000), "1mp": (1155, 866), "128px": (128, 128)}
"""Width and height in pixels."""
DISTINCT = {"12mp": 8, "1mp": 24, "128px": 200}
"""Contents; further photos are links to them under names of their own."""


def make_photos(folder: Path, kind: str, count: int) -> Path:
    """Photos of a kind below a folder, at least `count`; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[kind]
    contents = folder.parent / f".{kind}-contents"
    contents.mkdir(exist_ok=True)
    for number in range(min(count, DISTINCT[kind])):
        path = contents / f"{number:03d}.jpg"
        if not path.exists():
            path.write_bytes(_content(width, height, number))
    for number in range(count):
        path = folder / f"{number // 500:03d}" / f"{number:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            os.link(contents / f"{number % DISTINCT[kind]:03d}.jpg", path)
    return folder


def _content(width: int, height: int, seed: int) -> bytes:
    """A JPEG with detail at every scale, so that its coded size is that of a photo (about 0.3 bytes a pixel)."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for divisor, weight in ((64, 90), (16, 50), (4, 30), (1, 10)):
        coarse = rng.random((max(2, height // divisor), max(2, width // divisor), 3), dtype=np.float32) - 0.5
        layer = Image.fromarray(((coarse + 0.5) * 255).astype(np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        pixels += (np.asarray(layer, np.float32) - 127) / 127 * weight
    image = Image.fromarray(np.clip(pixels + 127, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = (int(side * share) for side, share in zip((width, height), rng.random(2), strict=True))
        reach = int(min(width, height) * (0.1 + 0.3 * rng.random()))
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        draw.ellipse((left - reach, top - reach, left + reach, top + reach), outline=colour, width=max(1, reach // 8))
    buffer = io.BytesIO()
    image.filter(ImageFilter.SMOOTH).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
