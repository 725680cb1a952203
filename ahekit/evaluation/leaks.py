"""Test images that have a near-copy among the images a run was trained or chosen on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ahekit.data.dataset import load_dataset
from ahekit.data.split import near_copies
from ahekit.errors import DataError
from ahekit.evaluation.predictions import Predictions, take
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.preprocessing import Preprocessing

_THUMBNAIL_SIZE = 64  # of the pixels that are opened on the way when the run doesn't tell its own


@dataclass(frozen=True)
class NearCopy:
    """A test image and the image most like it among those of training and validation.

    Attributes:
        test: Sample id; `train` likewise, of training or validation.
        correlation: Of their 16 x 16 gray thumbnails.
    """

    test: str
    train: str
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
        fit=data.fit, interpolation=data.interpolation, detail=data.detail
    )
    if record.images is None:
        raise MissingRecord(f"the images in {record.data_root} are not those the run was made with")
    try:
        dataset = load_dataset(record.images, preprocessing)
    except DataError as error:
        raise MissingRecord(f"near-copies can't be looked for: {error}") from error
    test_ids = set(splits.test)
    train_ids = {*splits.train, *splits.val}
    threshold = data.near_copy_threshold
    closest: dict[str, NearCopy] = {}
    for first, second, correlation in near_copies(dataset, threshold=threshold).tolist():
        # A pair is found once, whichever of the two is the test image.
        for one, other in ((dataset.ids[first], dataset.ids[second]), (dataset.ids[second], dataset.ids[first])):
            if one not in test_ids or other not in train_ids:
                continue
            if one not in closest or correlation > closest[one].correlation:
                closest[one] = NearCopy(one, other, float(correlation))
    copies = sorted(closest.values(), key=lambda copy: (-copy.correlation, copy.test))
    return Leaks(tuple(copies), threshold, len(splits.test))


def without(predictions: Predictions, ids: set[str]) -> Predictions:
    """The predictions on all images but those of these ids."""
    others = np.flatnonzero([name not in ids for name in predictions.ids])
    return take(predictions, others)
