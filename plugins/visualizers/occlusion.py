"""What a score loses when a part of the image is covered."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ahekit.errors import UsageError
from ahekit.inspection.attribution import BASELINES, plain_image
from ahekit.inspection.heat_map import heat_map
from ahekit.inspection.sanity_checks import Explanation, TargetParams, checked
from ahekit.inspection.targets import Target, choose_target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Visualization

_BATCH = 128  # covered images that go through the network at a time: all of them would not fit into memory


class OcclusionParams(TargetParams):
    """What can be set."""

    window: int | None = Field(None, ge=1, description="the patch's side in pixels; none: a quarter of the image's")
    stride: int | None = Field(None, ge=1, description="pixels from patch to patch; none: a quarter of the patch")
    cover: str = Field("gray", pattern=f"^({'|'.join(BASELINES)})$", description="the patch: black, gray or white")

    @model_validator(mode="after")
    def _leaves_no_gap(self) -> OcclusionParams:
        if self.window and self.stride and self.stride > self.window:
            raise ValueError("stride: must not be greater than window, or pixels between patches are never covered")
        return self


class Occlusion:
    """How much a score falls when a patch covers each part of the image; needs no gradient.

    Visualizing and Understanding Convolutional Networks, https://arxiv.org/abs/1311.2901, with the score's fall (a
    logit's) where the paper shows the probability that is left. A pixel has the mean fall of the patches over it.
    """

    Params = OcclusionParams

    def visualize(self, request: VisualizerInput, params: OcclusionParams) -> Visualization:
        """Map each image: red where covering it costs the score, blue where it helps.

        Returns:
            Arrays `map` `(B, H, W)` and `falls` `(B, patches down, patches across)`.

        Raises:
            UsageError: The patch is larger than the image.
        """
        height, width = request.images.shape[2:]
        window = params.window or max(1, min(height, width) // 4)
        if window > min(height, width):
            raise UsageError(f"occlusion.window: {window} pixels are more than the image's {min(height, width)}")
        stride = params.stride or max(1, window // 4)
        tops = _starts(height, window, stride)
        lefts = _starts(width, window, stride)
        target = choose_target(request, params.target)
        cover = plain_image(request, params.cover)
        falls = _falls(request, target, cover, tops, lefts, window)

        def maps(request: VisualizerInput) -> Tensor:
            falls = _falls(request, target, cover, tops, lefts, window)
            return spread_over_pixels(falls, tops, lefts, window, (height, width))

        visualization = heat_map(
            request,
            target,
            spread_over_pixels(falls, tops, lefts, window, (height, width)),
            method="Occlusion",
            name="patches",
            where=f"patches of {window} pixels",
            kind="signed",
            overlay=False,
            unit="fall of the score (logits)",
            arrays={"falls": falls.cpu().numpy()},
        )
        return checked(visualization, request, params, Explanation.of_class(target, maps, signed=True))


def spread_over_pixels(falls: Tensor, tops: list[int], lefts: list[int], window: int, size: tuple[int, int]) -> Tensor:
    """Each pixel's mean over the patches that cover it, `(B, H, W)`.

    Args:
        falls: `(B, len(tops), len(lefts))`.
    """
    total = falls.new_zeros(len(falls), *size)
    patches = falls.new_zeros(size)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            total[:, top : top + window, left : left + window] += falls[:, row, column, None, None]
            patches[top : top + window, left : left + window] += 1
    return total / patches


def _falls(
    request: VisualizerInput, target: Target, cover: Tensor, tops: list[int], lefts: list[int], window: int
) -> Tensor:
    module = request.model.module
    images = request.images
    places = [(image, top, left) for image in range(len(images)) for top in tops for left in lefts]
    scores = []
    with torch.no_grad():
        whole = target.score(module(images))
        for start in range(0, len(places), _BATCH):
            batch = places[start : start + _BATCH]
            index = torch.tensor([image for image, _, _ in batch], device=images.device)
            occluded = images[index].clone()
            for row, (_, top, left) in enumerate(batch):
                occluded[row, :, top : top + window, left : left + window] = cover[0]
            scores.append(target.score(module(occluded), index))
    # A fall is positive where covering costs the score.
    return whole[:, None, None] - torch.cat(scores).view(len(images), len(tops), len(lefts))


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where patches begin; the last one ends with the image."""
    starts = list(range(0, length - window + 1, stride))
    # Otherwise up to a stride of pixels at the end would never be covered.
    return starts if starts[-1] + window == length else [*starts, length - window]
