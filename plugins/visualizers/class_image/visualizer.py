"""Images made to please a class or a unit: the plain way of ascent, and one that withstands being moved."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.data.augment import to_float
from ahekit.data.classes import display_name
from ahekit.data.decode import decode
from ahekit.errors import RunError, UsageError
from ahekit.hooks import capture
from ahekit.inspection.layers import NamedLayer, check_unit, requested_layer
from ahekit.inspection.synthesis import Objective, as_pixels, objectives, synthesize
from ahekit.inspection.synthesis.parameterizations import as_it_is, noise
from ahekit.inspection.targets import class_index
from ahekit.protocols import SplitImages, VisualizerInput
from ahekit.sections import Animation, Visualization

from .figure import columns, figure, mosaic
from .nearest import batch_count, find_nearest, sample
from .params import ClassImageParams
from .robust import make_robust
from .scores import Goals, likeness_note, measure_of, score

ASCENT_STD = 5.0
_SEEDS_APART = 100_003  # more than any network has classes: no two images share a seed


class ClassImage:
    """Images that a network takes for a class (or that excite a unit), all made at once.

    `ascent`: gradient ascent on pixels, https://arxiv.org/abs/1312.6034 without its regularizer. Uniform noise in
    [0, 1) (or a picture) is divided by 5 once (mean 0, standard deviation 5) and given to the network as it is; Adam
    raises the class's logit; the outcome times 255, clipped, is the picture. `robust`: the class's log odds by Fourier
    coefficients under random turns, scales, shifts and flips, less total variation, distance from gray and the gap to
    BatchNorm's statistics. Every image made is shown and scored; none is picked out.
    """

    Params = ClassImageParams
    needs_images = False

    def visualize(self, request: VisualizerInput, params: ClassImageParams) -> Visualization:
        """Make the images and score each one.

        Returns:
            Arrays, one row for each image: `images` `(B, S, S, 3)` uint8; `targets`, class indices (-1 for a unit); and
            what is found of the pictures as they are written, given to the network as any picture is: `probability`
            and `moved_probability` of the class (of a unit `activation` and `moved_activation`), of ascent
            `input_probability` before they became pictures; with a judge `judge_class`, `judge_confidence`, and of
            classes `judge_probability` and `judge_right`; with the training images `nearest_id`, `nearest_class` and
            `nearest_cosine` (by embedding), `copy_id` and `copy_correlation` (by pixels). With `every`, `frames`
            `(T, B, S, S, 3)` and `frame_steps` `(T,)`.

        Raises:
            UnknownNameError: There is no such class.
            UsageError: There is no such unit, or a layer without one.
            DataError: The picture to start from can't be read.
            RunError: `objective=embedding`, and the training images are gone.
        """
        goals = _goals(request, params)
        training, missing = _training_images(request, params)
        total = params.number_of_steps + _batches(training, params)
        progress = count(1)

        def tick(*_: int) -> None:
            request.progress(next(progress), total)

        frames: dict[int, NDArray[np.uint8]] = {}

        def watch(done: int, images: Tensor) -> None:
            if params.every and (done % params.every == 0 or done == params.number_of_steps):
                frames[done] = as_pixels(images)

        if params.method == "ascent":
            optimized = _ascend(request, goals, params, progress=tick, watch=watch)
        else:
            optimized = make_robust(
                request, goals, params, training, steps=params.number_of_steps, progress=tick, watch=watch
            )
        images = as_pixels(optimized)
        nearest = find_nearest(request, training, images, tick=tick) if training and params.nearest else None
        scores = score(request, images, goals, nearest)
        arrays = {"images": images, "targets": np.array(goals.classes), **scores.arrays()}
        notes = [*scores.notes(), *missing]
        if params.method == "ascent":
            # What ascent raised: images that no picture can hold, for they are neither clipped nor rounded.
            measure = measure_of(request, goals)
            own = np.array([float(measure(image[None], place)[0]) for place, image in enumerate(optimized)])
            arrays[f"input_{goals.kind}"] = own
            notes.insert(1, f"as the network was given them, before they became pictures: {own.mean():.2f}")
        if params.images_per_class > 1:
            notes.append(likeness_note(images, goals.names))
        name, title = _headings(request, goals, params)
        across = columns(len(images), params.images_per_class)
        animations: tuple[Animation, ...] = ()
        if params.every:
            arrays["frames"] = np.stack(list(frames.values()))
            arrays["frame_steps"] = np.array(list(frames))
            animations = (Animation(name, mosaic(frames, goals.names, across=across), params.animation),)
        sheet = figure(images, scores, name=name, title=title, across=across)
        return Visualization(arrays, (sheet,), tuple(notes), animations=animations)


def ascend(module: nn.Module, starts: Tensor, objective: Objective, **options: Any) -> Tensor:
    """Gradient ascent on images from `starts` `(B, 3, H, W)` in [0, 1], divided by 5 once; see `ClassImage`.

    Args:
        module: In eval mode.
        options: Of `synthesize`.

    Returns:
        What the network was given last, not clipped.
    """
    return synthesize(module, starts / ASCENT_STD, as_it_is, objective, **options)


def _goals(request: VisualizerInput, params: ClassImageParams) -> Goals:
    copies = params.images_per_class
    if params.unit is not None:
        layer = _unit_layer(request, params.unit)
        seeds = tuple(request.seed * _SEEDS_APART + number for number in range(copies))
        names = (f"{layer.name} unit {params.unit}",) * copies
        return Goals(names, (-1,) * copies, seeds, (layer.path, params.unit))
    if request.layers:
        raise UsageError("class-image: a layer goes with a unit of it, as in --layer conv4 --unit 17")
    classes = list(range(len(request.class_names)))
    if params.target != "all":
        classes = [class_index(request.class_names, params.target)]
    pairs = [(number, copy) for number in classes for copy in range(copies)]
    return Goals(
        names=tuple(display_name(request.class_names[number]) for number, _ in pairs),
        classes=tuple(number for number, _ in pairs),
        # A class's own, whichever others are made beside it.
        seeds=tuple((request.seed * 1009 + copy) * _SEEDS_APART + number for number, copy in pairs),
    )


def _unit_layer(request: VisualizerInput, unit: int) -> NamedLayer:
    layer = requested_layer(request) if len(request.layers) == 1 else None
    if layer is None:
        raise UsageError("class-image: a unit needs its layer, one, as in --layer conv4 --unit 17")
    module = request.model.module
    size = request.model.preprocessing.size
    with torch.no_grad(), capture(module, [layer.path]) as outputs:
        module(torch.zeros(1, 3, size, size, device=request.images.device))
    check_unit(unit, outputs[layer.path].activation.shape[1], layer.name, kind="unit")
    return layer


def _training_images(request: VisualizerInput, params: ClassImageParams) -> tuple[SplitImages | None, tuple[str, ...]]:
    """The run's training images where something is to be done with them, or a note why there are none."""
    if not params.nearest and params.objective != "embedding":
        return None, ()
    try:
        if request.split is None:
            raise RunError("the network comes without a dataset")
        images = request.split("train")
        if not len(images):
            raise RunError("the run has no training images")
    except RunError as error:
        if params.objective == "embedding":
            raise
        return None, (f"the nearest training images are not looked for: {error}",)
    return images, ()


def _batches(training: SplitImages | None, params: ClassImageParams) -> int:
    """Of all passes over the training images."""
    if training is None:
        return 0
    by_class = batch_count(len(sample(training))) if params.objective == "embedding" else 0
    return by_class + (batch_count(len(training)) if params.nearest else 0)


def _ascend(request: VisualizerInput, goals: Goals, params: ClassImageParams, **options: Any) -> Tensor:
    if params.init is None:
        starts = noise(goals.seeds, request.model.preprocessing.size)
    else:
        pixels = to_float(decode(params.init, request.model.preprocessing)[None].copy()) / 255
        starts = pixels.repeat(len(goals.names), 1, 1, 1)
    starts = starts.to(request.images.device)
    if goals.unit:
        objective = objectives.unit(*goals.unit)
    else:
        objective = objectives.class_logit(torch.tensor(goals.classes, device=starts.device))
    lr = params.lr or 1e-2
    return ascend(request.model.module, starts, objective, steps=params.number_of_steps, lr=lr, **options)


def _headings(request: VisualizerInput, goals: Goals, params: ClassImageParams) -> tuple[str, str]:
    """The figure's name and its title."""
    names = tuple(dict.fromkeys(goals.names))
    start = f" from {params.init.name}" if params.init else ""
    what = names[0] if len(names) == 1 else f"{len(names)} classes"
    name = params.method if len(names) > 1 else f"{params.method}-{names[0]}"
    kind = "Unit images" if goals.unit else "Class images"
    return name, f"{kind} by {params.method}{start}: {what}, seed {request.seed}"
