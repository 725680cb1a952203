"""Depthwise convolutions on maps that are smaller than their kernel, trained without oneDNN's slow way.

Where a map is narrower than the kernel, oneDNN (3.x, on x86) has no fast kernel for the gradient of depthwise
weights: of a training step of EfficientNet-Lite0 on images of 64 pixels that takes nearly half. Padding the map before
the convolution, and leaving out the taps that would only ever meet that padding, is the same sum by a fast kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `Conv2d` of stride 1 that keeps the size of its maps, and trains faster on small ones.

    Of maps that are as large as the kernel, and wherever no gradient is asked for, it is a `Conv2d`. Otherwise outputs
    and gradients are those of a `Conv2d` but for rounding.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps `(B, C, H, W)` to as many of the same size."""
        size = input.shape[-2:]
        learns = self.weight.requires_grad and torch.is_grad_enabled()
        if not learns or all(side >= kernel for side, kernel in zip(size, self.kernel_size, strict=True)):
            return super().forward(input)
        # So many taps on each side lie further from the middle than any place of the map does.
        cut = [max(0, kernel // 2 - side + 1) for side, kernel in zip(size, self.kernel_size, strict=True)]
        taps = self.weight[:, :, cut[0] : self.kernel_size[0] - cut[0], cut[1] : self.kernel_size[1] - cut[1]]
        rows, columns = (kernel // 2 - left_out for kernel, left_out in zip(self.kernel_size, cut, strict=True))
        padded = F.pad(input, (columns, columns, rows, rows))
        return F.conv2d(padded, taps, self.bias, groups=self.groups)


def quicken_depthwise(module: nn.Module) -> None:
    """Turn a network's depthwise convolutions into `DepthwiseConv2d`, in place: nothing but their class changes."""
    for layer in module.modules():
        if type(layer) is nn.Conv2d and _is_depthwise(layer):
            layer.__class__ = DepthwiseConv2d


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.stride == layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and all(kernel % 2 == 1 for kernel in layer.kernel_size)
        and layer.padding == tuple(kernel // 2 for kernel in layer.kernel_size)
    )
