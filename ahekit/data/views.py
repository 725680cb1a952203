"""Fixed views: a few looks at each image that come again, so that what a frozen network makes of them can be kept.

The first view is the plain image, the second its mirror image (where augmentation mirrors at all), the others are
augmentations drawn once by the seed. Which one an epoch shows of an image goes round: after as many epochs as there
are views each image was seen in each, and every epoch holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahekit.data.augment import PROCESSOR, augment, normalize, sent, shrink
from ahekit.preprocessing import Preprocessing
from ahekit.spec import AugmentSpec

Indices = NDArray[np.int64]
Draw = Callable[[Indices, int], Tensor]
"""Images by their index in the dataset, and an epoch, to their views `(B, ...)`."""

PLAIN = "plain"
MIRROR = "mirror"
AUGMENTED = "augmented"


def view_names(count: int, spec: AugmentSpec) -> tuple[str, ...]:
    """Names of the first `count` views: "plain", "mirror", then "augmented-1" and so on."""
    first = [PLAIN, MIRROR] if spec.mirrors else [PLAIN]
    return tuple([*first, *(f"{AUGMENTED}-{number}" for number in range(1, count))][:count])


@dataclass(frozen=True)
class PixelViews:
    """Views drawn from pixels.

    Attributes:
        images: `(N, S, S, 3)` uint8, the whole dataset.
        keys: `(N,)` sample keys.
        device: Where views are drawn and stay.
    """

    images: NDArray[np.uint8]
    keys: NDArray[np.uint64]
    spec: AugmentSpec
    preprocessing: Preprocessing
    seed: int
    device: torch.device = PROCESSOR

    def fresh(self, indices: Indices, epoch: int | Indices, *, size: int | None = None) -> Tensor:
        """A new augmentation of each image, `(B, 3, S, S)` normalized, a function of (seed, epoch, sample).

        Args:
            epoch: Of all, or `(B,)`, of each.
            size: Side of the views; None: the images' own.
        """
        return augment(
            self.images[indices],
            self.keys[indices],
            self.spec,
            self.preprocessing,
            seed=self.seed,
            epoch=epoch,
            size=size,
            device=self.device,
        )

    def named(self, indices: Indices, name: str, *, size: int | None = None) -> Tensor:
        """One fixed view of each image, `(B, 3, S, S)` normalized; `size` as for `fresh`."""
        if name == PLAIN:
            return shrink(normalize(self.images[indices], self.preprocessing, device=self.device), size)
        if name == MIRROR:
            return shrink(normalize(self.images[indices], self.preprocessing, device=self.device), size).flip(3)
        # The n-th augmented view is what a run that draws anew shows in its n-th epoch, so that its alternating flip
        # alternates by the view's number here.
        return self.fresh(indices, int(name.rpartition("-")[2]), size=size)

    def going_round(self, indices: Indices, epoch: int, count: int, *, size: int | None = None) -> Tensor:
        """Of each image that one of the first `count` fixed views whose turn it is; `size` as for `fresh`."""
        names = view_names(count, self.spec)
        turn = _turn(self.keys[indices], epoch, count)
        # The augmented ones are drawn together, whatever their numbers, which come last.
        plain = sum(not name.startswith(AUGMENTED) for name in names)

        def view(rows: Indices, number: int) -> Tensor:
            if number < plain:
                return self.named(indices[rows], names[number], size=size)
            return self.fresh(indices[rows], turn[rows] - plain + 1, size=size)

        return _in_groups(np.minimum(turn, plain), view)


def going_round(view: Callable[[Indices, str], Tensor], names: tuple[str, ...], keys: NDArray[np.uint64]) -> Draw:
    """The view of each image whose turn it is in an epoch.

    Args:
        view: Views of images by index and view name.
        names: Of all views.
        keys: `(N,)` sample keys of the whole dataset.
    """

    def draw(indices: Indices, epoch: int) -> Tensor:
        turn = _turn(keys[indices], epoch, len(names))
        return _in_groups(turn, lambda rows, number: view(indices[rows], names[number]))

    return draw


def _turn(keys: NDArray[np.uint64], epoch: int, count: int) -> Indices:
    """The number of the view whose turn it is, from 0, `(B,)`."""
    # Where an image begins is as good as random, so that every epoch holds all views; unsigned, since keys are.
    turn = (keys % np.uint64(count) + np.uint64(epoch - 1)) % np.uint64(count)
    return turn.astype(np.int64)


def _in_groups(groups: Indices, view: Callable[[Indices, int], Tensor]) -> Tensor:
    """Views that are drawn group by group, in the order of the groups' rows; `view` gets rows and their group."""
    views: Tensor | None = None
    for group in np.unique(groups).tolist():
        rows = np.flatnonzero(groups == group)
        drawn = view(rows, group)
        if len(rows) == len(groups):
            return drawn
        if views is None:
            # Shape and precision are known from the first drawn only: frozen stages keep maps or vectors, in half.
            layout = torch.channels_last if drawn.ndim == 4 else torch.contiguous_format
            shape = (len(groups), *drawn.shape[1:])
            views = torch.empty(shape, dtype=drawn.dtype, device=drawn.device, memory_format=layout)
        views[sent(torch.from_numpy(rows), views.device)] = drawn
    assert views is not None
    return views
