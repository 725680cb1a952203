"""What denormal numbers in Adam's momentum cost, what it costs to drop them, and how many of them a run holds.

    python -m tests.benchmarks.denormals [CHECKPOINT …] [--share 0.73] [--rounds 9] [--threads 2]

Counted is the share of such numbers in each large tensor of a checkpoint's optimizer (of a run that goes on, or was
trained with `--set train.keep_optimizer=true`). Timed, in turns, is the update of a layer of 2,048 x 8,192 weights of
which that share got there, the same after `drop_denormals`, and `drop_denormals` itself, which is done now and then.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ahekit.spec import OptimSpec
from ahekit.training.optim import build_optimizer, drop_denormals, parameter_groups

SMALLEST = torch.finfo(torch.float32).smallest_normal
STUCK = SMALLEST * 2**-21
"""Four times the smallest number: nine tenths of it are rounded to itself."""


def share_of(tensor: Tensor) -> float:
    """The share of numbers that are denormal."""
    return float(((tensor != 0) & (tensor.abs() < SMALLEST)).float().mean())


def count(checkpoint: Path) -> None:
    """Tell it of a checkpoint's large tensors."""
    for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        if tensor.numel() > 1_000_000:
            print(f"{checkpoint.parent.parent.name} {name} {tuple(tensor.shape)}: {share_of(tensor):.2f} denormal")


def main() -> None:
    """Count, then time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--share", type=float, default=0.73)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for checkpoint in arguments.checkpoints:
        count(checkpoint)
    layer = nn.Linear(8192, 2048, bias=False)
    optimizer = build_optimizer(parameter_groups(layer, weight_decay=0.1), OptimSpec())
    is_dead = torch.rand_like(layer.weight) < arguments.share
    layer.weight.grad = torch.randn_like(layer.weight).masked_fill_(is_dead, 0.0)
    optimizer.step()
    momentum = optimizer.state[layer.weight]["exp_avg"]
    seconds: dict[str, list[float]] = {"with them": [], "to drop them": [], "without": []}
    for _ in range(arguments.rounds):
        momentum.masked_fill_(is_dead, STUCK)
        calls: tuple[Callable[[], object], ...] = (optimizer.step, partial(drop_denormals, optimizer), optimizer.step)
        for name, call in zip(seconds, calls, strict=True):
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    print(", ".join(f"{name}: {median(own) * 1e3:.0f} ms" for name, own in seconds.items()))


if __name__ == "__main__":
    main()
