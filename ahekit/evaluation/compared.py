"""Several runs on the test images they share, as reporters that compare see them."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from ahekit.errors import RunError
from ahekit.evaluation.comparison import Comparison, compare, shared_images
from ahekit.evaluation.metrics import confusion_counts, macro_scores
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord


@dataclass(frozen=True)
class ComparedRuns:
    """Runs that can be compared; the first is what the others are compared with.

    Attributes:
        records: By name.
        shared: Each run's predictions on the test images that all of them have, in one order of images and classes.
        totals: How many test images of known class each run has.
        unfit: By name, why a run can't be compared.
    """

    records: Mapping[str, RunRecord]
    shared: Mapping[str, Predictions]
    totals: Mapping[str, int]
    unfit: Mapping[str, str]

    @classmethod
    def of(cls, records: Iterable[RunRecord]) -> Self:
        """Bring runs' test predictions together.

        Raises:
            RunError: Fewer than two runs hold test predictions, they share no image, or know different classes.
        """
        fit: dict[str, RunRecord] = {}
        stored: dict[str, Predictions] = {}
        unfit: dict[str, str] = {}
        for record in records:
            try:
                stored[record.name] = record.need_predictions("test")
                fit[record.name] = record
            except MissingRecord as error:
                unfit[record.name] = str(error)
        if len(stored) < 2:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in unfit.items()) or "one run was named twice"
            raise RunError(f"a comparison takes two different runs with test predictions ({reasons})")
        totals = {name: int((predictions.labels >= 0).sum()) for name, predictions in stored.items()}
        return cls(fit, shared_images(stored), totals, unfit)

    @property
    def names(self) -> list[str]:
        """In the order in which they were given."""
        return list(self.records)

    @property
    def first(self) -> Predictions:
        """What the run that the others are compared with says of the shared images."""
        return self.shared[self.names[0]]

    @property
    def is_same_test(self) -> bool:
        """Whether all runs were tested on the same images."""
        return set(self.totals.values()) == {len(self.first.ids)}

    def letter(self, name: str) -> str:
        """A run's short name in tables: A is the first."""
        place = self.names.index(name)
        return string.ascii_uppercase[place] if place < len(string.ascii_uppercase) else f"Run {place + 1}"

    def scores(self, name: str) -> dict[str, float]:
        """A run's accuracy, and macro precision, recall and F1, on the shared images."""
        said = self.shared[name]
        return macro_scores(confusion_counts(said.labels, said.predicted, len(said.class_names)))

    def against_first(self, *, samples: int, seed: int) -> dict[str, Comparison]:
        """Each of the other runs compared with the first, by name; one seed draws the same resamples for all."""
        return {name: compare(self.first, self.shared[name], samples=samples, seed=seed) for name in self.names[1:]}
