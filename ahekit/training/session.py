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
from ahekit.errors import CheckpointError, TrainingError
from ahekit.evaluation.metrics import OnlineMetrics
from ahekit.evaluation.predict import predict_logits, predict_views
from ahekit.notes import BestNote
from ahekit.run import resume_command
from ahekit.training.checkpoint import (
    AVERAGE,
    MODEL,
    OPTIMIZER,
    RNG,
    DamagedCheckpoint,
    Stored,
    check_fit,
    check_optimizer,
    check_random_state,
    copied,
    copy_into,
    load_weights,
    optimizer_tensors,
    put_into_optimizer,
    random_state,
    read_checkpoint,
    restore_random_state,
)
from ahekit.training.features import Features, compute_features, open_features
from ahekit.training.freezing import Freezer, learning_rates, recalibrate
from ahekit.training.optim import build_optimizer, parameter_groups, rate_factor, rated_groups, set_rate
from ahekit.training.prefix import Part, trained_part
from ahekit.training.processes import Processes
from ahekit.training.setup import Setup
from ahekit.training.steps import StepRecord
from ahekit.training.teacher import open_teacher, plan_answers


@dataclass(frozen=True)
class Ending:
    """Why a training came to its end.

    Attributes:
        reason: In words; empty where all epochs were trained.
        epochs: `train.epochs` at that time: with more of them it isn't the end any more.
    """

    reason: str
    epochs: int


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: In progress, counted from 1.
        window: The next window of that epoch, counted from 0.
        step: Optimizer steps taken.
        seconds: Spent so far, over all the processes that worked on the run one after the other.
        best: The best epoch on validation so far.
        ending: Set once training is over, before anything else is done, so that a run which dies after it isn't
            trained on.
    """

    epoch: int = 1
    window: int = 0
    step: int = 0
    seconds: float = 0.0
    best: BestNote = field(default_factory=BestNote)
    ending: Ending | None = None

    @property
    def name(self) -> str:
        """What a checkpoint of here is called."""
        return f"step-{self.step:08d}-epoch-{self.epoch:04d}"

    @property
    def stale_epochs(self) -> int:
        """Finished epochs since the best one."""
        return self.epoch - 1 - self.best.epoch

    def state(self) -> dict[str, Any]:
        """As JSON-serializable values."""
        return {**asdict(self), "best": self.best.model_dump()}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Position:
        """The position that `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        counts = {name: state[name] for name in ("epoch", "window", "step")}
        if not all(isinstance(count, int) and 0 <= count < 2**53 for count in counts.values()):
            raise ValueError(f"not counts: {counts}")
        ending = state.get("ending")
        return cls(
            **counts,
            seconds=float(state["seconds"]),
            best=BestNote.of(state["best"]),
            ending=None if ending is None else Ending(str(ending["reason"]), int(ending["epochs"])),
        )


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
        plan = self.setup.prefix
        prefix = self.part.prefix
        if plan is None or prefix is None:
            return
        features = open_features(self.setup, plan, prefix)
        yield from compute_features(features, self.setup, prefix)
        self.features = features
        self.model = self.processes.wrap(self.part.module)
        self.batches = self.setup.batches(self.processes, draw=features.draw)

    def ask_teacher(self) -> Generator[tuple[int, int], None, None]:
        """Let the teacher answer about each view that hasn't been asked about, and learn from that from then on.

        Yields:
            Views done and their number. Broken off, it goes on there the next time.
        """
        setup = self.setup
        if setup.teacher is None:
            return
        teacher = setup.compute.place(open_teacher(setup.teacher, setup.dataset))
        plan = plan_answers(setup.spec, setup.splits, len(setup.dataset.class_names))
        answers = open_features(setup, plan, teacher, network=setup.teacher.name)
        yield from compute_features(answers, setup, teacher)
        self.batches = setup.batches(self.processes, answers=answers.draw)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.setup.spec.train.epochs * self.batches.steps_per_epoch

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at an optimizer step, counted from 0."""
        return rate_factor(step, self.total_steps, self.setup.spec.schedule)

    def advance(self, step: StepRecord) -> None:
        """Move on by an optimizer step that was taken, and count what it predicted."""
        self.position.step = step.step
        self.position.window = step.window + 1
        of_known_class = int((step.labels >= 0).sum())
        self.online.update(step.predicted.numpy(), step.labels.numpy(), loss_sum=step.loss * of_known_class)

    def close_epoch(self, row: Mapping[str, Any]) -> None:
        """Move on to the next epoch; its weights are the best so far where its metrics on validation say so."""
        position = self.position
        monitor = self.setup.metric
        position.epoch += 1
        position.window = 0
        val = row.get("val", {})
        if monitor.is_better(val.get(monitor.name), position.best.val.get(monitor.name)):
            position.best = BestNote(epoch=row["epoch"], step=row["step"], checkpoint=position.name, val=val)
        self.online = OnlineMetrics(len(self.setup.dataset.class_names))

    def average_weights(self, step: int) -> None:
        """Take the weights after an optimizer step, counted from 1, into their average, where it is time for that."""
        if self.average is None:
            return
        train = self.setup.spec.train
        turns = (train.average_every, self.batches.steps_per_epoch)
        if all(step % turn for turn in turns):
            return
        since = step - max((step - 1) // turn * turn for turn in turns)
        self.average.multi_avg_fn = partial(_average, decay=train.average_decay, step=step, since=since)
        self.average.update_parameters(self.part.module)

    @property
    def measured(self) -> nn.Module:
        """What is evaluated of the part that is trained: its average where the run keeps one."""
        return self.part.module if self.average is None else self.average.module

    def logits(self, indices: NDArray[np.int64], *, flip_average: bool) -> NDArray[np.float32]:
        """Logits of images of the dataset by the weights that are evaluated, `(N, C)`; each image by one process.

        Args:
            flip_average: Average the probabilities of an image and its mirror image, and return their logarithm.

        Raises:
            TrainingError: They are no numbers: the last optimizer steps have broken the network.
        """
        processes = self.processes
        mine = self._own_logits(indices[processes.rank :: processes.world], flip_average=flip_average)
        logits = np.empty((len(indices), len(self.setup.dataset.class_names)), dtype=np.float32)
        for rank, part in enumerate(processes.gather(mine)):
            if len(part):
                logits[rank :: processes.world] = part
        if np.isnan(logits).any() or np.isposinf(logits).any():
            raise TrainingError(
                f"the network's outputs are no numbers any more after optimizer step {self.position.step}"
            )
        return logits

    def _own_logits(self, indices: NDArray[np.int64], *, flip_average: bool) -> NDArray[np.float32]:
        setup = self.setup
        size = self.setup.spec.evaluation.batch_size
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
        named = self.features.named
        views = (PLAIN, MIRROR) if flip_average else (PLAIN,)
        parts = (indices[start : start + size] for start in range(0, len(indices), size))
        return predict_views(
            self.measured, (tuple(named(part, view) for view in views) for part in parts), setup.compute
        )

    def use_checkpoint(self, folder: Path) -> None:
        """Evaluate the weights of a checkpoint from now on; the main process reads it and gives it to the others.

        Raises:
            CheckpointError: It can't be read.
        """
        own = self.module.state_dict() if self.average is None else self._averaged(self.average)
        with self.processes.main_first():
            if self.processes.is_main:
                load_weights(own, folder, averaged=self.average is not None)
        self.processes.share(own.values())

    def _averaged(self, average: AveragedModel) -> dict[str, Tensor]:
        """The whole network's tensors, those of the average where there is one; they are the ones in use."""
        own = {self.part.names[name]: tensor for name, tensor in average.module.state_dict().items()}
        return {**self.module.state_dict(), **own}

    def stored(self, rng: dict[str, Tensor]) -> Stored:
        """A copy of this state for a checkpoint; `rng` holds the random state of every process."""
        state = {
            "position": self.position.state(),
            "online": self.online.state(),
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "world": self.processes.world,
        }
        return Stored(
            model=copied(self.module.state_dict()),
            average=None if self.average is None else copied(self._averaged(self.average)),
            optimizer=copied(optimizer_tensors(self.optimizer)),
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
    spec = setup.spec
    plan = setup.freezing
    module = setup.compute.place(setup.built.module)
    module.train()
    freezer = Freezer(module, plan)
    freezer.trainable()
    if fresh and spec.transfer.bn == "recalibrate":
        recalibrate(module, plan, _plain_batches(setup))
    average = None
    part = trained_part(setup.built, plan)
    if spec.train.average_decay:
        # Each update says itself how much it counts.
        average = AveragedModel(copy.deepcopy(part.module), use_buffers=True)
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
    optim = setup.spec.optim
    transfer = setup.spec.transfer
    if transfer.backbone_lr is None and transfer.layer_decay is None:
        return parameter_groups(module, weight_decay=optim.weight_decay, decay_all=optim.decay_all)
    rates = learning_rates(setup.built, transfer, optim.lr)
    return rated_groups(module, rates, weight_decay=optim.weight_decay, decay_all=optim.decay_all)


def _plain_batches(setup: Setup) -> Iterator[Tensor]:
    """Training images without augmentation, those that are re-measured."""
    indices = setup.train_subset
    size = setup.spec.evaluation.batch_size
    for place in range(0, len(indices), size):
        pixels = setup.dataset.images[indices[place : place + size]]
        yield setup.compute.prepare(normalize(pixels, setup.dataset.preprocessing))


def restore(session: Session, checkpoint: Path) -> None:
    """Put a session where a checkpoint was made; when that can't be, the session is as it was.

    Raises:
        CheckpointError: It may not be read.
        DamagedCheckpoint: It isn't whole, or doesn't fit the run.
    """
    stored = read_checkpoint(checkpoint, averaged=session.average is not None)
    processes = session.processes
    try:
        position = Position.of(stored.state["position"])
        online = OnlineMetrics(len(session.setup.dataset.class_names))
        online.restore(stored.state["online"])
        averaged = int(stored.state["averaged"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedCheckpoint(f"{checkpoint}: state.json isn't one of this version ({error!r})") from error
    if online.counts.shape != session.online.counts.shape:
        raise DamagedCheckpoint(f"{checkpoint}: state.json counts {online.counts.shape} classes")
    if stored.state.get("world", 1) != processes.world:
        world = stored.state.get("world")
        raise CheckpointError(
            f"{checkpoint}: made by {world} process(es), resumed by {processes.world}; "
            f"go on with `{resume_command(checkpoint.parents[1], world)}`"
        )
    rng = _own_random_state(stored, processes.rank)
    check_fit(session.module.state_dict(), stored.model, checkpoint / MODEL)
    if session.average is not None and stored.average is not None:
        check_fit(session._averaged(session.average), stored.average, checkpoint / AVERAGE)
    check_optimizer(session.optimizer, stored.optimizer, checkpoint / OPTIMIZER, step=position.step)
    check_random_state(rng, checkpoint / RNG)
    # From here on nothing can go wrong any more.
    session.position = position
    session.online = online
    copy_into(session.module.state_dict(), stored.model)
    if session.average is not None and stored.average is not None:
        copy_into(session._averaged(session.average), stored.average)
        session.average.n_averaged.fill_(averaged)
    put_into_optimizer(session.optimizer, stored.optimizer)
    if position.step:
        # An epoch that was broken off after its last step is measured without another one, at that step's rate.
        set_rate(session.optimizer, session.rate(position.step - 1))
    restore_random_state(rng)


def _own_random_state(stored: Stored, rank: int) -> dict[str, Tensor]:
    prefix = f"{rank}."
    return {name.removeprefix(prefix): value for name, value in stored.rng.items() if name.startswith(prefix)}


def _average(
    averaged: list[Tensor], current: list[Tensor], count: Tensor, *, decay: float, step: int, since: int
) -> None:
    """Exponential averaging that forgets its start: the decay of step n is at most n / (9 + n).

    The warm-up of TensorFlow's ExponentialMovingAverage,
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage. Without it a slow average shows the
    random first weights for many epochs.

    Args:
        step: Optimizer steps taken.
        since: Of these, since the last update, for all of which this one counts.
    """
    warm = min(decay, step / (9 + step))
    get_ema_multi_avg_fn(warm**since)(averaged, current, count)
