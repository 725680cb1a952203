"""A run whose weights were never trained, on pictures of three colours, and the model folder that is made of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ahekit.export.export import export_run
from ahekit.model_folder import ModelFolder
from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.training.setup import prepare
from ahekit.validation import validate

CLASSES = ("arch", "beam", "crypt")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety pictures for training and thirty for test, of 20 x 16 pixels."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures") / "colours"
    for split, count in (("train", 90), ("test", 30)):
        for number in range(count):
            pixels = rng.integers(0, 140, (16, 20, 3)).astype(np.uint8)
            pixels[:, :, number % 3] += 60
            folder = root / split / CLASSES[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of cnn5 with few channels, and BatchNorm statistics as training leaves them."""
    fields = {
        "model": {"name": "cnn5", "params": {"channels": [4, 6], "hidden": [12]}},
        "data": {"source": str(pictures), "image_size": 16, "val_fraction": 0.3, "detail": 12},
        "train": {"average_decay": 0},
        "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    }
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHEKIT_HOME", str(base / "ahekit-home"))
        setup = prepare(validate(RunSpec, fields))
        made = Run.create(base / "runs", setup.spec, setup.manifest())
    torch.manual_seed(1)
    for part in setup.built.module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            torch.nn.init.normal_(part.running_mean, std=0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
    weights = {name: value.contiguous() for name, value in setup.built.module.state_dict().items()}
    made.add_checkpoint("step-00000001-epoch-0001", partial(_save, weights))
    made.write_status("finished", best={"epoch": 1, "step": 1, "checkpoint": "step-00000001-epoch-0001"})
    return made


def _save(weights: dict[str, torch.Tensor], folder: Path) -> None:
    save_file(weights, folder / "model.safetensors")


@pytest.fixture(scope="session")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """What is exported of it."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHEKIT_HOME", str(base / "ahekit-home"))
        return export_run(run, base / "colours-model")


@pytest.fixture(scope="session")
def onnx_model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The same with an ONNX file that holds its own weights."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHEKIT_HOME", str(base / "ahekit-home"))
        return export_run(run, base / "colours-onnx", onnx=True)
