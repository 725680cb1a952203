"""The embedded sample dataset: drawn pictures of the ten elements, made from a seed in a few seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ahekit.data.editions import AHE_COUNTS
from ahekit.data.random import generator
from ahekit.sample.drawings import DRAWINGS
from ahekit.sample.drawings.finish import photograph
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import foreground

SAMPLE_SEED = 0
SAMPLE_VERSION = 1
"""Raise when the drawings change, so that cached samples are made anew."""

OVERSAMPLING = 3
"""Pixels drawn per pixel kept, in each direction: smooth edges at nine times the area."""

INDOORS = frozenset({"altar", "dome_inner", "stained_glass", "vault"})


def draw(class_name: str, rng: np.random.Generator, *, size: int = 64) -> Image.Image:
    """Draw one picture of an element: RGB, `size` pixels wide and high.

    Everything that varies (viewpoint, light, material, surroundings, occlusion, camera) comes from `rng`.

    Raises:
        KeyError: no drawing has this name.

    Example:
        >>> draw("vault", np.random.default_rng(7)).size
        (64, 64)
    """
    scene = Scene(rng, pixels=size * OVERSAMPLING)
    DRAWINGS[class_name](scene)
    scene.look_straight()
    foreground(scene, indoors=class_name in INDOORS)
    return photograph(scene, size=size)


def write_sample(root: Path, *, seed: int = SAMPLE_SEED, train: int = 1200, test: int = 400) -> dict[str, int]:
    """Fill the folder `root` with `train` and `test` pictures and tell how many there are of each class.

    Files are `train/altar/altar-0001.png` and so on. A picture depends on the seed, its split, class and
    number only, so a smaller sample is a part of a larger one.

    Returns:
        Pictures per folder, as `{"train/altar": 97, ...}`.

    Raises:
        ValueError: fewer pictures than classes are asked for.
    """
    counts = {}
    for split, total in (("train", train), ("test", test)):
        for class_name, count in _shares(total).items():
            folder = root / split / class_name
            folder.mkdir(parents=True, exist_ok=True)
            # Each picture from its own generator, so that the number of pictures changes none of them.
            for number in range(1, count + 1):
                picture = draw(class_name, generator(seed, split, class_name, number))
                # Photographic noise hardly compresses; level 1 saves most of the encoding time.
                picture.save(folder / f"{class_name}-{number:04d}.png", compress_level=1)
            counts[f"{split}/{class_name}"] = count
    return counts


def _shares(total: int) -> dict[str, int]:
    """`total` split over the classes in AHE's proportions, at least one each."""
    if total < len(AHE_COUNTS):
        raise ValueError(f"a sample split needs at least {len(AHE_COUNTS)} pictures (got {total})")
    whole = sum(AHE_COUNTS.values())
    counts = dict.fromkeys(AHE_COUNTS, 1)
    for _ in range(total - len(counts)):
        # The next picture goes to the class furthest below its share.
        counts[max(counts, key=lambda name: AHE_COUNTS[name] * total / whole - counts[name])] += 1
    return counts
