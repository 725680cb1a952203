"""What a model, a visualizer and a reporter plugin must provide; the whole plugin interface on one page.

Every plugin is a class with a one-line docstring (shown by `ahekit plugins`), a constructor without arguments and
a pydantic model `Params` (validated, described by `ahekit plugins show NAME`). Nothing else is inherited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from ahekit.evaluation.compared import ComparedRuns
    from ahekit.evaluation.record import RunRecord
    from ahekit.reporting.sections import Figure, Section, Table

Fit = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class NoParams(BaseModel):
    """For a plugin that has nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input.

    An image is brought to `size` x `size` pixels by `fit` ("stretch" ignores the aspect ratio, "crop" resizes the
    shorter side to `size / crop_fraction` and cuts the centre, "pad" resizes the longer side and pads with gray),
    scaled to [0, 1], then normalised per channel: `(pixel - mean) / std`.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    interpolation: Interpolation = "bilinear"
    fit: Fit = "stretch"
    crop_fraction: float = 1.0


@dataclass(frozen=True)
class LoadedWeights:
    """What came of loading pretrained weights.

    Attributes:
        source: Where they are from.
        loaded: Number of the backbone's tensors that were set.
        missing: Those that the source lacks and can do without (counters of BatchNorm).
        unexpected: What the source holds beside (its own classifier).
        prefix: What was taken off the names of its tensors.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    prefix: str = ""


@dataclass(frozen=True)
class BuiltModel:
    """A network and all that freezing, layer-wise rates, hooks, visualizers and export need to know of it.

    Attributes:
        module: Maps normalised images `(B, 3, H, W)` to logits `(B, num_classes)`.
        preprocessing: How pixels become its input.
        stages: Stage name to its modules, in order from input to head. Together the stages hold every parameter
            once; the last one is the head.
        layers: Alias (`conv3`) to dotted module path. Dotted paths always work beside the aliases.
        embed: Normalised images to the embedding before the head, `(B, D)`.
        split: `split(stage)` cuts before that stage: `(prefix, suffix)` with `suffix(prefix(x)) == module(x)`.
        depths: Number of each parameter's layer, counted from the input, where the network knows finer layers than its
            stages; layer-wise learning rates go by them. Empty: they go by stages.
        pretrained: Loads the pretrained weights that the parameters ask for; None: the weights stay fresh. Called
            once, when a new run starts: a run that goes on has its own.
    """

    module: nn.Module
    preprocessing: Preprocessing
    stages: Mapping[str, tuple[nn.Module, ...]]
    layers: Mapping[str, str]
    embed: Callable[[Tensor], Tensor]
    split: Callable[[str], tuple[nn.Module, nn.Module]]
    depths: Mapping[str, int] = field(default_factory=dict)
    pretrained: Callable[[], LoadedWeights] | None = None


class ModelPlugin(Protocol):
    """Builds a network. Entry-point group `ahekit.models`."""

    Params: type[BaseModel]
    image_size: int
    """Side length in pixels that the model is built for when the run doesn't say."""

    def build(self, params: Any, *, num_classes: int, image_size: int) -> BuiltModel:
        """Build the network with fresh weights.

        Raises:
            UsageError: `image_size` is one the network cannot take.
        """
        ...


@dataclass(frozen=True)
class Suggestion:
    """A model worth starting with: one line of a CSV file of these columns, beside a model plugin's or family's module.

    The file carries the module's name (`nets/family.csv` beside `nets/family.py`), so that `ahekit plugins` and
    completion know it without importing anything.

    Attributes:
        parameters: With a head for ten classes.
        multiply_adds: For one image of its own size.
        image_size: Its own, pixels a side.
    """

    name: str
    parameters: int
    multiply_adds: int
    image_size: int


class ModelFamily(Protocol):
    """Resolves many model names at once; its entry-point name ends in `/*` (`timm/*`).

    Asked only when no plain name matches, or when the name is written with the family's prefix (`timm/resnet18`).
    Which of them are worth starting with, a file of `Suggestion`s says.
    """

    def names(self) -> Sequence[str]:
        """Every name the family resolves, for near matches."""
        ...

    def resolve(self, name: str) -> ModelPlugin | None:
        """The plugin for `name`, or None when the family doesn't know it."""
        ...


@dataclass(frozen=True)
class SplitImages:
    """The images of one of a run's splits, to be streamed: no more of them are in memory than are asked for at a time.

    Attributes:
        name: "train", "val" or "test".
        pixels: `(M, S, S, 3)` uint8 of the whole dataset, as the network's preprocessing made them; mapped from disk.
        places: `(N,)`, where in `pixels` the split's images are.
        ids: N sample ids.
        labels: `(N,)` class indices.
    """

    name: str
    pixels: np.ndarray
    places: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, numbers: Any) -> np.ndarray:
        """Pixels of the images of those numbers within the split, `(B, S, S, 3)` uint8."""
        pixels: np.ndarray = self.pixels[self.places[numbers]]
        return pixels

    def batches(self, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """All images in order: their numbers within the split, and their pixels `(B, S, S, 3)` uint8."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.take(part)


@dataclass(frozen=True)
class VisualizerInput:
    """What a visualizer gets: a model in eval mode and the images to look at.

    Attributes:
        images: Normalised, `(B, 3, H, W)` float.
        pixels: The same before normalisation, `(B, H, W, 3)` uint8.
        image_ids: A name for each image.
        labels: True class index of each, -1 where unknown.
        layers: Layers asked for, as dotted paths by the alias the user wrote.
        progress: For long work: to be called with the steps done and their number.
        judge: A second network that had no part in what is looked at: pictures `(B, H, W, 3)` uint8 to probabilities
            `(B, C)` of this network's classes. None: nobody is asked.
        split: Opens a split of the run's dataset by name, when a visualizer looks at more than single images; raises
            `RunError` where the dataset is gone. None: there is no dataset.
    """

    model: BuiltModel
    class_names: tuple[str, ...]
    images: Tensor
    pixels: np.ndarray
    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    layers: Mapping[str, str]
    seed: int = 0
    progress: Callable[[int, int], None] = lambda done, total: None
    judge: Callable[[np.ndarray], np.ndarray] | None = None
    split: Callable[[str], SplitImages] | None = None


@dataclass(frozen=True)
class Animation:
    """Pictures that follow each other.

    Attributes:
        name: File stem, unique within the visualization.
        frames: `(T, H, W, 3)` uint8.
        form: File format.
        milliseconds: That a frame is shown; the last one stays five times as long.
    """

    name: str
    frames: np.ndarray
    form: Literal["gif", "webp"] = "gif"
    milliseconds: int = 300


@dataclass(frozen=True)
class Visualization:
    """What a visualizer returns: arrays by name, figures that show them, lines to say of them, tables, animations."""

    arrays: Mapping[str, np.ndarray]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    animations: tuple[Animation, ...] = ()


class VisualizerPlugin(Protocol):
    """Looks inside a model. Entry-point group `ahekit.visualizers`.

    Never writes a file and never leaves a hook, a changed train flag, gradient or parameter behind. One that looks at
    no images says so with an attribute `needs_images = False` and is given none.
    """

    Params: type[BaseModel]

    def visualize(self, given: VisualizerInput, params: Any) -> Visualization:
        """Compute arrays and describe the figures that show them."""
        ...


class ReporterPlugin(Protocol):
    """Makes one section of a report. Entry-point group `ahekit.reporters`.

    It has a method `report`, for the report on one run, or `compare`, for the comparison of several, or both.
    """

    Params: type[BaseModel]
    order: int
    """Place in the report; lower comes first. First-party sections use 10, 20, 30 …"""


class RunReporter(ReporterPlugin, Protocol):
    """A reporter that turns a run's record into a section."""

    def report(self, record: RunRecord, params: Any) -> Section:
        """Compute the section.

        Raises:
            MissingRecord: The run holds nothing this section could be made of; the report says so and goes on.
        """
        ...


class ComparisonReporter(ReporterPlugin, Protocol):
    """A reporter that turns several runs on the test images they share into a section."""

    def compare(self, runs: ComparedRuns, params: Any) -> Section:
        """Compute the section.

        Raises:
            MissingRecord: The runs hold nothing this section could be made of; the report says so and goes on.
        """
        ...


def describe(plugin: object) -> str:
    """The first line of a plugin's docstring."""
    return (type(plugin).__doc__ or "").strip().split("\n", 1)[0]


def stage_names(stages: Iterable[str]) -> str:
    """Stage names in order, for messages."""
    return " → ".join(stages)
