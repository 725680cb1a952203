"""Backpropagation through a convolution: the student's own layer, number by number, beside autograd."""

from __future__ import annotations

import base64
from copy import deepcopy
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ahekit import protocols
from ahekit.data.classes import display_name
from ahekit.errors import UsageError
from ahekit.hooks import capture, find_module, observing
from ahekit.inspection.layers import convolutions, resolve_layer
from ahekit.protocols import LessonInput, VisualizerInput
from ahekit.sections import Claim, Column, Exercise, Experiment, Section, Table, Widget
from ahekit.wording import counted

from .backward import ConvGradients, conv2d_backward

LIMIT = 1e-12
"""Largest relative error in float64 that still counts as the same gradient."""

_PAGE_NUMBERS = 220_000  # that the page holds at most: 1.2 MB as base64


class ConvBackprop:
    """The backward pass of a convolution of your own network, number by number, beside autograd."""

    title = "Backpropagation through a convolution"
    seconds = 10.0

    class Params(protocols.Params):
        """Parameters of `ConvBackprop`."""

        layer: str | None = Field(None, description="convolution to look at; none: the network's first")
        picture: int = Field(0, ge=0, description="which of the test pictures, one of each class, counted from 0")
        units: int = Field(8, ge=1, le=64, description="units that the page shows, those with the largest gradient")

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Compute the layer's gradients by hand and by autograd, and lay them out."""
        view = request.network([params.layer] if params.layer else [])
        name, path, layer = choose(view, params.layer)
        if params.picture >= len(view.images):
            raise UsageError(f"picture: there are {len(view.images)}, counted from 0 (got {params.picture})")
        pass_ = run(view, path, layer, params.picture)
        own = pass_.by_hand()
        expected = pass_.by_autograd()
        label = view.labels[params.picture]
        subtitle = (
            f"{name}, {describe(layer)}; {view.image_ids[params.picture]}, {display_name(view.class_names[label])}"
        )
        errors = {part: relative_error(getattr(own, part), getattr(expected, part)) for part in own._fields}
        return Experiment(
            sections=(
                _derivation(),
                _comparison(own, errors, pass_),
                _explorer(pass_, expected, params.units, name),
                _arithmetic(),
            ),
            claims=_claims(layer, errors),
            exercises=_exercises(pass_, own),
            subtitle=subtitle,
            notes=view_notes(layer),
        )


@dataclass(frozen=True)
class Pass:
    """One picture's way through a convolution, in float64.

    Attributes:
        layer: The convolution.
        input: X, `(1, C, H, W)`.
        output: Y, `(1, O, H', W')`.
        grad_output: dY of the cross-entropy of the picture's true class.
    """

    layer: nn.Conv2d
    input: Tensor
    output: Tensor
    grad_output: Tensor

    @property
    def weight(self) -> Tensor:
        """The kernels K, `(O, C/G, I, J)`."""
        return self.layer.weight.detach().double()

    @property
    def bias(self) -> Tensor:
        """`(O,)`; zeros where the layer has none."""
        own = self.layer.bias
        return torch.zeros(self.layer.out_channels).double() if own is None else own.detach().double()

    @property
    def how(self) -> dict[str, Any]:
        """Stride, padding, dilation and groups."""
        layer = self.layer
        return {
            "stride": layer.stride,
            "padding": pair_of(layer),
            "dilation": layer.dilation,
            "groups": layer.groups,
        }

    def by_hand(self) -> ConvGradients:
        """The gradients as written out."""
        return conv2d_backward(self.grad_output, self.input, self.weight, **self.how)

    def by_autograd(self) -> ConvGradients:
        """Torch's own."""
        leaves = [each.clone().requires_grad_() for each in (self.input, self.weight, self.bias)]
        image, kernels, bias = leaves
        output = nn.functional.conv2d(image, kernels, bias, **self.how)
        return ConvGradients(*torch.autograd.grad(output, leaves, self.grad_output))


def choose(view: VisualizerInput, asked: str | None) -> tuple[str, str, nn.Conv2d]:
    """The convolution to look at: its name, its path and itself.

    Raises:
        UsageError: It is none, or one whose padding isn't zeros.
    """
    known = convolutions(view.model)
    path = resolve_layer(view.model, asked) if asked else next(iter(known.values()))
    name = asked or next(iter(known))
    layer = find_module(view.model.module, path)
    if not isinstance(layer, nn.Conv2d):
        some = ", ".join(list(known)[:8])
        raise UsageError(f"layer {name} is a {type(layer).__name__}, no convolution; choose one of {some} with --layer")
    if layer.padding_mode != "zeros":
        raise UsageError(f"layer {name} pads by {layer.padding_mode}, not with zeros; choose another with --layer")
    return name, path, layer


def pair_of(layer: nn.Conv2d) -> tuple[int, int]:
    """A layer's padding as numbers.

    Raises:
        UsageError: It pads one side more than the other.
    """
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        reach = [layer.dilation[axis] * (layer.kernel_size[axis] - 1) for axis in (0, 1)]
        if any(each % 2 for each in reach):
            raise UsageError("the layer pads one side more than the other; choose another with --layer")
        return reach[0] // 2, reach[1] // 2
    assert not isinstance(layer.padding, str)  # there are no other words
    return int(layer.padding[0]), int(layer.padding[1])


def run(view: VisualizerInput, path: str, layer: nn.Conv2d, picture: int) -> Pass:
    """Send one picture through the network and its loss back to the layer.

    Layers that pad by themselves before they convolve (TensorFlow's way) get the padded input as X.
    """
    seen: list[Tensor] = []

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.append(inputs[0].detach())

    module = view.model.module
    label = torch.tensor([view.labels[picture]], device=view.images.device)
    with torch.enable_grad(), observing({path: layer}, note), capture(module, [path], gradients=True) as outputs:
        outputs.backward(cross_entropy(module(view.images[picture : picture + 1]), label))
    captured = outputs[path]
    if captured.gradient is None:
        raise UsageError(f"no gradient reaches {path}; choose another layer with --layer")
    image = seen[-1].cpu().double()
    output = captured.activation.cpu().double()
    layer = deepcopy(layer).cpu()
    return Pass(layer, _as_convolved(image, layer, output), output, captured.gradient.cpu().double())


def _as_convolved(image: Tensor, layer: nn.Conv2d, output: Tensor) -> Tensor:
    """The input with the zeros that a layer of TensorFlow's padding adds before it convolves."""
    missing = []
    for axis in (0, 1):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        needed = (output.shape[2 + axis] - 1) * layer.stride[axis] + reach - 2 * pair_of(layer)[axis]
        missing.append(max(needed - image.shape[2 + axis], 0))
    if type(layer) is nn.Conv2d or not any(missing):
        return image
    down, across = missing
    return nn.functional.pad(image, (across // 2, across - across // 2, down // 2, down - down // 2))


def describe(layer: nn.Conv2d) -> str:
    """A convolution's shape in a few words."""
    size = "×".join(map(str, layer.kernel_size))
    groups = f", {layer.groups} groups" if layer.groups > 1 else ""
    return (
        f"{layer.in_channels} to {layer.out_channels} channels, {size}, stride {_words(layer.stride)}, padding "
        f"{_words(pair_of(layer))}, dilation {_words(layer.dilation)}{groups}"
    )


def _words(pair: tuple[int, ...]) -> str:
    return str(pair[0]) if len(set(pair)) == 1 else "×".join(map(str, pair))


def view_notes(layer: nn.Conv2d) -> tuple[str, ...]:
    """What the user should know of the layer."""
    if layer.groups == 1:
        return ()
    return (f"the layer works in {layer.groups} groups: each unit sees {layer.in_channels // layer.groups} channels",)


def relative_error(own: Tensor, expected: Tensor) -> float:
    """Largest deviation as a share of the largest value."""
    scale = float(expected.abs().max()) or 1.0
    return float((own - expected).abs().max()) / scale


def _derivation() -> Section:
    return Section(
        title="The three gradients",
        reading=(
            "A convolution layer slides a kernel K over its padded input X: Y[o, y, x] = b[o] + the sum over c, i and "
            "j of K[o, c, i, j] · X[c, y·S + i·D − P, x·S + j·D − P], with stride S, padding P and dilation D. "
            "(Networks call it convolution; the kernel isn't turned, so it is a cross-correlation.) Backpropagation "
            "brings dY, how the loss moves with each output; the chain rule makes three gradients of it."
        ),
        tables=(
            Table(
                "What becomes of dY",
                (Column("gradient"), Column("sum"), Column("as an operation")),
                (
                    ("db[o]", "dY[o, y, x] over y and x (and the batch)", "a sum"),
                    (
                        "dK[o, c, i, j]",
                        "dY[o, y, x] · X[c, y·S + i·D − P, x·S + j·D − P] over y and x",
                        "cross-correlation of the input's patches with dY",
                    ),
                    (
                        "dX[c, v, u]",
                        "dY[o, y, x] · K[o, c, i, j] over o and every i, j with v = y·S + i·D − P, u = x·S + j·D − P",
                        "full convolution: dY, with S − 1 zeros between its places and D·(I − 1) − P around it, under "
                        "the kernels turned by 180°, summed over the units",
                    ),
                ),
            ),
        ),
        values={},
    )


def _comparison(own: ConvGradients, errors: dict[str, float], pass_: Pass) -> Section:
    names = {"input": "dX", "weight": "dK", "bias": "db"}
    rows = tuple(
        (
            names[part],
            "×".join(map(str, getattr(own, part).shape)),
            float(getattr(own, part).norm()),
            errors[part],
        )
        for part in ("bias", "weight", "input")
    )
    worst = max(errors.values())
    same = "the same numbers" if worst < LIMIT else "NOT the same numbers"
    return Section(
        title="Beside autograd",
        reading=(
            f"Written out with sums and products alone, the backward pass of this layer gives {same} as torch's "
            f"autograd: the largest deviation is {worst:.1e} of the largest value (in float64; the limit is {LIMIT:g})."
        ),
        tables=(
            Table(
                "Gradients of this layer for one picture",
                (
                    Column("gradient"),
                    Column("shape"),
                    Column("length", ".4g", "right"),
                    Column("largest deviation", ".1e", "right"),
                ),
                rows,
                note=f"dY itself is {'×'.join(map(str, pass_.grad_output.shape))}, of length "
                f"{float(pass_.grad_output.norm()):.4g}.",
            ),
        ),
        values={"relative_errors": errors},
        verdict=f"The written-out backward pass is autograd's, to {worst:.1e}.",
    )


def _explorer(pass_: Pass, expected: ConvGradients, most_units: int, name: str) -> Section:
    units, data = page_data(pass_, expected, most_units)
    text = (
        "pick a unit and a channel, move over the maps with the pointer or the arrow keys, and see the window, the "
        "products and their sum: forward, for a weight's gradient, and for an input's gradient under the turned kernel."
    )
    return Section(
        title="Number by number",
        reading=(
            f"{counted(len(units), 'unit')} of {name}, those with the largest gradient. Every sum shown is worked out "
            "on this page from the layer's own numbers; autograd's value stands beside it."
        ),
        widgets=(Widget("layer", _asset("explorer.js"), data, text, _asset("widget.css")),),
        values={"units": units},
    )


def _arithmetic() -> Section:
    text = "set stride, padding and dilation of a 3×3 kernel on a 6×6 input and see dY spread, dK and dX change."
    return Section(
        title="Stride, padding and dilation",
        reading=(
            "A small example in whole numbers. With a stride S, zeros stand between dY's places; with a padding P, "
            "fewer stand around it; a dilation D spreads the kernel. Rows that no window reached get no gradient."
        ),
        widgets=(Widget("arithmetic", _asset("arithmetic.js"), {}, text, _asset("widget.css")),),
        values={},
    )


def page_data(pass_: Pass, expected: ConvGradients, most_units: int) -> tuple[list[int], dict[str, Any]]:
    """Which units the page shows, as many as it can hold of those with the largest gradient, and all its numbers."""
    layer = pass_.layer
    channels = pass_.input.shape[1]
    shared = 2 * pass_.input[0].numel()
    each = 2 * pass_.output[0, 0].numel() + 2 * pass_.weight[0].numel() + 2
    count = max(1, min(most_units, layer.out_channels, (_PAGE_NUMBERS - shared) // each))
    if shared + each > 2 * _PAGE_NUMBERS:
        raise UsageError(
            f"an input of {channels}×{'×'.join(map(str, pass_.input.shape[2:]))} numbers is more than a page can hold; "
            "choose a later layer with --layer"
        )
    strength = pass_.grad_output[0].flatten(1).norm(dim=1)
    units = sorted(torch.topk(strength, count).indices.tolist())
    data = {
        "units": units,
        "groups": layer.groups,
        "outputs": layer.out_channels,
        **{key: list(value) for key, value in pass_.how.items() if key != "groups"},
        "input": _array(pass_.input[0]),
        "inputGradient": _array(expected.input[0]),
        "kernels": _array(pass_.weight[units]),
        "kernelGradients": _array(expected.weight[units]),
        "biases": _array(pass_.bias[units]),
        "biasGradients": _array(expected.bias[units]),
        "output": _array(pass_.output[0, units]),
        "outputGradient": _array(pass_.grad_output[0, units]),
    }
    return units, data


def _array(values: Tensor) -> dict[str, Any]:
    """An array as the page takes it: its shape and its float32 numbers, little-endian, in base64."""
    content = np.ascontiguousarray(values.detach().numpy().astype("<f4")).tobytes()
    return {"shape": list(values.shape), "data": base64.b64encode(content).decode()}


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _claims(layer: nn.Conv2d, errors: dict[str, float]) -> tuple[Claim, ...]:
    def reading(part: str) -> Any:
        return "supported" if errors[part] < LIMIT else "not supported"

    reach = [layer.dilation[axis] * (layer.kernel_size[axis] - 1) for axis in (0, 1)]
    around = tuple(reach[axis] - pair_of(layer)[axis] for axis in (0, 1))
    return (
        Claim(
            "The bias's gradient is the sum of the output's gradient.",
            reading("bias"),
            f"written out and by autograd it differs by {errors['bias']:.1e} at most",
        ),
        Claim(
            "The kernel's gradient is the convolution of the input with the output's gradient.",
            reading("weight"),
            f"it is, to {errors['weight']:.1e}, if the kernel isn't turned: a cross-correlation, strictly; the text "
            "calls it both",
        ),
        Claim(
            "The input's gradient is the full convolution of the padded output gradient with the turned kernel.",
            reading("input"),
            f"it is, to {errors['input']:.1e}; the padding of dY is D·(K − 1) − P, here {_words(around)}, and for a "
            "stride above 1 zeros stand between its places, which the text leaves out",
        ),
    )


def _exercises(pass_: Pass, own: ConvGradients) -> tuple[Exercise, ...]:
    layer = pass_.layer
    reach = layer.dilation[0] * (layer.kernel_size[0] - 1)
    unit = int(pass_.grad_output[0].flatten(1).norm(dim=1).argmax())
    return (
        Exercise(
            "zeros_around",
            "How many rows of zeros stand above dY when this layer's dX is computed as a full convolution?",
            float(reach - pair_of(layer)[0]),
            tolerance=0,
            hint="D·(K − 1) − P",
        ),
        Exercise(
            "bias_gradient",
            f"What is db of unit {unit}? Read dY on the page, or sum it.",
            float(own.bias[unit]),
            tolerance=0.02,
            hint="the sum of dY of that unit over all its places",
        ),
        Exercise(
            "products",
            "Of how many products is one weight's gradient dK[o, c, i, j] the sum, for one picture?",
            float(pass_.output[0, 0].numel()),
            tolerance=0,
            hint="the weight is used once for each place of the output",
        ),
    )
