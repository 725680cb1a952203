"""Depthwise convolutions: the same outputs and gradients as torch's own and timm's, by other kernels."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from ahekit.compute import Compute
from ahekit.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, quicken_depthwise


def outputs_and_gradients(layer: nn.Module, maps: torch.Tensor) -> list[torch.Tensor]:
    own = maps.clone().requires_grad_()
    layer.zero_grad()
    outputs = layer(own)
    (outputs * torch.arange(outputs.numel(), dtype=maps.dtype).reshape(outputs.shape).sin()).sum().backward()
    return [outputs, own.grad, *(each.grad for each in layer.parameters())]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (7, 7), (1, 9), (9, 2), (3, 6), (16, 17)])
@pytest.mark.parametrize("kernel", [1, 3, 4, 5, (3, 7), (7, 1), (9, 1)])
@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_the_same_convolution(
    size: tuple[int, int], kernel: int | tuple[int, int], stride: int | tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, stride, padding=_half(kernel), groups=6, bias=bias).double()
    maps = torch.randn(3, 6, *size, dtype=torch.float64)
    assert_quick_is_equal(layer, maps, DepthwiseConv2d)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 7), (16, 17)])
@pytest.mark.parametrize("kernel", [1, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_it_is_the_same_convolution_with_padding_as_in_tensorflow(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    torch.manual_seed(0)
    layer = Conv2dSame(6, 6, kernel, stride, groups=6).double()
    assert_quick_is_equal(layer, torch.randn(3, 6, *size, dtype=torch.float64), DepthwiseConv2dSame)


def assert_quick_is_equal(layer: nn.Module, maps: torch.Tensor, kind: type[nn.Module]) -> None:
    quick = copy.deepcopy(layer)
    quicken_depthwise(quick)
    assert type(quick) is kind
    for made, right in zip(outputs_and_gradients(quick, maps), outputs_and_gradients(layer, maps), strict=True):
        torch.testing.assert_close(made, right, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(quick(maps), layer(maps))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_under_autocast_it_computes_in_bf16(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, kernel, stride, padding=kernel // 2, groups=8)
    quick = copy.deepcopy(layer)
    quicken_depthwise(quick)
    maps = torch.randn(4, 8, 12, 12)
    exact = outputs_and_gradients(layer, maps)
    with torch.autocast("cpu", torch.bfloat16):
        usual = outputs_and_gradients(layer, maps)
        made = outputs_and_gradients(quick, maps)
    assert [each.dtype for each in made] == [each.dtype for each in usual]
    assert torch.equal(made[0], usual[0])
    for ours, torchs, right in zip(made, usual, exact, strict=True):
        scale = right.abs().max()
        assert (ours - right).abs().max() <= max(2e-2 * scale, 1.5 * (torchs - right).abs().max())


def test_frozen_kernels_get_no_gradient_and_pass_one_on() -> None:
    layer = nn.Conv2d(6, 6, 5, 2, padding=2, groups=6)
    quicken_depthwise(layer)
    layer.requires_grad_(False)
    maps = torch.randn(2, 6, 8, 8, requires_grad=True)
    layer(maps).sum().backward()
    assert layer.weight.grad is None
    assert maps.grad is not None
    assert not layer(maps.detach()).requires_grad


def _half(kernel: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    return rows // 2, columns // 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, groups=4, dilation=2),
        nn.Conv2d(4, 4, 4, padding="same", groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"),
        nn.Conv2d(1, 1, 3, padding=1),
        Conv2dSame(4, 4, 3, 2),
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
