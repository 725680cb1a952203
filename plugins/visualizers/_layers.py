"""Which layers a visualizer looks at: those asked for, else convolutions, each by its alias where it has one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ahekit.errors import UsageError
from ahekit.hooks import find_module
from ahekit.protocols import BuiltModel, VisualizerInput


def convolutions(model: BuiltModel) -> dict[str, str]:
    """Every 2-D convolution, by alias or dotted path, in the order in which the network holds them.

    Raises:
        UsageError: There is none.
    """
    aliases = {path: alias for alias, path in reversed(model.layers.items())}
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


def chosen_layers(given: VisualizerInput, otherwise: Mapping[str, str]) -> Mapping[str, str]:
    """The layers the user named, else others."""
    return given.layers or otherwise


def one_layer(given: VisualizerInput) -> tuple[str, str]:
    """Name and path of the one layer the user named, else of the last convolution.

    Raises:
        UsageError: Several layers were named, or the network has no convolution.
    """
    if len(given.layers) > 1:
        raise UsageError(f"one layer at a time is looked at here; choose one of {', '.join(given.layers)}")
    return next(iter(given.layers.items())) if given.layers else list(convolutions(given.model).items())[-1]


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
