"""How many class images a second network names rightly: robust ones, those of ascent, and those of a random network.

    python tests/benchmarks/class_image_judge.py RUN --judge RUN --out FOLDER [--runs FOLDER] [--seeds 0,1,2]

All classes for each seed; every image counts, none is picked out. The judge has no part in making them: they are made
first and lie in FOLDER, as arrays and as one sheet for each kind, a row for each seed; images that lie there already
are judged as they are. The control's images are made as the robust ones, for the same network with its weights drawn
anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ahekit.models import build_component
from ahekit.run import Run, runs_root
from ahekit.trained import Trained, find_trained
from ahekit.visualizing import judge_pictures, look

STORED = ("images", "targets", "probability", "moved_probability")
KINDS: dict[str, dict[str, Any]] = {"robust": {}, "ascent": {"method": "ascent"}, "control": {}}
Arrays = dict[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="whose network the images are made for")
    parser.add_argument("--judge", help="run of another architecture; without it images are made and not judged")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE of the robust recipe, to try another")
    options = parser.parse_args()
    root, seeds = runs_root(options.runs), [int(seed) for seed in options.seeds.split(",")]
    trained = find_trained(root, run=options.run)[0]
    judge = find_trained(root, run=options.judge)[0] if options.judge else None
    print(f"{trained.run.name}, {trained.checkpoint.name}; seeds {options.seeds}")
    if judge:
        print(f"judge: {judge.run.name}, {judge.checkpoint.name}")
    options.out.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds.split(","):
        tried = {} if kind == "ascent" else dict(assignment.split("=", 1) for assignment in options.set)
        file = options.out / f"{kind}.npz"
        if not file.exists():
            network = drawn_anew(trained) if kind == "control" else trained
            np.savez(file, **make(network, KINDS[kind] | tried, seeds))  # type: ignore[arg-type]
        with np.load(file) as stored:
            made = dict(stored)
        Image.fromarray(sheet(made["images"], len(seeds))).save(file.with_suffix(".png"))
        print(row(kind, made, judge, trained.class_names), flush=True)


def make(trained: Trained, params: Mapping[str, Any], seeds: Sequence[int]) -> Arrays:
    begun = time.perf_counter()
    seen = [look(trained, "class-image", params={**params, "nearest": False}, seed=seed).arrays for seed in seeds]
    arrays = {name: np.concatenate([one[name] for one in seen]) for name in STORED}
    return arrays | {"seconds": np.array(time.perf_counter() - begun)}


def drawn_anew(trained: Trained) -> Trained:
    """The run's network as it was built, before any training; `trained` stays as it is."""
    torch.manual_seed(0)
    assert isinstance(trained.run, Run)
    model = trained.run.spec.model
    size = trained.built.preprocessing.size
    built = build_component(model.name, model.params, num_classes=len(trained.class_names), image_size=size).built
    built.module.to(trained.compute.device).eval()
    return replace(trained, built=replace(built, preprocessing=trained.built.preprocessing))


def row(kind: str, made: Arrays, judge: Trained | None, class_names: Sequence[str]) -> str:
    own, moved = made["probability"].mean(), made["moved_probability"].mean()
    told = f"{kind}: own probability {own:.2f}, moved {moved:.2f}, made in {made['seconds']:.0f} s"
    if judge is None:
        return told
    verdict, targets = judge_pictures(judge, class_names, made["images"]), made["targets"]
    right = verdict.argmax(1) == targets
    by_class = [f"{name} {right[targets == number].sum()}" for number, name in enumerate(class_names)]
    mean = verdict[np.arange(len(targets)), targets].mean()
    named = f"the judge names {right.sum()} of {len(right)} rightly (mean probability of the class {mean:.2f})"
    return f"{told}; {named}: {', '.join(by_class)}"


def sheet(images: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """All images as one picture, a row for each seed, twice their size."""
    count, side = len(images) // rows, images.shape[1]
    joined = images.reshape(rows, count, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(rows * side, count * side, 3)
    return joined.repeat(2, axis=0).repeat(2, axis=1)


if __name__ == "__main__":
    main()
