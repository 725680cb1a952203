"""Images made to please a class or a unit: the plain way of ascent, and one that withstands being moved."""

from __future__ import annotations

from collections.abc import Callable
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
from ahekit.hooks import capture, evaluating
from ahekit.inspection.layers import check_unit
from ahekit.inspection.synthesis import Objective, Watch, objectives, synthesize
from ahekit.inspection.synthesis.parameterizations import as_it_is, noise
from ahekit.inspection.targets import class_index
from ahekit.protocols import SplitImages, VisualizerInput
from ahekit.sections import Animation, Visualization

from .figure import columns, figure, mosaic
from .nearest import batch_count, find_nearest, sample
from .params import ClassImageParams
from .robust import make_robust
from .scores import Wanted, likeness_note, measure_of, score

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

    def visualize(self, given: VisualizerInput, params: ClassImageParams) -> Visualization:
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
        wanted = _wanted(given, params)
        training, missing = _training_images(given, params)
        tell = _counter(given, _steps(params) + _passes(training, params))
        frames: dict[int, NDArray[np.uint8]] = {}
        told: dict[str, Any] = {"progress": tell, "watch": _filming(frames, params.every, _steps(params))}
        if params.method == "ascent":
            optimized = _ascend(given, wanted, params, **told)
        else:
            optimized = make_robust(given, wanted, params, training, steps=_steps(params), **told)
        images, look = as_pixels(optimized), training if params.nearest else None
        scores = score(given, images, wanted, find_nearest(given, look, images, told=tell) if look else None)
        arrays = {"images": images, "targets": np.array(wanted.classes), **scores.arrays()}
        notes = [*scores.notes(), *missing]
        if params.method == "ascent":
            arrays[f"input_{wanted.kind}"] = own = _of_inputs(given, wanted, optimized)
            notes.insert(1, f"as the network was given them, before they became pictures: {own.mean():.2f}")
        if params.diversity > 1:
            notes.append(likeness_note(images, wanted.names))
        if params.every:
            arrays |= {"frames": np.stack(list(frames.values())), "frame_steps": np.array(list(frames))}
        name, title = _headings(given, wanted, params)
        across = columns(len(images), params.diversity)
        shown = figure(images, scores, name=name, title=title, across=across)
        films = [Animation(name, mosaic(frames, wanted.names, across=across), params.animation)] if params.every else []
        return Visualization(arrays, (shown,), tuple(notes), animations=tuple(films))


def ascend(module: nn.Module, starts: Tensor, objective: Objective, **options: Any) -> Tensor:
    """Gradient ascent on images from `starts` `(B, 3, H, W)` in [0, 1], divided by 5 once; see `ClassImage`.

    Args:
        options: Of `synthesize`.

    Returns:
        What the network was given last, not clipped.
    """
    return synthesize(module, starts / ASCENT_STD, as_it_is, objective, **options)


def as_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images `(B, 3, H, W)` times 255, clipped and rounded down, `(B, H, W, 3)`."""
    scaled = images.detach().float().cpu().permute(0, 2, 3, 1).numpy() * 255
    pixels: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return pixels


def _wanted(given: VisualizerInput, params: ClassImageParams) -> Wanted:
    copies = params.diversity
    if params.unit is not None:
        name, path = _unit_layer(given, params.unit)
        seeds = tuple(given.seed * _SEEDS_APART + number for number in range(copies))
        return Wanted((f"{name} unit {params.unit}",) * copies, (-1,) * copies, seeds, (path, params.unit))
    if given.layers:
        raise UsageError("class-image: a layer goes with a unit of it, as in --layer conv4 --unit 17")
    every = range(len(given.class_names))
    classes = list(every) if params.target == "all" else [class_index(given.class_names, params.target)]
    pairs = [(number, copy) for number in classes for copy in range(copies)]
    return Wanted(
        names=tuple(display_name(given.class_names[number]) for number, _ in pairs),
        classes=tuple(number for number, _ in pairs),
        seeds=tuple((given.seed * 1009 + copy) * _SEEDS_APART + number for number, copy in pairs),
    )


def _unit_layer(given: VisualizerInput, unit: int) -> tuple[str, str]:
    if len(given.layers) != 1:
        raise UsageError("class-image: a unit needs its layer, one, as in --layer conv4 --unit 17")
    ((name, path),) = given.layers.items()
    module, size = given.model.module, given.model.preprocessing.size
    with evaluating(module), torch.no_grad(), capture(module, {name: path}) as seen:
        module(torch.zeros(1, 3, size, size, device=given.images.device))
    check_unit(unit, seen[name].activation.shape[1], name, kind="unit")
    return name, path


def _training_images(given: VisualizerInput, params: ClassImageParams) -> tuple[SplitImages | None, tuple[str, ...]]:
    """The run's training images where something is to be done with them, or a note why there are none."""
    if not params.nearest and params.objective != "embedding":
        return None, ()
    try:
        if given.split is None:
            raise RunError("the network comes without a dataset")
        images = given.split("train")
        if not len(images):
            raise RunError("the run has no training images")
    except RunError as error:
        if params.objective == "embedding":
            raise
        return None, (f"the nearest training images are not looked for: {error}",)
    return images, ()


def _passes(training: SplitImages | None, params: ClassImageParams) -> int:
    """How often the passes over the training images tell that they go on."""
    if training is None:
        return 0
    learnt = batch_count(len(sample(training))) if params.objective == "embedding" else 0
    return learnt + (batch_count(len(training)) if params.nearest else 0)


def _steps(params: ClassImageParams) -> int:
    return params.steps or (1000 if params.method == "ascent" else 300)


def _counter(given: VisualizerInput, total: int) -> Callable[..., None]:
    done = count(1)
    return lambda *_: given.progress(next(done), total)


def _filming(frames: dict[int, NDArray[np.uint8]], every: int | None, steps: int) -> Watch:
    def watch(done: int, images: Tensor) -> None:
        if every and (done % every == 0 or done == steps):
            frames[done] = as_pixels(images)

    return watch


def _ascend(given: VisualizerInput, wanted: Wanted, params: ClassImageParams, **told: Any) -> Tensor:
    if params.init is None:
        starts = noise(wanted.seeds, given.model.preprocessing.size)
    else:
        pixels = to_float(decode(params.init, given.model.preprocessing)[None].copy()) / 255
        starts = pixels.repeat(len(wanted.names), 1, 1, 1)
    starts, lr = starts.to(given.images.device), params.lr or 1e-2
    if wanted.unit:
        objective = objectives.unit(*wanted.unit)
    else:
        objective = objectives.class_logit(torch.tensor(wanted.classes, device=starts.device))
    return ascend(given.model.module, starts, objective, steps=_steps(params), lr=lr, **told)


def _of_inputs(given: VisualizerInput, wanted: Wanted, inputs: Tensor) -> NDArray[Any]:
    """What images are made for, of the network's own inputs."""
    measure = measure_of(given, wanted)
    return np.array([float(measure(image[None], place)[0]) for place, image in enumerate(inputs)])


def _headings(given: VisualizerInput, wanted: Wanted, params: ClassImageParams) -> tuple[str, str]:
    """The figure's name and its title."""
    names = tuple(dict.fromkeys(wanted.names))
    start = f" from {params.init.name}" if params.init else ""
    what = names[0] if len(names) == 1 else f"{len(names)} classes"
    name = params.method if len(names) > 1 else f"{params.method}-{names[0]}"
    kind = "Unit images" if wanted.unit else "Class images"
    return name, f"{kind} by {params.method}{start}: {what}, seed {given.seed}"
