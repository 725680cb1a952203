"""Class images that withstand being moved: what they are made of, what is raised, and what is taken off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ahekit.inspection.synthesis import Objective, Watch, annealed, objectives, synthesize
from ahekit.inspection.synthesis.parameterizations import fourier
from ahekit.inspection.synthesis.transforms import fading_blur, normalized, random_affine
from ahekit.protocols import SplitImages, VisualizerInput

from .nearest import class_moments
from .scores import Goals

if TYPE_CHECKING:
    from .params import ClassImageParams


def make_robust(
    request: VisualizerInput,
    goals: Goals,
    params: ClassImageParams,
    training: SplitImages | None,
    *,
    steps: int,
    progress: Callable[..., None],
    watch: Watch,
) -> Tensor:
    """Robust images `(B, 3, S, S)` in [0, 1]; see `ClassImage`.

    Args:
        training: Of which the classes' embeddings are taken where the objective is by embedding.
    """
    preprocessing = request.model.preprocessing
    parameters, render = fourier(goals.seeds, preprocessing.size, decay=params.decay)
    moves = random_affine(rotation=params.rotation, shift=params.shift)
    parameters = synthesize(
        request.model.module,
        parameters.to(request.images.device),
        render,
        _objective(request, goals, params, training, progress) - _prior(request, goals, params),
        steps=steps,
        lr=annealed(params.lr or 8e-2),
        views=params.views,
        transforms=[fading_blur(params.blur), moves, normalized(preprocessing)],
        random=torch.Generator().manual_seed(goals.seeds[0]),
        progress=progress,
        watch=watch,
    )
    return render(parameters)


def _objective(
    request: VisualizerInput,
    goals: Goals,
    params: ClassImageParams,
    training: SplitImages | None,
    tick: Callable[[], None],
) -> Objective:
    if goals.unit:
        return objectives.unit(*goals.unit)
    targets = torch.tensor(goals.classes, device=request.images.device)
    if params.objective == "logit":
        return objectives.class_logit(targets)
    if params.objective == "odds":
        return objectives.class_odds(targets)
    assert training is not None
    means, variances = class_moments(request, training, tick=tick)
    # By what the network is shown, the moved image, as for the other objectives.
    return -1.0 * objectives.class_distance(
        lambda forward: request.model.embed(forward.network_input), means, variances, targets
    )


def _prior(request: VisualizerInput, goals: Goals, params: ClassImageParams) -> Objective:
    """What is taken off: what keeps images like photographs, and unlike each other."""
    module = request.model.module
    prior: Objective = params.tv * objectives.total_variation() + params.l2 * objectives.distance_from_gray()
    if params.bn:
        # The gap is shared out over the batch; times its size it weighs on each image as on one alone.
        prior += params.bn * len(goals.names) * objectives.statistics_gap(module)
    convolutions = [path for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d)]
    if params.images_per_class > 1 and params.diversity and convolutions:
        groups = torch.tensor(goals.classes, device=request.images.device)
        prior += params.diversity * objectives.likeness(convolutions[len(convolutions) // 2], groups)
    return prior
