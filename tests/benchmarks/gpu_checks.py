"""What `gpu.sh` checks on a GPU, or in a small way on the processor.

    python -m tests.benchmarks.gpu_checks --device cuda [--to gpu-check]

Networks have random weights, pictures are made up: what is checked is that the card computes what the processor does,
the same each time, and how fast. Each item prints a line; `summary.json` and `summary.md` hold them all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ahekit.compute import Compute, hardware, open_compute, peak_memory, resolve_runtime
from ahekit.data.augment import normalize
from ahekit.evaluation.predict import predict_logits
from ahekit.models import build_component
from ahekit.registry import VISUALIZERS
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import RunSpec
from ahekit.testing import CLASSES, errors_elsewhere, small_input, small_pictures
from ahekit.training.loop import fit
from ahekit.training.processes import Processes
from ahekit.training.session import start
from ahekit.training.setup import Setup, prepare, prepare_again
from ahekit.training.steps import train_steps
from ahekit.validation import merge, validate
from ahekit.visualizing import visualize
from tests.benchmarks import training_rate
from tests.benchmarks.epoch_overhead import seconds_of

LEAST_RATE = 0.8
"""Share of the bare step that training has to reach on a card; on the processor it is only told."""

MOST_OVERHEAD = 0.04
"""Share of an epoch that may be spent outside its steps on a card, with as many images as AHE-64 has."""

CLOSE = 1e-3
"""Largest difference of a visualizer's array on the card, as a share of its largest number."""

STEERED = {"class-image": 0.05, "units": 0.05}
"""The same for pictures that an optimizer draws: Adam takes a whole step wherever a tiny gradient changes its sign.
Which class or image such a picture comes nearest to isn't compared: in a network of random weights these are ties."""

FEW_STEPS: dict[str, dict[str, Any]] = {
    "class-image": {"steps": 8},
    "units": {"steps": 8},
    "smoothgrad": {"samples": 4},
    "integrated-gradients": {"steps": 8},
    "occlusion": {"window": 16, "stride": 16},
    # t-SNE takes another course after the first digit that differs.
    "embedding": {"method": "pca"},
}


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    images_per_class: int
    classes: int
    network: Mapping[str, Any]
    size: int
    batch: int
    rounds: int
    windows: int
    predicted: int
    epoch_per_class: int


ON_A_CARD = Sizes(240, 10, {}, 64, 64, 5, 20, 20_000, 1_000)
TINY = Sizes(24, 3, {"channels": (8, 8, 8, 8, 8), "hidden": (16, 8)}, 32, 8, 2, 2, 100, 24)


@dataclass(frozen=True)
class Item:
    """What was checked, and what came of it."""

    name: str
    passed: bool
    words: str
    numbers: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Bench:
    """What every check works with."""

    device: str
    sizes: Sizes
    images: Path
    folder: Path

    @property
    def on_card(self) -> bool:
        return self.device != "cpu"

    def fields(self, **more: Any) -> dict[str, Any]:
        """A run spec's."""
        own: dict[str, Any] = {
            "model": {"name": "cnn5", "params": dict(self.sizes.network)},
            "data": {"source": str(self.images), "image_size": self.sizes.size},
            "progressive": {"sizes": []},
            "optim": {"batch_size": self.sizes.batch, "accumulation_steps": 4},
            "train": {"epochs": 2, "keep_optimizer": True},
            "runtime": {"device": self.device},
        }
        return merge(own, more)

    def assignments(self, **more: Any) -> list[str]:
        """The same for a command line."""
        flat = {
            f"{part}.{name}": value
            for part, values in self.fields(**more).items()
            if part not in ("model", "data")
            for name, value in values.items()
        }
        network = {f"model.params.{name}": list(value) for name, value in self.sizes.network.items()}
        data = {f"data.{name}": value for name, value in self.fields(**more)["data"].items()}
        return [f"--set={name}={json.dumps(value)}" for name, value in {**flat, **network, **data}.items()]

    def synchronize(self) -> None:
        if self.on_card:
            torch.cuda.synchronize()


Outcome = tuple[bool, str, dict[str, Any]]


# --- the checks -------------------------------------------------------------------------------------------------------


def accumulation(bench: Bench, precision: str) -> Outcome:
    """`ahekit prove accum` passes."""
    command = ["prove", "accum", "--json", "--model=cnn5", *bench.assignments(runtime={"precision": precision})]
    done = ahekit(command, bench)
    checks = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    own = [check for check in checks if check["precision"] == precision and check["limit"]]
    exact = [check for check in checks if check["precision"] == "float64" and check["limit"]]
    if done.returncode not in (0, 1) or not own or not exact:
        return False, f"exit {done.returncode}: {last_line(done)}", {}
    numbers = {"error": own[0]["error"], "limit": own[0]["limit"], "float64": max(check["error"] for check in exact)}
    words = f"error {numbers['error']:.1e} (limit {numbers['limit']:.0e}), in float64 {numbers['float64']:.1e}"
    return done.returncode == 0, words, numbers


def repetition(bench: Bench) -> Outcome:
    """A run that was interrupted and resumed, and one that was begun anew, end as the first one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = trained(bench, "whole")
        again = trained(bench, "again")
        steps = prepare(RunSpec.model_validate(bench.fields())).batches(Processes()).steps_per_epoch
        broken = trained(bench, "broken", stop_at=steps + 1)
        told = sorted(
            {str(each.message).split(" does not have")[0] for each in caught if "determinis" in str(each.message)}
        )
    resumed = differences(whole, broken)
    repeated = differences(whole, again)
    numbers = {"resumed": resumed, "repeated": repeated, "not deterministic": told}
    if not resumed and not repeated:
        return True, f"all {len(tensors(whole))} tensors of weights, average and optimizer equal, bit by bit", numbers
    worst = max({**resumed, **repeated}.values())
    words = f"{len(resumed)} tensors differ after resuming, {len(repeated)} between two runs, by {worst:.1e} at most"
    # Where a card has no deterministic kernel, torch says so; then resuming may differ no more than repeating does.
    return bool(told and repeated), f"{words}; told by torch: {', '.join(told) or 'nothing'}", numbers


def group(bench: Bench) -> Outcome:
    """In a group of one process gradients and buffers go through NCCL (gloo on the processor), and stay as they are."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    command += ["-m", "tests.benchmarks.gpu_checks", "--in-a-group", "--images", str(bench.images)]
    command += ["--device", bench.device]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(bench))
    if done.returncode:
        return False, f"exit {done.returncode}: {last_line(done)}", {}
    numbers = json.loads(done.stdout.splitlines()[-1])
    words = f"{numbers['backend']}: {numbers['differing']} of {numbers['tensors']} tensors differ from those without"
    return not numbers["differing"], words, numbers


def in_a_group(bench: Bench) -> None:
    """The process of `group`."""
    plain = few_steps(bench, is_grouped=False)
    dist.init_process_group("cpu:gloo,cuda:nccl" if bench.on_card else "gloo")
    try:
        grouped = few_steps(bench, is_grouped=True)
        for tensor in grouped.values():
            before = tensor.clone()
            dist.broadcast(tensor, src=0)
            assert torch.equal(tensor, before)
        backend = str(dist.get_backend(dist.group.WORLD)) if not bench.on_card else "nccl"
    finally:
        dist.destroy_process_group()
    differing = sum(not torch.equal(plain[name], grouped[name]) for name in plain)
    print(json.dumps({"backend": backend, "tensors": len(plain), "differing": differing}))


def few_steps(bench: Bench, *, is_grouped: bool) -> dict[str, Tensor]:
    """The weights after an epoch."""
    session = start(prepare(RunSpec.model_validate(bench.fields())), Processes())
    model = DistributedDataParallel(session.module) if is_grouped else session.module
    optim = session.setup.spec.optim
    windows = session.batches.epoch(1)
    for _ in train_steps(model, windows, session.optimizer, compute=session.setup.compute, clip_norm=optim.clip_norm):
        pass
    return {name: tensor.detach().clone() for name, tensor in session.module.state_dict().items()}


def processes(bench: Bench) -> Outcome:
    """Two processes train a run; where there are fewer cards than that, they are refused in a line."""
    enough = not bench.on_card or torch.cuda.device_count() > 1
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ahekit"]
    own = bench.assignments(train={"epochs": 1}, optim={"accumulation_steps": 2})
    command += ["train", "--quiet", f"--runs={bench.folder / 'two'}", *own]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(bench))
    if not enough:
        is_told = bool(done.returncode) and "--nproc-per-node 1" in done.stderr
        return is_told, "two processes on one card are refused" if is_told else f"not refused: {last_line(done)}", {}
    if done.returncode:
        return False, f"exit {done.returncode}: {last_line(done)}", {}
    (folder,) = (path for path in (bench.folder / "two").iterdir() if (path / "spec.yaml").exists())
    losses = [row.loss for row in Run(folder).history().steps if row.loss is not None]
    if not losses:
        return False, "no step is in the history", {}
    return bool(np.isfinite(losses).all()), f"{len(losses)} steps, last loss {losses[-1]:.3f}", {"steps": len(losses)}


def visualizers(bench: Bench) -> Outcome:
    """Every visualizer makes the same on the card."""
    compute = open_compute(
        resolve_runtime(RunSpec.model_validate({"runtime": {"device": bench.device, "precision": "fp32"}}).runtime)
    )
    torch.manual_seed(0)
    built = build_component(
        "cnn5", dict(bench.sizes.network), num_classes=len(CLASSES), image_size=bench.sizes.size
    ).built
    built.module.eval()
    pixels = small_pictures(3, bench.sizes.size)
    plain = small_input(pixels=pixels)
    looked_at = replace(plain, model=built, images=normalize(pixels, built.preprocessing), layers={})
    numbers: dict[str, Any] = {}
    failures = []
    for name in VISUALIZERS.names():
        plugin = VISUALIZERS.get(name)
        values = validate(plugin.Params, FEW_STEPS.get(name, {}))
        given = looked_at
        if not getattr(plugin, "needs_images", True):
            given = replace(looked_at, images=looked_at.images[:0], pixels=pixels[:0], image_ids=(), labels=())
        try:
            seen = visualize(plugin, given, values)
            errors = errors_elsewhere(plugin, values, given, seen, compute.device)
            if name in STEERED:
                errors = {key: error for key, error in errors.items() if is_measured(seen.arrays[key])}
        except Exception as error:
            failures.append(f"{name} ({type(error).__name__}: {str(error).splitlines()[0][:120]})")
            continue
        numbers[name], furthest = max(((error, key) for key, error in errors.items()), default=(0.0, ""))
        if numbers[name] > STEERED.get(name, CLOSE):
            failures.append(f"{name} ({furthest} differs by {numbers[name]:.1e})")
    worst = max(numbers, key=lambda name: float(numbers[name]))
    words = f"{len(numbers)} visualizers, at most {numbers[worst]:.1e} ({worst})"
    return not failures, "; ".join([words, *failures]), numbers


def is_measured(array: NDArray[Any]) -> bool:
    """Whether an array holds measures or pixels, not numbers of classes or names."""
    return array.dtype.kind == "f" or array.dtype == np.uint8


def rate(bench: Bench) -> Outcome:
    """Training, augmentation and mixing included, reaches most of the bare step's rate."""
    setup = prepare(RunSpec.model_validate(bench.fields(mix={"clean_share": 0})))
    session = start(setup, Processes())
    contenders = training_rate.contenders(session)
    # The same with its views drawn on the processor, as it would be if the card had to wait for them.
    waiting = replace(setup, compute=replace(setup.compute, device=torch.device("cpu"))).batches(Processes())
    windows = training_rate.endless(waiting)
    runs: dict[str, Callable[[int], None]] = {
        "bare step": contenders["bare step"],
        "ahekit": contenders["ahekit"],
        "views from the processor": lambda count: training_rate.ahekit_loop(session, windows, count),
    }
    images = bench.sizes.windows * setup.spec.optim.effective_batch_size
    for run in runs.values():
        run(2)
    rounds: list[dict[str, float]] = []
    for _ in range(bench.sizes.rounds):
        rounds.append({name: images / training_rate.timed(run, bench.sizes.windows) for name, run in runs.items()})
    rates = {name: statistics.median(each[name] for each in rounds) for name in runs}
    shares = {
        name: statistics.median(each[name] / each["bare step"] for each in rounds)
        for name in runs
        if name != "bare step"
    }
    waited = shares["views from the processor"]
    peak = peak_memory(setup.compute.device) or 0
    numbers = {"images a second": rates, "share of the bare step": shares, "peak bytes": peak}
    words = (
        f"{shares['ahekit']:.3f} of the bare step at {bench.sizes.size} px ({rates['ahekit']:,.0f} of "
        f"{rates['bare step']:,.0f} images/s, {setup.spec.runtime.precision}); {waited:.3f} with "
        f"views drawn on the processor; peak {peak / 2**20:,.0f} MiB"
    )
    return not bench.on_card or shares["ahekit"] >= LEAST_RATE, words, numbers


def epochs(bench: Bench) -> Outcome:
    """Measuring and checkpoints take little of a run's time; as in strong, one epoch in ten is measured whole."""
    many = replace(bench.sizes, images_per_class=bench.sizes.epoch_per_class)
    images = draw_images(bench.folder / "many", many)
    runs = bench.folder / "epochs"
    own = bench.assignments(data={"source": str(images)}, train={"epochs": 40}, evaluation={"curve_points": 4})
    done = ahekit(["train", "--quiet", f"--runs={runs}", *own], bench)
    if done.returncode:
        return False, f"exit {done.returncode}: {last_line(done)}", {}
    (run,) = (path for path in runs.iterdir() if (path / "spec.yaml").exists())
    seconds = seconds_of(run).values()
    outside, whole = map(sum, zip(*seconds, strict=True))
    share = outside / whole
    words = f"{share:.1%} of {len(seconds)} epochs of {whole / len(seconds):.2f} s outside their steps"
    return not bench.on_card or share <= MOST_OVERHEAD, words, {"share": share, "seconds": whole / len(seconds)}


def prediction(bench: Bench) -> Outcome:
    """Logits are those of the processor; how many images a second."""
    setup = prepare(RunSpec.model_validate(bench.fields(runtime={"precision": "fp32"})))
    module = setup.built.module.eval()
    dataset = setup.dataset
    few = np.arange(min(64, len(dataset.images)))
    processor = Compute(torch.device("cpu"), bf16=False, channels_last=True)
    expected = predict_logits(module, dataset.images, few, dataset.preprocessing, processor)
    setup.compute.place(module)
    logits = predict_logits(module, dataset.images, few, dataset.preprocessing, setup.compute)
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    many = np.resize(np.arange(len(dataset.images)), bench.sizes.predicted)
    predict_logits(module, dataset.images, many[:1024], dataset.preprocessing, setup.compute)
    begun = time.perf_counter()
    predict_logits(module, dataset.images, many, dataset.preprocessing, setup.compute)
    own = len(many) / (time.perf_counter() - begun)
    batch = setup.compute.prepare(normalize(dataset.images[np.resize(few, 256)], dataset.preprocessing))
    repeats = max(1, len(many) // 256)
    with torch.inference_mode():
        module(batch)
        bench.synchronize()
        begun = time.perf_counter()
        for _ in range(repeats):
            module(batch)
        bench.synchronize()
    bare = repeats * 256 / (time.perf_counter() - begun)
    numbers = {"error": error, "images a second": own, "bare network": bare}
    words = f"{own:,.0f} images/s (bare network {bare:,.0f}), logits differ by {error:.1e} of the largest"
    return error < CLOSE, words, numbers


def photos(bench: Bench) -> Outcome:
    """`ahekit predict` says of photos what it says on the processor."""
    answers: dict[str, dict[str, tuple[str, float]]] = {}
    seconds: dict[str, float] = {}
    for device in ("cpu", bench.device):
        name = f"survey-{len(answers)}"
        begun = time.perf_counter()
        survey = bench.folder / name
        done = ahekit(["predict", str(bench.images), f"--out={survey}", f"--device={device}", "--quiet"], bench)
        seconds[device] = time.perf_counter() - begun
        if not done.returncode:
            done = ahekit(["write", str(survey), "--as=jsonl", "--quiet"], bench)
        if done.returncode:
            return False, f"--device {device}: exit {done.returncode}: {last_line(done)}", {}
        rows = map(json.loads, (survey / "photos.jsonl").read_text(encoding="utf-8").splitlines())
        answers[name] = {row["path"]: (str(row["class"]), float(row["confidence"])) for row in rows}
    first, second = answers.values()
    if not first or first.keys() != second.keys():
        return False, f"{len(first)} and {len(second)} photos told", {}
    same = statistics.mean(first[path][0] == second[path][0] for path in first)
    apart = max(abs(first[path][1] - second[path][1]) for path in first)
    words = f"{len(first)} photos in {seconds[bench.device]:.1f} s: {same:.1%} of the classes are the same, "
    words += f"confidences differ by {apart:.1e} at most"
    return same >= 0.99 and apart <= 0.02, words, {"same": same, "apart": apart, "seconds": seconds[bench.device]}


# --- what they share --------------------------------------------------------------------------------------------------


class Quiet:
    """Watches a training; asks it to stop after a step."""

    def __init__(self, stop: StopRequest, at: int | None) -> None:
        self._stop = stop
        self._at = at

    def step(self, record: Mapping[str, Any]) -> None:
        self._stop.asked = record["step"] == self._at

    def epoch(self, row: object) -> None: ...

    def prefix(self, done: int, total: int) -> None: ...

    def answers(self, done: int, total: int) -> None: ...


def trained(bench: Bench, name: str, *, stop_at: int | None = None) -> Run:
    """A run, resumed where it was asked to stop."""

    def setup_of() -> Setup:
        return prepare(RunSpec.model_validate(bench.fields()))

    setup = setup_of()
    run = Run.create(bench.folder / name, setup.spec, setup.manifest())
    stop = StopRequest()
    status = fit(setup, run, watcher=Quiet(stop, stop_at), stop=stop)
    if stop_at is not None:
        assert status.state == "interrupted", "the run was over before it could be interrupted"
        fit(prepare_again(run, processes=Processes()), run, watcher=Quiet(StopRequest(), None), resume=True)
    return run


def tensors(run: Run) -> dict[str, Tensor]:
    """All of a run's last checkpoint."""
    parts = ("model", "average", "optimizer", "rng")
    folder = run.checkpoints()[-1]
    return {f"{part}: {name}": own for part in parts for name, own in load_file(folder / f"{part}.safetensors").items()}


def differences(first: Run, second: Run) -> dict[str, float]:
    """By tensor, those that aren't equal."""
    own = tensors(first)
    other = tensors(second)
    assert own.keys() == other.keys()
    return {
        name: float((own[name].double() - other[name].double()).abs().max())
        for name in own
        if not torch.equal(own[name], other[name])
    }


def environment(bench: Bench) -> dict[str, str]:
    """Of a process that this one starts."""
    return {**os.environ, "AHEKIT_RUNS": str(bench.folder / "runs"), "PYTHONWARNINGS": "ignore"}


def ahekit(arguments: list[str], bench: Bench) -> subprocess.CompletedProcess[str]:
    """A command, as a user types it."""
    command = [sys.executable, "-m", "ahekit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(bench))


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a process said before it failed."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def draw_images(folder: Path, sizes: Sizes) -> Path:
    """Pictures of noise, each class in a colour of its own."""
    rng = np.random.default_rng(0)
    for number in range(sizes.classes):
        place = folder / f"class-{number}"
        place.mkdir(parents=True)
        for image in range(sizes.images_per_class):
            pixels = rng.integers(0, 200, (sizes.size, sizes.size, 3)).astype(np.uint8)
            pixels[..., number % 3] += np.uint8(5 + 5 * number)
            Image.fromarray(pixels).save(place / f"{image:04d}.png")
    return folder


def all_items(bench: Bench) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """The checks by name."""
    yield "accumulation, fp32", lambda: accumulation(bench, "fp32")
    yield "accumulation, bf16", lambda: accumulation(bench, "bf16")
    yield "resumed and repeated runs", lambda: repetition(bench)
    yield "one process in a group", lambda: group(bench)
    yield "two processes", lambda: processes(bench)
    yield "visualizers", lambda: visualizers(bench)
    yield "training rate", lambda: rate(bench)
    yield "epochs", lambda: epochs(bench)
    yield "prediction", lambda: prediction(bench)
    yield "ahekit predict", lambda: photos(bench)


def checked(name: str, check: Callable[[], Outcome]) -> Item:
    """An item; whatever a check raises fails it and no other."""
    begun = time.perf_counter()
    try:
        passed, words, numbers = check()
    except Exception as error:
        traceback.print_exc()
        passed, words, numbers = False, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", {}
    return Item(name, passed, words, numbers, time.perf_counter() - begun)


def write_summary(folder: Path, machine: Mapping[str, Any], items: list[Item]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "items": [asdict(item) for item in items]}
    (folder / "summary.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    facts = [f"- {name}: {value}" for name, value in machine.items()]
    rows = [f"| {item.name} | {verdict(item)} | {item.words} | {item.seconds:.0f} |" for item in items]
    table = ["| What | Verdict | Numbers | Seconds |", "|---|---|---|--:|", *rows]
    (folder / "summary.md").write_text("\n".join([*facts, "", *table, ""]), encoding="utf-8")


def verdict(item: Item) -> str:
    return "PASS" if item.passed else "FAIL"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a tiny try")
    parser.add_argument("--to", type=Path, default=Path("gpu-check"))
    parser.add_argument("--only", nargs="+", help="parts of the names of items")
    parser.add_argument("--in-a-group", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = TINY if options.device == "cpu" else ON_A_CARD
    if options.in_a_group:
        in_a_group(Bench(options.device, sizes, options.images, options.images.parent))
        return
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.exit(1, "torch finds no CUDA device; --device cpu tries the checks without one\n")
    machine = {**hardware(), "torch": torch.__version__, "cuda": torch.version.cuda, "device": options.device}
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    items = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        bench = Bench(options.device, sizes, draw_images(folder / "images", sizes), folder)
        for name, check in all_items(bench):
            if options.only and not any(part in name for part in options.only):
                continue
            items.append(checked(name, check))
            print(f"{verdict(items[-1])}  {name}: {items[-1].words} ({items[-1].seconds:.0f} s)", flush=True)
    write_summary(options.to, machine, items)
    failed = sum(not item.passed for item in items)
    print(f"{len(items) - failed} passed, {failed} failed; {options.to}/summary.md", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
