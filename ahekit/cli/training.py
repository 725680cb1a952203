"""What the commands that train have in common: preparing, following and resuming a run on the console."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from ahekit import console
from ahekit.cli.named_models import with_path
from ahekit.errors import RunError, UsageError
from ahekit.model_folder import ModelFolder, is_model_folder, read_model_folder
from ahekit.run import Run, find_run, list_runs, resume_command, runs_root, with_data
from ahekit.run.finding import is_run_path
from ahekit.spec import RunSpec, TransferSpec
from ahekit.validation import merge

if TYPE_CHECKING:
    from ahekit.training.processes import Processes
    from ahekit.training.setup import Setup


def speak_once(*, quiet: bool, json: bool) -> None:
    """Of several training processes only the main one speaks."""
    from ahekit.training.launch import read_launch

    main = read_launch().rank == 0
    console.configure(quiet=quiet or not main, json=json and main)


def train_new(spec: RunSpec, runs: Path | None) -> None:
    """Train a new run."""
    from ahekit.training.freezing import freezing_table
    from ahekit.training.processes import join_processes
    from ahekit.training.setup import overview

    with join_processes() as processes:
        setup = prepare_with_progress(spec, processes)
        console.show_table(overview(setup, processes))
        if setup.built.pretrained or setup.spec.transfer != TransferSpec():
            console.show_table(freezing_table(setup.built, setup.freezing, setup.spec.transfer, setup.spec.optim))
        path = None
        if processes.is_main:
            path = Run.create(runs_root(runs), setup.spec, setup.manifest(processes)).path
            console.say(f"Run: {path}")
        _follow(setup, Run(processes.agree(path)), processes, resume=False)


def resume_run(run: Run, *, epochs: int | None = None, data: str | None = None) -> None:
    """Go on with an interrupted run, or with a finished one for more epochs.

    Args:
        epochs: To train in all; None: as many as the run's spec says.
        data: Where the run's images are now; None: where they were.

    Raises:
        RunError: It is finished, or what is needed to train on isn't there.
        UsageError: The run has those epochs already.
    """
    from ahekit.training.processes import join_processes
    from ahekit.training.setup import prepare_again

    spec = run.spec
    more = epochs if epochs is not None and epochs != spec.train.epochs else None
    if run.status.state == "finished":
        if more is None:
            raise RunError(
                f"{run.name} is finished; `{resume_command(run.path, None)} --epochs N` trains it on, "
                f"`ahekit train --spec {quote(str(run.path / 'spec.yaml'))}` repeats it"
            )
        _check_optimizer_is_kept(run)
    if more is not None and more < spec.train.epochs:
        raise UsageError(f"--epochs {more}: {run.name} has {spec.train.epochs} already; name more")
    moved = run if data is None else with_data(run, data)
    with join_processes() as processes:
        setup = prepare_again(moved, processes=processes, epochs=more, announce=console.say)
        checkpoints = run.checkpoints()
        console.say(f"Resuming {run.name} from {checkpoints[-1].name if checkpoints else 'its start'}.")
        if more is not None:
            console.say(f"The learning rate goes on where a run of {more} epochs would be by then.")
        _follow(setup, run, processes, resume=True, changed=more is not None or data is not None)


def _check_optimizer_is_kept(run: Run) -> None:
    from ahekit.training.checkpoint import load_state

    checkpoints = run.checkpoints()
    if not checkpoints:
        raise RunError(f"{run.name}: it has no checkpoint any more, so it can't be trained on")
    if load_state(checkpoints[-1]).get("dropped"):
        raise RunError(
            f"{run.name}: its optimizer's state was dropped when it finished, so it can't be trained on; start from "
            f"its weights with `ahekit train --weights {quote(str(run.path))} --epochs N`, and keep the state the next "
            "time with --set train.keep_optimizer=true"
        )


def start_from(flags: Mapping[str, Any], source: Run | ModelFolder, *, spec: Path | None) -> Mapping[str, Any]:
    """A command's flags, and what starting from a run's or a model folder's weights asks for.

    That is its network, built for its images.

    Args:
        spec: The file of the run spec, if one was given; it says which network then.
    """
    start: dict[str, Any] = {"transfer": {"start_from": str(source.path.resolve())}}
    if spec is None:
        if isinstance(source, ModelFolder):
            own = source.notes.preprocessing
            pixels = {"image_size": own.size, "fit": own.fit, "interpolation": own.interpolation, "detail": own.detail}
            model = source.notes.component.model_dump()
        else:
            data = source.spec.data
            pixels = {name: getattr(data, name) for name in ("image_size", "fit", "interpolation", "detail")}
            model = source.spec.model.model_dump()
        start |= {"model": model, "data": {name: value for name, value in pixels.items() if value is not None}}
        if "weights" in model["params"]:
            start["model"]["params"]["weights"] = "none"
    return merge(start, flags)


def with_teacher(flags: Mapping[str, Any], root: Path) -> Mapping[str, Any]:
    """A command's flags, the teacher that they name by its path.

    Raises:
        AhekitError: It is none.
    """
    teacher = flags.get("distill", {}).get("teacher")
    if teacher is None:
        return flags
    source = source_of_weights(str(teacher), root)
    return merge(flags, {"distill": {"teacher": str(source.path.resolve())}})


def source_of_weights(weights: str, root: Path) -> Run | ModelFolder:
    """The run or model folder that `--weights` or `--teacher` names.

    Raises:
        AhekitError: It names none.
    """
    named = named_source(weights, root)
    return find_run(root, weights) if named is None else named


def named_source(weights: str, root: Path) -> Run | ModelFolder | None:
    """The run or model folder that `--weights` names, if it is one and no other source of weights."""
    path = with_path(weights)
    if is_model_folder(path):
        return read_model_folder(Path(path))
    is_other = weights in ("hub", "none") or weights.startswith("package:") or Path(weights).is_file()
    if is_other or not (is_run_path(weights) or weights in {run.name for run in list_runs(root)}):
        return None
    return find_run(root, weights)


def prove(spec: RunSpec, *, json: bool) -> None:
    """Measure and show how exact accumulation is; exit 1 when a check fails."""
    from ahekit.training.prove import COMPARISONS, proof_table, prove_accumulation

    setup = prepare_with_progress(spec)
    with console.progress("comparing gradients", COMPARISONS) as advance:
        checks = prove_accumulation(setup, advance=advance)
    console.show_table(proof_table(checks))
    if json:
        for check in checks:
            console.show_json({**vars(check), "passed": check.passed})
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def find_rate(spec: RunSpec, *, json: bool) -> None:
    """Measure and show which learning rate suits."""
    from ahekit.training.lr_find import find_learning_rate, range_table

    setup = prepare_with_progress(spec)
    with console.progress("range test", 100) as advance:
        measured = find_learning_rate(setup, steps=100, advance=advance)
    console.show_table(range_table(measured))
    if json:
        console.show_json(vars(measured))


def prepare_with_progress(spec: RunSpec, processes: Processes | None = None) -> Setup:
    """`prepare`, with its dataset line and a progress bar for the pixel cache; says what was left out."""
    from ahekit.training.setup import prepare

    with console.progress("decoding images", None) as advance:
        done = 0

        def report(count: int, total: int) -> None:
            nonlocal done
            advance(count - done, total=total)
            done = count

        setup = prepare(spec, processes=processes, progress=report, announce=console.say)
    if setup.dataset.refused:
        first = setup.dataset.refused[0]
        console.warn(
            f"{len(setup.dataset.refused)} file(s) left out, {first.id} first ({first.reason}); "
            f"`ahekit data info {quote(str(setup.spec.data.source))} --check` lists them"
        )
    if setup.dataset.notes:
        first = setup.dataset.notes[0]
        console.warn(
            f"{len(setup.dataset.notes)} image(s) may not be what they should, {first.id} first: {first.reason}; "
            f"`ahekit data info {quote(str(setup.spec.data.source))} --check` lists them"
        )
    for fault in setup.metrics.faults:
        console.warn(fault)
    return setup


def _follow(setup: Setup, run: Run, processes: Processes, *, resume: bool, changed: bool = False) -> None:
    """Train with a display, and say at the end what came of it and what to type next.

    Args:
        changed: The run's spec is another one from now on.
    """
    from ahekit.signals import stop_on_signals
    from ahekit.training.loop import fit
    from ahekit.visualizing import keep_looks

    steps = setup.batches(processes).steps_per_epoch * setup.spec.train.epochs
    with (
        run.lock() if processes.is_main else nullcontext(),
        stop_on_signals() as stop,
        console.training_display(total_steps=steps, epochs=setup.spec.train.epochs) as display,
    ):
        if changed and processes.is_main:
            _note_change(setup, run)
        status = fit(setup, run, watcher=display, stop=stop, processes=processes, resume=resume, warn=console.warn)
    if status.state == "interrupted":
        console.say(
            f"Stopped at optimizer step {status.step} and saved. Go on with:",
            f"  {resume_command(run.path, processes.world)}",
        )
        raise typer.Exit(128 + (stop.signal or signal.SIGINT))
    if status.reason:
        console.say(f"Training {status.reason}.")
    best = status.best
    monitor = setup.metric
    if best.epoch:
        value = best.val.get(monitor.name)
        measured = "" if value is None else f" ({value:.4f})"
        console.say(f"Best epoch by validation {monitor.words}: {best.epoch}{measured}.")
    if processes.is_main:
        keep_looks(run)
    console.say("See all numbers with:", f"  ahekit report {quote(str(run.path))}")


def _note_change(setup: Setup, run: Run) -> None:
    """Write down that a run has more epochs now, or its images another place."""
    before = run.spec.train.epochs
    facts: dict[str, Any] = {"data": {"root": str(setup.dataset.root.resolve())}}
    if setup.spec.train.epochs != before:
        note = {"epochs": before, "to": setup.spec.train.epochs, "step": run.status.step}
        facts["extended"] = [*(each.model_dump() for each in run.manifest.extended), note]
        run.clear_predictions()
    run.rewrite(setup.spec, **facts)
