"""Test images that have a near-copy among the images a run was trained or chosen on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ahekit.data.dataset import load_dataset
from ahekit.data.folder import scan
from ahekit.data.split import near_copies
from ahekit.errors import DataError
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.preprocessing import Preprocessing

_THUMBNAIL_SIZE = 64  # of the pixels that are opened on the way when the run doesn't tell its own


@dataclass(frozen=True)
class NearCopy:
    """A test image and the image most like it among those of training and validation.

    Attributes:
        test: Sample id; `seen` likewise.
        correlation: Of their 16 x 16 gray thumbnails.
    """

    test: str
    seen: str
    correlation: float


@dataclass(frozen=True)
class Leaks:
    """All of a run's leaking test images, the most alike first.

    Attributes:
        threshold: Correlation from which two images are near-copies.
        test_images: Images on test in all.
    """

    copies: tuple[NearCopy, ...]
    threshold: float
    test_images: int


def find_leaks(record: RunRecord) -> Leaks:
    """Look for near-copies between a run's test images and those it was trained or chosen on.

    Raises:
        MissingRecord: The run doesn't say how it was split, or its images are gone or others.
    """
    splits = record.manifest.splits
    if not splits.test:
        raise MissingRecord("the run doesn't say which images were train and which test")
    if record.data_root is None:
        raise MissingRecord("the run's images are not where they were, so near-copies can't be looked for")
    data = record.spec.data
    preprocessing = Preprocessing(data.image_size or _THUMBNAIL_SIZE).overlaid(
        fit=data.fit, interpolation=data.interpolation
    )
    try:
        dataset = load_dataset(scan(record.data_root), preprocessing)
    except DataError as error:
        raise MissingRecord(f"near-copies can't be looked for: {error}") from error
    if dataset.fingerprint != record.manifest.data.fingerprint:
        raise MissingRecord(f"the images in {record.data_root} are not those the run was made with")
    place = {name: index for index, name in enumerate(dataset.ids)}
    is_test, is_seen = np.zeros(len(place), dtype=bool), np.zeros(len(place), dtype=bool)
    is_test[[place[name] for name in splits.test]] = True
    is_seen[[place[name] for name in (*splits.train, *splits.val)]] = True
    threshold = data.near_copy_threshold
    best: dict[str, NearCopy] = {}
    for first, second, correlation in near_copies(dataset, threshold=threshold).tolist():
        for one, other in ((first, second), (second, first)):
            name = dataset.ids[one]
            if is_test[one] and is_seen[other] and (name not in best or correlation > best[name].correlation):
                best[name] = NearCopy(name, dataset.ids[other], float(correlation))
    copies = sorted(best.values(), key=lambda copy: (-copy.correlation, copy.test))
    return Leaks(tuple(copies), threshold, len(splits.test))


def without(predictions: Predictions, ids: set[str]) -> Predictions:
    """The predictions on all images but those of the given ids."""
    kept = np.array([name not in ids for name in predictions.ids], dtype=bool)
    return replace(
        predictions,
        ids=tuple(name for name in predictions.ids if name not in ids),
        labels=predictions.labels[kept],
        logits=predictions.logits[kept],
    )
