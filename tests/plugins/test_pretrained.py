"""The model that comes with the package: whole, small enough, and asked without the library that trained it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ahekit.data.classes import AHE_CLASSES
from ahekit.data.decode import fit
from ahekit.model_folder import CARD, ModelFolder
from ahekit.opening import find_model, open_folder
from ahekit.prediction.deciding import Rule
from ahekit.sample import draw

FINGERPRINT = "c24fc0c7d368788ea52ec04c793ab6496e89e116dd307e630f42125d84336010"
MOST_BYTES = 16_000_000


@pytest.fixture(scope="module")
def model() -> ModelFolder:
    return find_model(None, root=Path("runs"))


def test_it_is_the_one_that_was_measured(model: ModelFolder) -> None:
    assert model.fingerprint == FINGERPRINT
    for name in model.notes.files:
        model.read(name)


def test_it_is_small_and_knows_the_ten_elements(model: ModelFolder) -> None:
    assert sum(file.stat().st_size for file in model.path.iterdir()) <= MOST_BYTES
    assert model.class_names == AHE_CLASSES
    assert (model.notes.stored_as, model.preprocessing.detail) == ("float16", 128)


def test_its_card_tells_what_it_reaches_with_and_without_near_copies(model: ModelFolder) -> None:
    figures = {(each.name, each.near_copies): each for each in model.notes.figures if each.split == "test"}
    assert {("accuracy", True), ("accuracy", False), ("macro_f1", True), ("macro_f1", False)} <= figures.keys()
    card = (model.path / CARD).read_text(encoding="utf-8")
    assert f"{figures['accuracy', True].value:.3f}" in card


@pytest.mark.parametrize(
    "engine",
    [
        "torch",
        pytest.param("onnxruntime", marks=pytest.mark.skipif(find_spec("onnxruntime") is None, reason="not installed")),
    ],
)
def test_it_has_a_word_on_drawings(engine: str, model: ModelFolder) -> None:
    predictor = open_folder(model, device="cpu", engine=engine)  # type: ignore[arg-type]
    pictures = [draw(name, np.random.default_rng(0)) for name in AHE_CLASSES[:4]]
    pixels = np.stack([fit(picture, predictor.preprocessing) for picture in pictures])
    logits, embeddings = predictor(pixels)
    assert (logits.shape, embeddings.shape[0]) == ((4, 10), 4)
    assert np.isfinite(logits).all()
    decisions = predictor.decider.decide(logits, embeddings, predictor.decider.accept(Rule()))
    assert set(decisions.state) <= {"sure", "review", "unknown"}


def test_it_is_asked_without_timm_and_torchvision(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from ahekit.opening import open_predictor\n"
        "predictor = open_predictor(None, root=Path('runs'), device='cpu', engine='torch')\n"
        "size = predictor.preprocessing.size\n"
        "predictor(np.zeros((1, size, size, 3), dtype=np.uint8))\n"
        "print(*sorted({'timm', 'torchvision', 'sympy', 'matplotlib', 'sklearn'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
