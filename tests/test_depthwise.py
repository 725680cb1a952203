"""Depthwise convolutions on small maps: the same outputs and gradients as torch's own, by other kernels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ahekit.compute import Compute
from ahekit.depthwise import DepthwiseConv2d, quicken_depthwise


def outputs_and_gradients(layer: nn.Module, maps: torch.Tensor) -> list[torch.Tensor]:
    own = maps.clone().requires_grad_()
    layer.zero_grad()
    outputs = layer(own)
    (outputs * torch.arange(outputs.numel(), dtype=maps.dtype).reshape(outputs.shape).sin()).sum().backward()
    return [outputs, own.grad, *(each.grad for each in layer.parameters())]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (7, 7), (1, 9), (9, 2), (3, 6)])
@pytest.mark.parametrize("kernel", [1, 3, 5, (3, 7), (7, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_the_same_convolution(size: tuple[int, int], kernel: int | tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, padding=_half(kernel), groups=6, bias=bias).double()
    quick = copy.deepcopy(layer)
    quicken_depthwise(quick)
    assert type(quick) is DepthwiseConv2d
    maps = torch.randn(3, 6, *size, dtype=torch.float64)
    for made, right in zip(outputs_and_gradients(quick, maps), outputs_and_gradients(layer, maps), strict=True):
        torch.testing.assert_close(made, right, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(quick(maps), layer(maps))


def _half(kernel: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    return rows // 2, columns // 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, padding=2, groups=4, dilation=2),
        nn.Conv2d(4, 4, 3, padding=0, groups=4),
        nn.Conv2d(4, 4, 4, padding="same", groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"),
        nn.Conv2d(1, 1, 3, padding=1),
        type("Own", (nn.Conv2d,), {})(4, 4, 3, padding=1, groups=4),
    ],
)
def test_other_convolutions_are_left_as_they_are(layer: nn.Conv2d) -> None:
    kind = type(layer)
    quicken_depthwise(layer)
    assert type(layer) is kind


def test_only_the_processor_needs_it() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    Compute(torch.device("meta"), bf16=False, channels_last=True).place(layer)
    assert type(layer) is nn.Conv2d
    kept = Compute(torch.device("cpu"), bf16=False, channels_last=True).place(
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4))
    )
    assert type(kept[0]) is DepthwiseConv2d
    assert list(kept.state_dict()) == ["0.weight", "0.bias"]
