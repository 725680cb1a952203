"""How fast training is: end to end, against the bare step and against the usual loop, measured in turn.

    python tests/benchmarks/training_rate.py DATASET [--model cnn5] [--image-size 64] [--precision fp32] [--rounds 7]
                                             [--windows 6] [--device auto]

One round times each contender over the same number of windows of K micro-batches; the ratios are taken within a round,
so that a machine whose speed drifts slows all of them alike. Reported are medians over the rounds.

- bare step: K forwards and backwards, clipping, fused update and weight averaging on one resident batch.
- ahekit: the same, fed by the training batches of the strong recipe (augmentation and mixing on), but of the full
  size; a backbone starts from random weights, which do for a rate, and is trained whole by the finetune recipe.
- window: ahekit's own step on windows of that resident batch.
- apart: K lone forwards and backwards per window, then as many lone updates, timed apart.
- usual loop: torchvision's ImageFolder, a DataLoader with two workers, random resized crop, flip and colour jitter,
  contiguous memory format, fp32, plain Adam. It runs in the same process, so it profits from the memory setting of
  ahekit.compute as well.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
        average=session.average_weights,
    ):
        pass


def bare_step(session: Session, batch: MicroBatch) -> Callable[[int], None]:
    """Windows on a resident batch, written out as plainly as can be."""
    optim, compute = session.setup.spec.optim, session.setup.compute
    images, targets = compute.prepare(batch.images), batch.targets.to(compute.device)
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
    session.average_weights(session.batches.steps_per_epoch)


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
    device = setup.compute.device
    model = copy.deepcopy(setup.built.module).train().to(device=device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
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
                images, labels = (part.to(device) for part in batch)
                (F.cross_entropy(model(images), labels) / optim.accumulation_steps).backward()
            optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="cnn5")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--contenders", nargs="+", help="only these; by default all")
    given = parser.parse_args()
    fields: dict[str, Any] = {"recipe": "strong", "progressive": {"sizes": []}, "mix": {"clean_share": 0}}
    if given.model != "cnn5":
        fields = {"recipe": "finetune", "model": {"name": given.model, "params": {"weights": "none"}}}
    data = {"source": str(given.dataset), "image_size": given.image_size}
    spec = RunSpec.model_validate(
        {**fields, "data": data, "runtime": {"precision": given.precision, "device": given.device}}
    )
    setup = prepare(spec)
    session = start(setup, Processes())
    found = {**contenders(session), "usual loop": usual_loop(setup, given.dataset / "train")}
    found = {name: run for name, run in found.items() if name in (given.contenders or found)}
    for run in found.values():
        run(1)
    names, rounds = list(found), []
    for number in range(given.rounds):
        turn = names[number % len(names) :] + names[: number % len(names)]
        images = given.windows * spec.optim.effective_batch_size
        rates = {name: images / timed(found[name], given.windows) for name in turn}
        rounds.append(rates)
        print("images/s:", ", ".join(f"{name} {rates[name]:.0f}" for name in names), flush=True)
    for over, under in (("ahekit", "bare step"), ("ahekit", "usual loop"), ("window", "apart")):
        if not {over, under} <= found.keys():
            continue
        ratios = sorted(rates[over] / rates[under] for rates in rounds)
        print(f"{over} / {under}: median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


def contenders(session: Session) -> dict[str, Callable[[int], None]]:
    optim = session.setup.spec.optim
    parameters, clip = list(session.module.parameters()), optim.clip_norm or float("inf")
    windows = endless(session.batches)
    resident = next(next(windows).micro_batches)
    images = session.setup.compute.prepare(resident.images)
    targets = resident.targets.to(images.device)
    k = optim.accumulation_steps

    def apart(count: int) -> None:
        for _ in range(count * k):
            forward_backward(session, images, targets)
        for _ in range(count):
            update(session, parameters, clip)

    def window(count: int) -> None:
        weight = float(resident.weights.sum()) * k
        same = (Window(1, number, weight, len(images) * k, iter([resident] * k)) for number in range(count))
        ahekit_loop(session, same, count)

    return {
        "bare step": bare_step(session, resident),
        "ahekit": lambda count: ahekit_loop(session, windows, count),
        "window": window,
        "apart": apart,
    }


def timed(run: Callable[[int], None], count: int) -> float:
    wait_for_the_card()
    started = time.perf_counter()
    run(count)
    wait_for_the_card()
    return time.perf_counter() - started


def wait_for_the_card() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
