"""Class activation maps: how much each place of a layer's maps speaks for a score.

With A a layer's activation `(B, C, H, W)` and g the gradient of the score with respect to it, each map is
relu(sum over channels of weight x A); the methods differ in the weight. Gradients are those of the logits, where some
implementations take probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    below = 2 * squared + activation.sum((2, 3), keepdim=True) * gradient**3
    # Where g is zero so is alpha; its denominator may be zero too.
    alpha = torch.where(gradient != 0, squared / torch.where(below == 0, 1.0, below), 0.0)
    return ((alpha * gradient.relu()).sum((2, 3), keepdim=True) * activation).sum(1).relu()


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Weight: relu(g) at each place by itself.

    LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, https://doi.org/10.1109/TIP.2021.3089943.
    """
    return (gradient.relu() * activation).sum(1).relu()
