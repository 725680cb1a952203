"""A tiny network and dataset in memory, for training in a fraction of a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ahekit.backbones.wrap import wrap
from ahekit.catalog import Source
from ahekit.compute import open_compute
from ahekit.data.dataset import Dataset
from ahekit.data.split import Splits
from ahekit.preprocessing import Preprocessing
from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.training.setup import Setup
from ahekit.validation import merge

SIZE = 8
CLASSES = ("arch", "beam", "crypt")
TINY: dict[str, Any] = {
    "model": {"name": "tiny"},
    "train": {"epochs": 3, "average_decay": 0.9, "keep_optimizer": True},
    "optim": {"batch_size": 4, "accumulation_steps": 3, "lr": 0.01},
    "loss": {"class_weights": "balanced"},
    "progressive": {"sizes": ()},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
}


def tiny_module() -> nn.Sequential:
    """Everything a resumed run has to get right: a convolution, BatchNorm and dropout."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32, len(CLASSES)),
    )


def tiny_dataset(root: Path, count: int = 62) -> tuple[Dataset, Splits]:
    """Classes differ in colour; 38 train, 12 val and 12 test images, so that windows and micro-batches are ragged."""
    rng = np.random.default_rng(0)
    labels = (np.arange(count) % 4 % 3).astype(np.int64)
    images = rng.integers(0, 140, (count, SIZE, SIZE, 3)).astype(np.uint8)
    images[np.arange(count), :, :, labels] += 60
    dataset = Dataset(
        name="tiny",
        root=root,
        class_names=CLASSES,
        ids=tuple(f"{CLASSES[label]}/{number:03d}.png" for number, label in enumerate(labels)),
        images=images,
        labels=labels,
        split_names=np.array(["train"] * count),
        refused=(),
        fingerprint="f" * 64,
        preprocessing=Preprocessing(size=SIZE),
    )
    order = np.arange(count)
    return dataset, Splits(order[:38], order[38:50], order[50:], order)


def tiny_setup(root: Path, fields: dict[str, Any] | None = None) -> Setup:
    spec = RunSpec.model_validate(merge(TINY, fields or {}))
    dataset, splits = tiny_dataset(root)
    compute = open_compute(spec.runtime)
    torch.manual_seed(spec.seed)
    module = tiny_module()
    built = wrap(module, preprocessing=Preprocessing(size=SIZE))
    source = Source(name="tiny", root=root, kind="folder", notice="")
    return Setup(spec, source, dataset, splits, built, compute)


class Watched:
    """A watcher that keeps what it is told, and may act on a step."""

    def __init__(self, on_step: Callable[[int], None] = lambda step: None) -> None:
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.prefixes: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []
        self._on_step = on_step

    def step(self, record: Any) -> None:
        self.steps.append(dict(record))
        self._on_step(record["step"])

    def epoch(self, row: Any) -> None:
        self.epochs.append(dict(row))

    def prefix(self, done: int, total: int) -> None:
        self.prefixes.append((done, total))

    def answers(self, done: int, total: int) -> None:
        self.asked.append((done, total))


@pytest.fixture
def make_setup(tmp_path: Path) -> Callable[..., Setup]:
    return lambda **fields: tiny_setup(tmp_path, fields)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[Setup], Run]:
    return lambda setup: Run.create(tmp_path / "runs", setup.spec, setup.manifest())


@pytest.fixture
def watched() -> type[Watched]:
    return Watched
