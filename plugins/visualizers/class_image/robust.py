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
from .scores import Wanted

if TYPE_CHECKING:
    from .params import ClassImageParams


def make_robust(
    given: VisualizerInput,
    wanted: Wanted,
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
    preprocessing = given.model.preprocessing
    parameters, render = fourier(wanted.seeds, preprocessing.size, decay=params.decay)
    moves = random_affine(rotation=params.rotation, shift=params.shift)
    found = synthesize(
        given.model.module,
        parameters.to(given.images.device),
        render,
        _purpose(given, wanted, params, training, progress) - _prior(given, wanted, params),
        steps=steps,
        lr=annealed(params.lr or 8e-2),
        views=params.views,
        transforms=[fading_blur(params.blur), moves, normalized(preprocessing)],
        random=torch.Generator().manual_seed(wanted.seeds[0]),
        progress=progress,
        watch=watch,
    )
    return render(found)


def _purpose(
    given: VisualizerInput,
    wanted: Wanted,
    params: ClassImageParams,
    training: SplitImages | None,
    told: Callable[[], None],
) -> Objective:
    if wanted.unit:
        return objectives.unit(*wanted.unit)
    targets = torch.tensor(wanted.classes, device=given.images.device)
    if params.objective == "logit":
        return objectives.class_logit(targets)
    if params.objective == "odds":
        return objectives.class_odds(targets)
    assert training is not None
    means, variances = class_moments(given, training, told=told)
    return -1.0 * objectives.class_distance(lambda view: given.model.embed(view.shown), means, variances, targets)


def _prior(given: VisualizerInput, wanted: Wanted, params: ClassImageParams) -> Objective:
    """What is taken off: what keeps images like photographs, and unlike each other."""
    module = given.model.module
    prior: Objective = (
        params.smoothness * objectives.total_variation() + params.tameness * objectives.distance_from_gray()
    )
    if params.statistics:
        # The gap is shared out over the batch; times its size it weighs on each image as on one alone.
        prior += params.statistics * len(wanted.names) * objectives.statistics_gap(module)
    convolutions = [path for path, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    if params.diversity > 1 and params.variety and convolutions:
        groups = torch.tensor(wanted.classes, device=given.images.device)
        prior += params.variety * objectives.likeness(convolutions[len(convolutions) // 2], groups)
    return prior
