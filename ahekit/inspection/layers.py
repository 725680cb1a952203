"""Layers by name, and which of them a visualizer looks at: those asked for, else convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ahekit.errors import UnknownNameError, UsageError
from ahekit.hooks import evaluating, find_module, module_paths, observing
from ahekit.protocols import BuiltModel, VisualizerInput


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
    found = {
        aliases.get(path, path): path for path, part in model.module.named_modules() if isinstance(part, nn.Conv2d)
    }
    if not found:
        raise UsageError("the network has no convolution to look at; choose a run whose network has one, with --run")
    return found


def main_layers(model: BuiltModel) -> dict[str, str]:
    """The layers that stand for the network: convolutions with an alias, or all of them where none has one."""
    found = convolutions(model)
    return {name: path for name, path in found.items() if name in model.layers} or found


def one_layer(given: VisualizerInput) -> tuple[str, str]:
    """Name and path of the one layer the user named, else of the last convolution.

    Raises:
        UsageError: Several layers were named, or the network has no convolution.
    """
    return named_layer(given) or list(convolutions(given.model).items())[-1]


def named_layer(given: VisualizerInput) -> tuple[str, str] | None:
    """Name and path of the one layer the user named; None where none was.

    Raises:
        UsageError: Several layers were named.
    """
    if len(given.layers) > 1:
        raise UsageError(f"one layer at a time is looked at here; choose one of {', '.join(given.layers)}")
    return next(iter(given.layers.items()), None)


def last_maps(given: VisualizerInput) -> tuple[str, str]:
    """Name and path of the last module whose output is maps of more than one place.

    That is what the classifier reads: in most networks the last convolution's output, normalized and rectified.

    Raises:
        UsageError: The network has no convolution.
    """
    module, found = given.model.module, [*convolutions(given.model).values()][-1]
    last: list[str] = []

    def note(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
            last.append(name)

    parts = {name: part for name, part in module.named_modules() if name}
    with evaluating(module), torch.no_grad(), observing(parts, note):
        module(given.images[:1])
    path = last[-1] if last else found
    return _aliases(given.model).get(path, path), path


def convolution(model: BuiltModel, name: str, path: str) -> nn.Conv2d:
    """The layer as a 2-D convolution.

    Raises:
        UsageError: It is none.
    """
    layer = find_module(model.module, path)
    if not isinstance(layer, nn.Conv2d):
        known = ", ".join(convolutions(model))
        raise UsageError(f"layer {name} is a {type(layer).__name__}, not a convolution; choose one of {known}")
    return layer


def check_maps(output: Tensor, name: str, model: BuiltModel) -> None:
    """Make sure that a layer's output is maps, `(B, C, H, W)`.

    Raises:
        UsageError: It is not.
    """
    if output.ndim != 4:
        shape, known = " x ".join(map(str, output.shape[1:])), ", ".join(main_layers(model))
        raise UsageError(f"layer {name} returns {shape} numbers an image, not maps; choose one of {known}")


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
