"""What computing the frozen prefix once gains: whole epochs of a head, and single steps behind `--freeze early`.

    python tests/benchmarks/frozen_prefix.py DATASET [--backbone NAME] [--weights SOURCE] [--image-size 128]

- head: epochs of `--freeze backbone`, training and measuring together, with the outputs kept and without, one view.
- early: one step behind `--freeze early` on kept outputs, the whole network's step on pixels, and the bare step of what
  is trained on a resident batch of kept outputs, in turn. The bound is whole / bare; reached is whole / kept.

What is kept is computed in a folder of its own, which is removed; the time of that is told too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ahekit.data.batches import Window
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import RunSpec
from ahekit.training.loop import fit
from ahekit.training.processes import Processes
from ahekit.training.session import Session, start
from ahekit.training.setup import Setup, prepare
from ahekit.training.steps import train_steps


class Clock:
    """A watcher that notes the end of the first step and of each epoch, and stops after some."""

    def __init__(self, stop: StopRequest, epochs: int) -> None:
        self._stop, self._epochs = stop, epochs
        self.ends: list[float] = []

    def step(self, record: Any) -> None:
        if not self.ends:
            self.ends.append(time.perf_counter())
        self._stop.asked = len(self.ends) > self._epochs

    def epoch(self, row: Any) -> None:
        self.ends.append(time.perf_counter())

    def prefix(self, done: int, total: int) -> None: ...

    def answers(self, done: int, total: int) -> None: ...


def setup(given: argparse.Namespace, freeze: str, *, gigabytes: float) -> Setup:
    spec = {
        "recipe": "finetune",
        "model": {"name": given.backbone, "params": {"weights": given.weights}},
        "data": {"source": str(given.dataset), "image_size": given.image_size, "fit": "stretch"},
        "transfer": {"freeze": freeze, "views": 1, "feature_cache_gb": gigabytes},
        "evaluation": {"flip_average": False},
        "train": {"epochs": 50},
    }
    return prepare(RunSpec.model_validate(spec))


def epochs(made: Setup, folder: Path, count: int) -> list[float]:
    """Seconds of each epoch, the first one's from its first step's end, in a run that is stopped after so many."""
    stop = StopRequest()
    clock = Clock(stop, count)
    fit(made, Run.create(folder / "runs", made.spec, made.manifest()), watcher=clock, stop=stop)
    return [after - before for before, after in itertools.pairwise(clock.ends)]


def compute(made: Setup) -> Session:
    session, started = start(made, Processes(), fresh=True), time.perf_counter()
    done = 0
    for done, _ in session.compute_prefix():  # noqa: B007
        pass
    seconds = time.perf_counter() - started
    if done:
        print(f"computed {done:,} images before {session.setup.freezing.cut} in {seconds:.1f} s", flush=True)
    session.enter_epoch(1)
    return session


def steps(session: Session) -> Callable[[int], None]:
    optim = session.setup.spec.optim

    def endless() -> Iterator[Window]:
        for epoch in itertools.count(1):
            yield from itertools.islice(session.batches.epoch(epoch), session.batches.steps_per_epoch - 1)

    windows = endless()

    def run(count: int) -> None:
        for _ in train_steps(
            session.model,
            itertools.islice(windows, count),
            session.optimizer,
            compute=session.setup.compute,
            clip_norm=optim.clip_norm,
            average=session.average_weights,
        ):
            pass

    return run


def bare_steps(session: Session) -> Callable[[int], None]:
    batch = next(next(session.batches.epoch(1)).micro_batches)
    inputs, clip = session.setup.compute.prepare(batch.images), session.setup.spec.optim.clip_norm or float("inf")
    parameters = [parameter for group in session.optimizer.param_groups for parameter in group["params"]]

    def run(count: int) -> None:
        for _ in range(count):
            session.optimizer.zero_grad(set_to_none=True)
            with session.setup.compute.autocast():
                logits = session.part.module(inputs)
            F.cross_entropy(logits.float(), batch.targets).backward()
            torch.nn.utils.clip_grad_norm_(parameters, clip)
            session.optimizer.step()
            session.average_weights(session.batches.steps_per_epoch)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--part", choices=("head", "early", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    given.dataset = given.dataset.resolve()
    with tempfile.TemporaryDirectory() as name:
        os.environ["AHEKIT_HOME"] = name
        if given.part in ("head", "both"):
            head(given, Path(name))
        if given.part in ("early", "both"):
            early(given)


def head(given: argparse.Namespace, folder: Path) -> None:
    compute(setup(given, "backbone", gigabytes=8))
    kept = epochs(setup(given, "backbone", gigabytes=8), folder, 11)
    print(
        f"head, kept: median {statistics.median(kept):.3f} s an epoch ({min(kept):.3f} to {max(kept):.3f})", flush=True
    )
    whole = epochs(setup(given, "backbone", gigabytes=0), folder, 1)
    print(f"head, anew: {whole[0]:.1f} s an epoch; {whole[0] / statistics.median(kept):.0f} times as long")


def early(given: argparse.Namespace) -> None:
    kept = compute(setup(given, "early", gigabytes=8))
    contenders = {
        "whole": steps(compute(setup(given, "early", gigabytes=0))),
        "kept": steps(kept),
        "bare": bare_steps(compute(setup(given, "early", gigabytes=8))),
    }
    for run in contenders.values():
        run(1)
    rounds = []
    for number in range(given.rounds):
        turn = sorted(contenders, key=lambda name: (list(contenders).index(name) + number) % 3)
        rounds.append({name: timed(contenders[name], given.steps) for name in turn})
        print(", ".join(f"{name} {rounds[-1][name] / given.steps:.3f} s" for name in contenders), flush=True)
    for label, over, under in (("bound", "whole", "bare"), ("reached", "whole", "kept"), ("share", "bare", "kept")):
        ratios = sorted(times[over] / times[under] for times in rounds)
        print(f"early, {label}: median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


def timed(run: Callable[[int], None], count: int) -> float:
    started = time.perf_counter()
    run(count)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
