"""The state of a training run in memory: started afresh, or restored from a checkpoint to the bit."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ahekit.data.augment import normalize
from ahekit.data.batches import TrainingBatches
from ahekit.data.views import MIRROR, PLAIN
from ahekit.errors import CheckpointError
from ahekit.evaluation.metrics import OnlineMetrics
from ahekit.evaluation.predict import predict_logits, predict_views
from ahekit.training.checkpoint import (
    load_into,
    load_optimizer,
    load_state,
    load_weights,
    random_state,
    read_tensors,
    restore_random_state,
    save_checkpoint,
)
from ahekit.training.features import Features, compute_features, open_features
from ahekit.training.freezing import Freezer, learning_rates, recalibrate
from ahekit.training.optim import build_optimizer, parameter_groups, rated_groups
from ahekit.training.prefix import Part, trained_part
from ahekit.training.processes import Processes
from ahekit.training.setup import Setup


@dataclass
class Best:
    """The best epoch on validation so far, what was measured there, and its checkpoint's name."""

    epoch: int = 0
    step: int = 0
    val_f1: float = -1.0
    val_loss: float | None = None
    checkpoint: str = ""

    def is_beaten_by(self, val: Mapping[str, float], monitor: str) -> bool:
        """Whether an epoch's validation metrics are better, by macro-F1 or by loss."""
        if monitor == "f1":
            return val["f1"] > self.val_f1
        return self.val_loss is None or val["loss"] < self.val_loss


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: In progress, counted from 1.
        window: The next window of that epoch, counted from 0.
        step: Optimizer steps taken.
        seconds: Spent so far, over all the processes that worked on the run one after the other.
    """

    epoch: int = 1
    window: int = 0
    step: int = 0
    seconds: float = 0.0
    best: Best = field(default_factory=Best)

    @property
    def stale_epochs(self) -> int:
        """Finished epochs since the best one."""
        return self.epoch - 1 - self.best.epoch


@dataclass
class Session:
    """Network, optimizer, average and position of a run in this process.

    Attributes:
        module: The whole network.
        part: Of it, what is trained.
        model: What training batches go through: the whole network, or the part that is trained when the outputs of
            what comes before it are kept; wrapped where several processes train.
        average: Of the weights of the part that is trained; what is frozen is its own average.
        features: The kept outputs of the frozen prefix.
    """

    setup: Setup
    processes: Processes
    module: nn.Module
    part: Part
    model: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    batches: TrainingBatches
    online: OnlineMetrics
    position: Position
    freezer: Freezer
    features: Features | None = None

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and unfreeze what the spec says for an epoch."""
        if self.freezer.enter(epoch) and self.processes.world > 1:
            # DistributedDataParallel waits for the gradients of the parameters that were trained when it was made.
            self.model = self.processes.wrap(self.processes.unwrap(self.model))

    def compute_prefix(self) -> Generator[tuple[int, int], None, None]:
        """Compute what the frozen prefix makes of the images, where that is to be kept, and train on it from then on.

        Yields:
            Images done and their number. Broken off, it goes on there the next time.
        """
        plan, prefix = self.setup.prefix, self.part.prefix
        if plan is None or prefix is None:
            return
        features = open_features(self.setup, plan, prefix)
        yield from compute_features(features, self.setup, prefix)
        self.features, self.model = features, self.processes.wrap(self.part.module)
        self.batches = self.setup.batches(self.processes, draw=features.draw)

    def average_weights(self) -> None:
        """Take the weights of this step into their average, where the run keeps one."""
        if self.average is not None:
            self.average.update_parameters(self.part.module)

    @property
    def measured(self) -> nn.Module:
        """What is evaluated of the part that is trained: its average where the run keeps one."""
        return self.part.module if self.average is None else self.average.module

    def logits(self, indices: NDArray[np.int64], *, flip_average: bool) -> NDArray[np.float32]:
        """Logits of images of the dataset by the weights that are evaluated, `(N, C)`.

        Args:
            flip_average: Average the probabilities of an image and its mirror image, and return their logarithm.
        """
        setup, size = self.setup, self.setup.spec.evaluation.batch_size
        if self.features is None:
            prefix = [] if self.part.prefix is None else [self.part.prefix]
            return predict_logits(
                nn.Sequential(*prefix, self.measured),
                setup.dataset.images,
                indices,
                setup.dataset.preprocessing,
                setup.compute,
                batch_size=size,
                flip_average=flip_average,
            )
        named, views = self.features.named, (PLAIN, MIRROR) if flip_average else (PLAIN,)
        parts = (indices[start : start + size] for start in range(0, len(indices), size))
        return predict_views(
            self.measured, (tuple(named(part, view) for view in views) for part in parts), setup.compute
        )

    def use_checkpoint(self, folder: Path) -> None:
        """Evaluate the weights of a checkpoint from now on."""
        load_weights(self.module.state_dict() if self.average is None else self._averaged(self.average), folder)

    def _averaged(self, average: AveragedModel) -> dict[str, Tensor]:
        """The whole network's tensors, those of the average where there is one; they are the ones in use."""
        own = {self.part.names[name]: tensor for name, tensor in average.module.state_dict().items()}
        return {**self.module.state_dict(), **own}

    def save(self, folder: Path, rng: dict[str, Tensor]) -> None:
        """Write this state into a checkpoint folder; `rng` holds the random state of every process."""
        state = {
            "position": asdict(self.position),
            "online": self.online.state(),
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "world": self.processes.world,
        }
        save_checkpoint(
            folder,
            weights=self.module.state_dict(),
            average=None if self.average is None else self._averaged(self.average),
            optimizer=self.optimizer,
            rng=rng,
            state=state,
        )

    def gathered_random_state(self) -> dict[str, Tensor]:
        """Every process's random state, by rank; all processes have to ask together."""
        states = self.processes.gather(random_state())
        return {f"{rank}.{name}": state for rank, own in enumerate(states) for name, state in own.items()}


def start(setup: Setup, processes: Processes, *, fresh: bool = False) -> Session:
    """A session before its first optimizer step.

    Args:
        fresh: The weights are the ones the run starts from, not about to be replaced by a checkpoint's.
    """
    spec, plan = setup.spec, setup.freezing
    module = setup.built.module.to(device=setup.compute.device, memory_format=setup.compute.memory_format)  # type: ignore[call-overload]
    module.train()
    freezer = Freezer(module, plan)
    freezer.trainable()
    if fresh and spec.transfer.bn == "recalibrate":
        recalibrate(module, plan, _plain_batches(setup))
    average, part = None, trained_part(setup.built, plan)
    if spec.train.average_decay:
        averaging = partial(_average, decay=spec.train.average_decay)
        average = AveragedModel(copy.deepcopy(part.module), multi_avg_fn=averaging, use_buffers=True)
    groups = _groups(setup, module)
    batches = setup.batches(processes)
    # Each process draws its own dropout masks; in one process the seed is the spec's.
    torch.manual_seed(spec.seed + processes.rank)
    return Session(
        setup=setup,
        processes=processes,
        module=module,
        part=part,
        model=processes.wrap(module),
        average=average,
        optimizer=build_optimizer(groups, spec.optim),
        batches=batches,
        online=OnlineMetrics(len(setup.dataset.class_names)),
        position=Position(),
        freezer=freezer,
    )


def _groups(setup: Setup, module: nn.Module) -> list[dict[str, object]]:
    """The optimizer's parameter groups: by layer where layers have rates of their own."""
    optim, transfer = setup.spec.optim, setup.spec.transfer
    if transfer.backbone_lr is None and transfer.layer_decay is None:
        return parameter_groups(module, weight_decay=optim.weight_decay, decay_all=optim.decay_all)
    rates = learning_rates(setup.built, transfer, optim.lr)
    return rated_groups(module, rates, weight_decay=optim.weight_decay, decay_all=optim.decay_all)


def _plain_batches(setup: Setup) -> Iterator[Tensor]:
    """Training images without augmentation, as many as are re-measured each epoch."""
    indices, size = setup.train_subset, setup.spec.evaluation.batch_size
    for place in range(0, len(indices), size):
        pixels = setup.dataset.images[indices[place : place + size]]
        yield setup.compute.prepare(normalize(pixels, setup.dataset.preprocessing))


def restore(setup: Setup, processes: Processes, checkpoint: Path) -> Session:
    """The session that a checkpoint holds.

    Raises:
        CheckpointError: It can't be read, doesn't fit the run, or was made by another number of processes.
    """
    session, state = start(setup, processes), load_state(checkpoint)
    try:
        world, position = state["world"], dict(state["position"])
        session.position = Position(**{**position, "best": Best(**position["best"])})
        session.online.restore(state["online"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: state.json isn't one of this version ({error!r})") from error
    if world != processes.world:
        raise CheckpointError(f"{checkpoint}: made by {world} process(es), resumed by {processes.world}; use {world}")
    load_into(session.module.state_dict(), checkpoint / "model.safetensors")
    if session.average is not None:
        load_into(session._averaged(session.average), checkpoint / "average.safetensors")
        session.average.n_averaged.fill_(state["averaged"])
    load_optimizer(session.optimizer, checkpoint / "optimizer.safetensors")
    rng: dict[str, Any] = read_tensors(checkpoint / "rng.safetensors")
    prefix = f"{processes.rank}."
    restore_random_state({name.removeprefix(prefix): value for name, value in rng.items() if name.startswith(prefix)})
    return session


def _average(averaged: list[Tensor], current: list[Tensor], count: Tensor, *, decay: float) -> None:
    """Exponential averaging that forgets its start: the decay of step n is at most (1 + n) / (10 + n).

    The warm-up of TensorFlow's ExponentialMovingAverage,
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage. Without it a slow average shows the
    random first weights for many epochs.
    """
    warm = min(decay, (1 + int(count)) / (10 + int(count)))
    get_ema_multi_avg_fn(warm)(averaged, current, count)
