"""What a run notes of itself: its manifest, its status, and the rows of its history.

All of it is read leniently, since the files may be of another version, edited or damaged: a value of the wrong type
becomes unknown (the field's default), keys that nobody asked for are ignored, and each such fault is told in a line.
Reading never raises; what a run can't do without is checked by whoever needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import from_json

from ahekit.files import read_regular
from ahekit.spec import RunSpec

# Past 2^53 no two programs agree on what a number in JSON is.
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
# JSON has lists only; what is in them is checked all the same.
Names = Annotated[tuple[str, ...], Field(strict=False)]
Measured = dict[str, float | None]
"""Metrics by name; None where one could not be measured."""

_NAMED_FAULTS = 3


class Note(BaseModel):
    """Base of what is read leniently: every field has a default, which stands for "unknown"."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _leniently(cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if isinstance(values, cls):
            return values
        faults: list[str] = info.context if isinstance(info.context, list) else []
        if not isinstance(values, Mapping):
            faults.append("no mapping of names to values")
            values = {}
        try:
            return handler(values)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
        for problem in problems:
            values = _without(values, problem["loc"])
            place = " ".join(".".join(map(str, problem["loc"])).split())
            faults.append(f"{place[:80]}: {problem['msg'][0].lower()}{problem['msg'][1:]}")
        try:
            return handler(values)
        except ValidationError:
            return handler({key: value for key, value in values.items() if key not in {p["loc"][0] for p in problems}})

    @classmethod
    def of(cls, values: Any, *, where: str = "", faults: list[str] | None = None) -> Self:
        """The note that values stand for.

        Args:
            where: What the values are, put before each fault.
            faults: Told here, a line each; many are summed up.
        """
        told: list[str] = []
        note = cls.model_validate(values, context=told)
        told = list(dict.fromkeys(told))  # what is within something else that is wrong is read twice
        if told and faults is not None:
            more = f", and {len(told) - _NAMED_FAULTS} more" if len(told) > _NAMED_FAULTS else ""
            faults.append(f"{where}: taken as unknown: {'; '.join(told[:_NAMED_FAULTS])}{more}")
        return note

    @classmethod
    def read(cls, path: Path, *, faults: list[str] | None = None) -> Self:
        """The note that a JSON file holds; a blank one, and a fault, where it can't be read."""
        try:
            values = from_json(read_regular(path))
        except (OSError, ValueError) as error:
            if faults is not None:
                faults.append(f"{path.name}: {_reason(error)}")
            return cls()
        return cls.of(values, where=path.name, faults=faults)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known."""
        return self == type(self)()


class Refused(Note):
    """A file that was left out of the dataset, and why."""

    id: str = ""
    reason: str = ""


class DataNote(Note):
    """The dataset of a run.

    Attributes:
        counts: Images by split and class.
    """

    name: str | None = None
    kind: str | None = None
    root: str | None = None
    fingerprint: str | None = None
    edition: str | None = None
    counts: dict[str, dict[str, Count]] = {}
    refused: Annotated[tuple[Refused, ...], Field(strict=False)] = ()

    def images(self, split: str) -> int | None:
        """How many images a split has; None where that isn't known."""
        by_class = self.counts.get(split)
        return None if by_class is None else sum(by_class.values())


class HardwareNote(Note):
    """The machine of a run."""

    processor: str | None = None
    gpu: str | None = None
    platform: str | None = None
    cores: Count | None = None
    python: str | None = None

    @property
    def words(self) -> str:
        """The machine in a line; what isn't known of it is left out."""
        cores = f"{self.cores} cores" if self.cores else None
        return ", ".join(part for part in (self.processor, cores, self.gpu, self.platform) if part)


class ParametersNote(Note):
    """How many parameters the network has, and how many of them were trained."""

    total: Count | None = None
    trainable: Count | None = None


class WeightsNote(Note):
    """The pretrained weights that a run started from; see `ahekit.protocols.LoadedWeights`."""

    source: str | None = None
    loaded: Count | None = None
    missing: Names = ()
    unexpected: Names = ()


class TeacherNote(Note):
    """The network whose answers a run learned from.

    Attributes:
        fingerprint: Of a model folder, SHA-256 in hexadecimal; a run has none, and is told by its name.
    """

    name: str | None = None
    model: str | None = None
    fingerprint: str | None = None


class MetricNote(Note):
    """A metric that was measured at each epoch's end.

    Attributes:
        name: Its key in the history, and what `train.monitor` calls it.
        direction: Which of two values is the better one.
        description: What people call it.
        reporter: The reporter that offered it.
    """

    name: str = ""
    direction: Literal["higher", "lower"] = "higher"
    description: str = ""
    reporter: str = ""

    @property
    def words(self) -> str:
        """What people call it."""
        return self.description or self.name

    def is_better(self, value: float | None, than: float | None) -> bool:
        """Whether a value beats another; one that wasn't measured beats none and is beaten by any."""
        if value is None or math.isnan(value):
            return False
        if than is None or math.isnan(than):
            return True
        return value < than if self.direction == "lower" else value > than


class Extension(Note):
    """A finished run was given more epochs.

    Attributes:
        epochs: It was to have until then, and has `to` from then on.
        step: Optimizer steps taken by then.
    """

    epochs: Count = 0
    to: Count = 0
    step: Count = 0


class SplitsNote(Note):
    """The sample ids of each split, groups of images that were kept on one side, and the rule that made the groups.

    Attributes:
        unused: Training images that the run's share leaves out.
    """

    train: Names = ()
    val: Names = ()
    test: Names = ()
    leak_groups: Annotated[tuple[Names, ...], Field(strict=False)] = ()
    grouped_by: str = "none"
    unused: Names = ()


class Manifest(Note):
    """`manifest.json`: what a run was made with.

    Attributes:
        class_names: In the order of the logits.
        asked: Fields of the spec that were asked to depart from the recipe; a run of before that was noted has None.
        metrics: Measured at each epoch's end; a run of before metrics were noted has none here.
        processes: That trained the run together.
        extended: Each time that a finished run was trained on.
    """

    ahekit: str | None = None
    data: DataNote = DataNote()
    class_names: Names = ()
    splits: SplitsNote = SplitsNote()
    versions: dict[str, str] = {}
    hardware: HardwareNote = HardwareNote()
    parameters: ParametersNote = ParametersNote()
    asked: Names | None = None
    weights: WeightsNote | None = None
    teacher: TeacherNote | None = None
    metrics: Annotated[tuple[MetricNote, ...], Field(strict=False)] = ()
    processes: Count | None = None
    extended: Annotated[tuple[Extension, ...], Field(strict=False)] = ()

    def metric(self, name: str) -> MetricNote:
        """What is known of a metric."""
        return next((metric for metric in (*self.metrics, *_EVER_SINCE) if metric.name == name), MetricNote(name=name))


# Runs of before metrics were noted in the manifest were chosen by one of these two.
_EVER_SINCE = (
    MetricNote(name="f1", direction="higher", description="macro-F1"),
    MetricNote(name="loss", direction="lower", description="log loss"),
)


class BestNote(Note):
    """The epoch whose weights were chosen on validation; 0 while none is.

    Attributes:
        checkpoint: Name of its checkpoint.
        val: What was measured there on validation.
    """

    epoch: Count = 0
    step: Count = 0
    checkpoint: str = ""
    val: Measured = {}

    @model_validator(mode="before")
    @classmethod
    def _of_before_metrics_were_open(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "val" in values:
            return values
        return {**values, "val": {name: values[f"val_{name}"] for name in ("f1", "loss") if f"val_{name}" in values}}


class Status(Note):
    """`status.json`: how a run stands.

    Attributes:
        reason: Why it ended, or was interrupted.
        epoch: In progress, counted from 1.
        step: Optimizer steps taken.
        seconds: Spent on it so far.
    """

    state: Literal["running", "interrupted", "finished"] = "interrupted"
    reason: str = ""
    best: BestNote = BestNote()
    epoch: Count = 0
    step: Count = 0
    seconds: Seconds | None = None


class StepRow(Note):
    """A row of the history for each optimizer step; see `ahekit.training.steps.StepRecord`."""

    step: Count = 0
    epoch: Count = 0
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    images: Count = 0
    seconds: Seconds | None = None


class EpochRow(Note):
    """A row of the history for each epoch: what was measured at its end, by split; none need be of all splits.

    Attributes:
        epoch: Counted from 1.
        step: Optimizer steps taken by then.
        partial: It was broken off by a time limit.
        seconds: Since the run's start.
        train_online: On the images as training saw them, while the weights changed.
    """

    SPLITS: ClassVar = ("train_online", "train", "val", "test")

    epoch: Count = 0
    step: Count = 0
    partial: bool = False
    lr: float | None = None
    seconds: Seconds | None = None
    train_online: Measured = {}
    train: Measured = {}
    val: Measured = {}
    test: Measured = {}

    def measured(self, split: str) -> Mapping[str, float | None]:
        """All metrics of a split, by name."""
        measured: Mapping[str, float | None] = getattr(self, split) if split in self.SPLITS else {}
        return measured

    def value(self, split: str, metric: str) -> float | None:
        """One figure, such as `("test", "f1")`; None where it was not measured."""
        return self.measured(split).get(metric)


@dataclass(frozen=True)
class History:
    """The rows of `history.jsonl`, by kind and in their order."""

    steps: tuple[StepRow, ...] = ()
    epochs: tuple[EpochRow, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Any], *, faults: list[str] | None = None) -> Self:
        """The history that rows make; one of no known kind, or that doesn't say which epoch it is of, is left out."""
        steps: list[StepRow] = []
        epochs: list[EpochRow] = []
        told: list[str] = []
        for number, row in enumerate(rows, start=1):
            where = f"history.jsonl, row {number}"
            kind = row.get("type") if isinstance(row, Mapping) else None
            if kind == "step":
                steps.append(StepRow.of(row, where=where, faults=told))
            elif kind == "epoch" and (epoch := EpochRow.of(row, where=where, faults=told)).epoch:
                epochs.append(epoch)
            else:
                told.append(f"{where}: left out: it doesn't say which step or epoch it is of")
        if faults is not None:
            faults += told[:_NAMED_FAULTS]
            if len(told) > _NAMED_FAULTS:
                faults.append(f"history.jsonl: {len(told) - _NAMED_FAULTS} more rows are not what they should be")
        return cls(tuple(steps), tuple(epochs))


def chosen_epoch(history: History, status: Status, manifest: Manifest, spec: RunSpec) -> EpochRow | None:
    """The epoch chosen on validation; while the run hasn't chosen, the best so far. None: no epoch was measured."""
    noted = status.best.epoch
    monitor = spec.train.monitor
    metric = manifest.metric(monitor)
    best: EpochRow | None = None
    for row in history.epochs:
        if noted and row.epoch == noted:
            return row
        if metric.is_better(row.value("val", monitor), best.value("val", monitor) if best else None):
            best = row
    return best


def _without(values: Mapping[str, Any], place: tuple[int | str, ...]) -> dict[str, Any]:
    """A copy that lacks what stands at a place; of a list, which means nothing in part, the whole."""
    first, *inner = place
    below = values.get(str(first))
    if inner and isinstance(below, Mapping) and inner[0] in below:
        return {**values, str(first): _without(below, tuple(inner))}
    return {key: value for key, value in values.items() if key != first}


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"can't be read ({error.strerror or error})"
    return f"isn't JSON ({str(error).splitlines()[0][:80]})"
