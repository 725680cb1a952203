"""Layers by name, and which of them a visualizer looks at: those asked for, else convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ahekit.errors import UnknownNameError, UsageError
from ahekit.hooks import find_module, module_paths, observing
from ahekit.protocols import BuiltModel, VisualizerInput

FINE = 4
"""Places a side that the maps of a layer should have that is looked at unless another is named; fewer show no place."""


@dataclass(frozen=True)
class NamedLayer:
    """A layer to look at.

    Attributes:
        name: That people know it by: its alias or its path.
        path: Dotted module path.
        note: Why it is this one, where the user might expect another.
    """

    name: str
    path: str
    note: str = ""


def resolve_layer(built: BuiltModel, name: str) -> str:
    """The dotted module path that an alias (`conv3`) or a module path stands for.

    Raises:
        UnknownNameError: It is neither.
    """
    path = built.layers.get(name, name)
    paths = module_paths(built.module)
    if path not in paths:
        hint = "Every module's dotted path works too; `ahekit model show NAME` lists them"
        raise UnknownNameError("layer", name, [*built.layers, *paths], hint=hint, listed=built.layers or paths)
    return path


def convolutions(model: BuiltModel) -> dict[str, str]:
    """Every 2-D convolution, by alias or dotted path, in the order in which the network holds them.

    Raises:
        UsageError: There is none.
    """
    aliases = _aliases(model)
    paths = [path for path, module in model.module.named_modules() if isinstance(module, nn.Conv2d)]
    if not paths:
        raise UsageError("the network has no convolution to look at; choose a run whose network has one, with --run")
    return {aliases.get(path, path): path for path in paths}


def main_layers(model: BuiltModel) -> dict[str, str]:
    """The layers that stand for the network: convolutions with an alias, or all of them where none has one."""
    layers = convolutions(model)
    return {name: path for name, path in layers.items() if name in model.layers} or layers


def requested_layer(request: VisualizerInput) -> NamedLayer | None:
    """The one layer that the user named; None where none was.

    Raises:
        UsageError: Several layers were named.
    """
    if len(request.layers) > 1:
        raise UsageError(f"one layer at a time is looked at here; choose one of {', '.join(request.layers)}")
    return next((NamedLayer(name, path) for name, path in request.layers.items()), None)


def target_convolution(request: VisualizerInput) -> NamedLayer:
    """The one layer that the user named, else the last convolution whose maps have at least `FINE` places a side.

    Raises:
        UsageError: Several layers were named, or the network has no convolution.
    """
    return requested_layer(request) or _last(request, set(convolutions(request.model).values()))


def target_layer(request: VisualizerInput) -> NamedLayer:
    """The one layer that the user named, else the last module whose maps have at least `FINE` places a side.

    In most networks that is what the classifier reads: the last convolution's output, normalized and rectified. On
    small images the last maps may have too few places to show one; then it is a module before them.

    Raises:
        UsageError: Several layers were named, or the network has no convolution.
    """
    convolutions(request.model)
    return requested_layer(request) or _last(request, set(module_paths(request.model.module)))


def _last(request: VisualizerInput, paths: set[str]) -> NamedLayer:
    """The last of these modules, in the order of the forward pass, whose maps are fine enough; else the finest."""
    sizes: dict[str, tuple[int, int]] = {}

    def note(path: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            sizes.pop(path, None)  # a module that serves twice counts where it serves last
            sizes[path] = (output.shape[2], output.shape[3])

    modules = {path: module for path, module in request.model.module.named_modules() if path in paths}
    with torch.no_grad(), observing(modules, note):
        request.model.module(request.images[:1] if len(request.images) else _blank(request))
    if not sizes:
        raise UsageError("no layer of the network returns maps; choose another run, with --run")
    # Pooled to a single place there is no map any more, so the layer that a user expects is the last before that.
    expected = [path for path, size in sizes.items() if size[0] * size[1] > 1] or list(sizes)
    fine = [path for path, size in sizes.items() if min(size) >= FINE]
    path = fine[-1] if fine else expected[-1]
    aliases = _aliases(request.model)
    name = aliases.get(path, path)
    last = expected[-1]
    if min(sizes[last]) >= FINE or path == last:
        return NamedLayer(name, path)
    last_name = aliases.get(last, last)
    return NamedLayer(
        name,
        path,
        f"looked at {name}, whose maps have {_places(sizes[path])} places: those of {last_name}, the last, have "
        f"{_places(sizes[last])} (--layer {last_name})",
    )


def _blank(request: VisualizerInput) -> Tensor:
    size = request.model.preprocessing.size
    return request.images.new_zeros(1, 3, size, size)


def _places(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def convolution(model: BuiltModel, layer: NamedLayer) -> nn.Conv2d:
    """The layer as a 2-D convolution.

    Raises:
        UsageError: It is none.
    """
    module = find_module(model.module, layer.path)
    if not isinstance(module, nn.Conv2d):
        names = ", ".join(convolutions(model))
        raise UsageError(f"layer {layer.name} is a {type(module).__name__}, not a convolution; choose one of {names}")
    return module


def check_maps(output: Tensor, name: str, model: BuiltModel) -> None:
    """Make sure that a layer's output is maps, `(B, C, H, W)`.

    Raises:
        UsageError: It is not.
    """
    if output.ndim != 4:
        shape = " x ".join(map(str, output.shape[1:]))
        names = ", ".join(main_layers(model))
        raise UsageError(f"layer {name} returns {shape} numbers an image, not maps; choose one of {names}")


def check_unit(unit: int, count: int, name: str, *, kind: str = "filter") -> None:
    """Make sure that a layer has that unit.

    Raises:
        UsageError: It has not.
    """
    if not 0 <= unit < count:
        raise UsageError(f"layer {name} has {count} {kind}s, 0 to {count - 1}; there is no {kind} {unit}")


def _aliases(model: BuiltModel) -> dict[str, str]:
    """The first alias of each module path that has one."""
    return {path: alias for alias, path in reversed(list(model.layers.items()))}
