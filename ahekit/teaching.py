"""From a lesson to its page, and from a student's answers to what is right of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ahekit.errors import RunError, UsageError
from ahekit.faults import experiment_faults
from ahekit.protocols import LessonInput, VisualizerInput
from ahekit.registry import LESSONS
from ahekit.reporting.build import Report
from ahekit.sections import Column, Exercise, Experiment, Section, Table
from ahekit.validation import validate
from ahekit.wording import counted

EXERCISES = "exercises.json"
CLAIMS = "What the course's text claims"


def teach(
    name: str,
    *,
    params: Mapping[str, Any] | None = None,
    root: Path,
    run: str | None = None,
    device: str = "auto",
    seed: int = 0,
    full: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    data: str | None = None,
    folder: Path | None = None,
) -> Experiment:
    """Run a lesson's experiment.

    Args:
        root: Where runs live.
        run: Whose network it is made on; None: the newest run's that has what the lesson needs.
        data: What a lesson that trains trains on, and where a run's images are now that were moved; None: what it takes
            by itself, and where they were.
        folder: Where it may keep what took long, for the next time; None: nowhere.

    Raises:
        UnknownNameError: No lesson of that name.
        SpecError: A parameter is wrong.
        UsageError: A run is named for a lesson that uses none.
        PluginError: The lesson is broken.
        AhekitError: The experiment can't be run.
    """
    entry, lesson = LESSONS.look_up(name)
    with entry.guarded():
        values = validate(lesson.Params, params or {}, where=name)
        uses_run = bool(getattr(lesson, "uses_run", True))
    if run is not None and not uses_run:
        raise UsageError(f"{name} trains networks of its own; leave out --run")
    request = LessonInput(
        network=partial(_network, root, run, device, seed, data),
        seed=seed,
        full=full,
        progress=progress,
        data=data,
        folder=folder,
        device=device,
    )
    with entry.guarded():
        experiment = lesson.teach(request, values)
        if fault := next(experiment_faults(experiment), ""):
            raise entry.broken(fault)
    return experiment


def _network(
    root: Path, run: str | None, device: str, seed: int, data: str | None, layers: Collection[str]
) -> VisualizerInput:
    from ahekit.trained import find_trained
    from ahekit.visualizing import look_at, one_per_class

    trained, _ = find_trained(root, run=run, layers=layers, device=device, data=data)
    return look_at(trained, one_per_class(trained, seed=seed), seed=seed)


def lesson_report(name: str, experiment: Experiment) -> Report:
    """A lesson's page as a report: its sections, what becomes of the claims, and the exercises without answers."""
    entry, lesson = LESSONS.look_up(name)
    with entry.guarded():
        title = str(lesson.title)
    sections = [
        replace(section, name=f"{number}-{_slug(section.title)}")
        for number, section in enumerate(experiment.sections, start=1)
    ]
    return Report(
        run=name,
        title=title,
        subtitle=experiment.subtitle,
        facts=tuple(("Note", note) for note in experiment.notes),
        sections=(*sections, *_claims(experiment), *_exercises(name, experiment)),
        missing=(),
        made_from="an experiment on your own network",
    )


def _slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _claims(experiment: Experiment) -> tuple[Section, ...]:
    if not experiment.claims:
        return ()
    counts = dict.fromkeys(("supported", "not supported", "undecided"), 0)
    for claim in experiment.claims:
        counts[claim.reading] += 1
    words = ", ".join(f"{number} {reading}" for reading, number in counts.items() if number)
    rows = tuple((claim.text, claim.reading, claim.because) for claim in experiment.claims)
    return (
        Section(
            title=CLAIMS,
            reading=f"Of {counted(len(rows), 'claim')}: {words}. Undecided is what these numbers can't tell.",
            tables=(Table("Claims", (Column("claim"), Column("reading"), Column("read off")), rows),),
            values={"claims": [asdict(claim) for claim in experiment.claims]},
            name="claims",
        ),
    )


def _exercises(name: str, experiment: Experiment) -> tuple[Section, ...]:
    if not experiment.exercises:
        return ()
    first = experiment.exercises[0].name
    rows = tuple((exercise.name, exercise.question) for exercise in experiment.exercises)
    return (
        Section(
            title="Exercises",
            reading=(
                f"Write your answers into a file, a line each, as in `{first}: 1`, and have them checked with "
                f"`ahekit explain {name} --check answers.yaml`."
            ),
            tables=(Table("Questions", (Column("name"), Column("question")), rows),),
            values={},
            name="exercises",
        ),
    )


def exercise_file(experiment: Experiment) -> bytes:
    """The exercises with their answers, for `check_answers`."""
    return (json.dumps([asdict(exercise) for exercise in experiment.exercises], indent=2) + "\n").encode()


def read_exercises(name: str, folder: Path) -> tuple[Exercise, ...]:
    """The exercises of a lesson that was run.

    Raises:
        RunError: It wasn't run here, or its file can't be read.
    """
    path = folder / EXERCISES
    try:
        return tuple(Exercise(**values) for values in json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunError(
            f"{path}: not there; run `ahekit explain {name}` first, the answers are about its page"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: can't be read ({error}); run `ahekit explain {name}` again") from error


def check_answers(
    exercises: Collection[Exercise], answers: Mapping[str, Any]
) -> list[tuple[Exercise, Any, bool | None]]:
    """Each exercise with the student's answer and whether it is right; None where there is no answer.

    Raises:
        UsageError: An answer is to no exercise.
    """
    names = [exercise.name for exercise in exercises]
    for name in answers:
        if name not in names:
            raise UsageError(f"{name}: no exercise of that name; there are {', '.join(names)}")
    return [
        (exercise, answers.get(exercise.name), _is_right(exercise, answers.get(exercise.name)))
        for exercise in exercises
    ]


def _is_right(exercise: Exercise, answer: Any) -> bool | None:
    if answer is None:
        return None
    if isinstance(exercise.answer, str):
        return _plain(answer) == _plain(exercise.answer)
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return False
    return abs(answer - exercise.answer) <= exercise.tolerance * abs(exercise.answer) + 1e-12


def _plain(answer: Any) -> str:
    text = ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
    return " ".join(text.casefold().replace(",", " ").split())
