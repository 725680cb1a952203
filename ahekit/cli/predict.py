"""`ahekit predict`: say what photos show, and how sure that is."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.survey import as_json, counts_table, rule_from, show_sentences, write_pages
from ahekit.errors import UsageError
from ahekit.prediction.survey import DEFAULT_FOLDER, Survey, SurveyModel

if TYPE_CHECKING:
    from ahekit.prediction.engine import Outcome
    from ahekit.prediction.predictor import Predictor
    from ahekit.prediction.shards import Shard
    from ahekit.prediction.surveying import Work
    from ahekit.signals import StopRequest

NOTES = 5
"""Single photos that are told of; the others are counted."""


def complete_models(incomplete: str) -> list[str]:
    """Names of the models that packages bring, and of runs."""
    from ahekit.registry import PRETRAINED

    return [name for name in [*PRETRAINED.names(), *options.complete_runs("")] if name.startswith(incomplete)]


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Photos, folders with all below them, patterns in quotes ('*.jpg'), or - for a list on stdin.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="The survey: made, or gone on with where it is there."),
    ] = DEFAULT_FOLDER,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model folder, an ONNX file in one, or a run. Without it: the one that comes with ahekit.",
            autocompletion=complete_models,
        ),
    ] = None,
    max_error: Annotated[
        str | None,
        typer.Option(
            "--max-error",
            metavar="SHARE",
            help="Of those called sure at most so many are wrong, as in 2%.",
            rich_help_panel="What counts as sure",
        ),
    ] = None,
    surety: Annotated[
        str | None,
        typer.Option(
            "--surety",
            metavar="SHARE",
            help="… with this probability (default: 95%).",
            rich_help_panel="What counts as sure",
        ),
    ] = None,
    min_confidence: Annotated[
        str | None,
        typer.Option(
            "--min-confidence",
            metavar="SHARE",
            help="Instead: sure is what has at least this confidence.",
            rich_help_panel="What counts as sure",
        ),
    ] = None,
    known_kept: Annotated[
        str | None,
        typer.Option(
            "--known-kept",
            metavar="SHARE",
            help="Photos of the classes that are not to be called unknown (default: 95%); 100%: none is.",
            rich_help_panel="What counts as sure",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show on each photo where the network found its class.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Do part I of N only; `ahekit survey merge` joins them. Without it: as SLURM or torchrun divide.",
            rich_help_panel=options.MACHINE,
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Begin anew; an earlier survey is laid aside, what people decided is kept."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=256,
            metavar="N",
            help="Threads (default: as many as there are cores).",
            rich_help_panel=options.MACHINE,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="auto, cpu, cuda, cuda:N or mps (default: auto).",
            autocompletion=options.complete_devices,
            rich_help_panel=options.MACHINE,
        ),
    ] = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Name what photos show, how surely, and set the doubtful apart."""
    console.configure(quiet=quiet, json=json)
    asked = rule_from(max_error=max_error, surety=surety, min_confidence=min_confidence, known_kept=known_kept)
    part = _shard(shard)
    if part is not None and fresh:
        raise UsageError("--fresh begins a survey anew, and a part of it can't; choose a new folder with --out")
    # One core a thread, each with photos of its own: libraries that take all cores for each of them would wait for
    # each other. It has to be said before they are loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from ahekit.prediction.photos import find_photos

    listing = find_photos(paths, stdin=sys.stdin.buffer if "-" in paths else None)
    for note in listing.notes:
        console.say(note)

    from ahekit.opening import open_predictor
    from ahekit.prediction.engine import first_come
    from ahekit.prediction.shards import open_part
    from ahekit.prediction.surveying import keep_decisions, prepare, settle, start_over
    from ahekit.run import runs_root
    from ahekit.signals import stop_on_signals

    predictor = open_predictor(model, root=runs_root(runs), device=_device(device), threads=1, tell=console.say)
    described = SurveyModel(
        predictor.name, predictor.fingerprint, tuple(predictor.class_names), predictor.deciding_text, model or ""
    )
    console.say(f"model: {predictor.name} ({predictor.engine})")
    with ExitStack() as stack:
        aside = start_over(out) if fresh else None
        survey = stack.enter_context(Survey.create(out, described, is_spread=part is not None))
        if aside is not None:
            kept = keep_decisions(survey, aside)
            console.say(f"begun anew; the earlier survey is {aside}" + (f"; decisions kept: {kept:,d}" if kept else ""))
        acceptance, again = settle(survey, predictor.decider, asked)
        own = survey
        if part is not None:
            console.say(f"part {part} of the survey" + (f", as {part.source} divides it" if part.source else ""))
            own = stack.enter_context(open_part(out, part, described, survey.settings))
            settle(own, predictor.decider, rule_of(survey))
        if again:
            console.say("decided again on all photos by the new thresholds; none of them was opened for it")
        is_first = stack.enter_context(first_come(out)) if part is None else True
        work = prepare(survey, listing, part=own if part else None, shard=part)
        if not is_first:
            console.say("another process is working on this survey; this one starts at the other end")
        with stop_on_signals() as stop:
            outcome = _look(own, work, predictor, acceptance, workers=workers, stop=stop, is_first=is_first)
            _tell(outcome, work)
            if explain and not stop.asked:
                _explain(own, model, runs, _device(device), stop)
        if stop.asked and (outcome.stopped or explain):
            console.error("stopped; what is done is kept. Go on with the same command:", f"  {_same_command()}")
            raise typer.Exit(128 + (stop.signal or signal.SIGINT))
    if part is not None:
        _finish_part(out, part, outcome, json=json)
        return
    with Survey.open(out) as survey:
        pages = write_pages(survey)
        show_sentences(survey)
        console.show_table(counts_table(survey))
        console.say(*next_commands(out, pages))
        if json:
            console.show_json({**as_json(survey), "looked_at": outcome.looked_at, "known": work.plan.known})


def rule_of(survey: Survey) -> Any:
    """The rule that a survey is decided by."""
    from ahekit.prediction.deciding import Rule

    return Rule(**survey.settings.rule)


def next_commands(out: Path, pages: list[Path]) -> list[str]:
    """What to do with a survey, as lines."""
    folder = shlex.quote(str(out))
    lines = [f"Look at it:   {page}" for page in pages if page.name == "index.html"]
    return [
        *lines,
        f"Sort it:      ahekit sort {folder} --into sorted",
        f"Hand it on:   ahekit write {folder} --as xmp",
    ]


def _shard(asked: str | None) -> Shard | None:
    from ahekit.prediction.shards import parse_shard, shard_from

    if asked is None:
        return shard_from(os.environ)
    shard = parse_shard(asked)
    return shard if shard.count > 1 else None


def _device(asked: str | None) -> str:
    """The device asked for; of several processes that torchrun starts on a machine, each has its own accelerator."""
    rank = os.environ.get("LOCAL_RANK", "")
    if asked not in (None, "auto") or not rank.isdigit():
        return asked or "auto"
    import torch

    return f"cuda:{int(rank) % torch.cuda.device_count()}" if torch.cuda.is_available() else "auto"


def _look(
    survey: Survey,
    work: Work,
    predictor: Predictor,
    acceptance: Any,
    *,
    workers: int | None,
    stop: StopRequest,
    is_first: bool,
) -> Outcome:
    from ahekit.prediction.engine import look_at
    from ahekit.prediction.surveying import later_half

    tasks = later_half(work.plan.tasks, is_first)
    with console.progress("photos", len(tasks), unit="photos") as advance:
        return look_at(
            survey,
            tasks,
            predictor,
            predictor.decider,
            acceptance,
            workers=workers,
            stop=stop,
            progress=advance,
        )


def _tell(outcome: Outcome, work: Work) -> None:
    words = [f"{outcome.looked_at:,d} photos looked at"]
    if work.plan.known + outcome.unchanged:
        words.append(f"{work.plan.known + outcome.unchanged:,d} known from before")
    console.say(", ".join(words))
    for note in outcome.notes[:NOTES]:
        console.warn(note)
    if len(outcome.notes) > NOTES:
        console.warn(f"… and {len(outcome.notes) - NOTES:,d} more such photos")
    if work.gone:
        shown = ", ".join(work.gone[:NOTES]) + (" …" if len(work.gone) > NOTES else "")
        console.warn(f"{len(work.gone):,d} photos of the survey are gone from their folder and stay listed: {shown}")


def _explain(survey: Survey, model: str | None, runs: Path | None, device: str, stop: StopRequest) -> None:
    from ahekit.opening import find_model
    from ahekit.prediction.explaining import explain_photos, unexplained
    from ahekit.run import runs_root
    from ahekit.trained import load_trained_folder

    rows = unexplained(survey)
    trained = load_trained_folder(find_model(model, root=runs_root(runs), device=device), device=device)
    with console.progress("explained", len(rows), unit="photos") as advance:
        problems = explain_photos(
            survey,
            rows,
            trained.built,
            trained.class_names,
            trained.compute.prepare,
            progress=advance,
            is_stopped=lambda: stop.asked,
        )
    console.say(
        f"where the network found its class, on {len(rows) - len(problems):,d} photos: {survey.folder / 'explain'}"
    )
    for problem in problems[:NOTES]:
        console.warn(problem)


def _finish_part(out: Path, part: Shard, outcome: Outcome, *, json: bool) -> None:
    console.say(f"part {part} is whole. When all {part.count} are: ahekit survey merge {shlex.quote(str(out))}")
    if json:
        console.show_json({"survey": str(out), "part": part.index, "of": part.count, "looked_at": outcome.looked_at})


def _same_command() -> str:
    return shlex.join(["ahekit", *sys.argv[1:]])
