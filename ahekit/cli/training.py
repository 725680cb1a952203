"""What the commands that train have in common: preparing, following and resuming a run on the console."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

from ahekit import console
from ahekit.errors import RunError
from ahekit.run import Run, resume_command, runs_root
from ahekit.spec import RunSpec, TransferSpec

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


def resume_run(run: Run) -> None:
    """Go on with an interrupted run.

    Raises:
        RunError: It is finished.
    """
    from ahekit.training.processes import join_processes
    from ahekit.training.setup import prepare_again

    status = run.status
    if status.state == "finished":
        raise RunError(f"{run.name} is finished; `ahekit train --spec {run.path / 'spec.yaml'}` repeats it")
    with join_processes() as processes:
        setup = prepare_again(run, processes=processes, announce=console.say)
        checkpoints = run.checkpoints()
        console.say(f"Resuming {run.name} from {checkpoints[-1].name if checkpoints else 'its start'}.")
        _follow(setup, run, processes, resume=True)


def prove(spec: RunSpec, *, json: bool) -> None:
    """Measure and show how exact accumulation is; exit 1 when a check fails."""
    from ahekit.training.prove import proof_table, prove_accumulation

    checks = prove_accumulation(prepare_with_progress(spec))
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
        found = find_learning_rate(setup, steps=100, advance=advance)
    console.show_table(range_table(found))
    if json:
        console.show_json(vars(found))


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


def _follow(setup: Setup, run: Run, processes: Processes, *, resume: bool) -> None:
    """Train with a display, and say at the end what came of it and what to type next."""
    from ahekit.training.loop import fit
    from ahekit.training.stopping import stop_on_signals

    steps = setup.batches(processes).steps_per_epoch * setup.spec.train.epochs
    with (
        run.lock() if processes.is_main else nullcontext(),
        stop_on_signals() as stop,
        console.training_display(total_steps=steps, epochs=setup.spec.train.epochs) as display,
    ):
        status = fit(setup, run, watcher=display, stop=stop, processes=processes, resume=resume, warn=console.warn)
    if status.state == "interrupted":
        console.say(
            f"Stopped at optimizer step {status.step} and saved. Go on with:",
            f"  {resume_command(run.path, processes.world)}",
        )
        raise typer.Exit(128 + (stop.signal or signal.SIGINT))
    if status.reason:
        console.say(f"Training {status.reason}.")
    best, monitor = status.best, setup.metric
    if best.epoch:
        value = best.val.get(monitor.name)
        measured = "" if value is None else f" ({value:.4f})"
        console.say(f"Best epoch by validation {monitor.words}: {best.epoch}{measured}.")
    console.say("See all numbers with:", f"  ahekit report {quote(str(run.path))}")
