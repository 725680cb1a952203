"""Layers by name, and which of them a visualizer looks at: those asked for, else convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ahekit.errors import UnknownNameError, UsageError
from ahekit.hooks import find_module, module_paths, observing
from ahekit.protocols import BuiltModel, VisualizerInput


class NamedLayer(NamedTuple):
    """A layer: the name that people know it by (alias or path), and its dotted module path."""

    name: str
    path: str


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
    for name, path in request.layers.items():
        return NamedLayer(name, path)
    return None


def target_convolution(request: VisualizerInput) -> NamedLayer:
    """The one layer that the user named, else the last convolution.

    Raises:
        UsageError: Several layers were named, or the network has no convolution.
    """
    return requested_layer(request) or NamedLayer(*list(convolutions(request.model).items())[-1])


def target_layer(request: VisualizerInput) -> NamedLayer:
    """The one layer that the user named, else the last module whose output is maps of more than one place.

    That is what the classifier reads: in most networks the last convolution's output, normalized and rectified.

    Raises:
        UsageError: Several layers were named, or the network has no convolution.
    """
    return requested_layer(request) or _last_maps(request)


def _last_maps(request: VisualizerInput) -> NamedLayer:
    path = [*convolutions(request.model).values()][-1]

    def note(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal path
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
            path = name

    modules = {name: module for name, module in request.model.module.named_modules() if name}
    with torch.no_grad(), observing(modules, note):
        request.model.module(request.images[:1])
    return NamedLayer(_aliases(request.model).get(path, path), path)


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
