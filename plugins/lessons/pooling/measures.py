"""What the lesson measures: of trained networks when pictures move or are disturbed, and of pooling by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from ahekit.data.augment import normalize
from ahekit.data.decode import decode
from ahekit.data.random import generator
from ahekit.evaluation.predict import predict_logits
from ahekit.hooks import evaluating
from ahekit.training.session import Session
from ahekit.training.setup import Setup

from ...models.cnn5 import pooling_layer

SHIFTS = (1, 2, 3, 4, 5, 6, 7, 8)
"""Pixels of the network's input by which a picture moves."""

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))

NOISE = 20.0
"""Standard deviation of the noise, in grey levels of 255."""

WRONG_SHARE = 0.02
"""Of the pixels, that are white where a picture is disturbed by wrong maxima."""

BLOCK = 8
"""Side of the squares of which each holds one wrong pixel."""

POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "max": lambda maps: max_pool2d(maps, 2),
    "average": lambda maps: avg_pool2d(maps, 2),
    "every second pixel": lambda maps: maps[..., ::2, ::2],
    "blur": lambda maps: _blur(maps),
}
"""Pooling by itself, without weights: a strided convolution leaves out every second place, whatever its kernel."""


def _blur(maps: Tensor) -> Tensor:
    layer = pooling_layer("blur")
    assert layer is not None
    pooled: Tensor = layer(maps)
    return pooled


@dataclass(frozen=True)
class Looks:
    """Looks at a trained cnn5 with moved and with disturbed pictures.

    Attributes:
        pictures: Test pictures that are moved.
        seed: Which ones, and what the noise is: the same for all networks.
    """

    pictures: int
    seed: int

    def __call__(self, setup: Setup, session: Session) -> dict[str, Any]:
        """The numbers, JSON-serializable."""
        facts: dict[str, Any] = {"moved": self._moved(setup, session), "accuracy": self._disturbed(setup, session)}
        if setup.spec.model.params["pool"] == "max":
            facts["features"] = self._features(setup, session)
        return facts

    def _moved(self, setup: Setup, session: Session) -> dict[str, list[float]]:
        """By shift: the share of predictions that change, and how far logits move beside other pictures' logits."""
        chosen = some_test_images(setup, self.pictures, seed=self.seed)
        wide = wide_pictures(setup, chosen)
        start = _logits(setup, session, window(wide, 0, 0))
        spread = np.sqrt(((start - start.mean(axis=0)) ** 2).sum(axis=1).mean())
        changed, distances = [], []
        for shift in SHIFTS:
            moved = [_logits(setup, session, window(wide, shift * down, shift * right)) for down, right in DIRECTIONS]
            changed.append(np.mean([(each.argmax(axis=1) != start.argmax(axis=1)).mean() for each in moved]))
            squares = np.mean([((each - start) ** 2).sum(axis=1).mean() for each in moved])
            distances.append(np.sqrt(squares) / max(spread, 1e-12))
        return {"changed": [float(each) for each in changed], "distance": [float(each) for each in distances]}

    def _disturbed(self, setup: Setup, session: Session) -> dict[str, float]:
        """Accuracy on the test images as they are, with noise, and with wrong white pixels."""
        test = setup.splits.test
        pixels = setup.dataset.images[test]
        labels = setup.dataset.labels[test]
        versions = {
            "plain": pixels,
            "noise": noisy(pixels, self.seed),
            "wrong pixels": with_wrong_pixels(pixels, self.seed),
        }
        return {
            name: float((_logits(setup, session, each).argmax(axis=1) == labels).mean())
            for name, each in versions.items()
        }

    def _features(self, setup: Setup, session: Session) -> dict[str, dict[str, float]]:
        """What max and average pooling, twice, leave of the first layer's maps: of their peaks and of their level."""
        chosen = some_test_images(setup, self.pictures, seed=self.seed)
        images = normalize(setup.dataset.images[chosen], setup.dataset.preprocessing)
        block = session.measured.get_submodule("block1")
        layers = [layer for name, layer in block.named_children() if name in ("conv", "norm")]
        with evaluating(session.measured), torch.inference_mode():
            maps = nn.Sequential(*layers)(setup.compute.prepare(images)).float().relu().flatten(0, 1).unsqueeze(1).cpu()
        maps = maps[maps.amax(dim=(1, 2, 3)) > 0]
        if not len(maps):
            return {}
        return {name: kept_of_maps(maps, POOLINGS[name]) for name in ("max", "average")}


def kept_of_maps(maps: Tensor, pooling: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """What two poolings leave of rectified maps `(N, 1, H, W)`, each with something in it.

    Returns:
        "peak": the largest value of what is left as a share of the map's; "level": the mean likewise. Means over maps.
    """
    pooled = pooling(pooling(maps))
    peaks = pooled.amax(dim=(1, 2, 3)) / maps.amax(dim=(1, 2, 3))
    levels = pooled.mean(dim=(1, 2, 3)) / maps.mean(dim=(1, 2, 3))
    return {"peak": float(peaks.mean()), "level": float(levels.mean())}


def _logits(setup: Setup, session: Session, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return predict_logits(
        session.measured,
        pixels,
        np.arange(len(pixels)),
        setup.dataset.preprocessing,
        setup.compute,
        batch_size=setup.spec.evaluation.batch_size,
    )


def some_test_images(setup: Setup, count: int, *, seed: int) -> NDArray[np.int64]:
    """Indices of so many test images, drawn by the seed, sorted; all where there are fewer."""
    test = setup.splits.test
    rng = generator("moved pictures", seed)
    return np.sort(rng.choice(test, size=min(count, len(test)), replace=False))


def wide_pictures(setup: Setup, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Pictures decoded larger than the network's input by the longest shift on each side, `(N, S + 16, S + 16, 3)`."""
    own = setup.dataset.preprocessing
    wide = replace(own, size=own.size + 2 * SHIFTS[-1])
    return np.stack([decode(setup.dataset.root / setup.dataset.ids[index], wide) for index in indices.tolist()])


def window(wide: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """The network's input, moved over pictures by so many pixels: what enters at its border is the picture's own."""
    reach = SHIFTS[-1]
    size = wide.shape[1] - 2 * reach
    top = reach + down
    left = reach + right
    return np.ascontiguousarray(wide[:, top : top + size, left : left + size])


def noisy(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Pictures with normal noise of `NOISE` grey levels, cut at black and white."""
    noise = generator("noise", seed).normal(0, NOISE, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def with_wrong_pixels(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Pictures of whose pixels `WRONG_SHARE` are white."""
    is_wrong = generator("wrong pixels", seed).random(pixels.shape[:3]) < WRONG_SHARE
    return np.where(is_wrong[..., None], np.uint8(255), pixels)


@dataclass(frozen=True)
class Effect:
    """What a pooling by itself does to pictures.

    Attributes:
        kept: Share of a picture's variance that is left after 1, 2 and 3 poolings, brought back to its size.
        noise: Standard deviation of what noise changes, as a share of the noise's own.
        bias: Mean of what noise changes, likewise.
        wrong: Grey levels by which one wrong white pixel changes the value that it changes most; mean over pixels.
        touched: Values that it changes.
    """

    kept: tuple[float, ...]
    noise: float
    bias: float
    wrong: float
    touched: float


def effect_of(pooling: Callable[[Tensor], Tensor], pixels: NDArray[np.uint8], *, seed: int) -> Effect:
    """Measure a pooling on pictures `(N, S, S, 3)`."""
    maps = torch.from_numpy(pixels).permute(0, 3, 1, 2).double()
    rng = generator("effect of pooling", seed)
    noise = torch.from_numpy(rng.normal(0, NOISE, maps.shape))
    change = pooling(maps + noise) - pooling(maps)
    wrong, touched = _one_wrong_pixel(pooling, maps)
    return Effect(
        kept=tuple(kept_share(pooling, maps, times) for times in (1, 2, 3)),
        noise=float(change.std() / NOISE),
        bias=float(change.mean() / NOISE),
        wrong=wrong,
        touched=touched,
    )


def kept_share(pooling: Callable[[Tensor], Tensor], maps: Tensor, times: int) -> float:
    """Share of the variance of maps `(N, C, H, W)` that is left after so many poolings."""
    return 1 - float(
        ((enlarged(pooling, maps, times) - maps) ** 2).mean() / maps.var(dim=(2, 3), unbiased=False).mean()
    )


def enlarged(pooling: Callable[[Tensor], Tensor], maps: Tensor, times: int) -> Tensor:
    """Maps after so many poolings, each value over the place that it stands for."""
    pooled = maps
    for _ in range(times):
        pooled = pooling(pooled)
    return interpolate(pooled, size=maps.shape[2:], mode="nearest")


def _one_wrong_pixel(pooling: Callable[[Tensor], Tensor], maps: Tensor) -> tuple[float, float]:
    """One white pixel in the middle of each square: the largest change around it, and how many values change."""
    side = maps.shape[2] // BLOCK * BLOCK
    cut = maps[:, :, :side, :side]
    before = pooling(cut)
    changes = []
    for down, right in product((0, 1), (0, 1)):
        # Away from the square's border, so that no value sees two of them.
        wrong = cut.clone()
        wrong[:, :, BLOCK // 2 - down :: BLOCK, BLOCK // 2 - right :: BLOCK] = 255
        change = (pooling(wrong) - before).abs()
        changes.append(change.unfold(2, BLOCK // 2, BLOCK // 2).unfold(3, BLOCK // 2, BLOCK // 2).flatten(4))
    squares = torch.stack(changes)
    return float(squares.amax(dim=-1).mean()), float((squares > 0).sum(dim=-1).double().mean())
