"""How fast class images are made: all classes in one batch, against one class after the other as usually written.

    python tests/benchmarks/class_images.py [--steps 20] [--rounds 3] [--size 64] [--threads 2]

Both do the same optimization on one untrained cnn5: gradient ascent on ten classes' logits by Adam. The usual loop
takes a class at a time and lets `backward` fill the network's parameter gradients too. The contenders take turns, so
that a machine whose speed drifts slows both alike, and both keep freed memory, as `ahekit viz` does. Reported are the
median of the ratios, what 1000 steps take at the best rate seen, and the peak of memory, each contender's in a process
of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ahekit.compute import keep_freed_memory
from ahekit.inspection.synthesis import objectives
from ahekit.inspection.synthesis.parameterizations import noise
from ahekit.models import build_component
from ahekit_plugins.visualizers.class_image.visualizer import ascend

CLASSES = 10
MEMORY_STEPS = 3


def at_once(module: nn.Module, starts: Tensor, steps: int) -> Tensor:
    images: Tensor = ascend(module, starts, objectives.class_logit(torch.arange(CLASSES)), steps=steps, lr=1e-2)
    return images


def usual_loop(module: nn.Module, starts: Tensor, steps: int) -> Tensor:
    module.eval()
    images = []
    for number in range(CLASSES):
        image = (starts[number : number + 1] / 5).clone().requires_grad_()
        optimizer = torch.optim.Adam([image], lr=1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -module(image)[0, number]
            loss.backward()
            optimizer.step()
        images.append(image.detach())
    return torch.cat(images)


Contender = Callable[[nn.Module, Tensor, int], Tensor]
CONTENDERS: tuple[Contender, ...] = (at_once, usual_loop)


def prepare(size: int, threads: int) -> tuple[nn.Module, Tensor]:
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(0)
    module = build_component("cnn5", {}, num_classes=CLASSES, image_size=size).built.module
    return module, noise(range(CLASSES), size)


def peak(number: int | None, size: int, threads: int) -> float:
    """Resident memory in MiB at most, after a few steps of a contender, or of a network that only stands there."""
    module, starts = prepare(size, threads)
    if number is not None:
        CONTENDERS[number](module, starts, MEMORY_STEPS)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    module, starts = prepare(options.size, options.threads)
    ratios, best = [], {contender.__name__: float("inf") for contender in CONTENDERS}
    for contender in CONTENDERS:
        contender(module, starts, 1)  # the first pass of a process is slower than the rest
    for number in range(1, options.rounds + 1):
        seconds = {}
        for contender in CONTENDERS:
            begun = time.perf_counter()
            contender(module, starts, options.steps)
            seconds[contender.__name__] = (time.perf_counter() - begun) / options.steps
            best[contender.__name__] = min(best[contender.__name__], seconds[contender.__name__])
        ratios.append(seconds["usual_loop"] / seconds["at_once"])
        print(f"round {number}: " + ", ".join(f"{name} {taken:.3f} s a step" for name, taken in seconds.items()))
    print(f"at once is {statistics.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f})")
    print("1000 steps: " + ", ".join(f"{name} {1000 * taken:,.0f} s" for name, taken in best.items()))
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        idle, *peaks = [pool.apply(peak, (who, options.size, options.threads)) for who in (None, 0, 1)]
    told = ", ".join(f"{one.__name__} {value:,.0f} MiB" for one, value in zip(CONTENDERS, peaks, strict=True))
    print(f"peak memory: {told}, of which the network and its libraries {idle:,.0f}")


if __name__ == "__main__":
    main()
