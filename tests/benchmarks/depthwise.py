"""What `ahekit.depthwise` saves: training steps of networks as timm builds them and as ahekit trains them, in turn.

    python tests/benchmarks/depthwise.py [--models tf_efficientnet_lite0 ...] [--sizes 32 64 128] [--batch 64]
                                         [--precisions fp32 bf16] [--rounds 5]

A step is one forward and one backward pass of a resident batch on the processor, channels-last. The ratio is taken
within a round; reported are medians over the rounds, and their range.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import timm
import torch
import torch.nn.functional as F
from torch import nn

from ahekit.compute import keep_freed_memory, multiplies_bf16
from ahekit.depthwise import quicken_depthwise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "mobilenetv3_small_100"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=None)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    keep_freed_memory()
    precisions = given.precisions or ["fp32", "bf16"][: 1 + multiplies_bf16(torch.device("cpu"))]
    print("| Network | Pixels a side | Precision | As timm builds it | ahekit | Ratio, median (range) |")
    print("|:--------|--------------:|:----------|------------------:|-------:|:----------------------|")
    for name, size, precision in itertools.product(given.models, given.sizes, precisions):
        rounds = measured(name, size, given.batch, given.rounds, is_bf16=precision == "bf16")
        plain, quick = (1000 * statistics.median(times) for times in zip(*rounds, strict=True))
        ratios = sorted(before / after for before, after in rounds)
        print(
            f"| {name} | {size} | {precision} | {plain:.0f} ms | {quick:.0f} ms "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) |",
            flush=True,
        )


def measured(name: str, size: int, batch: int, rounds: int, *, is_bf16: bool) -> list[tuple[float, float]]:
    """Seconds of a step as timm builds the network, and with its depthwise convolutions changed; by round."""
    plain, quick = (timm.create_model(name, num_classes=10).to(memory_format=torch.channels_last) for _ in range(2))
    quicken_depthwise(quick)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    for network in (plain, quick):
        step(network, images, is_bf16=is_bf16)
    return [(step(plain, images, is_bf16=is_bf16), step(quick, images, is_bf16=is_bf16)) for _ in range(rounds)]


def step(network: nn.Module, images: torch.Tensor, *, is_bf16: bool) -> float:
    begun = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        loss = F.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.long))
    loss.backward()
    network.zero_grad()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
