"""Several runs side by side: what differs, how sure that is, and where they disagree."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ahekit.errors import RunError
from ahekit.evaluation.comparison import Comparison, Difference, compare, seed_spread, shared_images
from ahekit.evaluation.metrics import confusion_counts, macro_scores
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord, measure
from ahekit.reporting.build import Missing, Report
from ahekit.reporting.sections import Cell, Column, Figure, Section, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
_CLASS_NOTE = "From, to: paired 95% interval of the difference; a class is a comparison of its own among many."
_LISTED = 200  # images that one run names rightly and another wrongly; the count of all is told
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1, 1, 1)))


@dataclass(frozen=True)
class _Compared:
    """The runs that can be compared, on their shared images; the first is what the others are compared with."""

    records: dict[str, RunRecord]
    shared: dict[str, Predictions]
    totals: dict[str, int]
    pairs: dict[str, Comparison]

    @property
    def names(self) -> list[str]:
        return list(self.records)

    def letter(self, name: str) -> str:
        """A run's short name in tables: A is the first."""
        place = self.names.index(name)
        return string.ascii_uppercase[place] if place < len(string.ascii_uppercase) else f"Run {place + 1}"

    @property
    def images(self) -> int:
        return len(self.shared[self.names[0]].ids)


def build_comparison(records: Sequence[RunRecord], *, samples: int = 10_000, seed: int = 0) -> Report:
    """Compare runs on the test images they share; the first is the one the others are compared with.

    Raises:
        RunError: Fewer than two runs hold test predictions, they share no image, or know different classes.
    """
    stored: dict[str, Predictions] = {}
    missing = []
    for record in records:
        try:
            stored[record.name] = record.need_predictions("test")
        except MissingRecord as error:
            missing.append(Missing(record.name, str(error)))
    if len(stored) < 2:
        reasons = "; ".join(f"{lack.section}: {lack.reason}" for lack in missing) or "one run was named twice"
        raise RunError(f"a comparison takes two different runs with test predictions ({reasons})")
    shared = shared_images(stored)
    first, *others = stored
    compared = _Compared(
        records={record.name: record for record in records if record.name in stored},
        shared=shared,
        totals={name: int((predictions.labels >= 0).sum()) for name, predictions in stored.items()},
        pairs={name: compare(shared[first], shared[name], samples=samples, seed=seed) for name in others},
    )
    makers = (_differences, _seeds, _classes, _disagreements, _curves)
    sections = tuple(section for maker in makers if (section := maker(compared)) is not None)
    title = f"{len(stored)} runs compared"
    facts = tuple((name, _described(record)) for name, record in compared.records.items())
    return Report(first, title, f"on the {compared.images:,d} test images they share", facts, sections, tuple(missing))


def _described(record: RunRecord) -> str:
    spec, data = record.spec, record.manifest.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    return f"{spec.model.name} on {name or 'unknown data'}, recipe {spec.recipe}, seed {spec.seed}, {record.state}"


def _differences(compared: _Compared) -> Section:
    scores = {name: _scores(predictions) for name, predictions in compared.shared.items()}
    runs = Table(
        "Runs on the images they share",
        (
            Column("Run"),
            Column("Name"),
            Column("Model"),
            Column("Seed", "d", "right"),
            Column("Test images", ",d", "right"),
            Column("Shared", ",d", "right"),
            *(Column(FIGURES[figure], ".3f", "right") for figure in ("accuracy", "macro_f1")),
        ),
        tuple(
            (
                compared.letter(name),
                name,
                record.spec.model.name,
                record.spec.seed,
                compared.totals[name],
                compared.images,
                scores[name]["accuracy"],
                scores[name]["f1"],
            )
            for name, record in compared.records.items()
        ),
        _sharing(compared),
    )
    rows = tuple(_difference_rows(compared))
    columns = (
        Column("Run"),
        Column("Figure"),
        Column("Difference", "+z.3f", "right"),
        Column("From", "+z.3f", "right"),
        Column("To", "+z.3f", "right"),
        Column("McNemar p", ".2g", "right"),
    )
    note = "Each run minus A, with the 95% interval of a paired, stratified bootstrap over the images (both runs' "
    note += "answers are drawn together). McNemar: exact, two-sided, of equal accuracy. Neither knows of other seeds."
    if len(compared.pairs) > 1:
        note += f" {len(compared.pairs)} comparisons are made at once; the p-values are not adjusted for that."
    table = Table("Differences from A", columns, rows, note)
    return Section(
        name="differences",
        title="What differs",
        reading=_reading(compared),
        tables=(runs, table),
        values={
            "first": compared.names[0],
            "shared_images": compared.images,
            "test_images": compared.totals,
            "scores": scores,
            "runs": {name: _values(pair) for name, pair in compared.pairs.items()},
        },
    )


def _scores(predictions: Predictions) -> dict[str, float]:
    return macro_scores(confusion_counts(predictions.labels, predictions.predicted, len(predictions.class_names)))


def _sharing(compared: _Compared) -> str:
    if set(compared.totals.values()) == {compared.images}:
        return "All runs were tested on the same images."
    return "The runs were tested on different images: only those that all of them were tested on count here."


def _difference_rows(compared: _Compared) -> Iterator[tuple[Cell, ...]]:
    for name, pair in compared.pairs.items():
        for figure, label in FIGURES.items():
            found = pair.figures[figure]
            p_value = pair.p_value if figure == "accuracy" else None
            yield compared.letter(name), label, found.value, found.interval.low, found.interval.high, p_value


def _reading(compared: _Compared) -> str:
    first, sentences = compared.names[0], []
    for name, pair in compared.pairs.items():
        found = pair.figures["accuracy"]
        sure = found.interval.low > 0 or found.interval.high < 0
        word = "better" if found.value > 0 else "worse"
        run = f"{compared.letter(name)} ({name})"
        verdict = f"{run} is {word} than A ({first})" if found.value else f"{run} is as accurate as A ({first})"
        sentences.append(
            f"{verdict}: accuracy {found.second:.3f} against {found.first:.3f}, a difference of {found.value:+.3f} "
            f"({found.interval.low:+.3f} to {found.interval.high:+.3f}, p = {pair.p_value:.3g}), "
            + ("more than" if sure else "within what")
            + " the choice of test images explains."
        )
    return " ".join([*sentences, _sharing(compared)])


def _values(pair: Comparison) -> dict[str, Any]:
    figures = {
        figure: {"value": found.value, "low": found.interval.low, "high": found.interval.high}
        for figure, found in pair.figures.items()
    }
    return {
        **figures,
        "mcnemar_p": pair.p_value,
        "only_first": len(pair.only_first),
        "only_this": len(pair.only_second),
    }


def _seeds(compared: _Compared) -> Section | None:
    """Runs that differ in nothing but the seed and the machine, where there are several of one kind."""
    groups: dict[str, list[RunRecord]] = {}
    for record in compared.records.values():
        groups.setdefault(record.spec.model_dump_json(exclude={"seed": True, "runtime": True}), []).append(record)
    groups = {key: found for key, found in groups.items() if len({record.spec.seed for record in found}) > 1}
    if not groups:
        return None
    rows: list[tuple[Cell, ...]] = []
    for found in groups.values():
        seeds = ", ".join(str(record.spec.seed) for record in found)
        for figure, label in (("accuracy", "accuracy"), ("f1", "macro-F1")):
            spread = seed_spread([_scores(compared.shared[record.name])[figure] for record in found])
            ends = (spread.interval.low, spread.interval.high) if spread.interval else (None, None)
            rows.append((f"{found[0].spec.model.name}, {found[0].spec.recipe}", seeds, label, spread.mean))
            rows[-1] += (spread.deviation, *ends)
    columns = (
        Column("Spec"),
        Column("Seeds"),
        Column("Figure"),
        *(Column(name, ".3f", "right") for name in ("Mean", "Deviation", "From", "To")),
    )
    note = "From, to: 95% interval of the mean over seeds (Student's t); it is of training anew, on these test images."
    lead = rows[0]
    return Section(
        name="seeds",
        title="Seeds of one spec",
        reading=f"Over the seeds {lead[1]} of {lead[0]}, {lead[2]} is {lead[3]:.3f} on average, with a standard "
        f"deviation of {lead[4]:.3f}.",
        tables=(Table("Mean over the seeds", columns, tuple(rows), note),),
        values={"groups": [[record.name for record in found] for found in groups.values()]},
    )


def _classes(compared: _Compared) -> Section:
    class_names = compared.shared[compared.names[0]].class_names
    rows: list[tuple[Cell, ...]] = []
    for name, pair in compared.pairs.items():
        for class_name, found in zip(class_names, pair.f1, strict=True):
            cells: tuple[Cell, ...] = (None,) * 5 if found is None else _cells(found)
            rows.append((class_name, compared.letter(name), *cells))
    columns = (
        Column("Class"),
        Column("Run"),
        Column("F1 of A", ".3f", "right"),
        Column("F1", ".3f", "right"),
        *(Column(name, "+z.3f", "right") for name in ("Difference", "From", "To")),
    )
    changes = [(row[4], row[0], row[1]) for row in rows if isinstance(row[4], float)]
    up, down = max(changes), min(changes)
    return Section(
        name="classes",
        title="Class by class",
        reading=f"Against A, F1 changes between {down[0]:+.3f} (run {down[2]}, {down[1]}) and {up[0]:+.3f} "
        f"(run {up[2]}, {up[1]}).",
        tables=(Table("F1 by class against A", columns, tuple(rows), _CLASS_NOTE),),
    )


def _cells(found: Difference) -> tuple[Cell, ...]:
    return found.first, found.second, found.value, found.interval.low, found.interval.high


def _disagreements(compared: _Compared) -> Section:
    first = compared.shared[compared.names[0]]
    rows: list[tuple[Cell, ...]] = []
    total = sum(len(pair.only_first) + len(pair.only_second) for pair in compared.pairs.values())
    # Neither side crowds the other out.
    most = max(_LISTED // (2 * len(compared.pairs)), 1)
    for name, pair in compared.pairs.items():
        second = compared.shared[name]
        letter = compared.letter(name)
        sides = ((pair.only_first, "A"), (pair.only_second, letter))
        for indices, right in sides:
            for index in indices[:most].tolist():
                names = (predictions.class_names[predictions.predicted[index]] for predictions in (first, second))
                rows.append((first.ids[index], first.class_names[first.labels[index]], *names, letter, right))
    columns = tuple(map(Column, ("File", "Filed as", "Named by A", "By the other", "Other", "Right")))
    counts = [
        f"Of {compared.images:,d} images {len(pair.only_first)} are named rightly by A and not by "
        f"{compared.letter(name)}, {len(pair.only_second)} the other way round."
        for name, pair in compared.pairs.items()
    ]
    note = f"{len(rows):,d} of {total:,d}: at most {most:,d} of each kind." if len(rows) < total else ""
    table = Table("Images that one run names rightly and the other wrongly", columns, tuple(rows), note)
    return Section(
        name="disagreements",
        title="Where they disagree",
        reading=" ".join(counts),
        tables=(table,) if rows else (),
        values={"images": total},
    )


def _curves(compared: _Compared) -> Section | None:
    figures = []
    for metric, label in (("accuracy", "Accuracy"), ("f1", "F1 (macro)"), ("loss", "Loss")):
        lines = {f"{compared.letter(name)}: {name}": _line(run, metric) for name, run in compared.records.items()}
        lines = {name: line for name, line in lines.items() if line}
        if not lines:
            continue
        spoken = ", ".join(f"{name} ending at {line[-1][1]:.3f}" for name, line in lines.items())
        figures.append(
            Figure(
                name=f"{metric}-overlaid",
                title=f"{label} on test over the epochs",
                alt=f"Line chart with {spoken}.",
                draw=partial(_draw, lines=lines),
                size=(5.4, 3.6 + 0.2 * len(lines)),
                data={name: [list(point) for point in line] for name, line in lines.items()},
            )
        )
    if not figures:
        return None
    reading = "Test over the epochs, each run on its own test images; nothing was chosen on these curves."
    return Section(name="curves", title="Learning curves", reading=reading, figures=tuple(figures))


def _line(record: RunRecord, metric: str) -> list[tuple[int, float]]:
    measured = ((row.get("epoch"), measure(row, "test", metric)) for row in record.epochs)
    return [
        (epoch, value)
        for epoch, value in measured
        if isinstance(epoch, int) and value is not None and np.isfinite(value)
    ]


def _draw(figure: MplFigure, *, lines: dict[str, list[tuple[int, float]]]) -> None:
    axes = figure.add_subplot()
    for number, (name, line) in enumerate(lines.items()):
        dashes: Any = _LINES[number % len(_LINES)]
        axes.plot(*zip(*line, strict=True), label=name, linestyle=dashes, marker="o" if len(line) == 1 else "")
    axes.set_xlabel("epoch")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
