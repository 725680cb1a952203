"""Several runs on the test images they share, as reporters that compare see them."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ahekit.errors import RunError
from ahekit.evaluation.comparison import Comparison, compare, shared_images
from ahekit.evaluation.metrics import confusion_counts, macro_scores
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.validation import flat_fields

_NAMED_FIELDS = 3
_SHORT_FIELDS = {"model.name": "model", "optim.lr": "lr", "train.epochs": "epochs", "optim.name": "optimizer"}


@dataclass(frozen=True)
class Group:
    """Runs of one spec.

    Attributes:
        names: Of the runs, in the order given.
        words: What sets their spec apart from the others'.
    """

    names: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class ComparedRuns:
    """Runs that can be compared; the first is what the others are compared with.

    Attributes:
        records: By name.
        shared: Each run's predictions on the test images that all of them have, in one order of images and classes.
        totals: How many test images of known class each run has.
        left_out: By name, why a run can't be compared.
    """

    records: Mapping[str, RunRecord]
    shared: Mapping[str, Predictions]
    totals: Mapping[str, int]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, records: Iterable[RunRecord]) -> Self:
        """Bring runs' test predictions together.

        Raises:
            RunError: Fewer than two runs hold test predictions, they share no image, or know different classes.
        """
        comparable: dict[str, RunRecord] = {}
        stored: dict[str, Predictions] = {}
        left_out: dict[str, str] = {}
        for record in records:
            try:
                stored[record.name] = record.need_predictions("test")
                comparable[record.name] = record
            except MissingRecord as error:
                left_out[record.name] = str(error)
        if len(stored) < 2:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "one run was given twice"
            raise RunError(f"a comparison takes two different runs with test predictions ({reasons})")
        totals = {name: int((predictions.labels >= 0).sum()) for name, predictions in stored.items()}
        return cls(comparable, shared_images(stored), totals, left_out)

    @property
    def names(self) -> list[str]:
        """In the order of the command line."""
        return list(self.records)

    @property
    def first(self) -> Predictions:
        """Predictions on the shared images of the run that the others are compared with."""
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
        predictions = self.shared[name]
        counts = confusion_counts(predictions.labels, predictions.predicted, len(predictions.class_names))
        return macro_scores(counts)

    @property
    def differing_fields(self) -> dict[str, dict[str, Any]]:
        """Fields of the specs in which the runs differ, each with the value of every run by name.

        The seed and the machine (`runtime`) are left out: they make the same thing anew.
        """
        dumps = {name: flat_fields(record.spec) for name, record in self.records.items()}
        fields = dict.fromkeys(field for dump in dumps.values() for field in dump)
        values = {field: {name: dump.get(field) for name, dump in dumps.items()} for field in fields}
        return {
            field: by_run
            for field, by_run in values.items()
            if field != "seed" and not field.startswith("runtime.") and len(set(map(repr, by_run.values()))) > 1
        }

    @property
    def groups(self) -> list[Group]:
        """The runs of each spec, in the order of their first: those that differ in nothing but seed and machine."""
        fields = self.differing_fields
        members: dict[str, list[str]] = {}
        for name in self.names:
            members.setdefault(repr([by_run[name] for by_run in fields.values()]), []).append(name)
        return [Group(tuple(names), self._spec_words(fields, names[0])) for names in members.values()]

    def _spec_words(self, fields: Mapping[str, Mapping[str, Any]], name: str) -> str:
        """What sets a run's spec apart from the others', as short as it can be said."""
        words = [
            f"{_SHORT_FIELDS.get(field, field)} {'none' if by_run[name] is None else by_run[name]}"
            for field, by_run in fields.items()
        ]
        if not words:
            return self.records[name].spec.model.name
        # The model and the recipe bring many fields with them, which say no more than their names.
        telling = [
            word for field, word in zip(fields, words, strict=True) if field in ("model.name", "recipe")
        ] or words
        more = f" and {len(telling) - _NAMED_FIELDS} more" if len(telling) > _NAMED_FIELDS else ""
        return ", ".join(telling[:_NAMED_FIELDS]) + more

    def against_first(self, *, samples: int, seed: int) -> dict[str, Comparison]:
        """Each of the other runs compared with the first, by name; one seed draws the same resamples for all."""
        return {name: compare(self.first, self.shared[name], samples=samples, seed=seed) for name in self.names[1:]}
