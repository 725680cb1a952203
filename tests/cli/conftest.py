"""A small dataset on disk, and a visualizer of somebody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STRANGER = '''
"""Registers a visualizer."""
from pathlib import Path
from typing import Literal
from pydantic import BaseModel, Field
from ahekit.registry import VISUALIZERS
from ahekit.protocols import Visualization


class Params(BaseModel):
    rays: int = Field(7, ge=1, description="rays [of light] from each place")
    colour: Literal["warm", "cold"] = Field("warm", description="of the rays")
    fade: bool = Field(True, description="rays fade")
    seed: int = Field(3, description="the command has an option of this name")
    grid: tuple[int, int] = Field((2, 3), description="rows and columns")
    only: tuple[str, ...] = Field((), description="classes")


@VISUALIZERS.register("rays")
class Rays:
    """Rays from every place.

    And more of them.
    """

    Params = Params
    needs_images = False

    def visualize(self, given, params):
        return Visualization(arrays={}, figures=(), notes=(str(params), f"seed {given.seed}"))
'''


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


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A plugin file with the visualizer `rays`, which says in a note what it was given."""
    file = tmp_path / "rays.py"
    file.write_text(STRANGER)
    return file
