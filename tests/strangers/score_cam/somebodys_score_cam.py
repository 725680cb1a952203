"""Score-CAM for ahekit: https://arxiv.org/abs/1910.01279."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ahekit.inspection.attribution import activation
from ahekit.inspection.class_activation import class_activation_map
from ahekit.inspection.layers import NamedLayer
from ahekit.inspection.sanity_checks import TargetParams
from ahekit.inspection.targets import Target
from ahekit.protocols import Visualization, VisualizerInput


class ScoreCam:
    """Where a layer speaks for a class: maps weighted by the score of the image seen through each of them."""

    Params = TargetParams

    def visualize(self, request: VisualizerInput, params: TargetParams) -> Visualization:
        """Map each image."""
        return class_activation_map(request, params, "Score-CAM", score_cam)


def score_cam(request: VisualizerInput, layer: NamedLayer, target: Target) -> Tensor:
    """The maps' sum, each with the softmax of what the score gains over that of an image of the mean colour."""
    maps = activation(request, layer)
    masks = interpolate(maps, request.images.shape[2:], mode="bilinear")
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    masks = (masks - low) / (high - low).clamp(min=1e-12)
    cams = []
    with torch.no_grad():
        for number, image in enumerate(request.images):
            index = torch.full((maps.shape[1],), number)
            seen = masks[number, :, None] * image
            gain = target.score(request.model.module(seen), index) - target.score(request.model.module(0 * seen), index)
            cams.append((gain.softmax(0)[:, None, None] * maps[number]).sum(0).relu())
    return torch.stack(cams)
