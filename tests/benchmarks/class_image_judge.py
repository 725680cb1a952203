"""How many class images a second network names rightly: robust ones, those of ascent, and those of a random network.

    python tests/benchmarks/class_image_judge.py RUN --judge RUN [--runs FOLDER] [--seeds 0,1,2] [--out FOLDER]

All classes for each seed; every image counts, none is picked out. The judge has no part in making them. The control's
images are made as the robust ones, from the same network with its weights drawn anew. Each kind's images are written as
one sheet, a row for each seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ahekit.registry import MODELS
from ahekit.run import runs_root
from ahekit.training.trained import Trained, find_trained
from ahekit.validation import validate
from ahekit.visualizing import look

STORED = ("images", "judge_right", "judge_probability", "probability", "moved_probability")
ROBUST, ASCENT = {"method": "robust"}, {"method": "ascent"}


@dataclass(frozen=True)
class Outcome:
    """Of one kind of image, all seeds after each other."""

    images: NDArray[np.uint8]
    right: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    own: NDArray[np.float64]
    moved: NDArray[np.float64]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="whose network the images are made for")
    parser.add_argument("--judge", required=True, help="run of another architecture")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--kinds", default="robust,ascent,control")
    parser.add_argument("--set", action="append", default=[], help="NAME=NUMBER of the robust recipe, to try another")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    root, seeds = runs_root(options.runs), [int(seed) for seed in options.seeds.split(",")]
    trained = find_trained(root, run=options.run, checkpoint=options.checkpoint)[0]
    judge = find_trained(root, run=options.judge)[0]
    robust = ROBUST | dict(assignment.split("=", 1) for assignment in options.set)
    kinds = {"robust": (trained, robust), "ascent": (trained, ASCENT), "control": (drawn_anew(trained), robust)}
    print(f"{trained.run.name}, {trained.checkpoint.name}; judge: {judge.run.name}, {judge.checkpoint.name}")
    for name in options.kinds.split(","):
        network, params = kinds[name]
        outcome = measure(network, judge, params, seeds)
        print(row(name, outcome, trained.class_names), flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet(outcome.images, len(seeds))).save(options.out / f"{name}.png")


def measure(trained: Trained, judge: Trained, params: Mapping[str, Any], seeds: Sequence[int]) -> Outcome:
    begun = time.perf_counter()
    seen = [
        look(trained, "class-image", params={**params, "nearest": False}, seed=seed, judge=judge).arrays
        for seed in seeds
    ]
    seconds = time.perf_counter() - begun
    images, right, confidence, own, moved = (np.concatenate([one[name] for one in seen]) for name in STORED)
    return Outcome(images, right, confidence, own, moved, seconds)


def drawn_anew(trained: Trained) -> Trained:
    """The run's network as it was built, before any training; `trained` stays as it is."""
    torch.manual_seed(0)
    spec, plugin = trained.run.spec, MODELS.get(trained.run.spec.model.name)
    params = validate(plugin.Params, spec.model.params, where="model.params")
    size = trained.built.preprocessing.size
    built = plugin.build(params, num_classes=len(trained.class_names), image_size=size)
    built.module.to(trained.compute.device).eval()
    return replace(trained, built=replace(built, preprocessing=trained.built.preprocessing))


def row(name: str, outcome: Outcome, class_names: Sequence[str]) -> str:
    seeds = len(outcome.right) // len(class_names)
    hits = outcome.right.reshape(seeds, -1).sum(0)
    missed = [f"{label} {count}" for label, count in zip(class_names, hits, strict=True) if count < seeds]
    return (
        f"{name}: judge right {int(outcome.right.sum())} of {len(outcome.right)}, its mean probability of the class "
        f"{outcome.confidence.mean():.2f}; own {outcome.own.mean():.2f}, moved {outcome.moved.mean():.2f}; "
        f"{outcome.seconds:.0f} s; not always right: {', '.join(missed) or 'none'}"
    )


def sheet(images: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """All images as one picture, a row for each seed, twice their size."""
    count, side = len(images) // rows, images.shape[1]
    joined = images.reshape(rows, count, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(rows * side, count * side, 3)
    return joined.repeat(2, axis=0).repeat(2, axis=1)


if __name__ == "__main__":
    main()
