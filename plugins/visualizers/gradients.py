"""What a score depends on, pixel by pixel: `saliency`, `smoothgrad`, `integrated-gradients`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ahekit.inspection.attribution import gradient_size, input_gradient, integrated_gradients, plain_image
from ahekit.inspection.heat_map import heat_map
from ahekit.inspection.sanity_checks import Explanation, TargetParams, checked
from ahekit.inspection.targets import Target, choose_target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Visualization


class SmoothGradParams(TargetParams):
    """What can be set."""

    samples: int = Field(25, ge=1, description="noisy copies of each image")
    noise: float = Field(0.15, gt=0, description="the noise's standard deviation, as a share of the image's range")


class IntegratedGradientsParams(TargetParams):
    """What can be set."""

    steps: int = Field(64, ge=1, description="places on the way from the baseline to the image")
    baseline: Literal["black", "gray", "white"] = Field("gray", description="the image that stands for nothing seen")


class Saliency:
    """Size of the score's gradient at each pixel, the largest of its three colours.

    Deep Inside Convolutional Networks, https://arxiv.org/abs/1312.6034.
    """

    Params = TargetParams

    def visualize(self, request: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image; the array `gradient` is `(B, 3, H, W)`, of the normalized input."""
        target = choose_target(request, params.target)

        def gradient(request: VisualizerInput) -> Tensor:
            return input_gradient(request.model.module, request.images, target.score)

        return _gradient_map(request, params, target, gradient, "Saliency")


class SmoothGrad:
    """Saliency of the gradient's mean over noisy copies of the image.

    SmoothGrad: removing noise by adding noise, https://arxiv.org/abs/1706.03825.
    """

    Params = SmoothGradParams

    def visualize(self, request: VisualizerInput, params: SmoothGradParams) -> Visualization:
        """Map each image; the array `gradient` is the mean, `(B, 3, H, W)`."""
        target = choose_target(request, params.target)
        images = request.images
        # Of the image's own range, as in the paper: a dark image gets less noise than a bright one.
        spread = params.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))

        def gradient(request: VisualizerInput) -> Tensor:
            random = torch.Generator().manual_seed(request.seed)
            total = torch.zeros_like(images)
            for _ in range(params.samples):
                noise = torch.randn(images.shape, generator=random).to(images)
                total += input_gradient(request.model.module, images + spread * noise, target.score)
            return total / params.samples

        return _gradient_map(request, params, target, gradient, "SmoothGrad")


class IntegratedGradients:
    """Each pixel's share of the score's rise from a plain image to this one; the shares add up to the rise.

    Axiomatic Attribution for Deep Networks, https://arxiv.org/abs/1703.01365, with the midpoint rule along the way.
    """

    Params = IntegratedGradientsParams

    def visualize(self, request: VisualizerInput, params: IntegratedGradientsParams) -> Visualization:
        """Map each image: red speaks for the score, blue against it.

        Returns:
            Arrays `map`, the sum over colours, `attribution` `(B, 3, H, W)`, and `gap` `(B,)`, by how much the
            shares miss the rise.
        """
        module = request.model.module
        images = request.images
        target = choose_target(request, params.target)
        baseline = plain_image(request, params.baseline)
        attribution = integrated_gradients(request, target, baseline, steps=params.steps)
        with torch.no_grad():
            rise = target.score(module(images)) - target.score(module(baseline.expand_as(images)))
        # Zero for endlessly many steps, by the axiom of completeness: it tells how far off these steps are.
        gap = attribution.sum((1, 2, 3)) - rise
        worst = float((gap.abs() / rise.abs().clamp(min=1e-6)).max())
        note = f"shares add up to the score's rise within {worst:.1%} (largest of {len(images)}; more --set steps=N)"
        visualization = heat_map(
            request,
            target,
            attribution.sum(1),
            method="Integrated gradients",
            name="pixels",
            where="the pixels",
            kind="signed",
            overlay=False,
            unit="share of the score's rise (logits a pixel)",
            gradient=attribution,
            notes=(note,),
            arrays={"attribution": attribution.cpu().numpy(), "gap": gap.cpu().numpy()},
        )

        def maps(request: VisualizerInput) -> Tensor:
            return integrated_gradients(request, target, baseline, steps=params.steps).sum(1)

        return checked(visualization, request, params, Explanation.of_class(target, maps, signed=True))


def _gradient_map(
    request: VisualizerInput,
    params: TargetParams,
    target: Target,
    gradient: Callable[[VisualizerInput], Tensor],
    method: str,
) -> Visualization:
    values = gradient(request)
    visualization = heat_map(
        request,
        target,
        gradient_size(values),
        method=method,
        name="pixels",
        where="the pixels",
        overlay=False,
        gradient=values,
        arrays={"gradient": values.cpu().numpy()},
    )
    explanation = Explanation.of_class(target, lambda request: gradient_size(gradient(request)))
    return checked(visualization, request, params, explanation)
