"""From a spec to everything a run needs in memory: data, splits, network, device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ahekit import __version__
from ahekit.catalog import Source, resolve
from ahekit.compute import Compute, hardware, open_compute, resolve_runtime
from ahekit.data.batches import TrainingBatches
from ahekit.data.dataset import Dataset, load_dataset
from ahekit.data.editions import recognize_edition
from ahekit.data.folder import scan
from ahekit.data.random import generator
from ahekit.data.split import Splits, make_splits, splits_as_ids, splits_from_ids, take_share
from ahekit.data.views import Draw
from ahekit.errors import RunError
from ahekit.models import build_component, parameter_counts
from ahekit.notes import MetricNote
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit.run import Run, check_classes, resume_command
from ahekit.sections import Column, Table
from ahekit.spec import RunSpec
from ahekit.training.freezing import Freezing, ever_trained, plan_freezing
from ahekit.training.metrics import Metrics, offered_metrics
from ahekit.training.prefix import PrefixPlan, decide_views, plan_prefix
from ahekit.training.processes import Processes
from ahekit.training.run_weights import load_first_weights
from ahekit.training.sizes import decide_sizes, describe_sizes
from ahekit.training.teacher import Source as TeacherSource
from ahekit.training.teacher import find_teacher, plan_answers, teacher_note
from ahekit.validation import differences
from ahekit.wording import counted

VERSIONED = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors")


@dataclass(frozen=True)
class Setup:
    """A run before its first step; `spec` has every "auto" and default of data and device decided."""

    spec: RunSpec
    source: Source
    dataset: Dataset
    splits: Splits
    built: BuiltModel
    compute: Compute
    edition: str | None = None
    weights: LoadedWeights | None = None
    prefix: PrefixPlan | None = None
    teacher: TeacherSource | None = None
    asked: tuple[str, ...] = ()
    metrics: Metrics = field(default_factory=offered_metrics)

    @property
    def metric(self) -> MetricNote:
        """The metric that chooses the epoch."""
        return self.metrics.get(self.spec.train.monitor)

    @property
    def freezing(self) -> Freezing:
        """What of the network is frozen, and until when."""
        return plan_freezing(self.built, self.spec.transfer, epochs=self.spec.train.epochs)

    def batches(
        self, processes: Processes, *, draw: Draw | None = None, answers: Draw | None = None
    ) -> TrainingBatches:
        """The training images as this process sees them.

        Args:
            draw: Where an image's view comes from; None: from its pixels.
            answers: A teacher's logits for the same views.

        Raises:
            UsageError: The accumulation is longer than an epoch.
        """
        return TrainingBatches(
            self.dataset.images,
            self.dataset.labels,
            self.dataset.ids,
            self.splits.train,
            self.spec,
            self.dataset.preprocessing,
            num_classes=len(self.dataset.class_names),
            draw=draw,
            answers=answers,
            device=self.compute.device,
            rank=processes.rank,
            world=processes.world,
        )

    @property
    def train_subset(self) -> NDArray[np.int64]:
        """The fixed training images that are re-measured."""
        rng = generator("train subset", self.spec.seed)
        size = min(self.spec.evaluation.train_subset, len(self.splits.train))
        subset: NDArray[np.int64] = np.sort(rng.choice(self.splits.train, size=size, replace=False))
        return subset

    def manifest(self, processes: Processes | None = None) -> dict[str, Any]:
        """What the run folder remembers beside its spec; `ahekit.notes.Manifest` reads it."""
        return {
            "ahekit": __version__,
            "data": {
                "name": self.source.name,
                "kind": self.source.kind,
                "root": str(self.dataset.root.resolve()),
                "fingerprint": self.dataset.fingerprint,
                "edition": self.edition,
                "counts": _counts(self.dataset, self.splits),
                "refused": [{"id": refusal.id, "reason": refusal.reason} for refusal in self.dataset.refused],
            },
            "class_names": list(self.dataset.class_names),
            "splits": splits_as_ids(self.splits, self.dataset),
            "versions": {package: version(package) for package in VERSIONED},
            "hardware": hardware(),
            "parameters": parameter_counts(self.built),
            "asked": list(self.asked),
            "teacher": None if self.teacher is None else teacher_note(self.teacher).model_dump(),
            "weights": None if self.weights is None else asdict(self.weights),
            "metrics": [note.model_dump() for note in self.metrics.notes],
            "processes": 1 if processes is None else processes.world,
        }


def prepare(
    spec: RunSpec,
    *,
    processes: Processes | None = None,
    progress: Callable[[int, int], None] | None = None,
    announce: Callable[[str], None] = lambda text: None,
    pretrained: bool = True,
    class_names: Sequence[str] = (),
) -> Setup:
    """Bring data, network and device together for a new run.

    Args:
        pretrained: Load the pretrained weights that the model's parameters ask for.
        progress: Called with (images decoded, images in all) while the pixel cache is built.
        announce: Called with a line that says which dataset this is, before anything slow.
        class_names: The order of the classes that a run stored, which its logits have; without: as they are sorted.

    Raises:
        AhekitError: Whatever the spec asks for that can't be.
    """
    processes = processes or Processes()
    asked = tuple(differences(RunSpec(recipe=spec.recipe), spec))  # before anything is resolved
    metrics = offered_metrics()
    metrics.get(spec.train.monitor)  # said before anything slow is begun
    source = resolve(spec.data.source, announce=announce)
    folder = scan(source.root, name=source.name).with_class_order(class_names)
    for note in folder.notes:
        announce(note)
    runtime = resolve_runtime(spec.runtime, local_world=processes.local_world)
    compute = open_compute(runtime, local_rank=processes.local_rank)
    torch.manual_seed(spec.seed)
    component = build_component(
        spec.model.name,
        spec.model.params,
        num_classes=len(folder.class_names),
        image_size=spec.data.image_size,
    )
    built = component.built
    freezing = plan_freezing(built, spec.transfer, epochs=spec.train.epochs)
    spec = decide_views(spec, freezing)
    spec = decide_sizes(spec, built, announce)
    for parameter, trained in ever_trained(built.module, freezing):
        parameter.requires_grad_(trained and parameter.requires_grad)
    weights = _first_weights(built, spec, tuple(folder.class_names)) if pretrained else None
    preprocessing = built.preprocessing.overlaid(
        fit=spec.data.fit, interpolation=spec.data.interpolation, detail=spec.data.detail
    )
    dataset = load_dataset(folder, preprocessing, progress=progress)
    splits = make_splits(
        dataset,
        val_fraction=spec.data.val_fraction,
        test_fraction=spec.data.test_fraction,
        near_copy_threshold=spec.data.near_copy_threshold,
        group_by=spec.data.group_by,
        seed=spec.seed,
    )
    for note in splits.notes:
        announce(note)
    splits = take_share(splits, dataset, spec.data.train_share, seed=spec.seed)
    spec = fit_accumulation(spec, len(splits.train), processes.world, announce)
    teacher = find_teacher(spec, dataset, splits)
    edition = recognize_edition(folder)
    data = {
        "source": source.name if source.kind in ("sample", "installed") else str(source.path),
        "image_size": preprocessing.size,
        "fit": preprocessing.fit,
        "interpolation": preprocessing.interpolation,
        "detail": preprocessing.detail,
    }
    resolved = spec.model_copy(
        update={
            "data": spec.data.model_copy(update=data),
            "runtime": runtime,
            "model": spec.model.model_copy(update={"params": component.params.model_dump(mode="json")}),
        }
    )
    return Setup(
        resolved,
        source,
        dataset,
        splits,
        built,
        compute,
        edition=str(edition) if edition else None,
        weights=weights,
        teacher=teacher,
        asked=asked,
        prefix=plan_prefix(resolved, built, freezing, splits),
        metrics=metrics,
    )


def fit_accumulation(spec: RunSpec, images: int, processes: int, announce: Callable[[str], None]) -> RunSpec:
    """The spec with no more accumulation steps than an epoch has micro-batches, where nobody asked for their number."""
    optim = spec.optim
    most = max(math.ceil(images / (optim.batch_size * processes)), 1)
    if "accumulation_steps" in optim.model_fields_set or optim.accumulation_steps <= most:
        return spec
    announce(
        f"accumulation steps: {most} instead of {optim.accumulation_steps}, since {counted(images, 'training image')} "
        f"fill no more micro-batches of {optim.batch_size}; --accum and --batch-size choose"
    )
    return spec.model_copy(update={"optim": optim.model_copy(update={"accumulation_steps": most})})


def prepare_again(
    run: Run,
    *,
    processes: Processes,
    epochs: int | None = None,
    announce: Callable[[str], None] = lambda text: None,
) -> Setup:
    """Bring a stored run's parts together again, with the splits it stored.

    Args:
        epochs: To train in all, where that isn't what the run's spec says.

    Raises:
        RunError: The dataset's images or classes are not those the run was made with.
    """
    manifest = run.manifest
    if manifest.processes is not None and manifest.processes != processes.world:
        raise RunError(
            f"{run.name}: trained by {manifest.processes} process(es), resumed by {processes.world}, which would be "
            f"another training; go on with `{resume_command(run.path, manifest.processes)}`"
        )
    spec = run.spec
    if epochs is not None:
        spec = spec.model_copy(update={"train": spec.train.model_copy(update={"epochs": epochs})})
    # A run that was stopped before its first checkpoint starts from the pretrained weights again.
    setup = prepare(
        spec,
        processes=processes,
        announce=announce,
        pretrained=not run.checkpoints(),
        class_names=manifest.class_names,
    )
    check_classes(run, setup.dataset)
    if manifest.data.fingerprint != setup.dataset.fingerprint:
        raise RunError(
            f"{run.name}: the images in {setup.dataset.root} are not those the run was made with; restore them, "
            "name the folder that holds them now with --data, or start a new run with "
            f"`ahekit train --spec {run.path / 'spec.yaml'}`"
        )
    splits = splits_from_ids(manifest.splits.model_dump(), setup.dataset)
    prefix = plan_prefix(setup.spec, setup.built, setup.freezing, splits)
    return replace(setup, splits=splits, prefix=prefix, teacher=find_teacher(setup.spec, setup.dataset, splits))


def _first_weights(built: BuiltModel, spec: RunSpec, class_names: tuple[str, ...]) -> LoadedWeights | None:
    """Load what the spec says that the network starts from; None: from random weights."""
    if spec.transfer.start_from is not None:
        return load_first_weights(built, Path(spec.transfer.start_from), class_names)
    return built.pretrained() if built.pretrained else None


def overview(setup: Setup, processes: Processes) -> Table:
    """The run's first table: what will be trained, on what, in which steps."""
    spec = setup.spec
    optim = setup.spec.optim
    batches = setup.batches(processes)
    counts = parameter_counts(setup.built)
    images = " / ".join(f"{len(split):,}" for split in (setup.splits.train, setup.splits.val, setup.splits.test))
    share = "" if counts["trainable"] == counts["total"] else f" of {counts['total']:,}"
    rows: list[tuple[str, str]] = [
        (
            "data",
            f"{setup.source.name} at {setup.dataset.preprocessing.size} px, {len(setup.dataset.class_names)} classes",
        ),
        ("images (train / val / test)", images),
        ("model", spec.model.name),
        ("trainable parameters", f"{counts['trainable']:,}{share}"),
        ("micro-batch", f"{optim.batch_size} images"),
        ("accumulation steps", str(optim.accumulation_steps)),
        ("effective batch size", f"{optim.effective_batch_size * processes.world} images"),
        ("optimizer steps per epoch", f"{batches.steps_per_epoch}"),
        ("epochs", str(spec.train.epochs)),
        ("optimizer", f"{optim.name}, peak learning rate {optim.lr:g}, {spec.schedule.name}"),
        *([("image sizes", describe_sizes(spec, setup.dataset.preprocessing.size))] if spec.progressive.sizes else []),
        *([("frozen part", _frozen_part(setup))] if setup.freezing.cut else []),
        *([("teacher", _teacher(setup))] if setup.teacher is not None else []),
        ("device", f"{spec.runtime.device}, {spec.runtime.precision}, {spec.runtime.threads} threads"),
    ]
    if processes.world > 1:
        rows.insert(6, ("processes", str(processes.world)))
    if setup.built.pretrained is not None or setup.weights is not None:
        rows[3:3] = [("pretrained weights", _weights(setup)), ("pixels", _pixels(setup.dataset.preprocessing))]
    note = ""
    if optim.accumulation_steps > 1 and _has_batch_norm(setup.built):
        note = "BatchNorm's statistics stay those of a micro-batch; `ahekit prove accum` measures what that changes."
    return Table(f"Run ({spec.recipe} recipe)", (Column("setting"), Column("value")), tuple(rows), note)


def _frozen_part(setup: Setup) -> str:
    if setup.prefix is not None:
        return setup.prefix.describe()
    once = "; --views 4 has it computed once" if not setup.spec.transfer.views else ""
    return f"all before {setup.freezing.cut}, computed anew at each step{once}"


def _teacher(setup: Setup) -> str:
    assert setup.teacher is not None
    distill = setup.spec.distill
    plan = plan_answers(setup.spec, setup.splits, len(setup.dataset.class_names))
    return (
        f"{setup.teacher.name}, asked once about {plan.passes:,} views ({len(plan.views)} of each training image); "
        f"{distill.weight:g} of the loss, temperature {distill.temperature:g}"
    )


def _weights(setup: Setup) -> str:
    weights = setup.weights
    if weights is None:
        return "those of the run"
    counts = [
        f"{weights.loaded} tensors loaded",
        f"{len(weights.missing)} missing" + (" (BatchNorm's counters)" if weights.missing else ""),
        f"{len(weights.unexpected)} unexpected",
    ]
    names = ", ".join(weights.unexpected[:4]) + (" …" if len(weights.unexpected) > 4 else "")
    return f"{weights.source}: {', '.join(counts)}" + (f" ({names})" if names else "")


def _pixels(own: Preprocessing) -> str:
    crop = f" to {own.crop_fraction:g}" if own.fit == "crop" else ""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (own.mean, own.std))
    detail = f" by way of {own.sharpest} px" if own.sharpest < own.size else ""
    return f"{own.size} px{detail}, {own.interpolation}, {own.fit}{crop}; mean {mean}, std {std}"


def _has_batch_norm(built: BuiltModel) -> bool:
    return any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in built.module.modules())


def _counts(dataset: Dataset, splits: Splits) -> dict[str, dict[str, int]]:
    return {
        name: dict(
            zip(
                dataset.class_names,
                np.bincount(dataset.labels[indices], minlength=len(dataset.class_names)).tolist(),
                strict=True,
            )
        )
        for name, indices in (("train", splits.train), ("val", splits.val), ("test", splits.test))
    }
