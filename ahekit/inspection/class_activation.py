"""Class activation maps: how much each place of a layer speaks for a score, whatever the method that weighs it.

A method is a function from images, layer and target to maps; figure, labels, notes and checks are the same for all:

    def cam(request: VisualizerInput, layer: NamedLayer, target: Target) -> Tensor:
        activation, gradient = activation_and_gradient(request, layer, target)
        return (gradient.relu() * activation).sum(1).relu()

    visualization = class_activation_map(request, params, "LayerCAM", cam)
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ahekit.inspection.heat_map import enlarge, heat_map
from ahekit.inspection.layers import NamedLayer, target_layer
from ahekit.inspection.sanity_checks import Explanation, TargetParams, checked
from ahekit.inspection.targets import Target, choose_target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Visualization

Cam = Callable[[VisualizerInput, NamedLayer, Target], Tensor]
"""What is looked at, the layer and the score to the maps `(B, h, w)`, at least 0, at the layer's own size."""


def class_activation_map(request: VisualizerInput, params: TargetParams, method: str, cam: Cam) -> Visualization:
    """A map of each image, of the layer named or of the one that the classifier reads, beside it and over it.

    Args:
        method: As a title names it.

    Returns:
        Arrays `map` `(B, h, w)`, `enlarged` `(B, H, W)`, `logits` `(B, classes)`, and those of the checks.

    Raises:
        UsageError: Several layers were named, the network has no convolution, or the layer returns no maps.
        UnknownNameError: The target is a class that the network doesn't know.
    """
    target = choose_target(request, params.target)
    layer = target_layer(request)

    def maps(request: VisualizerInput) -> Tensor:
        return cam(request, layer, target)

    raw = maps(request)
    blank = int((raw.amax((1, 2)) == 0).sum())
    notes = [layer.note] if layer.note else []
    if blank:
        notes.append(f"{blank} of {len(raw)} maps are zero everywhere: nothing at {layer.name} speaks for the score")
    visualization = heat_map(
        request, target, enlarge(raw, request), method=method, name=layer.name, where=layer.name, raw=raw, notes=notes
    )
    return checked(visualization, request, params, Explanation.of_class(target, maps))
