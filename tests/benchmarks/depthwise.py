"""What `ahekit.depthwise` saves: training steps of networks as timm builds them and as ahekit trains them, in turn.

    python tests/benchmarks/depthwise.py [--models tf_efficientnet_lite0 ...] [--sizes 32 64 128] [--batch 64]
                                         [--precisions fp32 bf16] [--rounds 5] [--layers]

A step is one forward and one backward pass of a resident batch on the processor, channels-last. The ratio is taken
within a round; reported are medians over the rounds, and their range. --layers measures single convolutions instead,
on one core: the convolution, and both gradients by torch's way and by ahekit's.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Sequence

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
    parser.add_argument("--layers", action="store_true", help="single convolutions instead of networks")
    given = parser.parse_args()
    keep_freed_memory()
    precisions = given.precisions or ["fp32", "bf16"][: 1 + multiplies_bf16(torch.device("cpu"))]
    if given.layers:
        print_layers(precisions, given.rounds)
        return
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


# Channels, taps a side, stride and side of the map.
LAYERS = ((96, 3, 2, 64), (144, 5, 2, 32), (240, 5, 1, 16), (480, 3, 1, 8), (672, 5, 1, 8), (1152, 5, 1, 4))


def print_layers(precisions: Sequence[str], rounds: int) -> None:
    """Milliseconds of single layers of EfficientNet-Lite at 128 px, 32 images."""
    torch.set_num_threads(1)
    print("| Channels | Kernel | Stride | Map | Precision | Convolution | Both gradients | ahekit's |")
    print("|--:|--:|--:|--:|:--|--:|--:|--:|")
    for (channels, taps, stride, side), precision in itertools.product(LAYERS, precisions):
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        plain = nn.Conv2d(channels, channels, taps, stride, padding=taps // 2, groups=channels, bias=False).to(kind)
        plain = plain.to(memory_format=torch.channels_last)
        quick = copy.deepcopy(plain)
        quicken_depthwise(quick)
        maps = torch.randn(32, channels, side, side, dtype=kind).to(memory_format=torch.channels_last).requires_grad_()
        times = [[*gradients(plain, maps), gradients(quick, maps)[1]] for _ in range(rounds + 1)][1:]
        cells = [f"{1000 * statistics.median(column):.1f}" for column in zip(*times, strict=True)]
        print(f"| {channels} | {taps} | {stride} | {side} | {precision} | {' | '.join(cells)} |", flush=True)


def gradients(layer: nn.Module, maps: torch.Tensor) -> tuple[float, float]:
    """Seconds of a layer, and of the gradients of its input and its weights."""
    begun = time.perf_counter()
    outputs = layer(maps)
    between = time.perf_counter()
    torch.autograd.grad(outputs, [maps, *layer.parameters()], torch.ones_like(outputs))
    return between - begun, time.perf_counter() - between


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
