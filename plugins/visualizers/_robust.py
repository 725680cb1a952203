"""Class images that withstand being moved: what they are made of, what is raised, and what is taken off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ahekit.hooks import capture
from ahekit.protocols import SplitImages, VisualizerInput

from . import objectives
from ._class_scores import Wanted
from ._layers import main_layers
from ._training_images import Moments, class_moments
from .parameterisations import fourier
from .synthesis import Objective, View, Watch, annealed, synthesise
from .transforms import fading_blur, normalised, random_affine

if TYPE_CHECKING:
    from .class_image import ClassImageParams

_EMBEDDING = ""  # no module's path
_FLOORS = {"embedding": 1.0, "channels": 0.01}


def learns_from_images(params: ClassImageParams) -> bool:
    """Whether images are made by what is typical of their class's training images."""
    return params.method == "robust" and params.unit is None and bool(params.typicality or _by_embedding(params))


def learn(
    given: VisualizerInput, params: ClassImageParams, images: SplitImages, told: Callable[[], None]
) -> dict[str, Moments]:
    """What is typical of each class: of the channels of the main layers by path, and of the embedding."""
    module, layers = given.model.module, _typical_layers(given, params)

    def describe(inputs: Tensor) -> dict[str, Tensor]:
        with capture(module, layers) as seen:
            features = {_EMBEDDING: given.model.embed(inputs)} if _by_embedding(params) else {}
            if layers:
                module(inputs)
        return features | {path: objectives.channel_features(seen[path].activation) for path in layers}

    return class_moments(given, images, describe, told=told)


def make_robust(
    given: VisualizerInput,
    wanted: Wanted,
    params: ClassImageParams,
    moments: Mapping[str, Moments],
    *,
    steps: int,
    progress: Callable[..., None],
    watch: Watch,
) -> Tensor:
    """Robust images `(B, 3, S, S)` in [0, 1]; see `ClassImage`."""
    preprocessing = given.model.preprocessing
    parameters, render = fourier(wanted.seeds, preprocessing.size, decay=params.decay)
    moves = random_affine(rotation=params.rotation, shift=params.shift)
    found = synthesise(
        given.model.module,
        parameters.to(given.images.device),
        render,
        _purpose(given, wanted, params, moments) - _prior(given, wanted, params, moments),
        steps=steps,
        lr=annealed(params.lr or 8e-2),
        views=params.views,
        transforms=[fading_blur(params.blur), moves, normalised(preprocessing)],
        random=torch.Generator().manual_seed(wanted.seeds[0]),
        progress=progress,
        watch=watch,
    )
    return render(found)


def _purpose(
    given: VisualizerInput, wanted: Wanted, params: ClassImageParams, moments: Mapping[str, Moments]
) -> Objective:
    if wanted.unit:
        return objectives.unit(*wanted.unit)
    targets = torch.tensor(wanted.classes, device=given.images.device)
    if params.objective == "logit":
        return objectives.class_logit(targets)
    if params.objective == "odds":
        return objectives.class_odds(targets)
    return -1.0 * objectives.class_distance(
        lambda view: given.model.embed(view.shown), *moments[_EMBEDDING], targets, floor=_FLOORS["embedding"]
    )


def _prior(
    given: VisualizerInput, wanted: Wanted, params: ClassImageParams, moments: Mapping[str, Moments]
) -> Objective:
    """What is taken off: what keeps images like photographs, typical of their class, and unlike each other."""
    module, targets = given.model.module, torch.tensor(wanted.classes, device=given.images.device)
    prior = params.smoothness * objectives.total_variation() + params.tameness * objectives.distance_from_gray()
    if params.statistics:
        # The gap is shared out over the batch; times its size it weighs on each image as on one alone.
        prior += params.statistics * len(wanted.names) * objectives.statistics_gap(module)
    layers = [path for path in moments if path != _EMBEDDING]
    for path in layers:
        prior += params.typicality / len(layers) * _untypical(path, moments[path], targets)
    convolutions = [path for path, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    if params.diversity > 1 and params.variety and convolutions:
        prior += params.variety * objectives.likeness(convolutions[len(convolutions) // 2], targets)
    return prior


def _untypical(path: str, moments: Moments, targets: Tensor) -> Objective:
    def describe(view: View) -> Tensor:
        return objectives.channel_features(view.outputs[path])

    return objectives.class_distance(describe, *moments, targets, floor=_FLOORS["channels"], modules=(path,))


def _typical_layers(given: VisualizerInput, params: ClassImageParams) -> tuple[str, ...]:
    if not params.typicality or not any(isinstance(part, nn.Conv2d) for part in given.model.module.modules()):
        return ()
    return tuple(main_layers(given.model).values())


def _by_embedding(params: ClassImageParams) -> bool:
    return params.objective == "embedding"
