"""What is left of a run for reporters: its spec, manifest, history and predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahekit.errors import AhekitError, DataError, RunError
from ahekit.notes import EpochRow, History, Manifest, MetricNote, Status, chosen_epoch
from ahekit.spec import RunSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ahekit.data.folder import Folder
    from ahekit.evaluation.predictions import Predictions


_TRIED = 100
"""Images looked for, at most, before a folder is walked."""


class MissingRecord(AhekitError):
    """The run holds nothing that a section could be made of (it was interrupted before that point)."""


@dataclass(frozen=True)
class Look:
    """What a visualizer saw in a run's network.

    Attributes:
        title: Of its figure: what it shows, of which layer.
        notes: What the user should know of it.
        arrays: The visualizer's own by name, and of the test images it looked at, `pixels`, `image_ids` and `labels`.
    """

    title: str
    notes: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class RunRecord:
    """A run as reporters see it.

    Attributes:
        manifest: What the run was made with.
        history: What was measured at each optimizer step and each epoch.
        predictions: By split ("train", "val", "test"); only those the run got to. Made with the weights chosen on
            validation.
        state: "finished", "interrupted" or "running".
        data_root: The folder that the run says its images are in; None when it is no longer there. What is there may be
            anything: `images_root` is where they still are the run's.
        status: What the trainer noted: why it ended, and `best`, the epoch whose weights were chosen.
        faults: What of the run can't be read, a line each; it is empty here.
        look: What the visualizer of that name, with those parameters, sees in the run's network: in one test image of
            each class, where it looks at images. Where it wasn't kept of an earlier look, the network is loaded when
            this is called, and an `AhekitError` says what it lacks. None: nobody may look.
    """

    name: str
    path: Path
    spec: RunSpec
    manifest: Manifest
    history: History
    predictions: Mapping[str, Predictions]
    state: str
    data_root: Path | None = None
    status: Status = field(default_factory=Status)
    faults: tuple[str, ...] = ()
    look: Callable[[str, Mapping[str, Any]], Look] | None = None

    @classmethod
    def of(
        cls,
        *,
        manifest: Mapping[str, Any] | None = None,
        history: Sequence[Mapping[str, Any]] = (),
        status: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> RunRecord:
        """A record whose manifest, history and status are plain values, as the run's JSON files hold them.

        Example:
            >>> record = RunRecord.of(
            ...     name="mine", path=Path("mine"), spec=RunSpec(), predictions={}, state="finished",
            ...     history=[{"type": "epoch", "epoch": 1, "val": {"loss": 0.5}}],
            ... )
            >>> record.chosen_epoch.value("val", "loss")
            0.5
        """
        return cls(
            manifest=Manifest.of(manifest or {}),
            history=History.of(history),
            status=Status.of(status or {}),
            **others,
        )

    @property
    def images_root(self) -> Path | None:
        """The dataset's folder, for thumbnails; None when it doesn't hold the images that the run was made with."""
        return None if self.images is None else self.images.root

    @cached_property
    def images(self) -> Folder | None:
        """The dataset as it lies in its folder; None when that doesn't hold the images that the run was made with.

        A run comes from anywhere, and whatever else a folder holds is nobody's to show because a run names it.
        """
        noted = self.manifest.data.fingerprint
        splits = self.manifest.splits
        ids = (*splits.test, *splits.val, *splits.train)
        if self.data_root is None or noted is None or not ids:
            return None
        from ahekit.data.cache import contents_of
        from ahekit.data.folder import scan
        from ahekit.data.ids import sample_path

        try:
            # Where one of a few is missing, the folder needs no walk: it may be a whole disk.
            if not all(sample_path(self.data_root, name).is_file() for name in ids[:: len(ids) // _TRIED + 1]):
                return None
            folder = scan(self.data_root)
            return folder if contents_of(folder) == noted else None
        except (DataError, OSError):
            return None

    @property
    def epochs(self) -> Sequence[EpochRow]:
        """What was measured at each epoch's end, in order."""
        return self.history.epochs

    @property
    def chosen_epoch(self) -> EpochRow | None:
        """The epoch chosen on validation; while the run hasn't chosen, the best so far."""
        return chosen_epoch(self.history, self.status, self.manifest, self.spec)

    @property
    def monitor(self) -> MetricNote:
        """The metric that chooses the epoch on validation."""
        return self.manifest.metric(self.spec.train.monitor)

    @property
    def monitored(self) -> tuple[str, float] | None:
        """What the chosen epoch is best in on validation, in words, and how much it has of it."""
        row = self.chosen_epoch
        value = None if row is None else row.value("val", self.monitor.name)
        return None if value is None else (self.monitor.words, value)

    @property
    def is_sample(self) -> bool:
        """Whether the images are the embedded sample's drawings, whose figures say nothing of photographs."""
        return self.manifest.data.kind == "sample"

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
