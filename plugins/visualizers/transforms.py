"""Random changes that an optimised image has to withstand; sizes are shares of the image's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ahekit.protocols import Preprocessing

from .synthesis import Transform


def random_affine(
    *, rotation: float = 0.15, scale: tuple[float, float] = (0.8, 1.1), shift: float = 0.12, flip: bool = True
) -> Transform:
    """Turn, scale, shift and mirror each image by its own draw; beyond its edge an image is mirrored.

    Args:
        rotation: Largest angle, radians.
        scale: Smallest and largest magnification.
        shift: Largest shift, as a share of the image's side.
        flip: Mirror half of them.
    """

    def transform(images: Tensor, random: torch.Generator) -> Tensor:
        draws = torch.rand(len(images), 5, generator=random).to(images)
        angle = (2 * draws[:, 0] - 1) * rotation
        zoom = 1 / (scale[0] + (scale[1] - scale[0]) * draws[:, 1])
        sign = torch.where(draws[:, 4] < 0.5, -1.0, 1.0).to(images) if flip else torch.ones_like(angle)
        cos, sin, move = zoom * angle.cos(), zoom * angle.sin(), (2 * draws[:, 2:4] - 1) * 2 * shift
        rows = (
            torch.stack([sign * cos, -sin, move[:, 0]], 1),
            torch.stack([sign * sin, cos, move[:, 1]], 1),
        )
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    return transform


def normalised(preprocessing: Preprocessing) -> Transform:
    """Pixels in [0, 1] as the network's input."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return lambda images, random: (images - mean.to(images)) / std.to(images)
