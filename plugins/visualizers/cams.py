"""Class activation maps of a layer: `gradcam`, `gradcam++` and `layercam`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ahekit.hooks import capture, evaluating
from ahekit.protocols import Visualization, VisualizerInput

from . import _cam
from ._checks import Explained, TargetParams, checked
from ._heat import enlarge, heat_map
from ._layers import check_maps, last_maps, named_layer
from ._target import Target, choose_target


class GradCam:
    """Where a layer speaks for a class: maps weighted by the mean gradient of the class's logit (Grad-CAM).

    https://arxiv.org/abs/1610.02391. Unless a layer is named it is the one the classifier reads: the last whose
    output is maps. A convolution's own output, before it is rectified, may be negative where it matters.
    """

    Params = TargetParams

    def visualize(self, given: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return _cams(given, params, "Grad-CAM", _cam.gradcam)


class GradCamPlusPlus:
    """Grad-CAM with weights that give each place its share (Grad-CAM++); finds several objects better.

    https://arxiv.org/abs/1710.11063.
    """

    Params = TargetParams

    def visualize(self, given: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return _cams(given, params, "Grad-CAM++", _cam.gradcam_plus_plus)


class LayerCam:
    """Where a layer speaks for a class, place by place (LayerCAM); stays sharp on early layers.

    https://doi.org/10.1109/TIP.2021.3089943.
    """

    Params = TargetParams

    def visualize(self, given: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return _cams(given, params, "LayerCAM", _cam.layercam)


def activation_and_gradient(given: VisualizerInput, name: str, path: str, target: Target) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of the images' scores with respect to it, each `(B, C, H, W)`.

    Raises:
        UsageError: The layer returns no maps.
    """
    module = given.model.module
    with evaluating(module), torch.enable_grad(), capture(module, {name: path}, gradients=True) as seen:
        seen.backward(target.score(module(given.images)).sum())
    activation, gradient = seen[name].activation, seen[name].gradient
    assert gradient is not None, "backward has run"
    check_maps(activation, name, given.model)
    return activation, gradient


def _cams(
    given: VisualizerInput, params: TargetParams, method: str, cam: Callable[[Tensor, Tensor], Tensor]
) -> Visualization:
    target = choose_target(given, params.target)
    name, path = named_layer(given) or last_maps(given)

    def maps(given: VisualizerInput) -> Tensor:
        return cam(*activation_and_gradient(given, name, path, target))

    raw = maps(given)
    blank = int((raw.amax((1, 2)) == 0).sum())
    notes = []
    if blank:
        notes.append(f"{blank} of {len(raw)} maps are zero everywhere: nothing at {name} speaks for the score")
    seen = heat_map(given, target, enlarge(raw, given), method=method, name=name, where=name, raw=raw, notes=notes)
    return checked(seen, given, params, Explained.of_class(target, maps))
