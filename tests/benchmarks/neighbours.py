"""How fast ahekit trains beside its neighbours, beside the bare step, and beside what the machine can multiply.

    python tests/benchmarks/neighbours.py [DATA] [--sizes 64 128] [--rounds 5] [--steps 40] [--only ahekit timm …]
    python tests/benchmarks/neighbours.py --layers          which of cnn5's layers lose the time
    python tests/benchmarks/neighbours.py --try             all of it in a tiny way: whether every road goes through

DATA is a folder of class folders, or one with such folders in `train/` and `test/`; by default the embedded sample.
Nothing else should run on the machine, and the package registry has to be reachable unless the environments are there
already (--keep).

Contenders, each in a process and a virtual environment of its own, started in turns, the order shifted by one each
round; reported are medians over the rounds:

- bare: forward, backward, clipping, fused AdamW and weight averaging on one batch that stays in memory, no loader.
- ahekit: the finetune recipe with random weights, every layer trained, without accumulation.
- timm: its data set, loader, network and optimizer in a plain loop. Its own training script isn't in its package.
- fastai: `Learner`, `ImageDataLoaders`, `aug_transforms`.
- ultralytics: `ClassificationTrainer` on torchvision's network.

An environment sees the packages of the one that this script runs in, torch among them, and gets what is missing; where
a neighbour asks for another torch, pip installs that too, which takes gigabytes and minutes. What can't be installed or
doesn't train is skipped with a word. Environments are removed at the end, unless --keep FOLDER names a place for them.

Equal are: the images, as files; resnet18 with random weights and as many logits as classes; image size; micro-batch,
each of which is an optimizer step; AdamW with its rate and weight decay; single precision; threads of the process; and
the number of workers asked for. All but the bare step crop at random, mirror, and change colours.

What can't be made equal: ahekit decodes images once, keeps the pixels and augments them in the training process; timm
and fastai decode and augment each image anew in their workers; ultralytics, which takes no workers on a processor,
does so in the training process. ahekit and ultralytics average weights and clip gradients, the others don't. ahekit
lays tensors out with channels last and keeps freed memory. Each draws its crops and colours in its own way. The first
start of ahekit includes decoding all images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ahekit.catalog import resolve
from ahekit.compute import keep_freed_memory, multiplies_bf16
from ahekit.data.folder import scan
from ahekit.models import build_component

NEIGHBOURS = {"timm": "timm", "fastai": "fastai", "ultralytics": "ultralytics"}
"""Those that need an environment, and the package that brings each."""

CONTENDERS = ("bare", "ahekit", *NEIGHBOURS)
LOOPS = Path(__file__).with_name("neighbour_loops.py")
MIB = 2**20
MOST_SECONDS = 3.0
"""Of one matrix product. bf16 takes a hundred times as long as fp32 on processors that don't have it."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    sizes: tuple[int, ...] = (64, 128)
    rounds: int = 5
    warm: int = 5
    steps: int = 40
    batch: int = 64
    workers: int = 2
    matrix: int = 4096
    repeats: int = 7


TINY = Plan(sizes=(32,), rounds=1, warm=1, steps=2, batch=8, workers=1, matrix=256, repeats=2)


# --- the contenders ---------------------------------------------------------------------------------------------------


def laid_out(source: str | None, place: Path) -> tuple[Path, int]:
    """The images as all contenders read them, `train/CLASS/…` and `val/CLASS/…`, by links; and how many train.

    A few of each class are set aside, since some neighbours insist on a validation set.
    """
    samples = scan(resolve(source).root).samples
    training = [sample for sample in samples if sample.split == "train"] or [
        sample for sample in samples if sample.split != "test"
    ]
    seen: dict[str, int] = {}
    count = 0
    for number, sample in enumerate(training):
        of_class = seen.get(sample.class_name, 0)
        seen[sample.class_name] = of_class + 1
        part = "val" if of_class < 4 else "train"
        folder = place / part / sample.class_name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}{sample.path.suffix}").symlink_to(sample.path.resolve())
        count += part == "train"
    return place, count


def make_environment(folder: Path, package: str) -> str:
    """An environment with a package; returns what went wrong, if something did."""
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True)
        own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        shared = sysconfig.get_path("purelib")
        Path(own, "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python_of(folder))]
        done = subprocess.run([*command, "install", "--quiet", package], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"can't be installed: {last_line(done.stderr)}"
        (folder / "whole").touch()
    return ""


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def one_training(contender: str, python: Path, data: Path, scratch: Path, size: int, plan: Plan) -> dict[str, float]:
    """What a contender's process tells.

    Raises:
        RuntimeError: It failed.
    """
    numbers = {"size": size, "batch": plan.batch, "workers": plan.workers, "warm": plan.warm, "steps": plan.steps}
    command = [str(python), str(LOOPS), contender, str(data), str(scratch)]
    command += [f"--{name}={value}" for name, value in numbers.items()]
    variables = {**os.environ, "AHEKIT_HOME": str(scratch.with_name("ahekit-home"))}
    command.append(f"--begun={time.time()}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=scratch.parent)
    shutil.rmtree(scratch, ignore_errors=True)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(last_line(done.stderr))
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def race(names: list[str], environments: Mapping[str, Path], data: Path, place: Path, size: int, plan: Plan) -> None:
    """All rounds at one size, and their table."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(plan.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if name not in found:
                continue
            try:
                told = one_training(name, environments[name], data, place / f"scratch-{name}", size, plan)
            except RuntimeError as error:
                print(f"{name}: skipped, it doesn't train: {error}", flush=True)
                del found[name]
                continue
            found[name].append(told)
            print(f"  {size} px, round {number + 1}: {name} {told['rate']:.1f} images/s", flush=True)
    show_race(found, size, plan)


def show_race(found: Mapping[str, list[dict[str, float]]], size: int, plan: Plan) -> None:
    """A table in Markdown."""
    print(f"\nresnet18, {size} px, micro-batch {plan.batch}, fp32, {plan.workers} workers, {plan.rounds} rounds\n")
    print("| | images a second (range) | share of the bare step | peak memory, MiB | + workers | first step after, s |")
    print("|---|--:|--:|--:|--:|--:|")
    bare = found.get("bare")
    for name, rounds in found.items():
        rates = [told["rate"] for told in rounds]
        share = "" if not bare else f"{statistics.median(map(ratio, rounds, bare)):.3f}"
        memory, workers = (max(told[each] for told in rounds) / MIB for each in ("memory", "workers_memory"))
        starts = [told["first_step"] for told in rounds]
        start = f"{statistics.median(starts):.1f} (the first time {starts[0]:.1f})"
        rate = f"{statistics.median(rates):.1f} ({min(rates):.1f}–{max(rates):.1f})"
        print(f"| {name} | {rate} | {share} | {memory:,.0f} | {workers:,.0f} | {start} |")
    print(flush=True)


def ratio(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Of the rates of one round, in which the machine was as fast for both as it gets."""
    return first["rate"] / second["rate"]


# --- the machine's limit ----------------------------------------------------------------------------------------------


def matrix_rate(dtype: torch.dtype, plan: Plan) -> float:
    """Operations a second of a product of two square matrices, smaller ones where the machine has to emulate."""
    side = min(plan.matrix, 512)
    while True:
        first = torch.randn(side, side).to(dtype)
        second = torch.randn(side, side).to(dtype)
        seconds = median_seconds(partial(torch.mm, first, second), plan.repeats)
        if side == plan.matrix or 8 * seconds > MOST_SECONDS:
            return 2 * side**3 / seconds
        side = min(plan.matrix, 2 * side)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Of a call, after one that isn't timed."""
    run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def trained_in() -> tuple[torch.dtype, ...]:
    """The precisions in which somebody would train on this processor."""
    return (torch.float32, torch.bfloat16) if multiplies_bf16(torch.device("cpu")) else (torch.float32,)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        yield


def show_limits(plan: Plan) -> None:
    """What of a matrix product's rate cnn5's forward and backward pass reaches."""
    print("| | matrix product, GFLOP/s | cnn5's pass, GFLOP/s | share | images a second |\n|---|--:|--:|--:|--:|")
    size = 64
    network, images, labels = cnn5(plan.batch, size)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network(images), labels).backward()
    operations = counter.get_total_flops()
    hints: list[str] = []
    for dtype in (torch.float32, torch.bfloat16):
        limit = matrix_rate(dtype, plan)
        name = str(dtype).removeprefix("torch.")
        if dtype not in trained_in():
            print(f"| {name}, emulated | {limit / 1e9:,.1f} | | | |", flush=True)
            continue

        def step(dtype: torch.dtype = dtype) -> None:
            network.zero_grad(set_to_none=True)
            with precision(dtype):
                logits = network(images)
            F.cross_entropy(logits.float(), labels).backward()

        seconds = median_seconds(step, plan.repeats)
        reached = operations / seconds
        cells = f"{limit / 1e9:,.1f} | {reached / 1e9:,.1f} | {reached / limit:.2f} | {plan.batch / seconds:,.0f}"
        print(f"| {name} | {cells} |", flush=True)
        if reached < limit / 2:
            hints.append(f"{name}: below half of the product's rate; --layers tells which layers lose it")
    print(f"\ncnn5 at {size} px: {operations / plan.batch / 1e9:.3f} GFLOP an image, forward and backward")
    print(*hints, "", sep="\n", flush=True)


def cnn5(batch: int, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network as it is trained, and a batch."""
    torch.manual_seed(0)
    built = build_component("cnn5", {}, num_classes=10, image_size=size).built
    network = built.module.train().to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    return network, images, torch.arange(batch) % 10


# --- which layers lose it ---------------------------------------------------------------------------------------------


def show_layers(plan: Plan) -> None:
    """Each of cnn5's layers alone, forward and backward, on what it gets within the network."""
    network, images, _ = cnn5(plan.batch, 64)
    inputs: dict[str, Tensor] = {}
    layers = {name: layer for name, layer in network.named_modules() if not list(layer.children())}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
            # What the first layer gets is pixels, whose gradient nobody asks for.
            inputs[name] = given[0].detach().clone().requires_grad_(bool(inputs))

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    for dtype in trained_in():
        limit = matrix_rate(dtype, plan)
        rows = [(name, *layer_cost(layers[name], given, dtype, plan)) for name, given in inputs.items()]
        whole = sum(seconds for _, seconds, _ in rows)
        print(f"\n{dtype}, {plan.batch} images of 64 px; the matrix product: {limit / 1e9:,.1f} GFLOP/s\n")
        print("| layer | what | ms | share of the time | GFLOP/s | of the product's |\n|---|---|--:|--:|--:|--:|")
        for name, seconds, operations in rows:
            rate = operations / seconds
            reached = f"{rate / 1e9:,.1f} | {rate / limit:.2f}" if operations else "|"
            kind = type(layers[name]).__name__
            print(f"| {name} | {kind} | {seconds * 1e3:.2f} | {seconds / whole:.1%} | {reached} |", flush=True)
        rate = sum(operations for _, _, operations in rows) / whole
        print(f"| all | | {whole * 1e3:.2f} | 100.0% | {rate / 1e9:,.1f} | {rate / limit:.2f} |")


def layer_cost(layer: nn.Module, given: Tensor, dtype: torch.dtype, plan: Plan) -> tuple[float, int]:
    """Seconds and floating-point operations of a layer's forward and backward pass."""
    # Gradients of ones would be constants without memory of their own, which some kernels take a longer way with.
    with precision(dtype):
        upstream = torch.randn_like(layer(given.clone()))

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        given.grad = None
        with precision(dtype):
            # What works in place may not do so on what is kept.
            result = layer(given.clone() if getattr(layer, "inplace", False) else given)
        result.backward(upstream)

    with FlopCounterMode(display=False) as counter:
        run()
    return median_seconds(run, plan.repeats), int(counter.get_total_flops())


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="by default the embedded sample")
    plan = Plan()
    parser.add_argument("--sizes", nargs="+", type=int, default=plan.sizes)
    for name in ("rounds", "steps", "warm", "batch", "workers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(plan, name))
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--keep", type=Path, help="where environments lie and stay")
    parser.add_argument("--layers", action="store_true", help="only tell which of cnn5's layers lose the time")
    parser.add_argument("--try", dest="tiny", action="store_true", help="tiny sizes; the numbers mean nothing")
    options = parser.parse_args()
    fields: dict[str, Any] = {name: getattr(options, name) for name in ("rounds", "steps", "warm", "batch", "workers")}
    plan = TINY if options.tiny else Plan(sizes=tuple(options.sizes), **fields)
    if plan.warm < 1 or plan.steps < 1 or plan.rounds < 1:
        parser.error("--warm, --steps and --rounds are at least 1")
    keep_freed_memory()
    if options.layers:
        show_layers(plan)
        return
    show_limits(plan)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data, count = laid_out(options.data, place / "images")
        if count < plan.batch:
            parser.error(f"{count} training images don't fill a batch of {plan.batch}")
        environments = dict.fromkeys(CONTENDERS, Path(sys.executable))
        contenders = [name for name in CONTENDERS if name in options.only]
        for neighbour, package in NEIGHBOURS.items():
            if neighbour not in contenders:
                continue
            folder = (options.keep or place / "environments").resolve() / neighbour
            if fault := make_environment(folder, package):
                print(f"{neighbour}: skipped, it {fault}", flush=True)
                contenders.remove(neighbour)
                continue
            environments[neighbour] = python_of(folder)
        for size in plan.sizes:
            race(contenders, environments, data, place, size, plan)


if __name__ == "__main__":
    main()
