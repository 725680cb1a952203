"""Options that several commands share, so that one name means one thing everywhere.

An option that sets a field of the run spec is a row of a table: what isn't said in the row comes from the field.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ahekit.backbones.params import BackboneParams
from ahekit.cli.fields import Completer, parameter
from ahekit.errors import AhekitError
from ahekit.spec import RunSpec


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


def complete_recipes(incomplete: str) -> list[str]:
    """Names of the recipes."""
    from ahekit.spec import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


LEARNING, MACHINE = "Learning", "Machine"  # panels of the help pages


@dataclass(frozen=True)
class Flag:
    """An option that sets a field of the run spec; its type, choices, default and help are the field's.

    Attributes:
        name: Of the parameter, and of the option once its underscores are dashes.
        field: Dotted, as in `optim.lr`; below `model.params` stands what every backbone takes.
        panel: Of the help page that it stands in.
        metavar: What stands for the value in help, where the type says too little.
        help: For the one option that needs other words than its field.
        complete: Offers values to the shell, where the field's type doesn't name them all.
    """

    name: str
    field: str
    panel: str | None = None
    metavar: str | None = None
    help: str | None = None
    complete: Completer | None = None

    def parameter(self, recipe: str | None) -> inspect.Parameter:
        """What Typer makes the option of.

        Args:
            recipe: Whose value help calls the default; None names none.
        """
        field, default = _field(self.field, recipe or "strong")
        return parameter(
            self.name,
            field,
            option=self.name.replace("_", "-"),
            help=self.help,
            metavar=self.metavar,
            panel=self.panel,
            complete=self.complete,
            default=None if recipe is None else default,
        )


TRAINING = (
    Flag("data", "data.source", metavar="DATA"),
    Flag("image_size", "data.image_size"),
    Flag("seed", "seed"),
    Flag("epochs", "train.epochs", LEARNING),
    Flag("batch_size", "optim.batch_size", LEARNING),
    Flag("accum", "optim.accumulation_steps", LEARNING),
    Flag("lr", "optim.lr", LEARNING),
    Flag("optimizer", "optim.name", LEARNING),
    Flag("schedule", "schedule.name", LEARNING),
    Flag("weight_decay", "optim.weight_decay", LEARNING),
    Flag("label_smoothing", "loss.label_smoothing", LEARNING),
    Flag("class_weights", "loss.class_weights", LEARNING),
    Flag("sampling", "loss.sampling", LEARNING),
    Flag("mix", "mix.probability", LEARNING),
    Flag(
        "teacher",
        "distill.teacher",
        LEARNING,
        metavar="RUN",
        help="A run or model folder whose answers are learned from beside the labels.",
        complete=complete_runs,
    ),
    Flag("average_decay", "train.average_decay", LEARNING),
    Flag("patience", "train.patience", LEARNING),
    Flag("monitor", "train.monitor", LEARNING),
    Flag("max_minutes", "train.max_minutes", LEARNING),
    Flag("device", "runtime.device", MACHINE, metavar="DEVICE", complete=complete_devices),
    Flag("precision", "runtime.precision", MACHINE),
    Flag("channels_last", "runtime.channels_last", MACHINE),
)
"""What the commands that train have in common."""

MODEL = Flag(
    "model",
    "model.name",
    metavar="NAME",
    help="Network to train (default: cnn5); `ahekit plugins` lists them.",
    complete=complete_models,
)


def training(*names: str) -> tuple[Flag, ...]:
    """Some of the options that the commands which train have in common."""
    rows = {flag.name: flag for flag in TRAINING}
    return tuple(rows[name] for name in names)


def sets_fields(flags: Iterable[Flag], *, recipe: str = "strong") -> Callable[[Callable[..., None]], Any]:
    """Decorator that gives a command the options of a table.

    The command takes one argument for all of them, `flags`: the nested mapping of those that were given.

    Args:
        recipe: Whose values help calls the defaults.
    """
    rows = tuple(flags)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        others = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [
            *(flag.parameter(recipe) for flag in rows),
            *(other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others if other.name != "flags"),
        ]

        @wraps(command)
        def run(**values: Any) -> None:
            command(flags=nested({flag.field: values.pop(flag.name) for flag in rows}), **values)

        # Typer reads both: the signature for the order and the defaults, the annotations for the types.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


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


def _field(path: str, recipe: str) -> tuple[FieldInfo, Any]:
    """A field of the run spec by its dotted path, and its value in a recipe."""
    of_backbone = path.removeprefix("model.params.")
    holder: BaseModel = BackboneParams() if of_backbone != path else RunSpec(recipe=recipe)
    *parents, name = of_backbone.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    return type(holder).model_fields[name], getattr(holder, name)


def _like(name: str) -> Any:
    """The option that a command which trains has of that name, for a command that has it beside its own."""
    (flag,) = training(name)
    (option,) = flag.parameter(recipe=None).annotation.__metadata__
    return option


Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="FOLDER", help="Where runs live. Without it: $AHEKIT_RUNS, else ./runs."),
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
Seed = Annotated[int | None, _like("seed")]
Device = Annotated[str | None, _like("device")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Machine-readable JSON on stdout, one object a line; all else goes to stderr."),
]
MovedData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Where the run's images are now, when they were moved; they have to be the same.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
