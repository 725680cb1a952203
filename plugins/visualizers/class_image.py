"""Images made to please a class or a unit: the plain way of ascent, and one that withstands being moved."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from ahekit.data.augment import to_float
from ahekit.data.classes import display_name
from ahekit.data.decode import decode
from ahekit.errors import RunError, UsageError
from ahekit.hooks import capture, evaluating
from ahekit.protocols import Animation, SplitImages, Visualization, VisualizerInput

from . import objectives
from ._class_figure import columns, figure, mosaic
from ._class_scores import Wanted, likeness_note, measure_of, score
from ._layers import check_unit
from ._robust import make_robust
from ._target import class_index
from ._training_images import batch_count, find_nearest, sample
from .parameterisations import as_it_is, noise
from .synthesis import Objective, Watch, synthesise

ASCENT_STD = 5.0
_SEEDS_APART = 100_003  # more than any network has classes: no two images share a seed
_ROBUST_ONLY = (
    *("objective", "variety", "views", "decay", "rotation", "shift", "blur"),
    *("smoothness", "tameness", "statistics"),
)


class ClassImageParams(BaseModel):
    """What can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["robust", "ascent"] = Field(
        "robust", description="robust: Fourier coefficients under random transforms and priors; ascent: bare pixels"
    )
    target: str = Field("all", description="class to make an image for, or all")
    unit: int | None = Field(None, ge=0, description="unit of the layer to make an image for, instead of a class")
    diversity: int = Field(1, ge=1, description="images for each class, from different starts")
    steps: int | None = Field(None, ge=1, description="steps of Adam; none: 1000 of ascent, 300 of robust")
    lr: float | None = Field(None, gt=0, description="learning rate; none: 0.01 of ascent, 0.08 of robust, falling")
    init: Path | None = Field(None, description="picture that ascent starts from; none: noise")
    objective: Literal["odds", "logit", "embedding"] = Field(
        "odds",
        description="robust, what makes a class: odds: its logit less the others'; logit: its logit alone; embedding: "
        "nearness to the embeddings of its training images",
    )
    variety: float = Field(
        2.0,
        ge=0,
        description="robust: weight of the likeness of images of one class, taken off where there are several",
    )
    views: int = Field(1, ge=1, description="robust: times that images are moved and shown at each step")
    decay: float = Field(1.1, ge=0, description="robust: power of the frequency that detail starts and moves less by")
    rotation: float = Field(0.1, ge=0, description="robust: largest random turn, radians")
    shift: float = Field(0.12, ge=0, lt=1, description="robust: largest random shift, as a share of the image")
    blur: float = Field(
        0.0, ge=0, lt=0.3, description="robust: blur at the start, as a share of the image; gone halfway"
    )
    smoothness: float = Field(2.0, ge=0, description="robust: weight of the total variation that is taken off")
    tameness: float = Field(2.0, ge=0, description="robust: weight of the squared distance from gray, taken off")
    statistics: float = Field(4.0, ge=0, description="robust: weight of the gap to BatchNorm's statistics, taken off")
    nearest: bool = Field(True, description="find the nearest training image of each, in a pass over all of them")
    every: int | None = Field(None, ge=1, description="steps from frame to frame of an animation; none: no animation")
    animation: Literal["gif", "webp"] = Field("gif", description="form of the animation")

    @model_validator(mode="after")
    def _what_is_set_has_an_effect(self) -> ClassImageParams:
        given = self.model_fields_set
        if self.init is not None and self.method != "ascent":
            raise ValueError("init: a picture to start from goes with --method ascent only")
        if self.init is not None and self.diversity > 1:
            raise ValueError("diversity: from one picture ascent makes one image; leave out init or diversity")
        if self.method == "ascent" and (idle := [name for name in _ROBUST_ONLY if name in given]):
            raise ValueError(f"{idle[0]}: goes with --method robust only")
        if self.unit is not None and (idle := [name for name in ("objective", "target") if name in given]):
            raise ValueError(f"{idle[0]}: goes with classes, not with a unit")
        if self.every is None and "animation" in given:
            raise ValueError("animation: goes with --every, the steps from frame to frame")
        return self


class ClassImage:
    """Images that a network takes for a class (or that excite a unit), all made at once.

    `ascent`: gradient ascent on pixels, https://arxiv.org/abs/1312.6034 without its regulariser. Uniform noise in
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
            optimised = _ascend(given, wanted, params, **told)
        else:
            optimised = make_robust(given, wanted, params, training, steps=_steps(params), **told)
        images, look = as_pixels(optimised), training if params.nearest else None
        scores = score(given, images, wanted, find_nearest(given, look, images, told=tell) if look else None)
        arrays = {"images": images, "targets": np.array(wanted.classes), **scores.arrays()}
        notes = [*scores.notes(), *missing]
        if params.method == "ascent":
            arrays[f"input_{wanted.kind}"] = own = _of_inputs(given, wanted, optimised)
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
        options: Of `synthesise`.

    Returns:
        What the network was given last, not clipped.
    """
    return synthesise(module, starts / ASCENT_STD, as_it_is, objective, **options)


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
