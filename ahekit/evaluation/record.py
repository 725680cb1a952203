"""What is left of a run for reporters: its spec, manifest, history and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ahekit.errors import AhekitError, RunError
from ahekit.evaluation.predictions import Predictions
from ahekit.sections import Visualization
from ahekit.spec import MONITORED, RunSpec


class MissingRecord(AhekitError):
    """The run holds nothing that a section could be made of (it was interrupted before that point)."""


@dataclass(frozen=True)
class RunRecord:
    """A run as reporters see it.

    Attributes:
        history: Rows of `history.jsonl`: `type` is "step" or "epoch".
        predictions: By split ("train", "val", "test"); only those the run got to. Made with the weights chosen on
            validation.
        state: "finished", "interrupted" or "running".
        data_root: The dataset's folder, for thumbnails; None when it is no longer there.
        status: What the trainer noted: why it ended, and `best`, the epoch whose weights were chosen.
        faults: What of the run can't be read, a line each; it is empty here.
        look: What the visualizer of that name, with those parameters, sees in the run's network: in one test image of
            each class, where it looks at images. The network is loaded when this is called, and an `AhekitError` says
            what it lacks. None: nobody may look.
    """

    name: str
    path: Path
    spec: RunSpec
    manifest: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    predictions: Mapping[str, Predictions]
    state: str
    data_root: Path | None = None
    status: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    look: Callable[[str, Mapping[str, Any]], Visualization] | None = None

    @property
    def epochs(self) -> list[Mapping[str, Any]]:
        """The epoch rows, in order."""
        return [row for row in self.history if row.get("type") == "epoch"]

    @property
    def chosen_epoch(self) -> Mapping[str, Any] | None:
        """The row of the epoch chosen on validation; while the run hasn't chosen, that of the best so far."""
        best = self.status.get("best")
        noted = best.get("epoch") if isinstance(best, Mapping) else None
        for row in self.epochs:
            if noted is not None and row.get("epoch") == noted:
                return row
        monitor, sign = self.spec.train.monitor, -1 if self.spec.train.monitor == "loss" else 1
        measured = [(sign * value, row) for row in self.epochs if (value := measure(row, "val", monitor)) is not None]
        return max(measured, key=lambda found: found[0])[1] if measured else None

    @property
    def monitored(self) -> tuple[str, float] | None:
        """What the chosen epoch is best in on validation, in words, and how much it has of it."""
        row, monitor = self.chosen_epoch, self.spec.train.monitor
        value = None if row is None else measure(row, "val", monitor)
        return None if value is None else (MONITORED[monitor], value)

    @property
    def is_sample(self) -> bool:
        """Whether the images are the embedded sample's drawings, whose figures say nothing of photographs."""
        data = self.manifest.get("data")
        return isinstance(data, Mapping) and data.get("kind") == "sample"

    def need_predictions(self, split: str) -> Predictions:
        """Predictions of a split with at least one image of known class.

        Raises:
            MissingRecord: The run stored none, or its file can't be read.
        """
        if split not in self.predictions:
            raise MissingRecord(f"no predictions on {split} are stored (the run is {self.state})")
        try:
            predictions = self.predictions[split]
        except RunError as error:
            raise MissingRecord(str(error)) from error
        if not (predictions.labels >= 0).any():
            raise MissingRecord(f"the predictions on {split} hold no image of known class")
        return predictions


def measure(row: Mapping[str, Any], split: str, metric: str) -> float | None:
    """One figure of an epoch row, such as `("test", "f1")`; None where it was not measured."""
    block = row.get(split)
    value = block.get(metric) if isinstance(block, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


SPLIT_NAMES = {
    "train_online": "train (online)",
    "train": "train (re-measured)",
    "val": "validation",
    "test": "test",
}


def judged_predictions(record: RunRecord) -> tuple[str, Predictions]:
    """The predictions a verdict rests on: those on test, else those on validation; with the split's name.

    Raises:
        MissingRecord: There are neither.
    """
    try:
        return "test", record.need_predictions("test")
    except MissingRecord as missing:
        try:
            return "val", record.need_predictions("val")
        except MissingRecord:
            raise missing from None
