"""How well synthesized pictures do: what the network, a judge and the training images say of each one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahekit.data.augment import normalize, to_float
from ahekit.data.classes import display_name
from ahekit.data.near_copies import thumbnail_directions
from ahekit.hooks import capture
from ahekit.inspection.synthesis import Step
from ahekit.inspection.synthesis.transforms import normalized, random_affine
from ahekit.protocols import VisualizerInput

from .nearest import Nearest

FRESH = 32
NEAR_COPY = 0.98  # the correlation of thumbnails from which ahekit speaks of near-copies

Measure = Callable[[Tensor, int], Tensor]
"""The network's inputs `(N, 3, H, W)` and the number of a picture to what it was made for, of each, `(N,)`."""


@dataclass(frozen=True)
class Goals:
    """What pictures are made for.

    Attributes:
        names: Of each picture.
        classes: Class index of each; -1 for a unit.
        seeds: Of each one's start.
        unit: Path of a module and number of its unit; None: pictures are of classes.
    """

    names: tuple[str, ...]
    classes: tuple[int, ...]
    seeds: tuple[int, ...]
    unit: tuple[str, int] | None = None

    @property
    def kind(self) -> Literal["probability", "activation"]:
        """What pictures are measured by."""
        return "activation" if self.unit else "probability"


@dataclass(frozen=True)
class Scores:
    """What is found of B pictures, as they are written.

    Attributes:
        own: The network's probability of the class each was made for; of a unit its mean output.
        predicted: The class that the network itself predicts for each picture; -1 for a unit.
        reached: Whether that is the class it was made for; of a unit, whether its output is above that for plain gray.
        moved: The mean of the same under `FRESH` fresh random transforms.
        verdict: A second network's probabilities, `(B, C)`; None: nobody was asked.
        nearest: None: nobody looked.
    """

    goals: Goals
    class_names: tuple[str, ...]
    own: NDArray[Any]
    moved: NDArray[Any]
    predicted: NDArray[Any]
    reached: NDArray[Any]
    verdict: NDArray[Any] | None = None
    nearest: Nearest | None = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All by the names they are stored under."""
        kind = self.goals.kind
        classes = np.array(self.goals.classes)
        arrays = {kind: self.own, f"moved_{kind}": self.moved, "reached": self.reached}
        if not self.goals.unit:
            arrays["predicted_class"] = self.predicted
        if self.verdict is not None:
            arrays["judge_class"] = self.verdict.argmax(1)
            arrays["judge_confidence"] = self.verdict.max(1)
        if self.verdict is not None and not self.goals.unit:
            arrays["judge_probability"] = self.verdict[np.arange(len(classes)), classes]
            arrays["judge_right"] = arrays["judge_class"] == classes
        if self.nearest is not None:
            arrays["nearest_id"] = np.array(self.nearest.ids)
            arrays["nearest_class"] = self.nearest.labels
            arrays["nearest_cosine"] = self.nearest.cosine
            arrays["copy_id"] = np.array(self.nearest.copy_ids)
            arrays["copy_correlation"] = self.nearest.copy_correlation
        return arrays

    def notes(self) -> list[str]:
        """All in a few lines."""
        what = "output of the unit" if self.goals.unit else "probability of the target class"
        line = f"mean {what} {self.own.mean():.2f}, under {FRESH} random transforms {self.moved.mean():.2f}"
        right = self.arrays().get("judge_right")
        if right is not None:
            line += f"; the judge predicts the target class for {int(right.sum())} of {len(right)} images"
        lines = [line]
        if self.nearest is not None:
            lines.append(self._nearest_note(self.nearest))
        failed = [name for name, reached in zip(self.goals.names, self.reached, strict=True) if not reached]
        if failed:
            why = "the network itself predicts another class for them"
            if self.goals.unit:
                why = "the unit's output is no larger than for plain gray"
            lines.append(
                f"FAILED A CHECK: {len(failed)} of {len(self.own)} images didn't reach what they are made for, {why} "
                f"(more --set steps=N): {', '.join(failed)}"
            )
        return lines

    def _nearest_note(self, nearest: Nearest) -> str:
        hits = int((nearest.labels == np.array(self.goals.classes)).sum())
        same = "" if self.goals.unit else f" is of the target class for {hits} of {len(self.own)}, and"
        copies = int((nearest.copy_correlation >= NEAR_COPY).sum())
        return (
            f"the training image nearest by embedding{same} has a cosine of {nearest.cosine.min():.2f} to "
            f"{nearest.cosine.max():.2f}; pixels correlate with those of any by {nearest.copy_correlation.max():.2f} "
            f"at most: {copies or 'no'} near-cop{'y' if copies == 1 else 'ies'} of a training image (from {NEAR_COPY})"
        )

    def text(self, place: int) -> str:
        """Of one picture, to be printed under it."""
        own = "p" if self.goals.kind == "probability" else "output"
        lines = [f"{own} {self.own[place]:.2f}, moved {self.moved[place]:.2f}"]
        if not self.reached[place]:
            predicted = "" if self.goals.unit else f": {display_name(self.class_names[int(self.predicted[place])])}"
            lines.append(f"FAILED{predicted}")
        if self.verdict is not None:
            verdict = int(self.verdict[place].argmax())
            lines.append(f"judge: {display_name(self.class_names[verdict])} {self.verdict[place, verdict]:.2f}")
        return "\n".join(lines)

    def nearest_text(self, place: int) -> str:
        """Of a picture's nearest training image, to be printed under that."""
        assert self.nearest is not None
        name = display_name(self.class_names[int(self.nearest.labels[place])])
        cosine = self.nearest.cosine[place]
        correlation = self.nearest.copy_correlation[place]
        return f"{name}, cosine {cosine:.2f}\nmost alike in pixels {correlation:.2f}"


def measure_of(request: VisualizerInput, goals: Goals) -> Measure:
    """The network's probability of each picture's class; of a unit its mean output."""
    module = request.model.module

    def probability(inputs: Tensor, place: int) -> Tensor:
        probabilities: Tensor = module(inputs).softmax(1)
        return probabilities[:, goals.classes[place]]

    def activation(inputs: Tensor, place: int) -> Tensor:
        assert goals.unit is not None
        path, number = goals.unit
        with capture(module, [path]) as outputs:
            module(inputs)
        return outputs[path].activation[:, number].flatten(1).mean(1)

    measure = activation if goals.unit else probability

    def without_graph(inputs: Tensor, place: int) -> Tensor:
        with torch.no_grad():
            return measure(inputs.to(request.images.device), place).cpu()

    return without_graph


def score(
    request: VisualizerInput, pictures: NDArray[np.uint8], goals: Goals, nearest: Nearest | None = None
) -> Scores:
    """What is found of pictures `(B, S, S, 3)`, given to the network as any picture is."""
    preprocessing = request.model.preprocessing
    measure = measure_of(request, goals)
    move = random_affine()
    to_input = normalized(preprocessing)
    # Fresh draws, none of those that the images were made under.
    step = Step(torch.Generator().manual_seed(goals.seeds[0] + 1))
    own, moved = [], []
    for place, picture in enumerate(pictures):
        own.append(float(measure(normalize(picture[None], preprocessing), place)[0]))
        copies = (to_float(picture[None]) / 255).repeat(FRESH, 1, 1, 1)
        moved.append(float(measure(to_input(move(copies, step), step), place).mean()))
    verdict = None if request.judge is None else request.judge(pictures)
    predicted, reached = _reached(request, pictures, goals, measure)
    return Scores(goals, request.class_names, np.array(own), np.array(moved), predicted, reached, verdict, nearest)


def _reached(
    request: VisualizerInput, pictures: NDArray[np.uint8], goals: Goals, measure: Measure
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The classes predicted for the pictures, and which of these reached what they are made for."""
    preprocessing = request.model.preprocessing
    inputs = normalize(pictures, preprocessing)
    if not goals.unit:
        with torch.no_grad():
            predicted = request.model.module(inputs.to(request.images.device)).argmax(1).cpu().numpy()
        return predicted, predicted == np.array(goals.classes)
    gray = float(measure(normalize(np.full_like(pictures[:1], 128), preprocessing), 0)[0])
    outputs = np.array([float(measure(image[None], place)[0]) for place, image in enumerate(inputs)])
    return np.full(len(pictures), -1), outputs > gray


def likeness_note(pictures: NDArray[np.uint8], names: Sequence[str]) -> str:
    """How alike pictures of one name are: the mean correlation of their gray thumbnails, over all pairs."""
    directions = thumbnail_directions(pictures)
    same = np.array(names)[:, None] == np.array(names)[None, :]
    pairs = same & np.triu(np.ones_like(same), 1)  # each pair once, and none of an image with itself
    mean = (directions @ directions.T)[pairs].mean()
    return f"images made for the same: their pixels correlate by {mean:.2f} on average"
