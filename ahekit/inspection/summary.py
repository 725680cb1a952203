"""A network layer by layer: shapes, parameters, multiply-adds and receptive fields, measured on one forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from ahekit.hooks import Operations, evaluating, observing
from ahekit.inspection.receptive_field import ReceptiveFields, Size
from ahekit.protocols import BuiltModel


@dataclass(frozen=True)
class Layer:
    """One module of a network.

    Attributes:
        name: Alias if it has one, else the dotted module path.
        path: Dotted module path; empty for the network itself.
        kind: Class name of the module.
        shape: Of the output for one image, without the batch; None where the module took no part or returns no
            tensor.
        parameters: Its own, without those of modules inside it.
        multiply_adds: For one image, without those of modules inside it.
        receptive_field: In pixels; see `ahekit.inspection.receptive_field.Size`.
    """

    name: str
    path: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int
    receptive_field: Size


@dataclass(frozen=True)
class ModelSummary:
    """A network's layers in the order in which they work, and its totals.

    Attributes:
        layers: Those that hold parameters, compute products or change the shape of what they get.
        unlisted: How many others there are, by class name (activations, dropout).
        parameters: Of the whole network.
        multiply_adds: Of the whole network for one image. Those of matrix products and convolutions; additions,
            comparisons and normalization are not counted.
        stages: Stage name to its number of parameters.
    """

    layers: tuple[Layer, ...]
    unlisted: Mapping[str, int]
    parameters: int
    multiply_adds: int
    stages: Mapping[str, int]


def summarize(built: BuiltModel) -> ModelSummary:
    """Measure a network on one image of its own size; leaves nothing behind on it."""
    module = built.module
    first = next(module.parameters(), torch.empty(0))
    size = built.preprocessing.size
    image = torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype)
    outputs: dict[str, _Output] = {}
    fields = ReceptiveFields(image)

    def observe(path: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            outputs[path] = _Output(None, False, None)
            return
        same = bool(inputs) and isinstance(inputs[0], Tensor) and inputs[0].shape == output.shape
        reshaped = not same and not _holds_modules(layer)
        outputs[path] = _Output(tuple(output.shape[1:]), reshaped, fields.of(output))

    modules = dict(module.named_modules())
    products = _Products()
    # The one look inside that doesn't come by way of a visualizer, which would have a model in eval mode.
    with evaluating(module), torch.no_grad(), observing(modules, observe), products, fields:
        module(image)
    multiply_adds = _own(products.multiply_adds, module, modules)
    # In the order in which they work; what took no part comes last.
    paths = [*outputs, *(path for path in modules if path not in outputs)]
    layers = [_layer(path, modules[path], outputs.get(path), multiply_adds[path], built.layers) for path in paths]
    listed = {
        layer.path
        for layer in layers
        if layer.parameters or layer.multiply_adds or (layer.path in outputs and outputs[layer.path].reshaped)
    }
    others = [layer for layer in layers if layer.path not in listed and not _holds_modules(modules[layer.path])]
    return ModelSummary(
        layers=tuple(layer for layer in layers if layer.path in listed),
        unlisted=dict(Counter(layer.kind for layer in others)),
        parameters=_parameters([module]),
        multiply_adds=products.multiply_adds["Global"],
        stages={name: _parameters(stage) for name, stage in built.stages.items()},
    )


class _Products(Operations):
    """Counts the multiply-adds of matrix products and convolutions, by the formulas of torch's own counter.

    Attributes:
        multiply_adds: By the names of torch's module tracker, each with those of the modules inside it; "Global": all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds: Counter[str] = Counter()
        self._tracker = ModuleTracker()

    def __enter__(self) -> Self:
        self._tracker.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._tracker.__exit__(*raised)

    def after(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Add what a product or a convolution takes."""
        formula = flop_registry.get(operation.overloadpacket)
        if formula is None:
            return
        # The registry counts a multiply-add as two operations.
        for name in self._tracker.parents:
            self.multiply_adds[name] += formula(*args, **kwargs, out_val=result) // 2


@dataclass(frozen=True)
class _Output:
    """Of one module's pass."""

    shape: tuple[int, ...] | None
    reshaped: bool
    receptive_field: Size


def _holds_modules(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _parameters(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def _own(counts: Mapping[str, int], module: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """Each module's own multiply-adds, those of the modules inside it taken away."""
    root = type(module).__name__
    # The tracker names modules by their path behind the root's class.
    whole = {path: counts[f"{root}.{path}" if path else root] for path in modules}
    own = dict(whole)
    for path in modules:
        parent = path.rpartition(".")[0]
        if path:
            own[parent] -= whole[path]
    return own


def _layer(
    path: str, module: nn.Module, output: _Output | None, multiply_adds: int, aliases: Mapping[str, str]
) -> Layer:
    names = {target: alias for alias, target in aliases.items()}
    return Layer(
        name=names.get(path, path) or "(network)",
        path=path,
        kind=type(module).__name__,
        shape=output.shape if output else None,
        parameters=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
        multiply_adds=multiply_adds,
        receptive_field=output.receptive_field if output else None,
    )
