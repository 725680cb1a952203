"""A model component of a run spec, built: by its registered name and its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from ahekit.backbones.wrap import wrap
from ahekit.hooks import evaluating, module_paths
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.registry import MODELS
from ahekit.validation import validate
from ahekit.wording import kind_of


@dataclass(frozen=True)
class Component:
    """A registered model with its parameters.

    Attributes:
        params: As validated, defaults filled in.
        built: With fresh weights.
    """

    params: BaseModel
    built: BuiltModel


def build_component(
    name: str, params: Mapping[str, Any], *, num_classes: int, image_size: int | None = None
) -> Component:
    """Build a registered model from the values of its parameters.

    Args:
        image_size: Side length in pixels; None: the model's own.

    Raises:
        UnknownNameError: No plugin provides the model.
        SpecError: Parameters are wrong.
        UsageError: The model can't take images of that size.
        PluginError: The plugin is broken: what it raised, or what it built that is no such model.
    """
    entry, plugin = MODELS.look_up(name)
    with entry.guarded():
        values = validate(plugin.Params, params, where="model.params")
        size = plugin.image_size if image_size is None else image_size
        if not isinstance(size, int) or size < 1:
            raise entry.broken(f"its image_size is {size!r}, not a number of pixels")
        built = plugin.build(values, num_classes=num_classes, image_size=size)
        if isinstance(built, nn.Module):
            built = wrap(built, preprocessing=Preprocessing(size=size))
        try:
            check_built(built, num_classes=num_classes)
        except ValueError as error:
            raise entry.broken(f"its build returned {error}") from error
    guard = entry.origin.call
    return Component(
        values,
        replace(
            built,
            embed=partial(guard, built.embed),
            split=partial(guard, built.split),
            pretrained=None if built.pretrained is None else partial(guard, built.pretrained),
        ),
    )


def check_built(built: Any, *, num_classes: int) -> None:
    """Make sure that what a model plugin built is a model, with one image sent through it in eval mode.

    Raises:
        ValueError: What it is instead.
    """
    if not isinstance(built, BuiltModel):
        raise ValueError(f"{kind_of(built)}, not a torch module or a BuiltModel")
    if not isinstance(built.module, nn.Module):
        raise ValueError(f"{kind_of(built.module)} as module, not a torch module")
    if not isinstance(built.preprocessing, Preprocessing):
        raise ValueError(f"{kind_of(built.preprocessing)} as preprocessing, not a Preprocessing")
    _check_stages(built)
    size = built.preprocessing.size
    with evaluating(built.module), torch.no_grad(), torch.random.fork_rng(devices=()):
        logits = built.module(torch.zeros(1, 3, size, size))
    if not isinstance(logits, Tensor):
        raise ValueError(f"a network whose output is {kind_of(logits)}, not a tensor of logits")
    if logits.shape != (1, num_classes) or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise ValueError(
            f"a network whose output for one image is {kind} of shape {tuple(logits.shape)}, not one logit for each of "
            f"{num_classes} classes: (1, {num_classes})"
        )


def _check_stages(built: BuiltModel) -> None:
    """Every parameter in one stage, every alias a layer."""
    if not isinstance(built.stages, Mapping) or not built.stages:
        raise ValueError("no stages; they are a mapping of stage name to modules, the head last")
    for name, units in built.stages.items():
        if not isinstance(units, tuple) or not all(isinstance(unit, nn.Module) for unit in units):
            raise ValueError(f"stage {name!r} that is no tuple of modules")
    held = Counter(id(parameter) for units in built.stages.values() for parameter in nn.ModuleList(units).parameters())
    for name, parameter in built.module.named_parameters():
        if held[id(parameter)] != 1:
            raise ValueError(f"stages that hold the parameter {name} {held[id(parameter)]} times, not once")
    paths = {"", *module_paths(built.module)}
    for alias, path in built.layers.items():
        if path not in paths:
            raise ValueError(f"a layer alias {alias!r} for {path!r}, which is no module of the network")


def parameter_counts(built: BuiltModel) -> dict[str, int]:
    """Trainable parameters and all."""
    parameters = list(built.module.parameters())
    return {
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "total": sum(parameter.numel() for parameter in parameters),
    }
