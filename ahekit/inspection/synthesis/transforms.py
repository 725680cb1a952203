"""Changes that an optimized image has to withstand, and the last one, which makes it the network's input.

Sizes are shares of the image's side, so that one setting does for every network.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ahekit.inspection.synthesis import Step, Transform
from ahekit.preprocessing import Preprocessing

GRAY = 0.5
_SHARP = 0.2  # pixels of standard deviation; a narrower Gaussian leaves an image as it is


def random_affine(
    *, rotation: float = 0.15, scale: tuple[float, float] = (0.8, 1.1), shift: float = 0.12, flip: bool = True
) -> Transform:
    """Turn, scale, shift and mirror each image by its own draw; beyond its edge is gray.

    Mirrored there, half a tower at the edge would pass for a whole one; and a border repeated there would give its
    pixels more than their weight: images came out with halves and with dotted edges.

    Args:
        rotation: Largest angle, radians.
        scale: Smallest and largest magnification.
        shift: Largest shift, as a share of the image's side.
        flip: Mirror half of them.
    """

    def transform(images: Tensor, step: Step) -> Tensor:
        draws = torch.rand(len(images), 5, generator=step.random).to(images)
        angle = (2 * draws[:, 0] - 1) * rotation
        # The grid says where each pixel comes from, so it is the inverse of what happens to the image.
        zoom = 1 / (scale[0] + (scale[1] - scale[0]) * draws[:, 1])
        # The grid's coordinates run from -1 to 1 over the image: twice a share of its side.
        move = (2 * draws[:, 2:4] - 1) * 2 * shift
        sign = torch.where(draws[:, 4] < 0.5, -1.0, 1.0).to(images) if flip else torch.ones_like(angle)
        cos = zoom * angle.cos()
        sin = zoom * angle.sin()
        rows = (
            torch.stack([sign * cos, -sin, move[:, 0]], 1),
            torch.stack([sign * sin, cos, move[:, 1]], 1),
        )
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        # What lies beyond is zero to the sampling, so gray has to be zero.
        return F.grid_sample(images - GRAY, grid, align_corners=False) + GRAY

    return transform


def fading_blur(sigma: float, *, until: float = 0.5) -> Transform:
    """A Gaussian blur that fades out: what is coarse is settled before what is fine.

    Beyond its edge an image is mirrored.

    Args:
        sigma: At the first step, as a share of the image's side; it shrinks evenly.
        until: Share of the steps after which nothing is blurred.
    """

    def transform(images: Tensor, step: Step) -> Tensor:
        pixels = sigma * images.shape[-1] * max(0.0, 1 - step.share / until)
        return gaussian_blur(images, pixels) if pixels > _SHARP else images

    return transform


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images `(B, C, H, W)` blurred by a Gaussian of that standard deviation, pixels; mirrored beyond their edge."""
    # Three sigmas hold all of a Gaussian but a thousandth; more than the image's side can't be mirrored.
    reach = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    line = torch.exp(-torch.arange(-reach, reach + 1).to(images).square() / (2 * sigma**2))
    line = (line / line.sum()).repeat(images.shape[1], 1)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    # A Gaussian is the product of one across and one down: two passes of few numbers for one of many.
    across = F.conv2d(padded, line[:, None, None, :], groups=images.shape[1])
    return F.conv2d(across, line[:, None, :, None], groups=images.shape[1])


def normalized(preprocessing: Preprocessing) -> Transform:
    """Pixels in [0, 1] as the network's input."""
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)
    return lambda images, step: (images - mean.to(images)) / std.to(images)
