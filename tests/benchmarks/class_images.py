"""How fast class images are made: all classes in one batch, against one class after the other as usually written.

    python tests/benchmarks/class_images.py [--steps 20] [--rounds 3] [--size 64]

Both do the same optimisation on one untrained cnn5: gradient ascent on ten classes' logits by Adam. The usual loop
takes a class at a time and lets `backward` fill the network's parameter gradients too. The contenders take turns, so
that a machine whose speed drifts slows both alike; reported are the median of the ratios and the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch
from ahekit_plugins.visualizers import objectives
from ahekit_plugins.visualizers.class_image import ascend, noise
from torch import Tensor, nn

from ahekit.registry import MODELS

CLASSES = 10


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    plugin = MODELS.get("cnn5")
    module = plugin.build(plugin.Params(), num_classes=CLASSES, image_size=options.size).module
    starts = noise(range(CLASSES), options.size)
    ratios = []
    for contender in (at_once, usual_loop):
        contender(module, starts, 1)  # the first pass of a process is slower than the rest
    for number in range(1, options.rounds + 1):
        seconds = {}
        for contender in (at_once, usual_loop):
            begun = time.perf_counter()
            contender(module, starts, options.steps)
            seconds[contender.__name__] = time.perf_counter() - begun
        module.zero_grad(set_to_none=True)
        ratios.append(seconds["usual_loop"] / seconds["at_once"])
        print(f"round {number}: " + ", ".join(f"{name} {taken:.2f} s" for name, taken in seconds.items()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"at once is {statistics.median(ratios):.1f} times faster; peak memory {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
