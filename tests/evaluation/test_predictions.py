"""Predictions and their files."""

from pathlib import Path

import numpy as np
import pytest

from ahekit.errors import RunError
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.stored import StoredPredictions


@pytest.fixture
def predictions() -> Predictions:
    ids = ("test/dome(inner)/Köln, Südturm.jpg", "test/vault/{1}.jpg")
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]], dtype=np.float32)
    return Predictions(ids, np.array([0, -1]), logits, ("dome_inner", "gargoyle", "vault"))


def test_file_gives_back_what_was_written(predictions: Predictions, tmp_path: Path) -> None:
    file = tmp_path / "test.safetensors"
    file.write_bytes(predictions.to_bytes())

    read = Predictions.read(file)

    assert read.ids == predictions.ids
    assert read.class_names == predictions.class_names
    assert np.array_equal(read.logits, predictions.logits)
    assert np.array_equal(read.labels, predictions.labels)


def test_probabilities_are_the_softmax_of_the_logits(predictions: Predictions) -> None:
    assert predictions.probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert predictions.probabilities[0] == pytest.approx(np.array([np.e**2, 1, 1]) / (np.e**2 + 2))
    assert predictions.predicted.tolist() == [0, 2]


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_torn_file_is_refused_by_name(predictions: Predictions, tmp_path: Path, kept: int) -> None:
    file = tmp_path / "test.safetensors"
    file.write_bytes(predictions.to_bytes()[:kept])

    with pytest.raises(RunError, match=r"test\.safetensors: not a readable predictions file"):
        Predictions.read(file)


def test_torn_file_hinders_only_who_asks_for_it(predictions: Predictions, tmp_path: Path) -> None:
    (tmp_path / "test.safetensors").write_bytes(predictions.to_bytes())
    (tmp_path / "train.safetensors").write_bytes(b"torn")

    stored = StoredPredictions(tmp_path)

    assert list(stored) == ["test", "train"]
    assert "train" in stored
    assert stored["test"].ids == predictions.ids
    with pytest.raises(RunError, match=r"train\.safetensors"):
        stored["train"]


def test_drafts_of_a_process_that_died_are_no_predictions(predictions: Predictions, tmp_path: Path) -> None:
    (tmp_path / ".test.safetensors.x1.safetensors").write_bytes(predictions.to_bytes())

    stored = StoredPredictions(tmp_path)

    assert len(stored) == 0
    assert "test" not in stored
    assert len(StoredPredictions(tmp_path / "nowhere")) == 0
