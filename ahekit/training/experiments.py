"""Trainings that an experiment compares: each from its spec to its figures, and kept, so that none is repeated.

A trial is trained as a run of its spec would be, without a run folder: nothing is chosen, its figures are those of the
weights it ends with. So validation and test are measured, and neither decides anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ahekit import plugin_files
from ahekit.catalog import default_source
from ahekit.compute import resolve_runtime
from ahekit.data.installed import SAMPLE
from ahekit.errors import MemoryShortage, RunError, UsageError
from ahekit.evaluation.metrics import OnlineMetrics, summarize
from ahekit.files import read_regular, write_atomic
from ahekit.models import parameter_counts
from ahekit.protocols import LessonInput
from ahekit.spec import RunSpec
from ahekit.training.processes import Processes
from ahekit.training.session import Session, start
from ahekit.training.setup import Setup, prepare
from ahekit.training.steps import train_steps

VERSION = 1
"""Of what is kept; a file of another one is made anew."""

LITTLE_AUGMENTATION: Mapping[str, float] = {
    "crop_scale": 0.8,
    "rotation": 0.0,
    "brightness": 0.1,
    "contrast": 0.1,
    "saturation": 0.1,
    "erase": 0.0,
}
"""`augment` of trainings that are too short to profit from more."""

MOST_TOGETHER = 4
"""Trainings at a time: each holds a gigabyte or two, and a machine may have many more cores than those."""

Scores = Mapping[str, float]


class Measurement(BaseModel):
    """The weights after an epoch.

    Attributes:
        epoch: Counted from 1.
        step: Optimizer steps taken.
        seconds: Of training alone up to here, without measuring.
        train: Loss, accuracy and macro precision, recall and F1 on a fixed part of the training images, without
            augmentation; `val` and `test` likewise on all images of these.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    step: int
    seconds: float
    train: dict[str, float]
    val: dict[str, float]
    test: dict[str, float]


class Outcome(BaseModel):
    """What became of a trial.

    Attributes:
        images: Training images.
        parameters: Of the network; `trainable` of them.
        prefix_seconds: Spent on what a frozen part makes of the images, as far as it was not kept from before.
        measured: In the order of the epochs; the last is of the final weights.
        facts: What `examine` told of the trained network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    seed: int
    images: int
    parameters: int
    trainable: int
    prefix_seconds: float
    measured: tuple[Measurement, ...]
    facts: dict[str, Any]

    @property
    def final(self) -> Measurement:
        """Of the weights it ends with."""
        return self.measured[-1]

    @property
    def gap(self) -> float:
        """How much more of its training images than of its test images it has right, as a share."""
        return self.final.train["accuracy"] - self.final.test["accuracy"]


@dataclass(frozen=True)
class Trial:
    """A training of an experiment.

    Attributes:
        name: For people; trials of one name are seeds of one thing.
        spec: With the seed.
        measure_every: Epochs from one measurement to the next; 0: the final weights alone.
        work: How long it takes beside the others, in any unit.
    """

    name: str
    spec: RunSpec
    measure_every: int = 0
    work: float = 1.0


Examine = Callable[[Setup, Session], Mapping[str, Any]]
"""Looks at a trained network (`session.measured`, in whatever mode) and tells of it, JSON-serializable.

One that can be pickled may look in several processes at once.
"""


def tell_nothing(setup: Setup, session: Session) -> Mapping[str, Any]:
    """Look at nothing."""
    return {}


def data_of(request: LessonInput) -> str:
    """What a lesson that trains is to train on: what was named, else the sample, and real images for the long way.

    Raises:
        UsageError: Real images are asked for and none are installed.
    """
    if request.data is not None:
        return request.data
    if not request.full:
        return SAMPLE
    source = default_source()
    if source == SAMPLE:
        raise UsageError(
            "--full is for real images: name a dataset with --data, or install one with "
            "`ahekit data add FILE_OR_FOLDER --name ahe64`"
        )
    return source


def run_trials(
    trials: Sequence[Trial],
    *,
    folder: Path | None = None,
    examine: Examine = tell_nothing,
    about: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Train each trial, or take what is kept of it, in their order.

    Args:
        folder: Where outcomes are kept, a file each, by what they depend on: spec, images, and `about`. None: nowhere.
        about: What `examine` depends on beside the network; another text makes the trials anew.
        progress: Called with the share of the work that is done, of what isn't kept, in thousandths.
        announce: Called with what the user should know of the images.

    Raises:
        AhekitError: Whatever a spec asks for that can't be; the folder can't be written.
        TrainingError: A training broke; the outcomes before it are kept.
    """
    paths = _paths(trials, folder, about)
    outcomes = {number: outcome for number, path in enumerate(paths) if (outcome := _read(path)) is not None}
    left = [number for number in range(len(trials)) if number not in outcomes]
    if not left:
        return [outcomes[number] for number in range(len(trials))]
    # Here first, so that images are decoded once, and what there is to say of them is said once.
    prepare(trials[left[0]].spec, announce=announce)
    total = sum(trials[number].work for number in left)
    done = 0.0

    def tell(share: float) -> None:
        progress(round(1000 * share / total), 1000)

    for number, outcome in _trained({number: trials[number] for number in left}, examine, tell):
        _write(paths[number], outcome)
        outcomes[number] = outcome
        done += trials[number].work
        tell(done)
    return [outcomes[number] for number in range(len(trials))]


def _trained(
    trials: Mapping[int, Trial], examine: Examine, progress: Callable[[float], None]
) -> Iterator[tuple[int, Outcome]]:
    """Each trial's outcome, in the order in which they end.

    Small networks keep few cores busy: on the processor up to `MOST_TOGETHER` are trained at a time, which share
    torch's threads.
    """
    threads = torch.get_num_threads()
    runtime = resolve_runtime(next(iter(trials.values())).spec.runtime)
    together = min(len(trials), threads, MOST_TOGETHER) if runtime.device == "cpu" else 1
    look = _pickled(examine)
    if together > 1 and look is not None:
        yield from _trained_together(trials, look, processes=together, threads=threads // together)
        return
    done = 0.0
    for number, trial in trials.items():

        def tell(share: float, before: float = done, work: float = trial.work) -> None:
            progress(before + share * work)

        yield number, run_trial(trial, prepare(trial.spec), examine=examine, progress=tell)
        done += trial.work


def _trained_together(
    trials: Mapping[int, Trial], look: bytes, *, processes: int, threads: int
) -> Iterator[tuple[int, Outcome]]:
    from joblib import Parallel, delayed, parallel_config

    files = plugin_files.announced()
    train = delayed(_train_there)
    with parallel_config("loky", n_jobs=processes, inner_max_num_threads=threads):
        ended = Parallel(return_as="generator_unordered", batch_size=1)(
            train(number, trial, look, files) for number, trial in trials.items()
        )
        try:
            yield from ended
        except BrokenProcessPool as error:
            raise MemoryShortage(
                "a training was ended by the system, which happens when memory is short; OMP_NUM_THREADS=1 trains one "
                "network at a time"
            ) from error
        finally:
            # Whoever stops listening stops the trainings.
            ended.close()


def _train_there(number: int, trial: Trial, look: bytes, files: Sequence[Path]) -> tuple[int, Outcome]:
    """One trial, in a process of its own; `look` is what the process that started it pickled."""
    _end_with_the_parent()
    plugin_files.announce(files)
    plugin_files.read()
    return number, run_trial(trial, prepare(trial.spec), examine=pickle.loads(look))


@cache
def _end_with_the_parent() -> None:
    """Let this process end soon after the one that started it, however that ends: nobody else would stop it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _pickled(examine: Examine) -> bytes | None:
    """The function for another process; None where it can't go there."""
    try:
        return pickle.dumps(examine)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def run_trial(
    trial: Trial,
    setup: Setup,
    *,
    examine: Examine = tell_nothing,
    progress: Callable[[float], None] = lambda share: None,
) -> Outcome:
    """Train one trial to its end.

    Args:
        progress: Called with the share that is done, from 0 to 1.

    Raises:
        TrainingError: A loss isn't finite.
    """
    session = start(setup, Processes(), fresh=True)
    begun = perf_counter()
    for done, of in session.compute_prefix():
        progress(0.5 * done / of)
    prefix_seconds = perf_counter() - begun if setup.prefix else 0.0
    first = 0.5 if prefix_seconds > 1 else 0.0
    measured = []
    epochs = setup.spec.train.epochs
    total = session.total_steps
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        begun = perf_counter()
        _train_epoch(session, epoch, lambda step: progress(first + (1 - first) * step / total))
        seconds += perf_counter() - begun
        if epoch == epochs or (trial.measure_every and epoch % trial.measure_every == 0):
            measured.append(_measure(session, epoch, seconds))
    counts = parameter_counts(setup.built)
    return Outcome(
        name=trial.name,
        seed=setup.spec.seed,
        images=len(setup.splits.train),
        parameters=counts["total"],
        trainable=counts["trainable"],
        prefix_seconds=prefix_seconds,
        measured=tuple(measured),
        facts=dict(examine(setup, session)),
    )


def _train_epoch(session: Session, epoch: int, progress: Callable[[int], None]) -> None:
    spec = session.setup.spec
    session.position.epoch = epoch
    session.enter_epoch(epoch)
    session.online = OnlineMetrics(len(session.setup.dataset.class_names))
    for step in train_steps(
        session.model,
        session.batches.epoch(epoch),
        session.optimizer,
        compute=session.setup.compute,
        rate=session.rate,
        first_step=session.position.step,
        clip_norm=spec.optim.clip_norm,
        label_smoothing=spec.loss.label_smoothing,
        average=session.average_weights,
        processes=session.processes,
    ):
        session.advance(step)
        progress(step.step)


def _measure(session: Session, epoch: int, seconds: float) -> Measurement:
    setup = session.setup
    parts = {"train": setup.train_subset, "val": setup.splits.val, "test": setup.splits.test}
    scores = {
        name: summarize(
            session.logits(indices, flip_average=setup.spec.evaluation.flip_average),
            setup.dataset.labels[indices],
            class_names=setup.dataset.class_names,
        )
        for name, indices in parts.items()
    }
    return Measurement(epoch=epoch, step=session.position.step, seconds=seconds, **scores)


def _paths(trials: Sequence[Trial], folder: Path | None, about: str) -> list[Path | None]:
    """Where each trial's outcome is kept: a file named after what it depends on."""
    if folder is None:
        return [None] * len(trials)
    fingerprints: dict[str | None, str] = {}
    paths: list[Path | None] = []
    for trial in trials:
        source = trial.spec.data.source
        if source not in fingerprints:
            fingerprints[source] = prepare(trial.spec).dataset.fingerprint
        depends = [VERSION, trial.spec.model_dump(mode="json"), trial.measure_every, fingerprints[source], about]
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
        slug = re.sub(r"\W+", "-", trial.name.lower()).strip("-")[:60]
        paths.append(folder / f"{slug}-seed-{trial.spec.seed}-{digest}.json")
    return paths


def _read(path: Path | None) -> Outcome | None:
    """A kept outcome; none where the file is missing, damaged or of another version."""
    if path is None:
        return None
    with suppress(OSError, ValidationError):
        return Outcome.model_validate_json(read_regular(path))
    return None


def _write(path: Path | None, outcome: Outcome) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (outcome.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror}); choose a folder with --out") from error
