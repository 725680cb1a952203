"""Depthwise convolutions on the processor, trained without oneDNN's slow ways.

oneDNN (3.x, on x86) is quick at a depthwise convolution itself and at the gradient of kernels of 3 x 3. It has no quick
way to the gradient of kernels wider than the map, nor, in bf16 above all, to that of larger kernels, nor in bf16 to the
gradient of the input where the stride isn't 1: together these can take two thirds of a step of EfficientNet-Lite.
So the gradient of a kernel is computed in blocks of 3 x 3 taps, each that of a small kernel on a shifted map, and the
gradient of the input of a strided one in fp32.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

_BLOCK = 3


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `Conv2d` that trains faster on the processor, in bf16 or on small maps; else it is a `Conv2d`.

    Outputs and gradients are those of a `Conv2d` but for rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps `(B, C, H, W)` to as many, of the size that a `Conv2d` gives them."""
        is_bf16 = torch.is_autocast_enabled("cpu") or input.dtype == torch.bfloat16
        if not torch.is_grad_enabled() or not (is_bf16 or _is_larger(self.kernel_size, input)):
            return super().forward(input)
        made: Tensor = _Depthwise.apply(input, self.weight, self.bias, self.stride, self.padding)
        return made


def _is_larger(kernel: tuple[int, ...], maps: Tensor) -> bool:
    return any(taps > side for taps, side in zip(kernel, maps.shape[-2:], strict=True))


class DepthwiseConv2dSame(DepthwiseConv2d):
    """The same for timm's `Conv2dSame`, whose padding is TensorFlow's: as little as lets ceil(H / stride) rows out.

    Where it is an odd number of rows or columns, the larger half is below or on the right.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps `(B, C, H, W)` to `(B, C, ceil(H / stride), ceil(W / stride))`."""
        rows, columns = (
            max(0, (-(-side // step) - 1) * step + taps - side)
            for side, step, taps in zip(input.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        return super().forward(F.pad(input, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)))


def quicken_depthwise(module: nn.Module) -> None:
    """Turn a network's depthwise convolutions into ones that train faster, in place: only their class changes."""
    # Where nobody has imported timm, no network has its layer.
    of_timm = getattr(sys.modules.get("timm.layers"), "Conv2dSame", None)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and _is_depthwise(layer):
            if type(layer) is nn.Conv2d:
                layer.__class__ = DepthwiseConv2d
            elif type(layer) is of_timm:
                layer.__class__ = DepthwiseConv2dSame


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
    )


class _Depthwise(torch.autograd.Function):
    """Under autocast in bf16, as any convolution."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, maps: Tensor, kernels: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(maps, kernels)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(maps, kernels, bias, stride, padding, groups=len(kernels))

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, kernels = ctx.saved_tensors
        of_maps = of_kernels = of_bias = None
        if ctx.needs_input_grad[0]:
            wide = torch.promote_types(gradient.dtype, torch.float32) if max(ctx.stride) > 1 else gradient.dtype
            of_maps = conv2d_input(
                maps.shape, kernels.to(wide), gradient.to(wide), ctx.stride, ctx.padding, groups=len(kernels)
            ).to(maps.dtype)
        if ctx.needs_input_grad[1]:
            of_kernels = _gradient_of_kernels(maps, kernels, gradient, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_maps, of_kernels, of_bias, None, None


def _gradient_of_kernels(
    maps: Tensor, kernels: Tensor, gradient: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """Block by block of taps; those that lie in two blocks are computed twice."""
    size, sides, outputs = kernels.shape[-2:], maps.shape[-2:], gradient.shape[-2:]
    if max(size) <= _BLOCK and not _is_larger(size, maps):
        whole: Tensor = conv2d_weight(maps, kernels.shape, gradient, stride, padding, groups=len(kernels))
        return whole
    padded = F.pad(maps, (padding[1], padding[1], padding[0], padding[0]))
    # From a tap's first to its last place in the padded map.
    reach = [(count - 1) * step for count, step in zip(outputs, stride, strict=True)]
    row_blocks, column_blocks = map(_blocks, size, sides, padding, reach)
    found = torch.zeros_like(kernels)
    for rows in row_blocks:
        for columns in column_blocks:
            block = found[:, :, rows, columns]
            seen = padded[:, :, rows.start : rows.stop + reach[0], columns.start : columns.stop + reach[1]]
            block.copy_(conv2d_weight(seen, list(block.shape), gradient, stride, groups=len(kernels)))
    return found


def _blocks(taps: int, side: int, padding: int, reach: int) -> list[slice]:
    """Slices that cover the taps which ever meet the map and not its padding alone; the last is as long as the rest."""
    first, end = max(0, padding - reach), min(taps, padding + side)
    starts = [*range(first, end - _BLOCK, _BLOCK), max(first, end - _BLOCK)]
    return [slice(start, min(start + _BLOCK, end)) for start in starts]
