"""The backward pass of a two-dimensional convolution, written out with indices, sums and products alone.

With input X `(B, C, H, W)`, kernels K `(O, C/G, I, J)`, G groups, stride S, padding P and dilation D (each a pair), the
forward pass is the cross-correlation

    Y[b, o, y, x] = bias[o] + sum over c, i, j of K[o, c, i, j] * X'[b, c, y S + i D, x S + j D]

where X' is X with P zeros around it. From the loss's gradient dY, of Y's shape `(B, O, H', W')`, follow

- **db**[o]: the sum of dY[b, o, y, x] over b, y and x;
- **dK**[o, c, i, j]: the sum over b, y and x of dY[b, o, y, x] * X'[b, c, y S + i D, x S + j D]: the cross-correlation
  of the input's patches with dY, in which dY takes the part of a kernel that is dilated by S and moved in steps of D;
- **dX**: the full convolution of dY, with S - 1 zeros between its places, with the kernels: around it stand
  D (I - 1) - P zeros (fewer than none: that many places are cut off), and over it moves each kernel turned by 180
  degrees, summed over the output channels. Where the steps leave rows or columns at the end that no window reached
  (the division by S is uneven), as many zeros more stand at the end ("output padding").

Source: V. Dumoulin, F. Visin, A guide to convolution arithmetic for deep learning (2016),
https://arxiv.org/abs/1603.07285. It moves the kernel by steps of one throughout; here the dilation is followed too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[int, int]


class ConvGradients(NamedTuple):
    """Gradients of a loss with respect to what a convolution works on.

    Attributes:
        input: dX, `(B, C, H, W)`.
        weight: dK, `(O, C/G, I, J)`.
        bias: db, `(O,)`.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor


def conv2d_backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> ConvGradients:
    """The backward pass of `torch.nn.functional.conv2d`, without autograd.

    Args:
        grad_output: dY, `(B, O, H', W')`.
        input: X, `(B, C, H, W)`.
        weight: K, `(O, C/G, I, J)`.

    Raises:
        ValueError: The shapes aren't those of one convolution.

    Example:
        >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> k = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> dy = torch.ones(1, 1, 2, 2)
        >>> gradients = conv2d_backward(dy, x, k)
        >>> gradients.weight.flatten().tolist(), gradients.bias.tolist()
        ([8.0, 12.0, 20.0, 24.0], [4.0])
        >>> gradients.input[0, 0].tolist()
        [[1.0, 3.0, 2.0], [4.0, 10.0, 6.0], [3.0, 7.0, 4.0]]
    """
    _check(grad_output, input, weight, stride, padding, dilation, groups)
    return ConvGradients(
        input=_input_gradient(grad_output, input, weight, stride, padding, dilation, groups),
        weight=_weight_gradient(grad_output, input, weight, stride, padding, dilation, groups),
        bias=grad_output.sum(dim=(0, 2, 3)),
    )


def patches(planes: Tensor, kernel: Pair, steps: Pair, dilation: Pair) -> Tensor:
    """What each place of a kernel meets at each of its positions.

    Args:
        planes: `(B, C, H, W)`, with its zeros around it.
        steps: By which the kernel moves.

    Returns:
        `(B, C, I, J, H', W')`, with H' and W' as many positions as there are.
    """
    height, width = planes.shape[2:]
    rows = _places(height, kernel[0], steps[0], dilation[0])
    columns = _places(width, kernel[1], steps[1], dilation[1])
    # (B, C, I, H', J, W') by indexing both axes; the positions last.
    return planes[:, :, rows][..., columns].transpose(3, 4)


def _places(size: int, kernel: int, step: int, dilation: int) -> Tensor:
    """The index that each place of a kernel meets at each of its positions, `(kernel, positions)`."""
    positions = (size - dilation * (kernel - 1) - 1) // step + 1
    return torch.arange(kernel)[:, None] * dilation + torch.arange(positions) * step


def padded(planes: Tensor, padding: Pair) -> Tensor:
    """Planes `(B, C, H, W)` with zeros around them."""
    batch, channels, height, width = planes.shape
    down, across = padding
    wider = planes.new_zeros(batch, channels, height + 2 * down, width + 2 * across)
    wider[:, :, down : down + height, across : across + width] = planes
    return wider


def _weight_gradient(
    grad_output: Tensor, input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    met = patches(padded(input, padding), (weight.shape[2], weight.shape[3]), stride, dilation)
    by_group = met.unflatten(1, (groups, -1))
    grads = grad_output.unflatten(1, (groups, -1))
    return torch.einsum("bgcijyx,bgoyx->gocij", by_group, grads).flatten(0, 1)


def _input_gradient(
    grad_output: Tensor, input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    kernel = (weight.shape[2], weight.shape[3])
    around = spread(grad_output, (input.shape[2], input.shape[3]), kernel, stride, padding, dilation)
    met = patches(around, kernel, (1, 1), dilation).unflatten(1, (groups, -1))
    turned = weight.flip(2, 3).unflatten(0, (groups, -1))
    return torch.einsum("bgoijyx,gocij->bgcyx", met, turned).flatten(1, 2)


def spread(grad_output: Tensor, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """DY with the zeros between its places and around them that the turned kernel moves over.

    Args:
        grad_output: `(B, O, H', W')`.
        size: H and W of the input.

    Returns:
        `(B, O, H + D (I - 1), W + D (J - 1))`.
    """
    batch, channels = grad_output.shape[:2]
    reach = [dilation[axis] * (kernel[axis] - 1) for axis in (0, 1)]
    around = grad_output.new_zeros(batch, channels, size[0] + reach[0], size[1] + reach[1])
    kept = []
    targets = []
    for axis in (0, 1):
        places = torch.arange(grad_output.shape[2 + axis]) * stride[axis] + reach[axis] - padding[axis]
        # With more padding than the kernel reaches, windows at the border saw zeros alone: they are cut off.
        inside = (places >= 0) & (places < around.shape[2 + axis])
        kept.append(inside.nonzero()[:, 0])
        targets.append(places[inside])
    around[:, :, targets[0][:, None], targets[1]] = grad_output[:, :, kept[0][:, None], kept[1]]
    return around


def _check(
    grad_output: Tensor, input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> None:
    expected = tuple(
        (input.shape[axis] + 2 * pad - reach * (weight.shape[axis] - 1) - 1) // step + 1
        for axis, step, pad, reach in zip((2, 3), stride, padding, dilation, strict=True)
    )
    if weight.shape[0] % groups or weight.shape[1] * groups != input.shape[1]:
        raise ValueError(f"kernels {tuple(weight.shape)} don't fit {input.shape[1]} channels in {groups} groups")
    if tuple(grad_output.shape) != (input.shape[0], weight.shape[0], *expected):
        shape = (input.shape[0], weight.shape[0], *expected)
        raise ValueError(f"the gradient of the output is {tuple(grad_output.shape)}, the output {shape}")
