"""Class activation maps, how much each place of a layer speaks for a score: `gradcam`, `gradcam++`, `layercam`.

With A a layer's activation `(B, C, H, W)` and g the gradient of the score with respect to it, each map is
relu(sum over channels of weight x A); the methods differ in the weight. Gradients are those of the logits, where some
implementations take probabilities.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ahekit.inspection.attribution import activation_and_gradient
from ahekit.inspection.class_activation import Cam, class_activation_map
from ahekit.inspection.sanity_checks import TargetParams
from ahekit.protocols import VisualizerInput
from ahekit.sections import Visualization


class GradCam:
    """Where a layer speaks for a class: maps weighted by the mean gradient of the class's logit (Grad-CAM).

    https://arxiv.org/abs/1610.02391. Unless a layer is named it is the one the classifier reads: the last whose
    output is maps. A convolution's own output, before it is rectified, may be negative where it matters.
    """

    Params = TargetParams

    def visualize(self, request: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return class_activation_map(request, params, "Grad-CAM", by_gradient(gradcam))


class GradCamPlusPlus:
    """Grad-CAM with weights that give each place its share (Grad-CAM++); finds several objects better.

    https://arxiv.org/abs/1710.11063.
    """

    Params = TargetParams

    def visualize(self, request: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return class_activation_map(request, params, "Grad-CAM++", by_gradient(gradcam_plus_plus))


class LayerCam:
    """Where a layer speaks for a class, place by place (LayerCAM); stays sharp on early layers.

    https://doi.org/10.1109/TIP.2021.3089943.
    """

    Params = TargetParams

    def visualize(self, request: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return class_activation_map(request, params, "LayerCAM", by_gradient(layercam))


def by_gradient(weigh: Callable[[Tensor, Tensor], Tensor]) -> Cam:
    """A method that needs a layer's activation and gradient alone."""
    return lambda request, layer, target: weigh(*activation_and_gradient(request, layer, target))


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight: the mean of g over places. `(B, H, W)`.

    Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, https://arxiv.org/abs/1610.02391.
    """
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu()


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight: the sum over places of alpha relu(g), with alpha = g^2 / (2 g^2 + g^3 times the sum of A over places).

    Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks, https://arxiv.org/abs/1710.11063, its
    closed form for an exponential score (equations 7 and 19): the derivatives of exp(S) are powers of those of S times
    exp(S), and that factor, the same for the whole map, is left out.
    """
    squared = gradient**2
    denominator = 2 * squared + activation.sum((2, 3), keepdim=True) * gradient**3
    # Where g is zero so is alpha; its denominator may be zero too.
    alpha = torch.where(gradient != 0, squared / torch.where(denominator == 0, 1.0, denominator), 0.0)
    return ((alpha * gradient.relu()).sum((2, 3), keepdim=True) * activation).sum(1).relu()


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight: relu(g) at each place by itself.

    LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, https://doi.org/10.1109/TIP.2021.3089943.
    """
    return (gradient.relu() * activation).sum(1).relu()
