"""From the records of runs to a report: every reporter's section, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel

from ahekit import plugin_files
from ahekit.errors import AhekitError, PluginError, RunError, UnknownNameError, UsageError
from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.facts import run_line
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import RunRecord
from ahekit.faults import section_faults
from ahekit.registry import REPORTERS
from ahekit.reporting.facts import run_facts
from ahekit.sections import Section
from ahekit.validation import validate

Task = Literal["report", "compare"]

_ON_SAMPLE = " (sample of drawings)"
_SAMPLE_CAVEAT = "Measured on the embedded sample, which holds drawings and no photographs."
_OTHER_TASK: Mapping[Task, str] = {
    "report": "this section compares runs; name two or more",
    "compare": "this section is of the report on one run; name one",
}


@dataclass(frozen=True)
class Missing:
    """A section that could not be made (or "run", when the run itself isn't whole), and why."""

    section: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All that is rendered.

    Attributes:
        run: The run's name; of several that are compared, the first one's.
        subtitle: Which model on which data, or how many images are compared on.
        facts: Label and value of what the run was, or each run's name and what it was.
        sections: In the order of their reporters.
        caveat: What whoever reads any of it has to know.
        predictions: What it rests on, by split; of several runs those on the images they share.
        made_from: What it rests on, in words.
    """

    run: str
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    missing: tuple[Missing, ...]
    caveat: str = ""
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    made_from: str = "the run’s stored predictions and history"

    @property
    def verdict(self) -> str:
        """What the sections have to say first, in their order."""
        return " ".join(section.verdict for section in self.sections if section.verdict)


def build_report(
    record: RunRecord,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    params: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Ask every registered reporter that reports on one run for its section.

    A reporter that breaks costs its own section alone, and the report says so.

    Args:
        only: Names of the reporters to ask; empty: all.
        skip: Names of the reporters to leave out.
        params: Parameters by reporter name; the others take their defaults.

    Raises:
        UnknownNameError: `only`, `skip` or `params` hold a name that no reporter has.
        UsageError: `only` or `params` name a reporter that only compares.
        SpecError: A parameter is wrong.
        PluginError: A plugin file doesn't load.
    """
    sections, missing = _ask("report", record, only=only, skip=skip, params=params or {})
    facts = run_facts(record)
    return Report(
        run=record.name,
        title=f"Run {record.name}" + (_ON_SAMPLE if record.is_sample else ""),
        subtitle=" · ".join(value for label, value in facts if label in ("Model", "Data")),
        facts=facts,
        sections=tuple(sections),
        missing=(*(Missing("run", fault) for fault in _faults(record)), *missing),
        caveat=_SAMPLE_CAVEAT if record.is_sample else "",
        predictions=_readable(record),
    )


def build_comparison(
    records: Collection[RunRecord],
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    params: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Ask every registered reporter that compares for its section on runs and the test images they share.

    The first run is the one that the others are compared with. Arguments and errors are those of `build_report`, and:

    Raises:
        RunError: Fewer than two runs hold test predictions, they share no image, or know different classes.
    """
    runs = ComparedRuns.of(records)
    sections, missing = _ask("compare", runs, only=only, skip=skip, params=params or {})
    is_sample = any(record.is_sample for record in runs.records.values())
    faults = [Missing(record.name, fault) for record in runs.records.values() for fault in _faults(record)]
    return Report(
        run=runs.names[0],
        title=f"{len(runs.names)} runs compared" + (_ON_SAMPLE if is_sample else ""),
        subtitle=f"on the {len(runs.first.ids):,d} test images they share",
        facts=tuple((f"{runs.letter(name)}: {name}", run_line(record)) for name, record in runs.records.items()),
        sections=tuple(sections),
        missing=(*(Missing(name, reason) for name, reason in runs.left_out.items()), *faults, *missing),
        caveat=_SAMPLE_CAVEAT if is_sample else "",
        predictions={f"{runs.letter(name)}-test": predictions for name, predictions in runs.shared.items()},
    )


def _ask(
    task: Task,
    runs: RunRecord | ComparedRuns,
    *,
    only: Collection[str],
    skip: Collection[str],
    params: Mapping[str, Mapping[str, Any]],
) -> tuple[list[Section], list[Missing]]:
    """The sections of the reporters that can do a task, in their order, and what is missing."""
    plugin_files.raise_broken()
    _check_names([*only, *skip, *params])
    missing: list[Missing] = []
    sections: list[tuple[float, Section]] = []
    for name in sorted({*(only or REPORTERS.names())} - {*skip}):
        made = _section(name, task, runs, params.get(name, {}), is_named=name in {*only, *params})
        if isinstance(made, Missing):
            missing.append(made)
        elif made is not None:
            sections.append(made)
    return [section for _, section in sorted(sections, key=lambda pair: (pair[0], pair[1].name))], missing


def _section(
    name: str, task: Task, runs: RunRecord | ComparedRuns, params: Mapping[str, Any], *, is_named: bool
) -> tuple[float, Section] | Missing | None:
    """A reporter's place and section, or why there is none; None where it has nothing to do with the task.

    Raises:
        UsageError: It has nothing to do with it and was asked for by name.
        SpecError: A parameter is wrong.
    """
    try:
        entry, reporter = REPORTERS.look_up(name)
        with entry.guarded():
            make: Callable[[Any, BaseModel], Section] | None = getattr(reporter, task, None)
            order = reporter.order
            values = validate(reporter.Params, params, where=name) if make else None
        if not isinstance(order, int | float):
            raise entry.broken(f"its order is {order!r}, not a number")
    except PluginError as error:
        return Missing(name, str(error))
    if make is None or values is None:
        if is_named:
            raise UsageError(f"{name}: {_OTHER_TASK[task]}")
        return None
    try:
        with entry.guarded():
            section = make(runs, values)
            if fault := next(section_faults(section), ""):
                raise entry.broken(fault)
    except AhekitError as error:
        return Missing(name, str(error))
    return order, replace(section, name=name, figures=entry.guarded_figures(section.figures))


def _check_names(names: Collection[str]) -> None:
    registered = REPORTERS.names()
    for name in names:
        if name not in registered:
            hint = f"A package adds more through the entry-point group {REPORTERS.group!r}, a file through --plugin"
            raise UnknownNameError("reporter", name, registered, hint=hint)


def _readable(record: RunRecord) -> dict[str, Predictions]:
    """The run's predictions by split, but for files that can't be read, which reporters complain of."""
    readable = {}
    for split in record.predictions:
        try:
            readable[split] = record.predictions[split]
        except RunError:
            continue
    return readable


def _faults(record: RunRecord) -> Iterator[str]:
    """What of a run isn't whole, a line each."""
    if record.state != "finished":
        because = f" ({record.status.reason})" if record.status.reason else ""
        reached = f"after {len(record.epochs)} of {record.spec.train.epochs} epochs"
        is_running = record.state == "running"
        state = "still running" if is_running else record.state
        on = "" if is_running else f"; `ahekit resume {record.name}` goes on from there"
        yield f"{state}{because} {reached}, reported as far as it got{on}"
    yield from record.faults
    is_told = any("manifest.json" in fault for fault in record.faults)
    if record.manifest.is_blank and not is_told:
        yield "manifest.json is missing or can't be read: nothing is known of data, split and machine"
