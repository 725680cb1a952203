"""What several reporters share: which predictions to read, and how to name things."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ahekit.data.classes import DISPLAY_NAMES
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord

SPLIT_NAMES = {
    "train_online": "train (online)",
    "train": "train (re-measured)",
    "val": "validation",
    "test": "test",
}


class BootstrapParams(BaseModel):
    """Parameters of a reporter that bootstraps; two with one seed draw the same resamples."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    resamples: int = Field(10_000, ge=100, description="bootstrap resamples; fewer beyond 200 classes")
    seed: int = Field(0, ge=0, description="seed of the bootstrap")


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


def take(predictions: Predictions, indices: NDArray[np.int64]) -> Predictions:
    """The predictions on some of the images, in the order given."""
    ids = tuple(predictions.ids[index] for index in indices.tolist())
    return replace(predictions, ids=ids, labels=predictions.labels[indices], logits=predictions.logits[indices])


def shown(class_name: str) -> str:
    """A class's name as people write it."""
    return DISPLAY_NAMES.get(class_name, class_name)


def shown_all(predictions: Predictions) -> list[str]:
    """Every class's name as people write it, in order."""
    return [shown(name) for name in predictions.class_names]


def listed(words: list[str]) -> str:
    """Words as an enumeration: "altar, apse and vault"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it has to be: "1 image", "2 images"."""
    return f"{number:,d} {noun}{'' if number == 1 else 's'}"
