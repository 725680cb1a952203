"""A model component of a run spec, built: by its registered name and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ahekit.protocols import BuiltModel
from ahekit.registry import MODELS
from ahekit.validation import validate


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
        PluginError: The plugin is broken.
    """
    plugin = MODELS.get(name)
    values = validate(plugin.Params, params, where="model.params")
    return Component(values, plugin.build(values, num_classes=num_classes, image_size=image_size or plugin.image_size))


def parameter_counts(built: BuiltModel) -> dict[str, int]:
    """Trainable parameters and all."""
    parameters = list(built.module.parameters())
    return {
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "total": sum(parameter.numel() for parameter in parameters),
    }
