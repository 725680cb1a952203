"""The backward pass of a convolution, written out, is that of autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from ahekit_plugins.lessons.conv_backprop.backward import conv2d_backward

pairs = st.tuples


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    """Shapes and settings of a convolution, uneven divisions and more padding than kernel among them."""
    groups = draw(st.integers(1, 3))
    made: dict[str, Any] = {
        "batch": draw(st.integers(1, 3)),
        "groups": groups,
        "channels": groups * draw(st.integers(1, 2)),
        "outputs": groups * draw(st.integers(1, 2)),
        "size": draw(pairs(st.integers(1, 9), st.integers(1, 9))),
        "kernel": draw(pairs(st.integers(1, 4), st.integers(1, 4))),
        "stride": draw(pairs(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(pairs(st.integers(0, 4), st.integers(0, 4))),
        "dilation": draw(pairs(st.integers(1, 3), st.integers(1, 3))),
    }
    for axis in (0, 1):
        reach = made["dilation"][axis] * (made["kernel"][axis] - 1)
        assume(made["size"][axis] + 2 * made["padding"][axis] > reach)
    return made


def tensors(made: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Input, kernels and bias in float64."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).requires_grad_()

    return (
        normal(made["batch"], made["channels"], *made["size"]),
        normal(made["outputs"], made["channels"] // made["groups"], *made["kernel"]),
        normal(made["outputs"]),
    )


def how(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("stride", "padding", "dilation", "groups")}


@settings(max_examples=150, deadline=None)
@given(convolutions())
def test_gradients_are_those_of_autograd(made: dict[str, Any]) -> None:
    image, kernels, bias = tensors(made)
    output = conv2d(image, kernels, bias, **how(made))
    grad_output = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad(output, (image, kernels, bias), grad_output)
    with torch.no_grad():
        own = conv2d_backward(grad_output, image, kernels, **how(made))
    for mine, theirs in zip(own, expected, strict=True):
        assert mine.shape == theirs.shape
        scale = max(float(theirs.abs().max()), 1e-6)
        assert float((mine - theirs).abs().max()) / scale < 1e-12


class Convolution(torch.autograd.Function):
    """A convolution whose backward pass is the one written out."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(image, kernels)
        return conv2d(image, kernels, bias, stride=2, padding=1, dilation=2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        image, kernels = ctx.saved_tensors
        return tuple(conv2d_backward(grads[0], image, kernels, stride=(2, 2), padding=(1, 1), dilation=(2, 2)))


def test_gradients_are_those_of_small_steps() -> None:
    made = {"batch": 2, "channels": 2, "outputs": 3, "groups": 1, "size": (8, 7), "kernel": (3, 2)}
    assert torch.autograd.gradcheck(Convolution.apply, tensors(made))


def test_rows_that_no_window_reached_get_no_gradient() -> None:
    image = torch.ones(1, 1, 6, 5)
    gradients = conv2d_backward(torch.ones(1, 1, 2, 2), image, torch.ones(1, 1, 2, 2), stride=(3, 3))
    assert gradients.input[0, 0, 2].tolist() == [0, 0, 0, 0, 0], "between two windows"
    assert gradients.input[0, 0, 5].tolist() == [0, 0, 0, 0, 0], "behind the last"


def test_shapes_of_no_convolution_are_refused() -> None:
    with pytest.raises(ValueError, match="gradient of the output is"):
        conv2d_backward(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    with pytest.raises(ValueError, match="don't fit 3 channels"):
        conv2d_backward(torch.ones(1, 2, 2, 2), torch.ones(1, 3, 3, 3), torch.ones(2, 1, 2, 2), groups=2)
