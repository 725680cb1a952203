"""Augmentation of a batch on tensors: crop, flip and rotation in one resampling, colours in one product.

What happens to a sample is a function of (seed, epoch, sample id). At 64 px a batch costs about 2 % of cnn5's
step, so it runs in the training process and no worker has to ship pixels. It runs where the network does: a GPU gets
an image as its bytes, a quarter of what a normalized one takes. What is computed of the few numbers that are drawn for
an image is computed on the processor, since a GPU is done with each such operation sooner than it can be started
there. What is drawn is the same on every device, the pixels that come of it to within rounding.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ahekit.data.random import uniforms
from ahekit.preprocessing import Preprocessing
from ahekit.spec import AugmentSpec

PROCESSOR = torch.device("cpu")

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

_DRAWS = 14
"""Uniform numbers per view: six for the geometry, three for the colours, five for the erased rectangle. All are drawn
whatever is switched on, so that switching one off leaves what the others do to an image as it was."""


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor on a device, where the processor needn't wait for what the device does before."""
    if device.type != "cuda":
        return tensor.to(device)
    # Out of memory that may be moved to disk the driver copies when the card gets to it, and holds up the processor.
    return tensor.pin_memory().to(device, non_blocking=True)


def to_float(pixels: NDArray[np.uint8], device: torch.device = PROCESSOR) -> Tensor:
    """Pixels `(B, H, W, 3)` uint8 as a tensor `(B, 3, H, W)` float32 in [0, 255], channels last as they lie."""
    return sent(torch.from_numpy(pixels), device).permute(0, 3, 1, 2).float()


def normalize(pixels: NDArray[np.uint8], preprocessing: Preprocessing, *, device: torch.device = PROCESSOR) -> Tensor:
    """The plain view: pixels `(B, H, W, 3)` as normalized `(B, 3, H, W)` float32, without augmentation."""
    # In units of a pixel, so that the division by 255 costs no pass over the batch of its own.
    mean, std = sent(torch.tensor([preprocessing.mean, preprocessing.std]).mul(255).view(2, 1, 3, 1, 1), device)
    return to_float(pixels, device).sub_(mean).div_(std)


def augment(
    pixels: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    spec: AugmentSpec,
    preprocessing: Preprocessing,
    *,
    seed: int,
    epoch: int | NDArray[np.int64],
    size: int | None = None,
    device: torch.device = PROCESSOR,
) -> Tensor:
    """A random view of each image, normalized.

    Colours are changed after the crop and not clipped to the range of a pixel: what lies beyond is still a number
    to the network, and clipping would only cost detail.

    Args:
        pixels: `(B, H, W, 3)` uint8.
        keys: `(B,)` sample keys.
        epoch: Whose view it is: one for all, or `(B,)`.
        size: Side of the views, pixels, no more than the images'; None: theirs. The view is the same, only smaller.
        device: Where the views are made and stay.

    Returns:
        `(B, 3, H, W)` float32, or `(B, 3, size, size)`.
    """
    draws = torch.from_numpy(uniforms(keys, _DRAWS, seed=seed, epoch=epoch, stream="augment")).float()
    images = to_float(pixels, device)
    is_smaller = size is not None and size != images.shape[2]
    if is_smaller or spec.mirrors or spec.crop_scale < 1 or spec.rotation:
        mirrored = _mirrored(keys, draws[:, 5], spec, seed=seed, epoch=epoch)
        maps = _geometry(draws[:, :5], mirrored, spec)
        images = _sample(images, maps, size or images.shape[2], size or images.shape[3])
    images = _recolour(images, draws[:, 6:9], spec, preprocessing)
    if spec.erase:
        erased = _erased(draws[:, 9:14], spec, images.shape[2], images.shape[3], device=device)
        images.mul_((~erased).unsqueeze(1).float())
    return images


def shrink(views: Tensor, size: int | None) -> Tensor:
    """Views `(B, 3, S, S)` at a smaller side, averaged; None: as they are."""
    if size is None or size == views.shape[2]:
        return views
    return F.interpolate(views, size=(size, size), mode="bilinear", antialias=True)


def _sample(images: Tensor, maps: Tensor, height: int, width: int) -> Tensor:
    """What the maps `(B, 2, 3)` show of the images, `(B, 3, height, width)`."""
    # Interpolation sees the two pixels on either side and would skip those between when a view has less than half of
    # the image's; it is then drawn finer and averaged.
    finer = max(1, math.ceil(images.shape[2] / (2 * height)))
    grid = affine_grid(maps, height * finer, width * finer, device=images.device)
    # A rotated crop may reach past the image; its border goes on there, since black corners would be a cue.
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return F.avg_pool2d(views, finer) if finer > 1 else views


def _mirrored(
    keys: NDArray[np.uint64], chance: Tensor, spec: AugmentSpec, *, seed: int, epoch: int | NDArray[np.int64]
) -> Tensor:
    """Which images are shown mirrored in an epoch, `(B,)`.

    Alternating flip: 94% on CIFAR-10 in 3.29 Seconds on a Single A100, https://arxiv.org/abs/2404.00498: by
    chance in the first epoch, from then on as in the first where the epoch is odd, and the other way where it is
    even. Two epochs in a row show both, which chance does for half of the images only.
    """
    if not spec.alternating_flip:
        return chance < spec.flip
    # Of no epoch, so that every epoch knows what the first one showed.
    first = uniforms(keys, 1, seed=seed, epoch=0, stream="first flip")[:, 0] < spec.flip
    return torch.from_numpy(first == (np.asarray(epoch) % 2 == 1))


def affine_grid(maps: Tensor, height: int, width: int, *, device: torch.device = PROCESSOR) -> Tensor:
    """Where to sample, `(B, H, W, 2)`: `F.affine_grid(maps, ..., align_corners=False)` in about a quarter of its time.

    torch multiplies a matrix of all pixels with each map; a sum of one row and one column does.

    Args:
        maps: `(B, 2, 3)`, on the processor.
        device: Where the grid is made.
    """
    # Centres of the pixels in [-1, 1], whose ends are the image's outer edges.
    x = (torch.arange(width) * 2 + 1) / width - 1
    y = (torch.arange(height) * 2 + 1) / height - 1
    along, down, shift = maps.unbind(2)
    columns = along.unsqueeze(2) * x
    rows = down.unsqueeze(2) * y + shift.unsqueeze(2)
    columns, rows = sent(torch.cat([columns, rows], dim=2), device).split([width, height], dim=2)
    grid = torch.empty(len(maps), height, width, 2, device=device)
    for axis in range(2):
        torch.add(columns[:, axis].unsqueeze(1), rows[:, axis].unsqueeze(2), out=grid[..., axis])
    return grid


def _geometry(draws: Tensor, mirrored: Tensor, spec: AugmentSpec) -> Tensor:
    """Affine maps `(B, 2, 3)` from the view's coordinates to the image's, both in [-1, 1]."""
    area, ratio, across, down, angle = draws.unbind(1)
    # The area is even over its range; the aspect ratio over its logarithm, so that wide is as likely as tall.
    side = (spec.crop_scale + (1 - spec.crop_scale) * area).sqrt()
    skew = torch.exp((ratio - 0.5) * math.log(spec.crop_ratio))
    width = (side * skew).clamp(max=1)
    height = (side / skew).clamp(max=1)
    turn = (2 * angle - 1) * math.radians(spec.rotation)
    sign = torch.where(mirrored, -1.0, 1.0)
    cos = turn.cos()
    sin = turn.sin()
    # Columns: what a step across and a step down the view is in the image, and where the view's centre lies, which
    # leaves the unrotated crop within the image.
    rows = (
        torch.stack([sign * width * cos, -height * sin, (2 * across - 1) * (1 - width)], dim=1),
        torch.stack([sign * width * sin, height * cos, (2 * down - 1) * (1 - height)], dim=1),
    )
    return torch.stack(rows, dim=1)


def _recolour(images: Tensor, draws: Tensor, spec: AugmentSpec, preprocessing: Preprocessing) -> Tensor:
    """Brightness, contrast, saturation and normalization as one affine map of the colours of each image.

    With gray weights g and brightness, contrast and saturation factors b, c, s the map is
    x -> b (c x + (1 - c) m), where m is the image's mean gray, then s x + (1 - s) g.x in every channel.
    """
    spread = torch.tensor([spec.brightness, spec.contrast, spec.saturation])
    bright, contrast, saturation = (1 + (2 * draws - 1) * spread).view(-1, 3, 1, 1).unbind(1)
    gray = torch.tensor(_LUMA)
    mean, std = torch.tensor(preprocessing.mean).view(3, 1), torch.tensor(preprocessing.std).view(3, 1)
    scale = bright / (255 * std)
    # Of each pixel's colour, of the mean colour, and what is added: `(B, 3, 3 + 3 + 1)`, so that one tensor is sent.
    own = contrast * scale * (saturation * torch.eye(3) + (1 - saturation) * gray)
    common = (1 - contrast) * scale * gray
    parts = sent(torch.cat([own, common, (-mean / std).expand(len(draws), 3, 1)], dim=2), images.device)
    own, common, shift = parts.split([3, 3, 1], dim=2)
    # Contrast turns around the mean of the crop, not of the whole image: it is what the network gets to see.
    shift = torch.baddbmm(shift, common, images.mean(dim=(2, 3)).unsqueeze(2))
    return torch.baddbmm(shift, own, images.flatten(2)).view_as(images)


def _erased(draws: Tensor, spec: AugmentSpec, height: int, width: int, *, device: torch.device) -> Tensor:
    """Masks `(B, H, W)`, true in the erased rectangle; zero is the mean colour after normalization.

    Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896, with the mean as filling.
    """
    chance, area, ratio, down, across = draws.unbind(1)
    # At least 2 % of the area, as in the paper's code; between half as wide as tall and twice.
    side = (0.02 + (spec.erase_area - 0.02) * area).clamp(min=0).sqrt()
    skew = torch.exp((2 * ratio - 1) * math.log(2.0) / 2)
    erases = chance < spec.erase
    # A rectangle of no size erases nothing, and spares a branch per image.
    tall = (side * skew).clamp(max=1) * erases
    wide = (side / skew).clamp(max=1) * erases
    return rectangles(torch.stack([down, across, tall, wide], dim=1), height, width, device=device)


def rectangles(places: Tensor, height: int, width: int, *, device: torch.device = PROCESSOR) -> Tensor:
    """Masks `(B, H, W)`, true inside a rectangle that lies whole within the image.

    Args:
        places: `(B, 4)` in [0, 1], on the processor: where it lies down and across within the room it has, its
            height and its width, each as a share.
        height: Of the image, pixels.
        width: Of the image, pixels.
        device: Where the masks are made.
    """
    down, across, tall, wide = places.unbind(1)
    rows = (tall * height).round()
    columns = (wide * width).round()
    # Each of the `height - rows + 1` places is as likely: a draw is below 1, so its floor is at most `height - rows`.
    top = (down * (height - rows + 1)).floor()
    left = (across * (width - columns + 1)).floor()
    y = torch.arange(height).view(1, -1)
    x = torch.arange(width).view(1, -1)
    in_rows = (y >= top.view(-1, 1)) & (y < (top + rows).view(-1, 1))
    in_columns = (x >= left.view(-1, 1)) & (x < (left + columns).view(-1, 1))
    inside = sent(torch.cat([in_rows, in_columns], dim=1), device)
    return inside[:, :height].unsqueeze(2) & inside[:, height:].unsqueeze(1)
