"""Checks that a plugin's author calls in the own tests, and the small network, pictures and run that they work on.

    from ahekit.testing import check_lesson, check_model, check_reporter, check_visualizer, check_writer

    def test_my_network_is_a_model() -> None:
        check_model(MyNet, params={"width": 8})

Each asks a plugin of one kind for all that its protocol asks for. What is wrong is a `Broken`, an `AssertionError` that
says so in a sentence; what the plugin itself raises passes with its traceback.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor, nn

from ahekit.backbones.wrap import wrap
from ahekit.data.augment import normalize
from ahekit.errors import AhekitError, SpecError
from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import RunRecord
from ahekit.faults import experiment_faults, section_faults, visualization_faults
from ahekit.models import check_built
from ahekit.notes import History, Manifest, Status
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LessonInput, PhotoRow, SplitImages, SurveyFacts, VisualizerInput, describe
from ahekit.registry import LESSONS, MODELS, REPORTERS, VISUALIZERS, WRITERS, Registry
from ahekit.reporting.style import render_figure
from ahekit.sections import Experiment, Figure, Section, Visualization
from ahekit.spec import RunSpec
from ahekit.training.metrics import metric_fault
from ahekit.validation import validate

CLASSES = ("altar", "dome_inner", "vault")

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)


class Broken(AssertionError):
    """What a plugin does that its protocol forbids, or lacks that it asks for."""


class Boom(Exception):
    """What a `Failing` network raises, and rows that break off."""


# --- models -----------------------------------------------------------------------------------------------------------


def check_model(
    plugin: Any, *, params: Mapping[str, Any] | None = None, num_classes: int = 3, image_size: int | None = None
) -> BuiltModel:
    """Ask a model plugin for all that `ModelPlugin` and `BuiltModel` promise.

    Args:
        plugin: The class, or an instance.
        params: Values of its parameters; small ones make a fast test.
        image_size: Side length in pixels; None: the plugin's own.

    Returns:
        What it built, in eval mode, for further checks of your own.

    Raises:
        Broken: What is wrong.
        SpecError: `params` are.
    """
    plugin = _check_plugin(MODELS, plugin)
    values = validate(plugin.Params, params or {})
    _require(
        isinstance(plugin.image_size, int) and plugin.image_size > 0,
        f"image_size has to be a number of pixels; it is {plugin.image_size!r}",
    )
    size = plugin.image_size if image_size is None else image_size

    def build() -> BuiltModel:
        torch.manual_seed(0)
        built = plugin.build(values, num_classes=num_classes, image_size=size)
        return wrap(built, preprocessing=Preprocessing(size=size)) if isinstance(built, nn.Module) else built

    built = build()
    try:
        check_built(built, num_classes=num_classes)
    except ValueError as error:
        raise Broken(f"build returned {error}") from error
    states = [one.module.state_dict() for one in (built, build())]
    _require(
        states[0].keys() == states[1].keys() and all(torch.equal(states[0][key], states[1][key]) for key in states[0]),
        "two builds under one torch seed have to begin with the same weights; draw them with torch's own generator",
    )
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    _check_training(built, images, num_classes)
    built.module.eval()
    with torch.no_grad():
        _check_eval_mode(built, images)
        _check_cuts(built, images)
        _check_copy(built, images)
    return built


def _check_training(built: BuiltModel, images: Tensor, num_classes: int) -> None:
    twin = copy.deepcopy(built.module).train()
    logits = twin(images)
    _require(
        isinstance(logits, Tensor) and logits.shape == (len(images), num_classes),
        "in train mode the module has to return logits (B, num_classes) as in eval mode, and nothing beside them",
    )
    logits.logsumexp(1).sum().backward()
    gradients = [parameter.grad for parameter in twin.parameters() if parameter.grad is not None]
    _require(bool(gradients), "no gradient reaches any parameter: nothing could be trained")
    _require(all(bool(grad.isfinite().all()) for grad in gradients), "gradients on noise images have to be finite")


def _check_eval_mode(built: BuiltModel, images: Tensor) -> None:
    given = images.clone()
    first = built.module(images)
    _require(torch.equal(images, given), "the module changed the images it was given; work on a copy")
    _require(
        torch.equal(built.module(images), first),
        "in eval mode the same images have to give the same logits; nothing random may be left there",
    )
    alone = torch.cat([built.module(image[None]) for image in images])
    _require(
        torch.allclose(alone, first, rtol=1e-3, atol=1e-4),
        "in eval mode an image's logits may not depend on the others of its batch",
    )
    embedding = built.embed(images)
    _require(
        isinstance(embedding, Tensor) and embedding.ndim == 2 and len(embedding) == len(images),
        "embed has to return one vector for each image, (B, D)",
    )


def _check_cuts(built: BuiltModel, images: Tensor) -> None:
    logits = built.module(images)
    for stage in built.stages:
        prefix, suffix = built.split(stage)
        between = prefix(images)
        given = between.clone()
        _require(
            torch.equal(suffix(between), logits),
            f"cut before stage {stage!r}, suffix(prefix(images)) has to be module(images)",
        )
        _require(
            torch.equal(between, given),
            f"the suffix from stage {stage!r} on changed its input, which spoils a cache of it; its first layer may not"
            " work in place",
        )
    if built.depths:
        names = {name for name, _ in built.module.named_parameters()}
        _require(set(built.depths) == names, "depths, where they are given, have to name every parameter")


def _check_copy(built: BuiltModel, images: Tensor) -> None:
    logits = built.module(images)
    twin = copy.deepcopy(built)
    for parameter in twin.module.parameters():
        parameter.zero_()
    prefix, suffix = twin.split(list(twin.stages)[-1])
    _require(
        torch.equal(built.module(images), logits) and torch.equal(suffix(prefix(images)), twin.module(images)),
        "a deep copy has to be whole: its cuts are of its own module, not of the one that it was copied from",
    )


# --- visualizers ------------------------------------------------------------------------------------------------------


def check_visualizer(
    plugin: Any,
    *,
    params: Mapping[str, Any] | None = None,
    given: VisualizerInput | None = None,
    device: str | torch.device | None = None,
    tolerance: float = 1e-3,
) -> Visualization:
    """Ask a visualizer for all that `VisualizerPlugin` promises, also when the network fails under its hands.

    Args:
        plugin: The class, or an instance.
        params: Values of its parameters; few steps make a fast test.
        given: What it looks at; None: `small_input()`, two convolutions with something in place behind each.
        device: Where it has to make the same of them; None: nowhere else.
        tolerance: Of what it makes there, as a share of the largest number of each array.

    Returns:
        What it made, for further checks of your own.

    Raises:
        Broken: What is wrong.
        SpecError: `params` are.
    """
    plugin = _check_plugin(VISUALIZERS, plugin)
    values = validate(plugin.Params, params or {})
    looked_at = small_input() if given is None else given
    if not getattr(plugin, "needs_images", True):
        looked_at = without_images(looked_at)
    disturb(looked_at.model.module)
    looked_at.model.module.eval()
    images = looked_at.images.clone()
    with no_trace(looked_at.model.module):
        seen = plugin.visualize(looked_at, values)
    _require(torch.equal(looked_at.images, images), "the visualizer changed the images it was given; work on a copy")
    _require(not looked_at.images.requires_grad, "the images it was given require gradients now; work on a copy")
    for fault in visualization_faults(seen):
        raise Broken(fault)
    assert isinstance(seen, Visualization)
    _check_figures(seen.figures)
    with no_trace(looked_at.model.module):
        again = plugin.visualize(looked_at, values)
    for name, array in seen.arrays.items():
        _require(
            name in again.arrays and np.array_equal(again.arrays[name], array, equal_nan=array.dtype.kind == "f"),
            f"the same input and seed have to give the same arrays; {name!r} differs the second time",
        )
    if device is not None:
        _check_elsewhere(plugin, values, looked_at, seen, torch.device(device), tolerance)
    if given is None:
        _check_failing_networks(plugin, values)
    return seen


def _check_elsewhere(
    plugin: Any,
    values: BaseModel,
    looked_at: VisualizerInput,
    seen: Visualization,
    device: torch.device,
    tolerance: float,
) -> None:
    """The same network and images on another device give the same arrays."""
    for name, error in errors_elsewhere(plugin, values, looked_at, seen, device).items():
        _require(
            error <= tolerance,
            f"on {device} {name!r} differs from what it is on {looked_at.images.device} by {error:.1e} of its largest "
            f"number, more than {tolerance:g}",
        )


def errors_elsewhere(
    plugin: Any, values: BaseModel, looked_at: VisualizerInput, seen: Visualization, device: torch.device
) -> dict[str, float]:
    """How far what a visualizer makes on another device is from what it has made, by array.

    Args:
        plugin: The visualizer.
        values: Its parameters.
        looked_at: What it looked at; left as it is.
        seen: What it made of that.

    Returns:
        The largest difference as a share of the array's largest number, of pixels (uint8) as a share of 255; of arrays
        of other whole numbers or text the share of the elements that differ.

    Raises:
        Broken: Arrays are missing or of another shape there.
    """
    # The cuts of a network are of its own module, so the whole of it is copied.
    model = copy.deepcopy(looked_at.model)
    model.module.to(device)
    with no_trace(model.module):
        elsewhere = plugin.visualize(replace(looked_at, model=model, images=looked_at.images.to(device)), values)
    shapes = [{name: array.shape for name, array in each.arrays.items()} for each in (seen, elsewhere)]
    _require(shapes[0] == shapes[1], f"on {device} the arrays are {shapes[1]}, elsewhere {shapes[0]}")
    return {name: _difference(array, elsewhere.arrays[name]) for name, array in seen.arrays.items()}


def _difference(first: NDArray[Any], second: NDArray[Any]) -> float:
    if not first.size:
        return 0.0
    if first.dtype == np.uint8:
        return float(np.abs(first.astype(int) - second.astype(int)).max()) / 255
    if first.dtype.kind != "f":
        return float(np.mean(first != second))
    if not np.array_equal(np.isnan(first), np.isnan(second)):
        return float("inf")
    largest = float(np.nanmax(np.abs(first), initial=0.0)) or 1.0
    return float(np.nanmax(np.abs(first - second), initial=0.0)) / largest


def check_lesson(plugin: Any, *, params: Mapping[str, Any] | None = None) -> Experiment:
    """Ask a lesson for all that its protocol promises, on `small_module` and `small_pictures`.

    Args:
        plugin: The class, or an instance.
        params: Values of its parameters.

    Returns:
        What it found out.

    Raises:
        Broken: What is wrong.
        SpecError: `params` are.
    """
    plugin = _check_plugin(LESSONS, plugin)
    _require(isinstance(plugin.title, str) and bool(plugin.title.strip()), "title has to be a line of text")
    _require(isinstance(plugin.seconds, int | float) and plugin.seconds > 0, "seconds has to be a number above 0")
    values = validate(plugin.Params, params or {})
    view = small_input()
    view.model.module.eval()
    request = LessonInput(network=lambda layers: replace(view, layers=dict.fromkeys(layers, "0")))
    with no_trace(view.model.module):
        experiment = plugin.teach(request, values)
    for fault in experiment_faults(experiment):
        raise Broken(fault)
    assert isinstance(experiment, Experiment)
    _check_figures([figure for section in experiment.sections for figure in section.figures])
    names = [exercise.name for exercise in experiment.exercises]
    _require(len(set(names)) == len(names), f"two exercises have one name among {', '.join(names)}")
    again = plugin.teach(request, values)
    _require(
        [exercise.answer for exercise in again.exercises] == [exercise.answer for exercise in experiment.exercises],
        "the same network and seed have to give the same answers; they differ the second time",
    )
    return experiment


def _check_failing_networks(plugin: Any, values: BaseModel) -> None:
    """A network that fails at once, after some passes, or on the way back."""
    for failure in (Failing(), Failing(good_passes=1), Failing(good_passes=3), Failing(backward=True)):
        good_passes, failure.left = failure.left, 9
        module = small_module()
        module.insert(3, failure)
        looked_at = small_input(module, aliases={"conv1": "0", "conv2": "4.0"})
        if not getattr(plugin, "needs_images", True):
            looked_at = without_images(looked_at)
        disturb(module)
        module.eval()
        failure.left = good_passes
        with no_trace(module), suppress(Boom, AhekitError):
            plugin.visualize(looked_at, values)


def small_module(*, inplace: bool = True) -> nn.Sequential:
    """Two convolutions, each with something in place behind it; images of any size to three logits."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=inplace)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


def small_pictures(count: int = 3, size: int = 12) -> NDArray[np.uint8]:
    """Noise, `(count, size, size, 3)`."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def small_split(pixels: NDArray[np.uint8], labels: Sequence[int] | None = None) -> Callable[[str], SplitImages]:
    """Opens splits that all hold the same pictures."""
    of = np.arange(len(pixels)) % len(CLASSES) if labels is None else np.asarray(labels, dtype=np.int64)
    ids = tuple(f"{number}.png" for number in range(len(pixels)))
    return lambda name: SplitImages(name, pixels, np.arange(len(pixels)), ids, of)


def small_input(
    module: nn.Sequential | None = None,
    *,
    layers: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    pixels: NDArray[np.uint8] | None = None,
    images: Tensor | None = None,
    labels: Sequence[int] | None = None,
) -> VisualizerInput:
    """What a visualizer gets: three noisy pictures of 12 x 12 for the small network, unless told otherwise.

    Args:
        module: A chain that ends in a linear layer.
        layers: Aliases or paths that the user asked for.
        aliases: Of the module's layers.
        images: Normalized; None: `pixels` as the model's preprocessing makes them.
    """
    if pixels is None:
        size = 12 if images is None else images.shape[-1]
        pixels = small_pictures(3 if images is None else len(images), size)
    chain = small_module() if module is None else module
    built = BuiltModel.from_stages(
        {"body": chain[:-1], "head": chain[-1]},
        preprocessing=Preprocessing(size=pixels.shape[1]),
        layers={},
    )
    own = {"conv1": "0", "conv2": "3.0"} if aliases is None else aliases
    built = replace(built, module=chain, layers=own)
    return VisualizerInput(
        model=built,
        class_names=CLASSES,
        images=normalize(pixels, built.preprocessing) if images is None else images,
        pixels=pixels,
        image_ids=tuple(f"test/{number}.png" for number in range(len(pixels))),
        labels=tuple(labels if labels is not None else [number % 3 for number in range(len(pixels))]),
        layers={layer: own.get(layer, layer) for layer in layers},
        split=small_split(np.concatenate([pixels, pixels[:, ::-1], pixels[:, :, ::-1]])),
    )


def without_images(given: VisualizerInput) -> VisualizerInput:
    """The same for a visualizer that looks at no images."""
    return replace(given, images=given.images[:0], pixels=given.pixels[:0], image_ids=(), labels=())


class _FailingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise Boom


class Failing(nn.Module):
    """A layer that lets some forward passes through, then raises `Boom`; or raises it on the way back."""

    def __init__(self, good_passes: int = 0, *, backward: bool = False) -> None:
        super().__init__()
        self.left = good_passes
        self.backward = backward

    def forward(self, values: Tensor) -> Tensor:
        """The values as they are, while it works."""
        if self.backward:
            result: Tensor = _FailingGradient.apply(values)
            return result
        if not self.left:
            raise Boom
        self.left -= 1
        return values


def disturb(module: nn.Module) -> None:
    """Give flags and gradients values that no default restores by chance."""
    for number, part in enumerate(module.modules()):
        part.training = number % 2 == 0
    for number, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(number % 3 != 0)
        parameter.grad = torch.full_like(parameter, 0.5) if number % 2 else None


@contextmanager
def no_trace(module: nn.Module) -> Iterator[None]:
    """Whatever happens inside, an exception too, leaves the network and the random numbers as they were.

    Raises:
        Broken: A hook is left, or a train flag, gradient, parameter, buffer or random state is another.
    """
    before = _state(module)
    try:
        yield
    finally:
        after = _state(module)
        changes = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if changes:
            raise Broken(f"the network has to be left as it was; changed: {', '.join(changes[:5])}")


def _state(module: nn.Module) -> dict[str, Any]:
    """Everything that a look must leave alone; tensors as bytes."""
    state: dict[str, Any] = {
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "the card's random state": torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b"",
        "numpy's random state": str(np.random.get_state()),
        "Python's random state": random.getstate(),
        "torch's grad mode": torch.is_grad_enabled(),
    }
    for name, part in module.named_modules():
        place = name or "module"
        state |= {f"{place}: {hook}": len(getattr(part, hook)) for hook in HOOKS}
        state |= {f"{place}: train flag": part.training, f"{place}: inplace": getattr(part, "inplace", None)}
    for name, parameter in module.named_parameters():
        state[f"{name}: requires_grad"] = parameter.requires_grad
        state[f"{name}: gradient"] = None if parameter.grad is None else parameter.grad.cpu().numpy().tobytes()
    for name, value in module.state_dict().items():
        state[name] = value.cpu().numpy().tobytes()
    return state


# --- reporters --------------------------------------------------------------------------------------------------------


def check_reporter(
    plugin: Any, *, params: Mapping[str, Any] | None = None, record: RunRecord | None = None
) -> tuple[Section, ...]:
    """Ask a reporter for all that its protocol promises, on a whole run and on one that left nothing.

    Args:
        plugin: The class, or an instance.
        params: Values of its parameters; few resamples make a fast test.
        record: The run; None: `small_record()`. A reporter that compares gets it and another.

    Returns:
        Its sections, of one run and of the comparison, as far as it makes them; metrics that it offers are measured.

    Raises:
        Broken: What is wrong.
        SpecError: `params` are.
    """
    plugin = _check_plugin(REPORTERS, plugin)
    values = validate(plugin.Params, params or {})
    _require(isinstance(plugin.order, int | float), f"order has to be a number; it is {plugin.order!r}")
    for metric in getattr(plugin, "metrics", ()):
        _check_metric(metric)
    first = small_record() if record is None else record
    tasks: list[tuple[Callable[[Any, Any], Any], Any, Any]] = []
    if hasattr(plugin, "report"):
        tasks.append((plugin.report, first, small_record(is_empty=True)))
    if hasattr(plugin, "compare"):
        runs = [first, small_record("run-2", seed=1)]
        nothing = [replace(run, manifest=Manifest(), history=History(), status=Status()) for run in runs]
        tasks.append((plugin.compare, ComparedRuns.of(runs), ComparedRuns.of(nothing)))
    return tuple(_check_section(make, whole, empty, values) for make, whole, empty in tasks)


def _check_metric(metric: Any) -> None:
    if fault := metric_fault(metric):
        raise Broken(f"a metric {fault}")
    predictions = small_record().predictions["test"]
    before = (predictions.labels.copy(), predictions.logits.copy())
    values = [float(metric.measure(predictions)) for _ in range(2)]
    _require(bool(np.isfinite(values).all()), f"metric {metric.name!r} has to be a finite number; it is {values[0]}")
    _require(values[0] == values[1], f"metric {metric.name!r} has to be the same for the same predictions")
    is_same = np.array_equal(before[0], predictions.labels) and np.array_equal(before[1], predictions.logits)
    _require(is_same, f"metric {metric.name!r} changed the predictions it was given; work on a copy")


def _check_section(make: Callable[[Any, Any], Any], whole: Any, empty: Any, values: BaseModel) -> Section:
    before = copy.deepcopy(whole)
    with no_trace(nn.Module()):
        section = make(whole, values)
    for fault in section_faults(section):
        raise Broken(fault)
    assert isinstance(section, Section)
    _require(bool(section.title), "a section needs a title")
    _require(bool(section.reading), "a section needs a reading: a paragraph in plain words that says what it shows")
    _check_figures(section.figures)
    _require(str(before) == str(whole), "the reporter changed the record it was given; work on a copy")
    again = make(whole, values)
    _require(
        str((again.tables, again.values)) == str((section.tables, section.values)),
        "the same record has to give the same section; draw random numbers from a generator with a seed",
    )
    try:
        make(empty, values)
    except AhekitError:
        pass  # a MissingRecord says what the run lacks, and the report goes on
    except Exception as error:
        raise Broken(
            f"a run that left nothing has to be a section or a MissingRecord, not a {type(error).__name__} ({error})"
        ) from error
    return section


def small_record(name: str = "run-1", *, seed: int = 0, is_empty: bool = False) -> RunRecord:
    """A finished run of three epochs on three classes, or one that was interrupted before it left anything."""
    spec = RunSpec()
    if is_empty:
        return RunRecord.of(name=name, path=Path("runs") / name, spec=spec, predictions={}, state="interrupted")
    counts = dict.fromkeys(CLASSES, 20)
    splits = ("train", "val", "test")
    manifest = {"data": {"name": "small", "kind": "folder", "counts": dict.fromkeys(splits, counts)}}
    history = [
        {
            "type": "epoch",
            "epoch": epoch,
            "lr": 0.001,
            "seconds": 1.0,
            **{split: _measures(0.5 + 0.1 * epoch, 1.5 - 0.3 * epoch) for split in ("train_online", *splits)},
        }
        for epoch in (1, 2, 3)
    ]
    predictions = {split: _predictions(split, seed + number) for number, split in enumerate(splits)}
    best = {"epoch": 3, "step": 30, "val_f1": 0.8}
    return RunRecord.of(
        name=name,
        path=Path("runs") / name,
        spec=spec,
        manifest=manifest,
        history=history,
        predictions=predictions,
        state="finished",
        status={"best": best},
    )


def _measures(share: float, loss: float) -> dict[str, float]:
    return {"loss": loss, "accuracy": share, "precision": share, "recall": share, "f1": share}


def _predictions(split: str, seed: int) -> Predictions:
    """Sixty images; the true class is the likeliest for most of them."""
    labels = np.arange(60) % len(CLASSES)
    noise = np.random.default_rng(seed).normal(size=(60, len(CLASSES)))
    logits = (noise + 2.0 * np.eye(len(CLASSES))[labels]).astype(np.float32)
    ids = tuple(f"{split}/{CLASSES[label]}/{number:02d}.png" for number, label in enumerate(labels.tolist()))
    return Predictions(ids, labels, logits, CLASSES)


# --- writers ----------------------------------------------------------------------------------------------------------


def check_writer(plugin: Any, *, params: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """Ask a writer for all that its protocol promises, on photos of every state and with names of every kind.

    Args:
        plugin: The class, or an instance.
        params: Values of its parameters. One that names a file to write is best left at its default.

    Returns:
        What it wrote for `small_rows`, by path relative to the folder that holds `photos/` and `survey/`.

    Raises:
        Broken: What is wrong.
        SpecError: `params` are.
    """
    plugin = _check_plugin(WRITERS, plugin)
    values = validate(plugin.Params, params or {})
    with TemporaryDirectory() as place:
        folder = Path(place)
        rows = small_rows(folder)
        facts = SurveyFacts(folder / "survey", CLASSES, "small 1", "ab" * 32, "2026-05-01T10:00:00+00:00")
        facts.folder.mkdir()
        before = _files_in(folder)
        told = plugin.write(iter(rows), facts, values)
        is_line = isinstance(told, str) and bool(told.strip()) and "\n" not in told
        _require(is_line, f"write() has to return a line that says what was written; it returned {told!r}")
        written = _files_in(folder)
        changed = [name for name, content in before.items() if written.get(name) != content]
        _require(not changed, f"photos have to stay as they are; changed or gone: {', '.join(changed)}")
        plugin.write(iter(rows), facts, values)
        _require(_files_in(folder) == written, "a second time has to change nothing: the same rows give the same files")

        def breaking_off() -> Iterator[PhotoRow]:
            yield from rows[:2]
            raise Boom

        try:
            plugin.write(breaking_off(), facts, values)
        except Boom:
            pass
        else:
            raise Broken("what the rows raise has to pass: the user would take a part of the survey for all of it")
        _require(
            _files_in(folder) == written,
            "rows that break off have to leave every file whole; write to a draft (ahekit.files.atomic_file)",
        )
        plugin.write(iter(()), facts, values)
    return {name: content for name, content in written.items() if name not in before}


def small_rows(folder: Path) -> list[PhotoRow]:
    """Eight photos of a few bytes below a folder: sure, to be looked at, unknown, unreadable and decided on."""
    known = PhotoRow("", Path(), "sure", "altar", 0.97, "vault", 0.02)
    names = (
        *("plain.jpg", "with space.jpg", '"quotes" & <tags>.jpg', "line\nbreak.jpg", os.fsdecode(b"caf\xe9.jpg")),
        *("-rf.jpg", "=1+1.jpg", "deep/er/\u00e9.jpg"),
    )
    rows = [
        known,
        replace(known, state="review", confidence=0.5, reason="confidence below 0.90"),
        replace(known, state="unknown", reason="like none of the classes"),
        PhotoRow("", Path(), "unreadable", reason="not an image"),
        replace(known, state="review", decision="vault", decided_at="2026-05-02T10:00:00+00:00"),
        replace(known, decision="", decided_at="2026-05-02T10:00:00+00:00"),
        replace(known, class_name="dome_inner", runner_up=None, runner_up_confidence=None),
        known,
    ]
    rows = [replace(row, path=name, file=folder / "photos" / name) for name, row in zip(names, rows, strict=True)]
    for row in rows:
        row.file.parent.mkdir(parents=True, exist_ok=True)
        row.file.write_bytes(b"a photo")
    return rows


def _files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- what all kinds have ----------------------------------------------------------------------------------------------


def _check_plugin(registry: Registry[Any], plugin: Any) -> Any:
    """The plugin's instance, with what every kind has: a docstring, documented parameters, what its kind needs."""
    made = plugin() if isinstance(plugin, type) else plugin
    name = type(made).__name__
    lacking = [need for need in registry.needs if not any(hasattr(made, each) for each in need.split(" or "))]
    _require(not lacking, f"a {registry.kind} has {', '.join(registry.needs)}; {name} lacks {' and '.join(lacking)}")
    _require(bool(describe(made)), f"{name} needs a docstring, whose first line `ahekit plugins` shows")
    params = made.Params
    is_model = isinstance(params, type) and issubclass(params, BaseModel)
    _require(is_model, f"{name}.Params has to be a pydantic model (ahekit.protocols.Params, or NoParams)")
    for field, facts in params.model_fields.items():
        _require(bool(facts.description), f"{name}.Params.{field} needs a description: it is the option's help")
    try:
        validate(params, {})
    except SpecError as error:
        raise Broken(f"{name} has to work with its defaults alone ({error})") from error
    params.model_json_schema()
    return made


def _check_figures(figures: Sequence[Figure]) -> None:
    names = [figure.name for figure in figures]
    _require(len(set(names)) == len(names), f"figures need a name each; these are {names}")
    for figure in figures:
        _require(bool(figure.alt), f"figure {figure.name!r} needs an alt text for readers who can't see it")
        render_figure(figure)


def _require(is_met: bool, what: str) -> None:
    if not is_met:
        raise Broken(what)
