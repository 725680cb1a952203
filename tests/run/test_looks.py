"""What was seen in a network is kept beside its run, for as long as its weights stay what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ahekit.errors import RunError
from ahekit.evaluation.record import Look
from ahekit.run import Run, keep_look, kept_look

LOOK = Look("Grad-CAM of conv5", ("one map is zero",), {"maps": np.arange(6.0).reshape(1, 2, 3)})
PARAMS = {"target": "true"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    checkpoint = tmp_path / "checkpoints" / "step-00000004-epoch-0001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    run = Run(tmp_path)
    monkeypatch.setattr("ahekit.run.looks.find_checkpoint", lambda run: checkpoint)
    return run


def test_a_look_comes_back_as_it_was_kept(run: Run) -> None:
    keep_look(run, "gradcam", PARAMS, LOOK)
    kept = kept_look(run, "gradcam", PARAMS)
    assert kept is not None
    assert (kept.title, kept.notes) == (LOOK.title, LOOK.notes)
    assert np.array_equal(kept.arrays["maps"], LOOK.arrays["maps"])


def test_another_question_and_other_weights_are_another_look(run: Run) -> None:
    keep_look(run, "gradcam", PARAMS, LOOK)
    assert kept_look(run, "layercam", PARAMS) is None
    assert kept_look(run, "gradcam", {"target": "predicted"}) is None
    (run.path / "checkpoints" / "step-00000004-epoch-0001" / "model.safetensors").write_bytes(b"other weights")
    assert kept_look(run, "gradcam", PARAMS) is None


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04torn"])
def test_a_damaged_look_is_no_look(run: Run, content: bytes) -> None:
    keep_look(run, "gradcam", PARAMS, LOOK)
    for file in (run.path / "figures" / "looks").iterdir():
        file.write_bytes(content)
    assert kept_look(run, "gradcam", PARAMS) is None


def test_a_run_without_weights_keeps_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(RunError, match="no checkpoint yet"):
        keep_look(run, "gradcam", PARAMS, LOOK)
    assert kept_look(run, "gradcam", PARAMS) is None
