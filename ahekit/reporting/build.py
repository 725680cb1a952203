"""From a run's record to a report: every reporter's section, and what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from ahekit import plugin_files
from ahekit.errors import AhekitError, PluginError, UnknownNameError
from ahekit.evaluation.record import RunRecord
from ahekit.protocols import ReporterPlugin
from ahekit.registry import REPORTERS
from ahekit.reporting.facts import run_facts
from ahekit.reporting.sections import Section
from ahekit.validation import validate

_ON_SAMPLE = " (sample of drawings)"


@dataclass(frozen=True)
class Missing:
    """A section that could not be made (or "run", when the run itself isn't whole), and why."""

    section: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All that is rendered.

    Attributes:
        run: The run's name.
        subtitle: Which model on which data.
        facts: Label and value of what the run was.
        sections: In the order of their reporters.
    """

    run: str
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    missing: tuple[Missing, ...]

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
    """Ask every registered reporter for its section.

    A reporter that breaks costs its own section alone, and the report says so; one that was asked for by name in
    `only` breaks with its traceback.

    Args:
        only: Names of the reporters to ask; empty: all.
        skip: Names of the reporters to leave out.
        params: Parameters by reporter name; the others take their defaults.

    Raises:
        UnknownNameError: `only`, `skip` or `params` hold a name that no reporter has.
        SpecError: A parameter is wrong.
        PluginError: A plugin file doesn't load.
    """
    plugin_files.raise_broken()
    given = params or {}
    _check_names([*only, *skip, *given])
    missing = [*_run_missing(record)]
    sections: list[tuple[int, Section]] = []
    for name in sorted({*(only or REPORTERS.names())} - {*skip}):
        try:
            reporter = REPORTERS.get(name)
        except PluginError as error:
            missing.append(Missing(name, str(error)))
            continue
        values = validate(reporter.Params, given.get(name, {}), where=name)
        made = _section(name, reporter, record, values, is_strict=name in only)
        if isinstance(made, Missing):
            missing.append(made)
        else:
            sections.append((reporter.order, made))
    in_order = tuple(section for _, section in sorted(sections, key=lambda pair: (pair[0], pair[1].name)))
    title = f"Run {record.name}" + (_ON_SAMPLE if record.is_sample else "")
    facts = run_facts(record)
    subtitle = " · ".join(value for label, value in facts if label in ("Model", "Data"))
    return Report(record.name, title, subtitle, facts, in_order, tuple(missing))


def _section(
    name: str, reporter: ReporterPlugin, record: RunRecord, params: BaseModel, *, is_strict: bool
) -> Section | Missing:
    try:
        section = replace(reporter.report(record, params), name=name)
    except AhekitError as error:
        return Missing(name, str(error))
    except Exception as error:
        if is_strict:
            raise
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        return Missing(name, f"its reporter broke ({reason}); `--only {name}` shows where")
    return _marked(section) if record.is_sample else section


def _check_names(names: Collection[str]) -> None:
    known = REPORTERS.names()
    for name in names:
        if name not in known:
            hint = f"A package adds more through the entry-point group {REPORTERS.group!r}, a file through --plugin"
            raise UnknownNameError("reporter", name, known, hint=hint)


def _run_missing(record: RunRecord) -> Iterator[Missing]:
    if record.state != "finished":
        because = f" ({record.status['reason']})" if record.status.get("reason") else ""
        reached = f"after {len(record.epochs)} of {record.spec.train.epochs} epochs"
        is_running = record.state == "running"
        state = "still running" if is_running else record.state
        on = "" if is_running else f"; `ahekit resume {record.name}` goes on from there"
        yield Missing("run", f"{state}{because} {reached}, reported as far as it got{on}")
    for fault in record.faults:
        yield Missing("run", fault)
    if not record.manifest:
        yield Missing("run", "manifest.json is missing or can't be read: nothing is known of data, split and machine")


def _marked(section: Section) -> Section:
    # Whoever reads one title, table or picture alone has to know that its figures are not about photographs.
    return replace(
        section,
        title=section.title + _ON_SAMPLE,
        reading=f"Measured on the embedded sample, which holds drawings and no photographs. {section.reading}",
        tables=tuple(replace(table, title=table.title + _ON_SAMPLE) for table in section.tables),
        figures=tuple(replace(figure, title=figure.title + _ON_SAMPLE) for figure in section.figures),
    )
