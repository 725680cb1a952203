"""Receptive fields: which pixels of the image an element of a feature map can depend on.

The closed form for chains and branching networks is that of Computing Receptive Fields of Convolutional Neural
Networks, https://distill.pub/2019/computing-receptive-fields. It is followed here through the operations that a forward
pass really performs, so it holds for residual sums, concatenations and functional calls as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ahekit.hooks import Operations

Size = tuple[int, int] | Literal["all"] | None
"""Height and width in pixels, not cut at the image's border; "all": every pixel; None: it can't be told."""


@dataclass(frozen=True)
class Axis:
    """Pixels along one axis that element 0 of a map depends on, and how far the next element's are shifted."""

    first: int
    last: int
    jump: int

    @property
    def length(self) -> int:
        """How many pixels that is, those beyond the image's border included."""
        return self.last - self.first + 1

    def window(self, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        """The axis after a sliding window of that shape."""
        start = self.first - padding * self.jump
        return Axis(start, self.last + (dilation * (kernel - 1) - padding) * self.jump, self.jump * stride)

    def pixels(self, place: int, size: int) -> tuple[int, int]:
        """First pixel that element `place` depends on, and the one after the last, cut at the border of `size` pixels.

        An element that sees nothing but padding gets the pixel next to it.
        """
        start = min(max(self.first + place * self.jump, 0), size - 1)
        return start, max(min(self.last + place * self.jump + 1, size), start + 1)


Axes = tuple[Axis | None, ...]
"""For each dimension of a tensor its axis in the image, None where it has none (batch, channels)."""

Field = Axes | Literal["flat", "all", "unknown"]
"""What is known of a tensor; "flat": each element has a field, but they no longer lie side by side."""


class ReceptiveFields(Operations):
    """Follows every tensor computed from an image while it is the active mode.

    Normalization is followed as if its statistics were constants, as is usual: otherwise one group norm would make
    every field "all". Operations that this module knows nothing about end in None.

    Example:
        >>> image = torch.zeros(1, 3, 32, 32)
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 4, 3))
        >>> with torch.no_grad(), ReceptiveFields(image) as fields:
        ...     maps = net(image)
        >>> fields.of(maps)
        (8, 8)
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._fields: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._fields[image] = (None, None, Axis(0, 0, 1), Axis(0, 0, 1))

    def of(self, tensor: Tensor) -> Size:
        """The receptive field of a tensor's elements."""
        axes = self.axes(tensor)
        if axes is None:
            return "all" if self._fields.get(tensor) == "all" else None
        return axes[0].length, axes[1].length

    def axes(self, tensor: Tensor) -> tuple[Axis, Axis] | None:
        """Where the fields of a map's elements lie, down and across; None: on every pixel, or it can't be told."""
        field: Field = self._fields.get(tensor, "unknown")
        axes = [] if isinstance(field, str) else [axis for axis in field if axis is not None]
        return (axes[0], axes[1]) if len(axes) == 2 else None

    def after(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Follow what an operation made of tensors that are followed."""
        followed = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf in self._fields]
        fields = [(self._fields[tensor], tuple(tensor.shape)) for tensor in followed]
        for tensor in tree_leaves(result):
            if fields and isinstance(tensor, Tensor):
                self._fields[tensor] = _after(operation, args, fields, tensor)


def _after(func: Any, args: Sequence[Any], inputs: Sequence[tuple[Field, tuple[int, ...]]], result: Tensor) -> Field:
    """The field of an operation's result from its inputs' fields and shapes."""
    fields = [field for field, _ in inputs]
    if "all" in fields:
        return "all"
    elementwise = torch.Tag.pointwise in func.tags or func.overloadpacket in _ELEMENTWISE
    if fields == ["flat"] and (elementwise or func.overloadpacket in _MATRIX_PRODUCTS):
        return "flat" if elementwise else "all"
    axes = [(field, shape) for field, shape in inputs if not isinstance(field, str)]
    if len(axes) < len(fields):
        return "unknown"
    if elementwise:
        return _union(axes, tuple(result.shape))
    rule = _RULES.get(func.overloadpacket)
    return rule(axes[0][0], args, result) if rule else "unknown"


def _union(inputs: Sequence[tuple[Axes, tuple[int, ...]]], result: tuple[int, ...]) -> Field:
    """What depends on several maps at the same place depends on all of their pixels."""
    union: list[Axis | None] = []
    for number in range(-len(result), 0):
        here = [(axes[number], shape[number]) for axes, shape in inputs if len(axes) >= -number]
        maps = [(axis, length) for axis, length in here if axis is not None]
        if not maps:
            union.append(None)
            continue
        jump = maps[0][0].jump
        # Places correspond only where the maps have the same length and step.
        if any(length != result[number] or axis.jump != jump for axis, length in maps):
            return "unknown"
        union.append(Axis(min(axis.first for axis, _ in maps), max(axis.last for axis, _ in maps), jump))
    return tuple(union)


def _convolution(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    _, weight, _, stride, padding, dilation, transposed, *_ = args
    return "unknown" if transposed else _window(field, weight.shape[2:], stride, padding, dilation)


def _pool(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    # max_pool2d(x, kernel, stride=kernel, padding=0, dilation=1, ceil_mode); avg_pool2d has ceil_mode for dilation.
    shapes = [list(value) for value in args[1:5] if isinstance(value, list | tuple)]
    kernel, stride, padding, dilation = shapes + [[]] * (4 - len(shapes))
    return _window(field, kernel, stride or kernel, padding or [0], dilation or [1])


def _window(
    field: Axes,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Field:
    if len(field) != 4 or field[2] is None or field[3] is None:
        return "unknown"
    # A single number stands for both axes.
    shapes = [list(values) * (3 - len(values)) for values in (kernel, stride, padding, dilation)]
    down = field[2].window(*[values[0] for values in shapes])
    across = field[3].window(*[values[1] for values in shapes])
    return None, None, down, across


def _pad(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    # Widths come from the last dimension backwards, before and after each.
    before = dict(zip(range(len(field) - 1, -1, -1), args[1][::2], strict=False))
    # A window of one pixel leaves a field as long as it was and only shifts it.
    return tuple(axis and axis.window(1, 1, before.get(number, 0), 1) for number, axis in enumerate(field))


def _adaptive_pool(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    lengths = list(zip(args[0].shape[-2:], result.shape[-2:], strict=True))
    if all(after == 1 for _, after in lengths):
        return "all"
    if any(before % after for before, after in lengths):
        return "unknown"  # windows of differing sizes
    steps = [before // after for before, after in lengths]
    return _window(field, steps, steps, [0], [1])


def _mean(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    gone = {number % len(field) for number in (args[1] if len(args) > 1 and args[1] else range(len(field)))}
    if not any(field[number] for number in gone):
        return field if result.ndim == len(field) else "unknown"
    left = [number for number, axis in enumerate(field) if axis is not None and number not in gone]
    return "unknown" if left else "all"


def _view(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    if tuple(result.shape) == tuple(args[0].shape):
        return field
    if field[-2:] == (None, None) or tuple(result.shape[-2:]) != tuple(args[0].shape[-2:]):
        return "flat" if result.ndim == 2 and result.shape[0] == args[0].shape[0] else "unknown"
    return (None,) * (result.ndim - 2) + field[-2:]


def _slice(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    # Some of the channels; a part of the places would shift the fields.
    cut = [axis for number, axis in enumerate(field) if args[0].shape[number] != result.shape[number]]
    return "unknown" if any(cut) else field


def _permute(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    return tuple(field[number] for number in args[1])


def _transpose(field: Axes, args: Sequence[Any], result: Tensor) -> Field:
    swapped = list(field)
    swapped[args[1]], swapped[args[2]] = field[args[2]], field[args[1]]
    return tuple(swapped)


_aten = torch.ops.aten
# Without the pointwise tag, but they too mix nothing across places.
_ELEMENTWISE = {
    _aten.native_batch_norm,
    _aten._native_batch_norm_legit_no_training,
    _aten.cudnn_batch_norm,
    _aten.miopen_batch_norm,
    _aten.native_group_norm,
    _aten.native_layer_norm,
    _aten.hardswish,
    _aten.hardswish_,
    _aten._prelu_kernel,
    _aten.native_dropout,
    _aten.cat,
    _aten.alias,
    _aten.detach,
}
_MATRIX_PRODUCTS = {_aten.mm, _aten.addmm}
_RULES: dict[Any, Callable[[Axes, Sequence[Any], Tensor], Field]] = {
    _aten.convolution: _convolution,
    _aten.max_pool2d_with_indices: _pool,
    _aten.avg_pool2d: _pool,
    _aten._adaptive_avg_pool2d: _adaptive_pool,
    _aten.adaptive_max_pool2d: _adaptive_pool,
    _aten.constant_pad_nd: _pad,
    _aten.reflection_pad2d: _pad,
    _aten.replication_pad2d: _pad,
    _aten.mean: _mean,
    _aten.view: _view,
    _aten._unsafe_view: _view,
    _aten.permute: _permute,
    _aten.transpose: _transpose,
    _aten.slice: _slice,
    _aten.split: _slice,
    _aten.split_with_sizes: _slice,
}
