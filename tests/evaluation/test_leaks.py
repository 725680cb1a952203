"""Near-copies between the images of a run's test and those it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahekit.data.dataset import load_dataset
from ahekit.data.folder import scan
from ahekit.evaluation.leaks import find_leaks, without
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.notes import DataNote, Manifest
from ahekit.preprocessing import Preprocessing
from ahekit.spec import RunSpec
from ahekit.validation import validate


@pytest.fixture
def leaking(tmp_path: Path) -> RunRecord:
    """Test image 0 is train image 3 a little brighter, test image 1 is validation's."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    pictures = rng.integers(0, 200, (9, 16, 16, 3)).astype(np.uint8)
    files = {f"train/arch/{number}.png": pictures[number] for number in range(6)}
    files |= {
        "test/arch/0.png": pictures[3] + 20,
        "test/arch/1.png": pictures[5],
        "test/beam/2.png": pictures[6],
        "train/beam/7.png": pictures[7],
    }
    for name, pixels in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    spec = validate(RunSpec, {"data": {"image_size": 16}})
    dataset = load_dataset(scan(root), Preprocessing(size=16))
    ids = sorted(files)
    splits = {
        "train": [name for name in ids if name.startswith("train/") and name != "train/arch/5.png"],
        "val": ["train/arch/5.png"],
        "test": [name for name in ids if name.startswith("test/")],
    }
    manifest = {"data": {"fingerprint": dataset.fingerprint}, "splits": splits}
    return RunRecord.of(
        name="run-1", path=tmp_path, spec=spec, manifest=manifest, predictions={}, state="finished", data_root=root
    )


def test_test_images_seen_in_train_or_validation_are_found_with_what_they_copy(leaking: RunRecord) -> None:
    leaks = find_leaks(leaking)

    assert {(copy.test, copy.train) for copy in leaks.copies} == {
        ("test/arch/0.png", "train/arch/3.png"),
        ("test/arch/1.png", "train/arch/5.png"),
    }
    assert (leaks.threshold, leaks.test_images) == (0.98, 3)
    assert all(copy.correlation > 0.999 for copy in leaks.copies)


CHANGES: dict[str, Callable[[RunRecord], Any]] = {
    "not where they were": lambda record: replace(record, data_root=None),
    "not those the run was made with": lambda record: replace(
        record, manifest=record.manifest.model_copy(update={"data": DataNote(fingerprint="other")})
    ),
    "which images were train": lambda record: replace(record, manifest=Manifest()),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_what_keeps_leaks_from_being_found_is_said(leaking: RunRecord, reason: str) -> None:
    with pytest.raises(MissingRecord, match=reason):
        find_leaks(CHANGES[reason](leaking))


def test_predictions_without_some_images() -> None:
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = Predictions(("a", "b", "c"), np.array([0, 1, 0]), logits, ("x", "y"))

    left = without(given, {"b"})

    assert left.ids == ("a", "c")
    assert left.labels.tolist() == [0, 0]
    assert left.logits.tolist() == [[0, 1], [4, 5]]
