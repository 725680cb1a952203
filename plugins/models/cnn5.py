"""The five-convolution CNN: 3x3 convolutions with pooling between them, then fully connected layers.

At 64x64 pixels and ten classes the defaults have 20,977,930 parameters and flatten to 8192 features.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from ahekit.errors import UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, Params

Pool = Literal["max", "avg", "stride", "blur", "dilate", "none"]
Norm = Literal["batch", "group", "none"]
Width = Annotated[int, Field(gt=0, le=65536)]

# The head never sees maps wider than this share of the image; the default pooling leaves exactly that.
GRID_SHARE = 16


class Cnn5Params(Params):
    """What can be changed about cnn5."""

    channels: tuple[Width, ...] = Field(
        (32, 64, 128, 256, 512), min_length=1, max_length=9, description="channels of each convolution"
    )
    pool: Pool = Field(
        "max",
        description="how maps shrink: 2x2 max or avg pooling; stride: a convolution of stride 2; blur:"
        " anti-aliased max pooling; none: not at all (65 times the work); dilate: nor that, and dilation doubles",
    )
    pool_every: int = Field(1, ge=1, description="pool after every so many convolutions; never after the last")
    hidden: tuple[Width, ...] = Field(
        (2048, 1024, 512), max_length=9, description="widths of the fully connected layers before the last"
    )
    dropout: float = Field(0.25, ge=0, lt=1, description="dropout probability before each fully connected layer")
    norm: Norm = Field("batch", description="normalization after each convolution")

    @field_validator("pool_every")
    @classmethod
    def _something_is_pooled(cls, value: int, info: ValidationInfo) -> int:
        convolutions = len(info.data.get("channels", ()))
        if convolutions and value > max(1, convolutions - 1):
            raise ValueError(
                f"must be less than the number of convolutions, {convolutions}: the last one is never pooled"
            )
        return value

    @property
    def pools(self) -> tuple[bool, ...]:
        """Whether each convolution is followed by a reduction (or, with `dilate`, by a doubled dilation)."""
        last = len(self.channels)
        if self.pool == "none":
            return (False,) * last
        return tuple(number % self.pool_every == 0 and number < last for number in range(1, last + 1))


class Cnn5:
    """Five 3x3 convolutions with pooling between, then four fully connected layers.

    Stages are `block1` … `block5`, `dense1` … `dense3` and `head`; layer aliases are `conv1` … `conv5` and
    `fc1` … `fc4`, the last of which is the head's. Weights start from torch's own initialization.

    Where `pool` and `pool_every` leave maps wider than a sixteenth of the image, these are averaged down to it
    before they are flattened, so that every way of pooling has the same fully connected layers and can be compared
    fairly. Smaller training images than it was built for (`progressive.sizes`) have their maps stretched to the grid
    of the full size, so that they train the same layers. With batch normalization a 16-pixel image ends in 1x1 maps,
    on which torch can't train one image alone.
    """

    Params = Cnn5Params
    image_size = 64

    def build(self, params: Cnn5Params, *, num_classes: int, image_size: int) -> BuiltModel:
        """Build the network with fresh weights.

        Raises:
            UsageError: `image_size` is too small to be halved as often as `params` says.
        """
        _check_size(params, image_size)
        return BuiltModel.from_stages(
            _stages(params, num_classes, image_size), preprocessing=Preprocessing(size=image_size)
        )


def _check_size(params: Cnn5Params, image_size: int) -> None:
    halvings = 0 if params.pool == "dilate" else sum(params.pools)
    if image_size >> halvings < 1:
        raise UsageError(
            f"cnn5 halves its images {halvings} times, so they need at least {2**halvings} pixels a side"
            f" (got {image_size}); give larger images or a larger pool_every"
        )


def _stages(params: Cnn5Params, num_classes: int, image_size: int) -> dict[str, nn.Sequential]:
    stages: dict[str, nn.Sequential] = {}
    width, side, dilation = 3, image_size, 1
    for number, (channels, pooled) in enumerate(zip(params.channels, params.pools, strict=True), start=1):
        stages[f"block{number}"] = _block(params, width, channels, pooled=pooled, dilation=dilation)
        width = channels
        if pooled and params.pool == "dilate":
            dilation *= 2
        elif pooled:
            # A strided convolution keeps the odd pixel that pooling drops.
            side = -(-side // 2) if params.pool == "stride" else side // 2
    grid = min(side, max(1, image_size // GRID_SHARE))
    last = stages[f"block{len(params.channels)}"]
    if grid < side:
        last.add_module("average", nn.AdaptiveAvgPool2d(grid))
    last.add_module("flatten", GridFlatten(grid))
    width *= grid * grid
    for number, hidden in enumerate(params.hidden, start=1):
        stages[f"dense{number}"] = _dense(params.dropout, width, hidden)
        stages[f"dense{number}"].add_module("relu", nn.ReLU())
        width = hidden
    stages["head"] = _dense(params.dropout, width, num_classes)
    return stages


class GridFlatten(nn.Flatten):
    """Maps `(B, C, H, W)` as vectors `(B, C * grid * grid)`; maps smaller than the grid are stretched to it.

    Between pixels it is interpolated linearly, as a product with one matrix for rows and columns: the gradient of
    torch's own resampling depends on the order of threads on a GPU.
    """

    def __init__(self, grid: int) -> None:
        """Of square maps that have `grid` pixels a side at the full image size."""
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor) -> Tensor:
        """The vectors."""
        side = maps.shape[-1]
        if side < self.grid:
            eye = torch.eye(side, device=maps.device, dtype=maps.dtype)
            stretch = F.interpolate(eye.unsqueeze(0), size=self.grid, mode="linear")[0]
            maps = torch.einsum("bcij,ih,jw->bchw", maps, stretch, stretch)
        return super().forward(maps)

    def extra_repr(self) -> str:
        """The grid."""
        return f"grid={self.grid}"


def _dense(dropout: float, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(dropout=nn.Dropout(dropout), linear=nn.Linear(width, out)))


def _block(params: Cnn5Params, width: int, channels: int, *, pooled: bool, dilation: int) -> nn.Sequential:
    stride = 2 if pooled and params.pool == "stride" else 1
    block = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(width, channels, 3, stride=stride, padding=dilation, dilation=dilation))
    )
    if params.norm != "none":
        block.add_module("norm", _norm(params.norm, channels))
    pool = pooling_layer(params.pool) if pooled else None
    if isinstance(pool, nn.MaxPool2d):
        # The largest rectified value is the rectified largest: the same function, a quarter of ReLU's work, and
        # 7 % more training steps a second. (ReLU in place gained nothing measurable, and hooks don't like it.)
        block.add_module("pool", pool)
    block.add_module("relu", nn.ReLU())
    if pool is not None and not isinstance(pool, nn.MaxPool2d):
        block.add_module("pool", pool)
    return block


def pooling_layer(kind: Pool) -> nn.Module | None:
    """The module that halves maps, rounding down; None where the convolutions do the work.

    stride: Striving for Simplicity: The All Convolutional Net, https://arxiv.org/abs/1412.6806.
    blur: Making Convolutional Networks Shift-Invariant Again, https://arxiv.org/abs/1904.11486, its max pooling
    with the 3x3 triangle filter, written as two 2x2 averages; pixels at the edge are repeated where the paper
    mirrors them, since a map of 2x2 leaves nothing to mirror.
    """
    if kind == "max":
        return nn.MaxPool2d(2)
    if kind == "avg":
        return nn.AvgPool2d(2)
    if kind == "blur":
        blur = nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False)
        return nn.Sequential(nn.MaxPool2d(2, stride=1), blur, nn.AvgPool2d(2))
    return None


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    # Several channels a group: a group of one on a 1x1 map would be all mean and no signal.
    groups = max(g for g in range(1, 9) if channels % g == 0 and (g == 1 or channels // g >= 4))
    return nn.GroupNorm(groups, channels)
