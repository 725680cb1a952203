"""A small dataset on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """Sixty noisy 16x16 pictures of three classes that differ in colour, in train and test folders."""
    rng = np.random.default_rng(0)
    root = tmp_path / "pictures"
    for split, count in (("train", 46), ("test", 14)):
        for number in range(count):
            label = number % 4 % 3
            pixels = rng.integers(0, 140, (16, 16, 3)).astype(np.uint8)
            pixels[:, :, label] += 60
            folder = root / split / ("arch", "beam", "crypt")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return root
