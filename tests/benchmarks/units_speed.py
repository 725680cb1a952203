"""How long `units` takes and how much memory it needs, for N images and for four times as many.

    python tests/benchmarks/units_speed.py [RUN] [--images 727] [--steps 128]

Each row is a process of its own that measures every unit of cnn5's convolutions, silences the best unit of each class,
synthesizes its image, and draws both figures. With a run, its network and its test images are taken; without one, an
untrained cnn5 and as many images of noise. Four times as many images are the same ones four times over, so that the
pixels, which are mapped from disk, take the same room. VmHWM is the kernel's own peak; what is in it before the first
image (the libraries, the network) is told apart.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ahekit.models import build_component
from ahekit.protocols import BuiltModel, SplitImages, VisualizerInput
from ahekit.registry import VISUALIZERS
from ahekit.reporting.style import render_figure
from ahekit.run import find_run
from ahekit.trained import load_trained
from ahekit.visualizing import open_split

CLASSES = 10


def peak_mib() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


def of_run(name: str) -> tuple[BuiltModel, tuple[str, ...], SplitImages]:
    trained = load_trained(find_run(Path("runs"), name))
    return trained.built, trained.class_names, open_split(trained, "test")


def untrained(count: int) -> tuple[BuiltModel, tuple[str, ...], SplitImages]:
    built = build_component("cnn5", {}, num_classes=CLASSES, image_size=64).built
    pixels = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3)).astype(np.uint8)
    ids = tuple(f"{number}.png" for number in range(count))
    names = tuple(f"class {number}" for number in range(CLASSES))
    return built, names, SplitImages("test", pixels, np.arange(count), ids, np.arange(count) % CLASSES)


def repeated(images: SplitImages, times: int) -> SplitImages:
    return replace(
        images,
        places=np.tile(images.places, times),
        ids=images.ids * times,
        labels=np.tile(images.labels, times),
    )


def measure(run: str | None, count: int, steps: int, times: int) -> None:
    built, names, once = of_run(run) if run else untrained(count)
    size, images = built.preprocessing.size, repeated(once, times)
    given = VisualizerInput(
        model=built,
        class_names=names,
        images=torch.zeros(0, 3, size, size),
        pixels=np.zeros((0, size, size, 3), dtype=np.uint8),
        image_ids=(),
        labels=(),
        layers={},
        split=lambda name: images,
    )
    plugin = VISUALIZERS.get("units")
    before, begun, worked = peak_mib(), time.perf_counter(), time.process_time()
    seen = plugin.visualize(given, plugin.Params(steps=steps))
    for figure in seen.figures:
        render_figure(figure)
    seconds, processor = time.perf_counter() - begun, time.process_time() - worked
    print(
        f"{len(images):,d} images: {seconds:.1f} s, {processor:.1f} s of the processors; "
        f"peak {peak_mib():,d} MiB, {before:,d} MiB of it before the first image",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="path of a run")
    parser.add_argument("--images", type=int, default=727, help="of noise, without a run")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.times:
        measure(given.run, given.images, given.steps, given.times)
        return
    for times in (1, 4):
        command = [sys.executable, __file__, f"--images={given.images}", f"--steps={given.steps}", f"--times={times}"]
        subprocess.run(command + ([given.run] if given.run else []), check=True)


if __name__ == "__main__":
    main()
