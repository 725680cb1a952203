"""The state of a training run in memory: started afresh, or restored from a checkpoint to the bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ahekit.data.augment import normalise
from ahekit.data.batches import TrainingBatches
from ahekit.errors import CheckpointError
from ahekit.evaluation.metrics import OnlineMetrics
from ahekit.training.checkpoint import (
    load_module,
    load_optimizer,
    load_state,
    random_state,
    read_tensors,
    restore_random_state,
    save_checkpoint,
)
from ahekit.training.freezing import Freezer, recalibrate, stage_rates
from ahekit.training.optim import build_optimizer, parameter_groups, staged_groups
from ahekit.training.processes import Processes
from ahekit.training.setup import Setup


@dataclass
class Best:
    """The epoch with the highest validation macro-F1 so far, and its checkpoint's name."""

    epoch: int = 0
    step: int = 0
    val_f1: float = -1.0
    checkpoint: str = ""


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
    """Network, optimizer, average and position of a run in this process."""

    setup: Setup
    processes: Processes
    module: nn.Module
    model: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    batches: TrainingBatches
    online: OnlineMetrics
    position: Position
    freezer: Freezer

    def enter_epoch(self, epoch: int) -> None:
        """Freeze and unfreeze what the spec says for an epoch."""
        if self.freezer.enter(epoch) and self.processes.world > 1:
            # DistributedDataParallel waits for the gradients of the parameters that were trained when it was made.
            self.model = self.processes.wrap(self.module)

    @property
    def measured(self) -> nn.Module:
        """The network that is evaluated: the averaged one where the run keeps an average."""
        return self.module if self.average is None else self.average.module

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
            module=self.module,
            average=None if self.average is None else self.average.module,
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
    average = None
    if spec.train.average_decay:
        averaging = partial(_average, decay=spec.train.average_decay)
        average = AveragedModel(copy.deepcopy(module), multi_avg_fn=averaging, use_buffers=True)
    groups = _groups(setup, module)
    batches = setup.batches(processes)
    # Each process draws its own dropout masks; in one process the seed is the spec's.
    torch.manual_seed(spec.seed + processes.rank)
    return Session(
        setup=setup,
        processes=processes,
        module=module,
        model=processes.wrap(module),
        average=average,
        optimizer=build_optimizer(groups, spec.optim),
        batches=batches,
        online=OnlineMetrics(len(setup.dataset.class_names)),
        position=Position(),
        freezer=freezer,
    )


def _groups(setup: Setup, module: nn.Module) -> list[dict[str, object]]:
    """The optimizer's parameter groups: by stage where stages have rates of their own."""
    optim, transfer = setup.spec.optim, setup.spec.transfer
    if transfer.backbone_lr is None and transfer.layer_decay is None:
        return parameter_groups(module, weight_decay=optim.weight_decay, decay_all=optim.decay_all)
    stages = setup.built.stages
    rates = stage_rates(stages, transfer, optim.lr)
    return staged_groups(stages, rates, weight_decay=optim.weight_decay, decay_all=optim.decay_all)


def _plain_batches(setup: Setup) -> Iterator[Tensor]:
    """Training images without augmentation, as many as are re-measured each epoch."""
    indices, size = setup.train_subset, setup.spec.evaluation.batch_size
    for place in range(0, len(indices), size):
        pixels = setup.dataset.images[indices[place : place + size]]
        yield setup.compute.prepare(normalise(pixels, setup.dataset.preprocessing))


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
    load_module(session.module, checkpoint / "model.safetensors")
    if session.average is not None:
        load_module(session.average.module, checkpoint / "average.safetensors")
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
