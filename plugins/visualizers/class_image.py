"""Images made to please a class or a unit: the plain way of ascent, and one that withstands being moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from ahekit.data.augment import normalise, to_float
from ahekit.data.classes import display_name
from ahekit.data.decode import decode
from ahekit.errors import UsageError
from ahekit.hooks import capture, evaluating
from ahekit.protocols import Visualization, VisualizerInput
from ahekit.reporting.sections import Figure

from . import objectives
from ._draw import Tile, Tiles
from ._layers import check_unit
from ._target import class_index
from .parameterisations import as_it_is, fourier
from .synthesis import Objective, synthesise
from .transforms import normalised, random_affine

ASCENT_STD = 5.0
FRESH = 32
_ACROSS = 5
_SEEDS_APART = 100_003  # more than any network has classes: no two images share a seed


class ClassImageParams(BaseModel):
    """What can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["robust", "ascent"] = Field(
        "robust", description="robust: Fourier coefficients under random transforms and priors; ascent: bare pixels"
    )
    target: str = Field("all", description="class to make an image for, or all")
    unit: int | None = Field(None, ge=0, description="unit of the layer to make an image for, instead of a class")
    diversity: int = Field(1, ge=1, description="images for each class, from different starts")
    steps: int | None = Field(None, ge=1, description="steps of Adam; none: 1000 of ascent, 400 of robust")
    lr: float | None = Field(None, gt=0, description="learning rate; none: 0.01 of ascent, 0.05 of robust")
    init: Path | None = Field(None, description="picture that ascent starts from; none: noise")
    rotation: float = Field(0.15, ge=0, description="robust: largest random turn, radians")
    shift: float = Field(0.12, ge=0, lt=1, description="robust: largest random shift, as a share of the image")
    smoothness: float = Field(4.0, ge=0, description="robust: weight of the total variation that is taken off")
    tameness: float = Field(2.0, ge=0, description="robust: weight of the squared distance from gray, taken off")
    statistics: float = Field(4.0, ge=0, description="robust: weight of the gap to BatchNorm's statistics, taken off")

    @model_validator(mode="after")
    def _start_suits_method(self) -> ClassImageParams:
        if self.init is not None and self.method != "ascent":
            raise ValueError("init: a picture to start from goes with --method ascent only")
        return self


@dataclass(frozen=True)
class Wanted:
    """What images are made for.

    Attributes:
        names: Of each image.
        classes: Class index of each image; -1 for a unit.
        seeds: Of each image's start.
    """

    names: tuple[str, ...]
    classes: tuple[int, ...]
    seeds: tuple[int, ...]
    objective: Objective
    robust_objective: Objective


@dataclass(frozen=True)
class Scores:
    """How each picture does, `(B,)` each.

    Attributes:
        probability: The network's own, of the class it was made for.
        moved_probability: Its mean under 32 fresh random transforms.
        judge_probability: A second network's, of the same class; None: nobody was asked.
        judge_right: Whether that network finds the class the likeliest.
    """

    probability: NDArray[Any]
    moved_probability: NDArray[Any]
    judge_probability: NDArray[Any] | None = None
    judge_right: NDArray[Any] | None = None

    def note(self) -> str:
        """All in one line."""
        own = f"mean probability of the wanted class {self.probability.mean():.2f}"
        moved = f"under random transforms {self.moved_probability.mean():.2f}"
        if self.judge_right is None:
            return f"{own}, {moved}"
        return (
            f"{own}, {moved}; the judge names {int(self.judge_right.sum())} of {len(self.judge_right)} images rightly"
        )

    def text(self, place: int) -> str:
        """Of one picture, to be printed under it."""
        text = f"p {self.probability[place]:.2f}, moved {self.moved_probability[place]:.2f}"
        if self.judge_probability is None or self.judge_right is None:
            return text
        return f"{text}\njudge {self.judge_probability[place]:.2f}, {'right' if self.judge_right[place] else 'wrong'}"


class ClassImage:
    """Images that a network takes for a class (or that excite a unit), all made at once.

    `ascent`: gradient ascent on pixels, https://arxiv.org/abs/1312.6034 without its regulariser. Uniform noise in
    [0, 1) (or a picture) is divided by 5 once (mean 0, standard deviation 5) and given to the network as it is; Adam
    raises the class's logit; the outcome times 255, clipped, is the picture. `robust`: the class's log odds by Fourier
    coefficients under random turns, scales, shifts and flips, less total variation, distance from gray and the gap to
    BatchNorm's statistics. Every image made is shown; none is picked out.
    """

    Params = ClassImageParams
    needs_images = False

    def visualize(self, given: VisualizerInput, params: ClassImageParams) -> Visualization:
        """Make the images and score each one.

        Returns:
            Arrays `images` `(B, S, S, 3)` uint8, `targets` `(B,)` (-1 for a unit) and, for classes, the scores of
            `Scores` by name. Scores are of the pictures as they are written, given to the network as any picture is.

        Raises:
            UnknownNameError: There is no such class.
            UsageError: There is no such unit, or a layer without one.
            DataError: The picture to start from can't be read.
        """
        wanted = _wanted(given, params)
        optimised = _ascend(given, wanted, params) if params.method == "ascent" else _robust(given, wanted, params)
        images = _as_pixels(optimised)
        scores = None if params.unit is not None else _scores(given, images, wanted)
        arrays: dict[str, NDArray[Any]] = {"images": images, "targets": np.array(wanted.classes)}
        notes = []
        if scores is not None:
            arrays |= {name: value for name, value in vars(scores).items() if value is not None}
            notes.append(scores.note())
        if scores is not None and params.method == "ascent":
            p = _own_input_probability(given, optimised, wanted)
            arrays["input_probability"] = p
            notes.append(f"as the network was given them, before they became pictures: {p.mean():.2f}")
        return Visualization(arrays, (_figure(given, wanted, params, images, scores),), tuple(notes))


def ascend(module: torch.nn.Module, starts: Tensor, objective: Objective, **options: Any) -> Tensor:
    """Gradient ascent on images from `starts` `(B, 3, H, W)` in [0, 1], divided by 5 once; see `ClassImage`.

    Args:
        options: Of `synthesise`.

    Returns:
        What the network was given last, not clipped.
    """
    return synthesise(module, starts / ASCENT_STD, as_it_is, objective, **options)


def noise(seeds: Sequence[int], size: int) -> Tensor:
    """Uniform noise in [0, 1), `(B, 3, S, S)`, a function of each image's own seed."""
    return torch.stack([torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _wanted(given: VisualizerInput, params: ClassImageParams) -> Wanted:
    count = params.diversity
    if params.unit is not None:
        name, path = _unit_layer(given, params.unit)
        seeds = tuple(given.seed * _SEEDS_APART + number for number in range(count))
        objective = objectives.unit(path, params.unit)
        return Wanted((f"{name} unit {params.unit}",) * count, (-1,) * count, seeds, objective, objective)
    if given.layers:
        raise UsageError("class-image: a layer goes with a unit of it, as in --layer conv4 --unit 17")
    every = range(len(given.class_names))
    classes = list(every) if params.target == "all" else [class_index(given.class_names, params.target)]
    pairs = [(number, copy) for number in classes for copy in range(count)]
    targets = torch.tensor([number for number, _ in pairs], device=given.images.device)
    return Wanted(
        names=tuple(display_name(given.class_names[number]) for number, _ in pairs),
        classes=tuple(number for number, _ in pairs),
        seeds=tuple((given.seed * 1009 + copy) * _SEEDS_APART + number for number, copy in pairs),
        objective=objectives.class_logit(targets),
        robust_objective=objectives.class_odds(targets),
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


def _ascend(given: VisualizerInput, wanted: Wanted, params: ClassImageParams) -> Tensor:
    size = given.model.preprocessing.size
    if params.init is None:
        starts = noise(wanted.seeds, size)
    else:
        pixels = to_float(decode(params.init, given.model.preprocessing)[None].copy()) / 255
        starts = pixels.repeat(len(wanted.names), 1, 1, 1)
    steps, lr = params.steps or 1000, params.lr or 1e-2
    starts = starts.to(given.images.device)
    return ascend(given.model.module, starts, wanted.objective, steps=steps, lr=lr, progress=given.progress)


def _robust(given: VisualizerInput, wanted: Wanted, params: ClassImageParams) -> Tensor:
    module, preprocessing = given.model.module, given.model.preprocessing
    random = torch.Generator().manual_seed(wanted.seeds[0])
    parameters, render = fourier(len(wanted.names), preprocessing.size, random=random)
    objective = (
        wanted.robust_objective
        - params.smoothness * objectives.total_variation()
        - params.tameness * objectives.distance_from_gray()
    )
    if params.statistics:
        # The gap is shared out over the batch; times its size it weighs on each image as on one alone.
        objective = objective - params.statistics * len(wanted.names) * objectives.statistics_gap(module)
    found = synthesise(
        module,
        parameters.to(given.images.device),
        render,
        objective,
        steps=params.steps or 400,
        lr=params.lr or 5e-2,
        transforms=[random_affine(rotation=params.rotation, shift=params.shift), normalised(preprocessing)],
        random=random,
        progress=given.progress,
    )
    return render(found)


def _as_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images times 255, clipped and rounded down, `(B, H, W, 3)`."""
    scaled = images.detach().float().cpu().permute(0, 2, 3, 1).numpy() * 255
    pixels: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return pixels


def _scores(given: VisualizerInput, images: NDArray[np.uint8], wanted: Wanted) -> Scores:
    module, preprocessing, device = given.model.module, given.model.preprocessing, given.images.device
    move, to_input = random_affine(), normalised(preprocessing)
    random = torch.Generator().manual_seed(wanted.seeds[0] + 1)
    plain, moved = [], []
    with evaluating(module), torch.no_grad():
        for image, number in zip(images, wanted.classes, strict=True):
            plain.append(float(module(normalise(image[None], preprocessing).to(device)).softmax(1)[0, number]))
            copies = (to_float(image[None]) / 255).repeat(FRESH, 1, 1, 1)
            moved.append(float(module(to_input(move(copies, random), random).to(device)).softmax(1)[:, number].mean()))
    if given.judge is None:
        return Scores(np.array(plain), np.array(moved))
    verdict = given.judge(images)
    right = verdict.argmax(1) == np.array(wanted.classes)
    return Scores(np.array(plain), np.array(moved), verdict[np.arange(len(images)), wanted.classes], right)


def _own_input_probability(given: VisualizerInput, optimised: Tensor, wanted: Wanted) -> NDArray[Any]:
    with evaluating(given.model.module), torch.no_grad():
        probabilities = given.model.module(optimised).softmax(1).cpu().numpy()
    own: NDArray[Any] = probabilities[np.arange(len(probabilities)), wanted.classes]
    return own


def _figure(
    given: VisualizerInput,
    wanted: Wanted,
    params: ClassImageParams,
    images: NDArray[np.uint8],
    scores: Scores | None,
) -> Figure:
    tiles: list[Tile | None] = []
    for place, (image, name) in enumerate(zip(images, wanted.names, strict=True)):
        tiles.append(Tile(image, "picture", text=f"{name}\n{scores.text(place)}" if scores else name))
    across = params.diversity if 1 < params.diversity <= 8 else min(_ACROSS, len(tiles))
    tiles += [None] * (-len(tiles) % across)
    rows = tuple(tuple(tiles[start : start + across]) for start in range(0, len(tiles), across))
    table = Tiles(("",) * len(rows), ("",) * across, rows, tile=1.35)
    what = wanted.names[0] if len(set(wanted.names)) == 1 else f"{len(set(wanted.names))} classes"
    start = f" from {params.init.name}" if params.init else " from noise"
    name = params.method + ("" if len(set(wanted.names)) > 1 else f"-{wanted.names[0]}")
    return Figure(
        name=name,
        title=f"Class images by {params.method}{start}: {what}, seed {given.seed}",
        alt="Synthesised pictures of " + ", ".join(dict.fromkeys(wanted.names)),
        draw=table.draw,
        size=table.size,
        caption="p: the network's own probability of the class for the picture; moved: its mean under 32 fresh random "
        "turns, scales, shifts and flips.",
    )
