"""A network as a list of torch's own operations (`network.json` of a model folder), checked and run.

What a plugin builds is Python of somebody's; this list is data. It runs without the plugin and without timm, whose
import takes longer than most folders' predictions, and only operations of `OPERATIONS` are let through: pure arithmetic
on tensors, which reads and writes nothing else.

    {"version": 1, "input": "x", "outputs": ["linear", "mean"], "tensors": {"w": "backbone.conv_stem.weight"},
     "steps": [["conv", "conv2d.default", [{"of": "x"}, {"of": "w"}, null, [2, 2]]], …]}

A step is a result's name, an operation of ATen with its overload, and the arguments in the operation's order: numbers,
lists, or earlier results. The first output is the logits `(B, C)`, the second the embedding `(B, D)`.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ahekit.errors import CheckpointError

GET_ITEM = "getitem"

OPERATIONS = frozenset(
    """
    getitem conv2d.default conv2d.padding convolution.default batch_norm.default linear.default addmm.default
    matmul.default bmm.default relu.default relu6.default hardtanh.default clamp.default clamp_min.default
    hardswish.default hardsigmoid.default sigmoid.default silu.default gelu.default tanh.default leaky_relu.default
    elu.default prelu.default _prelu_kernel.default softplus.default mish.default softmax.int _softmax.default
    log_softmax.int _log_softmax.default
    add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar
    pow.Tensor_Scalar neg.default abs.default exp.default log.default sqrt.default rsqrt.default reciprocal.default
    maximum.default minimum.default mean.dim mean.default sum.dim_IntList amax.default var.correction
    var_mean.correction adaptive_avg_pool2d.default _adaptive_avg_pool2d.default adaptive_max_pool2d.default
    avg_pool2d.default max_pool2d.default max_pool2d_with_indices.default constant_pad_nd.default pad.default
    native_layer_norm.default
    layer_norm.default native_group_norm.default group_norm.default upsample_nearest2d.vec upsample_bilinear2d.vec
    cat.default stack.default split.Tensor split_with_sizes.default chunk.default select.int slice.Tensor
    view.default _unsafe_view.default reshape.default flatten.using_ints permute.default transpose.int expand.default
    unsqueeze.default squeeze.dim squeeze.dims squeeze.default clone.default alias.default detach.default
    contiguous.default sym_size.int
    """.split()  # noqa: SIM905
)
"""Of ATen, with their overloads."""

# These work in the place of what they are given, where nobody needs that any more and it is no view of another.
_IN_PLACE = frozenset({"relu", "hardtanh", "clamp", "hardswish", "hardsigmoid", "sigmoid", "silu"})
_MAKES_NEW = frozenset(
    {"conv2d", "convolution", "batch_norm", "linear", "addmm", "add", "mul", "cat", "constant_pad_nd"}
)

Step = tuple[str, str, list[Any]]


class NetworkFile(BaseModel):
    """What `network.json` holds; see the module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    input: str
    outputs: tuple[str, str]
    tensors: dict[str, str]
    steps: Annotated[list[Step], Field(max_length=100_000)]


@dataclass(frozen=True)
class _Call:
    """A step ready to run: what to call, with what, where the result goes, and what nobody needs after it."""

    call: Callable[..., Any]
    arguments: Sequence[Any]
    result: str
    done: tuple[str, ...]


class Network:
    """A network read from a list of operations, for inference: BatchNorm is folded into the convolution before it.

    Args:
        content: `network.json`.
        tensors: Weights and buffers by name, floating-point ones in float32.

    Raises:
        CheckpointError: It is no such list, or asks for what isn't there.
    """

    def __init__(self, content: bytes, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        try:
            file = NetworkFile.model_validate_json(content)
        except ValidationError as error:
            raise CheckpointError(f"network.json: no list of operations ({error.errors()[0]['msg']})") from error
        missing = sorted({*file.tensors.values()} - tensors.keys())
        if missing:
            raise CheckpointError(f"network.json: asks for the tensor {missing[0]!r}, which isn't among the weights")
        _check(file)
        values = {name: tensors[stored] for name, stored in file.tensors.items()}
        steps = _fold_batch_norm(file, values)
        needed = {name for step in steps for name in _names(step[2])}
        self._input = file.input
        self._outputs = file.outputs
        self._tensors = {name: _laid_out(value).to(device) for name, value in values.items() if name in needed}
        self._calls = _plan(file, steps)
        self._device = device

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and embeddings `(B, D)` of normalized images `(B, 3, S, S)`."""
        values: dict[str, Any] = {**self._tensors, self._input: images}
        with torch.inference_mode():
            for step in self._calls:
                values[step.result] = step.call(*_filled(step.arguments, values))
                for name in step.done:
                    del values[name]
        logits, embedding = (values[name] for name in self._outputs)
        return logits, embedding


def _check(file: NetworkFile) -> None:
    known = {file.input, *file.tensors}
    for name, operation, arguments in file.steps:
        if operation not in OPERATIONS:
            raise CheckpointError(f"network.json: {operation!r} is no operation that a network may use")
        unknown = sorted(_names(arguments) - known)
        if unknown:
            raise CheckpointError(f"network.json: {name} needs {unknown[0]}, which comes later or never")
        if name in known:
            raise CheckpointError(f"network.json: two results are called {name}")
        known.add(name)
    lost = [name for name in file.outputs if name not in known]
    if lost:
        raise CheckpointError(f"network.json: no step makes the output {lost[0]}")


def _names(arguments: Any) -> set[str]:
    """The results that arguments refer to."""
    if isinstance(arguments, dict):
        name = arguments.get("of")
        if len(arguments) != 1 or not isinstance(name, str):
            raise CheckpointError(
                f"network.json: an argument that is neither number, list nor result: {arguments!r:.80}"
            )
        return {name}
    if isinstance(arguments, list):
        return {name for each in arguments for name in _names(each)}
    return set()


def _filled(arguments: Any, values: Mapping[str, Any]) -> Any:
    """Arguments with results in the place of their names."""
    if isinstance(arguments, dict):
        return values[arguments["of"]]
    if isinstance(arguments, list):
        return [_filled(each, values) for each in arguments]
    return arguments


def _plan(file: NetworkFile, steps: Sequence[Step]) -> list[_Call]:
    """The steps with their operations looked up, each result dropped after its last use."""
    last: dict[str, int] = {}
    for place, (name, _, arguments) in enumerate(steps):
        last[name] = place  # what nobody uses goes at once
        last |= dict.fromkeys(_names(arguments), place)
    kept = {*file.outputs, *file.tensors}
    uses = Counter(name for _, _, arguments in steps for name in _list_names(arguments))
    made_by = {name: operation.partition(".")[0] for name, operation, _ in steps}
    calls = []
    for place, (name, operation, arguments) in enumerate(steps):
        done = tuple(sorted(each for each in {*_names(arguments), name} if last[each] == place and each not in kept))
        kind = operation.partition(".")[0]
        source = arguments[0]["of"] if arguments and isinstance(arguments[0], dict) else ""
        if kind in _IN_PLACE and source in done and uses[source] == 1 and made_by.get(source) in _MAKES_NEW:
            operation = operation.replace(kind, f"{kind}_", 1)
        calls.append(_Call(_look_up(operation), arguments, name, done))
    return calls


def _look_up(operation: str) -> Callable[..., Any]:
    if operation == GET_ITEM:
        return operator.getitem
    name, _, overload = operation.partition(".")
    try:
        call: Callable[..., Any] = getattr(getattr(torch.ops.aten, name), overload)
    except AttributeError as error:
        raise CheckpointError(f"network.json: this torch ({torch.__version__}) has no operation {operation}") from error
    return call


def _laid_out(tensor: Tensor) -> Tensor:
    """Weights of convolutions with their channels last, as fast convolutions on a processor take them."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _fold_batch_norm(file: NetworkFile, values: dict[str, Tensor]) -> list[Step]:
    """The steps with each BatchNorm that follows a convolution folded into its weights.

    Args:
        values: Tensors by name; the folded ones are added.
    """
    uses = Counter(name for _, _, arguments in file.steps for name in _list_names(arguments))
    uses.update(file.outputs)
    places = {name: place for place, (name, _, _) in enumerate(file.steps)}
    steps: list[Step | None] = list(file.steps)
    renamed: dict[str, str] = {}
    for name, operation, arguments in file.steps:
        convolution = arguments[0].get("of", "") if operation == "batch_norm.default" else ""
        place = places.get(convolution)
        if place is None or uses[convolution] != 1 or name in file.outputs:
            continue
        before = steps[place]
        if before is None or before[1] not in ("conv2d.default", "conv2d.padding"):
            continue
        folded = _folded(before, arguments, values)
        if folded is not None:
            steps[place] = folded
            steps[places[name]] = None
            renamed[name] = convolution
    return [(name, kind, _renamed(arguments, renamed)) for step in steps if step for name, kind, arguments in (step,)]


def _folded(convolution: Step, norm: list[Any], values: dict[str, Tensor]) -> Step | None:
    """A convolution that does what the BatchNorm after it did too; None where its weights are no stored tensors."""
    name, operation, arguments = convolution
    parts = [arguments[1], *norm[1:5]]
    bias = arguments[2] if len(arguments) > 2 else None
    if not all(isinstance(each, dict) and each["of"] in values for each in parts) or (
        bias and bias["of"] not in values
    ):
        return None
    weight, scale, shift, mean, variance = (values[each["of"]].double() for each in parts)
    start = values[bias["of"]].double() if bias else torch.zeros_like(mean)
    factor = scale / (variance + float(norm[7])).sqrt()
    # In double precision, so that what is rounded is the product alone.
    values[f"{name}.weight"] = (weight * factor.view(-1, 1, 1, 1)).float()
    values[f"{name}.bias"] = (shift + (start - mean) * factor).float()
    return name, operation, [arguments[0], {"of": f"{name}.weight"}, {"of": f"{name}.bias"}, *arguments[3:]]


def _list_names(arguments: Any) -> list[str]:
    """The results that arguments refer to, each as often as they do."""
    if isinstance(arguments, dict):
        return [arguments["of"]]
    return [name for each in arguments for name in _list_names(each)] if isinstance(arguments, list) else []


def _renamed(arguments: Any, names: Mapping[str, str]) -> Any:
    if isinstance(arguments, dict):
        return {"of": names.get(arguments["of"], arguments["of"])}
    return [_renamed(each, names) for each in arguments] if isinstance(arguments, list) else arguments
