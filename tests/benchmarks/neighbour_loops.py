"""A training by one of the contenders of `neighbours.py`, in a process and an environment of its own.

Prints one line of JSON: seconds from the command to the end of the first optimizer step, images a second of the steps
that are timed, and the peak memory of this process and of the workers that load its images.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.02


class Over(Exception):
    """Enough steps were timed."""


@dataclass
class Stopwatch:
    """Told of each optimizer step, it raises `Over` after the last that counts.

    Attributes:
        begun: When the command was given, seconds of the machine's clock.
        warm: First steps that aren't timed.
        steps: Those that are.
    """

    begun: float
    warm: int
    steps: int
    batch: int
    first_step: float = 0.0
    marks: list[float] = field(default_factory=list)
    memory: tuple[int, int] = (0, 0)

    def step(self) -> None:
        """An optimizer step is over."""
        now = time.perf_counter()
        if not self.marks:
            self.first_step = time.time() - self.begun
        self.marks.append(now)
        if len(self.marks) >= self.warm + self.steps:
            # While the workers are still there.
            self.memory = (_peak(os.getpid()), sum(map(_peak, _children(os.getpid()))))
            raise Over

    @property
    def rate(self) -> float:
        """Images a second over the timed steps."""
        return self.batch * self.steps / (self.marks[-1] - self.marks[self.warm - 1])


@dataclass(frozen=True)
class Task:
    """What every contender does."""

    data: Path
    scratch: Path
    size: int
    batch: int
    workers: int
    watch: Stopwatch

    @property
    def classes(self) -> int:
        """How many there are."""
        return sum(1 for place in (self.data / "train").iterdir() if place.is_dir())


def ahekit(task: Task) -> None:
    """`ahekit train`, by the functions that the command calls; it has no workers."""
    from ahekit.run import Run
    from ahekit.training.loop import fit

    setup = _ahekit_setup(task)
    run = Run.create(task.scratch / "runs", setup.spec, setup.manifest())
    quiet: Callable[..., None] = lambda *arguments: None  # noqa: E731
    watcher = SimpleNamespace(step=lambda record: task.watch.step(), epoch=quiet, prefix=quiet, answers=quiet)
    fit(setup, run, watcher=watcher)


def bare(task: Task) -> None:
    """The same network's step on one batch that stays in memory."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from ahekit.training.processes import Processes
    from ahekit.training.session import start
    from tests.benchmarks.training_rate import bare_step

    session = start(_ahekit_setup(task), Processes())
    batch = next(next(session.batches.epoch(1)).micro_batches)
    step = bare_step(session, batch)
    assert len(batch.images) == task.batch
    assert torch.is_grad_enabled()
    while True:
        step(1)
        task.watch.step()


def _ahekit_setup(task: Task) -> Any:
    from ahekit.spec import RunSpec
    from ahekit.training.setup import prepare

    spec = RunSpec.model_validate(
        {
            "recipe": "finetune",
            "model": {"name": "resnet18", "params": {"weights": "none"}},
            "data": {"source": str(task.data), "image_size": task.size},
            "optim": {
                "batch_size": task.batch,
                "accumulation_steps": 1,
                "lr": LEARNING_RATE,
                "weight_decay": WEIGHT_DECAY,
            },
            "train": {"epochs": 1000},
            "runtime": {"device": "cpu", "precision": "fp32"},
        }
    )
    return prepare(spec)


def timm(task: Task) -> None:
    """The data set, loader with augmentation, network and optimizer of timm, in a plain loop."""
    import torch
    from timm import create_model
    from timm.data import create_dataset, create_loader  # type: ignore[attr-defined]
    from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

    model = create_model("resnet18", pretrained=False, num_classes=task.classes)
    loader = create_loader(
        create_dataset("", root=str(task.data / "train"), split="train"),
        input_size=(3, task.size, task.size),
        batch_size=task.batch,
        is_training=True,
        use_prefetcher=False,
        scale=(0.5, 1.0),
        color_jitter=0.2,
        num_workers=task.workers,
        device=torch.device("cpu"),
    )
    optimizer = create_optimizer_v2(model, opt="adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    model.train()
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()
            task.watch.step()


def fastai(task: Task) -> None:
    """The `Learner` of fastai on its loaders, with its image transforms."""
    import fastai.callback.progress  # noqa: F401 (gives learners `no_bar`)
    from fastai.callback.core import Callback, CancelFitException
    from fastai.learner import Learner
    from fastai.losses import LabelSmoothingCrossEntropyFlat
    from fastai.optimizer import Adam
    from fastai.torch_core import default_device
    from fastai.vision.augment import Resize, aug_transforms
    from fastai.vision.data import ImageDataLoaders
    from torchvision.models import resnet18

    class Watch(Callback):  # type: ignore[misc]
        """Tells the stopwatch."""

        order = 1000

        def after_batch(self) -> None:
            try:
                if self.training:
                    task.watch.step()
            except Over:
                raise CancelFitException from None

    default_device(use=False)
    loaders = ImageDataLoaders.from_folder(
        task.data,
        train="train",
        valid="val",
        item_tfms=Resize(task.size),
        batch_tfms=aug_transforms(size=task.size, min_scale=0.5),
        bs=task.batch,
        num_workers=task.workers,
        device="cpu",
    )
    learner = Learner(
        loaders,
        resnet18(num_classes=task.classes),
        loss_func=LabelSmoothingCrossEntropyFlat(),
        opt_func=Adam,
        lr=LEARNING_RATE,
        wd=WEIGHT_DECAY,
        path=task.scratch,
        cbs=[Watch()],
    )
    with learner.no_bar():
        learner.fit(1000)
    raise Over


def ultralytics(task: Task) -> None:
    """The trainer of classifiers of ultralytics, on torchvision's network, which its model files can name."""
    os.environ["YOLO_CONFIG_DIR"] = str(task.scratch)
    os.environ["YOLO_OFFLINE"] = "true"
    import torch
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from ultralytics.utils import LOGGER, SETTINGS

    class Trainer(ClassificationTrainer):  # type: ignore[misc]
        """With as many logits as there are classes; a whole network of torchvision comes with a thousand."""

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            model = super().get_model(cfg, weights, verbose)
            network = model.model[-1].m
            network.fc = torch.nn.Linear(network.fc.in_features, task.classes)
            return model

    file = task.scratch / "resnet18-cls.yaml"
    # Channels, name, weights, and neither taken apart nor cut.
    file.write_text("nc: 10\nbackbone:\n  - [-1, 1, TorchVision, [1000, resnet18, None, False, 0]]\nhead: []\n")
    LOGGER.setLevel(logging.ERROR)
    SETTINGS.update({name: False for name in ("sync", "tensorboard", "wandb", "mlflow", "clearml") if name in SETTINGS})
    trainer = Trainer(
        overrides={
            "model": str(file),
            "task": "classify",
            "pretrained": False,
            "data": str(task.data),
            "imgsz": task.size,
            "batch": task.batch,
            "nbs": task.batch,  # no accumulation
            "workers": task.workers,
            "epochs": 1000,
            "optimizer": "AdamW",
            "lr0": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "device": "cpu",
            "amp": False,
            "val": False,
            "plots": False,
            "save": False,
            "verbose": False,
            "project": str(task.scratch),
            "name": "run",
            "exist_ok": True,
        }
    )
    trainer.add_callback("on_train_batch_end", lambda trainer: task.watch.step())
    trainer.train()


CONTENDERS = {each.__name__: each for each in (bare, ahekit, timm, fastai, ultralytics)}


def _peak(process: int) -> int:
    """The most memory in bytes that a process has held."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
    return 0


def _children(process: int) -> list[int]:
    """All processes that a process has started, and they in turn."""
    own: list[int] = []
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{process}/task").glob("*/children"):
            own += map(int, file.read_text().split())
    return own + [later for each in own for later in _children(each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=sorted(CONTENDERS))
    parser.add_argument("data", type=Path)
    parser.add_argument("scratch", type=Path)
    for name in ("size", "batch", "workers", "warm", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--begun", type=float, required=True)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch(options.begun, options.warm, options.steps, options.batch)
    task = Task(options.data, options.scratch, options.size, options.batch, options.workers, watch)
    # What a contender itself prints goes to stderr.
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(Over):
        CONTENDERS[options.contender](task)
    own, workers = watch.memory
    told = {"first_step": watch.first_step, "rate": watch.rate, "memory": own, "workers_memory": workers}
    print(json.dumps(told), flush=True)
    # Loaders that are left in the middle of an epoch may wait for their workers for long.
    os._exit(0)


if __name__ == "__main__":
    main()
