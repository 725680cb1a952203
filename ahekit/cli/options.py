"""Options that several commands share, so that one name means one thing everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ahekit.errors import AhekitError


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Flags by dotted field as a nested mapping; those not given (None) are left out.

    Example:
        >>> nested({"optim.lr": 0.1, "optim.name": None})
        {'optim': {'lr': 0.1}}
    """
    values: dict[str, Any] = {}
    for path, value in fields.items():
        if value is not None:
            *parents, last = path.split(".")
            inner = values
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = value
    return values


TRAINING_FIELDS: Mapping[str, str] = {
    "data": "data.source",
    "image_size": "data.image_size",
    "seed": "seed",
    "epochs": "train.epochs",
    "patience": "train.patience",
    "monitor": "train.monitor",
    "max_minutes": "train.max_minutes",
    "average_decay": "train.average_decay",
    "batch_size": "optim.batch_size",
    "accum": "optim.accumulation_steps",
    "lr": "optim.lr",
    "optimizer": "optim.name",
    "weight_decay": "optim.weight_decay",
    "schedule": "schedule.name",
    "label_smoothing": "loss.label_smoothing",
    "class_weights": "loss.class_weights",
    "sampling": "loss.sampling",
    "mix": "mix.probability",
    "device": "runtime.device",
    "precision": "runtime.precision",
    "channels_last": "runtime.channels_last",
}
"""The spec field of each option that the commands which train have in common."""


def training_flags(given: Mapping[str, Any], **more: str) -> dict[str, Any]:
    """The nested mapping of a command's options (its `locals()`).

    Args:
        more: Further options of this command, and their fields.
    """
    fields = {**TRAINING_FIELDS, **more}
    return nested({field: given[option] for option, field in fields.items() if option in given})


def complete_models(incomplete: str) -> list[str]:
    """Names of registered models and of those worth starting with; imports none of them."""
    from ahekit.registry import MODELS

    try:
        names = {*MODELS.names(), *(model.name for entry in MODELS.entries() for model in entry.suggested())}
    except AhekitError:
        return []  # completion has nowhere to say what is wrong
    return sorted(name for name in names if name.startswith(incomplete))


def complete_runs(incomplete: str) -> list[str]:
    """Names of the runs in the default folder."""
    from ahekit.run import list_runs, runs_root

    try:
        return [run.name for run in list_runs(runs_root()) if run.name.startswith(incomplete)]
    except (AhekitError, OSError):
        return []  # completion has nowhere to say what is wrong


def complete_devices(incomplete: str) -> list[str]:
    """Names that `--device` takes."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0", "mps") if name.startswith(incomplete)]


LEARNING, MACHINE = "Learning", "Machine"  # panels of the help pages

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Dataset: an installed one by name, a folder of class folders, or a .zip or .tar archive of one. "
        "Without it: $AHEKIT_DATA, else ahe64 if installed, else the embedded sample.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Network to train; `ahekit plugins` lists them.",
        autocompletion=complete_models,
    ),
]
Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="FOLDER", help="Where runs live. Without it: $AHEKIT_RUNS, else ./runs."),
]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Run by path, name or part of its name. Without it: the newest.",
        autocompletion=complete_runs,
    ),
]
RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="Run by path, name or part of its name. Without it: the newest.",
        autocompletion=complete_runs,
    ),
]
Spec = Annotated[
    Path | None,
    typer.Option("--spec", metavar="FILE", help="Run spec in YAML, as a run folder holds it; options win over it."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Set any field of the run spec, as in optim.lr=0.001; may be given several times and wins over all.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N or mps.",
        rich_help_panel=MACHINE,
        autocompletion=complete_devices,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Machine-readable JSON on stdout, one object a line; all else goes to stderr."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training images.", rich_help_panel=LEARNING)
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Micro-batch: images per forward pass.", rich_help_panel=LEARNING)
]
Accumulation = Annotated[
    int | None,
    typer.Option(
        "--accum",
        metavar="K",
        help="Accumulation steps: micro-batches per optimizer step.",
        rich_help_panel=LEARNING,
    ),
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.", rich_help_panel=LEARNING)]
Optimizer = Annotated[
    Literal["adam", "adamw", "sgd"] | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="adam, adamw or sgd (with Nesterov momentum).",
        rich_help_panel=LEARNING,
    ),
]
Schedule = Annotated[
    Literal["one-cycle", "cosine", "constant"] | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="Learning rate over the steps: one-cycle, cosine or constant; --set schedule.warmup=0.1 sets the rise.",
        rich_help_panel=LEARNING,
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option("--weight-decay", help="Of weights, not of norms and biases.", rich_help_panel=LEARNING),
]
LabelSmoothing = Annotated[
    float | None, typer.Option("--label-smoothing", help="Target mass over all classes.", rich_help_panel=LEARNING)
]
ClassWeights = Annotated[
    Literal["none", "balanced"] | None,
    typer.Option(
        "--class-weights",
        metavar="NAME",
        help="none, or balanced: rare classes weigh more in the loss.",
        rich_help_panel=LEARNING,
    ),
]
Sampling = Annotated[
    Literal["shuffle", "balanced"] | None,
    typer.Option(
        "--sampling",
        metavar="NAME",
        help="shuffle, or balanced: rare classes are drawn as often.",
        rich_help_panel=LEARNING,
    ),
]
Mix = Annotated[
    float | None,
    typer.Option(
        "--mix",
        metavar="P",
        help="Probability of mixing an image with another (mixup, CutMix).",
        rich_help_panel=LEARNING,
    ),
]
AverageDecay = Annotated[
    float | None,
    typer.Option(
        "--average-decay", help="Exponential averaging of weights per step; 0: off.", rich_help_panel=LEARNING
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        help="Stop after so many epochs that are no better on validation.",
        rich_help_panel=LEARNING,
    ),
]
Monitor = Annotated[
    str | None,
    typer.Option(
        "--monitor",
        metavar="METRIC",
        help="Metric that chooses the epoch on validation: f1 (macro-F1), loss (log loss, which also tells apart "
        "epochs with the same predicted classes), accuracy, kappa, or another that a reporter offers.",
        rich_help_panel=LEARNING,
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        help="Stop after so many minutes; doesn't shape the schedule.",
        rich_help_panel=LEARNING,
    ),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", help="Side length of the images, pixels.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"] | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="fp32, bf16 or auto: bf16 where the processor multiplies it natively, else fp32.",
        rich_help_panel=MACHINE,
    ),
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--no-channels-last",
        help="Memory format of image tensors; changes speed only.",
        rich_help_panel=MACHINE,
    ),
]
