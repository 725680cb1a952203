"""How fast training is: end to end, against the bare step and against the usual loop, measured in turn.

    python tests/benchmarks/training_rate.py DATASET [--precision fp32] [--rounds 7] [--windows 6]

One round times each contender over the same number of windows of K micro-batches; the ratios are taken within a round,
so that a machine whose speed drifts slows all of them alike. Reported are medians over the rounds.

- bare step: K forwards and backwards, clipping, fused update and weight averaging on one resident batch.
- ahekit: the same, fed by the training batches of the strong recipe (augmentation and mixing on).
- K + update: K times a lone forward and backward, plus a lone update, timed apart.
- usual loop: torchvision's ImageFolder, a DataLoader with two workers, random resized crop, flip and colour jitter,
  contiguous memory format, fp32, plain Adam.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import datasets, transforms

from ahekit.data.batches import MicroBatch, TrainingBatches, Window
from ahekit.spec import RunSpec
from ahekit.training.processes import Processes
from ahekit.training.session import Session, start
from ahekit.training.setup import Setup, prepare
from ahekit.training.steps import train_steps


def endless(batches: TrainingBatches) -> Iterator[Window]:
    for epoch in itertools.count(1):
        yield from itertools.islice(batches.epoch(epoch), batches.steps_per_epoch - 1)


def ahekit_loop(session: Session, windows: Iterator[Window], count: int) -> None:
    spec = session.setup.spec
    for _ in train_steps(
        session.model,
        itertools.islice(windows, count),
        session.optimizer,
        compute=session.setup.compute,
        clip_norm=spec.optim.clip_norm,
        label_smoothing=spec.loss.label_smoothing,
        average=session.average,
    ):
        pass


def bare_step(session: Session, batch: MicroBatch) -> Callable[[int], None]:
    """Windows on a resident batch, written out as plainly as can be."""
    optim, compute = session.setup.spec.optim, session.setup.compute
    images, targets = compute.prepare(batch.images), batch.targets
    parameters = list(session.module.parameters())

    def run(count: int) -> None:
        for _ in range(count):
            session.optimizer.zero_grad(set_to_none=True)
            for _ in range(optim.accumulation_steps):
                forward_backward(session, images, targets)
            update(session, parameters, optim.clip_norm or float("inf"))

    return run


def forward_backward(session: Session, images: torch.Tensor, targets: torch.Tensor) -> None:
    with session.setup.compute.autocast():
        logits = session.module(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=session.setup.spec.loss.label_smoothing)
    (loss / session.setup.spec.optim.accumulation_steps).backward()


def update(session: Session, parameters: list[nn.Parameter], clip: float) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    session.optimizer.step()
    if session.average is not None:
        session.average.update_parameters(session.module)


def usual_loop(setup: Setup, root: Path) -> Callable[[int], None]:
    """ImageFolder and a two-worker DataLoader, as most tutorials write it."""
    optim, size = setup.spec.optim, setup.dataset.preprocessing.size
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.35, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.3, 0.3, 0.3),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )
    folder = datasets.ImageFolder(str(root), transform)
    loader = torch.utils.data.DataLoader(folder, optim.batch_size, shuffle=True, num_workers=2, drop_last=True)
    model = fresh(setup).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = iter(loader)

    def run(count: int) -> None:
        nonlocal batches
        for _ in range(count):
            optimizer.zero_grad()
            for _ in range(optim.accumulation_steps):
                batch = next(batches, None)
                if batch is None:
                    batches = iter(loader)
                    batch = next(batches)
                (F.cross_entropy(model(batch[0]), batch[1]) / optim.accumulation_steps).backward()
            optimizer.step()

    return run


def fresh(setup: Setup) -> nn.Module:
    import copy

    module = copy.deepcopy(setup.built.module)
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return module.train()


def timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--usual", type=Path, help="class folders for the usual loop; default: DATASET/train")
    given = parser.parse_args()
    spec = RunSpec.model_validate(
        {"data": {"source": str(given.dataset)}, "runtime": {"precision": given.precision}, "mix": {"clean_share": 0}}
    )
    setup = prepare(spec)
    session = start(setup, Processes())
    windows = endless(session.batches)
    resident = next(next(windows).micro_batches)
    bare, usual = bare_step(session, resident), usual_loop(setup, given.usual or given.dataset / "train")
    parameters, k = list(session.module.parameters()), spec.optim.accumulation_steps
    clip = spec.optim.clip_norm or float("inf")
    images, targets = setup.compute.prepare(resident.images), resident.targets

    def apart() -> float:
        single = timed(lambda: [forward_backward(session, images, targets) for _ in range(given.windows * k)] and None)
        return single + timed(lambda: [update(session, parameters, clip) for _ in range(given.windows)] and None)

    for warm_up in (lambda: bare(1), lambda: ahekit_loop(session, windows, 1), lambda: usual(1)):
        warm_up()
    rows = []
    for _ in range(given.rounds):
        seconds = [
            timed(lambda: bare(given.windows)),
            timed(lambda: ahekit_loop(session, windows, given.windows)),
            apart(),
            timed(lambda: usual(given.windows)),
        ]
        rows.append(seconds)
        count = given.windows * spec.optim.effective_batch_size
        print(
            "images/s: bare {:.0f}, ahekit {:.0f}, K + update {:.0f}, usual {:.0f}".format(
                *(count / s for s in seconds)
            )
        )
    for label, over, under in (
        ("ahekit / bare step", 0, 1),
        ("ahekit / usual loop", 3, 1),
        ("bare window / (K + update)", 0, 2),
    ):
        ratios = sorted(row[over] / row[under] for row in rows)
        print(f"{label}: median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
