"""Which of several runs is better, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.comparison import FIGURES, Comparison
from ahekit.evaluation.facts import setting_words
from ahekit.figures.dot_plot import difference_figure
from ahekit.protocols import BootstrapParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted

from .intervals import NAMES

_SIGNIFICANT = 0.05
_RUN_COLUMNS = (
    Column("Run"),
    Column("Name"),
    Column("Spec"),
    Column("Seed", "d", "right"),
    Column("Test images", ",d", "right"),
    Column("Accuracy", ".3f", "right"),
    Column("Macro-F1", ".3f", "right"),
)
_COLUMNS = (
    Column("Run"),
    Column("Figure"),
    Column("Difference", "+z.3f", "right"),
    Column("From", "+z.3f", "right"),
    Column("To", "+z.3f", "right"),
    Column("McNemar p", ".2g", "right"),
)


class Differences:
    """Several runs on the images they share: paired intervals of their differences, and McNemar's exact test."""

    order = 12
    Params = BootstrapParams

    def compare(self, runs: ComparedRuns, params: BootstrapParams) -> Section:
        """Compare each run with the first."""
        pairs = runs.against_first(samples=params.resamples, seed=params.seed)
        words = {name: _words(runs, name, pair) for name, pair in pairs.items()}
        return Section(
            title="What differs",
            reading=" ".join([*words.values(), _sharing(runs)]),
            tables=(_run_table(runs), *_spec_tables(runs), _table(runs, pairs)),
            figures=(_figure(runs, pairs),),
            values={
                "first": runs.names[0],
                "shared_images": len(runs.first.ids),
                "test_images": dict(runs.totals),
                "differing_fields": runs.differing_fields,
                "scores": {name: runs.scores(name) for name in runs.names},
                "runs": {name: _values(pair) for name, pair in pairs.items()},
            },
            verdict=_first_words(runs, pairs, words),
        )


def _run_table(runs: ComparedRuns) -> Table:
    spec_of = {name: group.words for group in runs.groups for name in group.names}
    rows = []
    for name, record in runs.records.items():
        scores = runs.scores(name)
        what = runs.letter(name), name, spec_of[name], record.spec.seed, runs.totals[name]
        rows.append((*what, scores["accuracy"], scores["f1"]))
    title = f"Runs on the {counted(len(runs.first.ids), 'test image')} they share"
    return Table(title, _RUN_COLUMNS, tuple(rows))


def _spec_tables(runs: ComparedRuns) -> tuple[Table, ...]:
    """The fields that differ, a column for each run; nothing where none does."""
    fields = runs.differing_fields
    if not fields:
        return ()
    columns = (Column("Field"), *(Column(runs.letter(name), None, "right") for name in runs.names))
    rows = tuple((field, *(setting_words(by_run[name]) for name in runs.names)) for field, by_run in fields.items())
    return (Table("Where the specs differ", columns, rows, "Seed and machine apart."),)


def _sharing(runs: ComparedRuns) -> str:
    if runs.is_same_test:
        return "All runs were tested on the same images."
    return "The runs were tested on different images: only those that all of them were tested on count here."


def _table(runs: ComparedRuns, pairs: Mapping[str, Comparison]) -> Table:
    note = (
        "Each run minus A, with the paired 95% interval (of accuracy by Bonett and Price, else by a smoothed bootstrap "
        "of both runs' answers together). McNemar: exact, two-sided, of equal accuracy. Neither knows of other seeds."
    )
    if len(pairs) > 1:
        note += f" {len(pairs)} comparisons are made at once; the p-values are not adjusted for that."
    return Table("Differences from A", _COLUMNS, tuple(_rows(runs, pairs)), note)


def _figure(runs: ComparedRuns, pairs: Mapping[str, Comparison]) -> Figure:
    return difference_figure(
        {f"{runs.letter(name)}: {name}": [pair.figures[figure] for figure in FIGURES] for name, pair in pairs.items()},
        [NAMES[figure] for figure in FIGURES],
        name="differences",
        title="Differences from A",
        caption="Bars are paired 95% intervals. One that crosses the line at zero leaves open which run is better.",
    )


def _rows(runs: ComparedRuns, pairs: Mapping[str, Comparison]) -> Iterator[tuple[Cell, ...]]:
    for name, pair in pairs.items():
        for figure in FIGURES:
            difference = pair.figures[figure]
            ends = difference.interval.low, difference.interval.high
            p_value = pair.p_value if figure == "accuracy" else None
            yield runs.letter(name), NAMES[figure], difference.value, *ends, p_value


def _words(runs: ComparedRuns, name: str, pair: Comparison) -> str:
    accuracy = pair.figures["accuracy"]
    first = runs.names[0]
    run = f"{runs.letter(name)} ({name})"
    word = "better" if accuracy.value > 0 else "worse"
    verdict = f"{run} is {word} than A ({first})" if accuracy.value else f"{run} is as accurate as A ({first})"
    interval = f"{accuracy.interval.low:+.3f} to {accuracy.interval.high:+.3f}"
    return (
        f"{verdict}: accuracy {accuracy.second:.3f} against {accuracy.first:.3f}, a difference of "
        f"{accuracy.value:+.3f} ({interval}, p {p_words(pair.p_value)}), {_certainty(pair)}"
    )


def _is_certain(pair: Comparison) -> bool | None:
    """Whether accuracy differs by more than the choice of images explains; None where test and interval disagree."""
    interval = pair.figures["accuracy"].interval
    excludes_zero = interval.low > 0 or interval.high < 0
    is_significant = pair.p_value < _SIGNIFICANT
    return excludes_zero if excludes_zero == is_significant else None


def _certainty(pair: Comparison) -> str:
    certain = _is_certain(pair)
    if certain is None:
        return "on the border of what the choice of test images explains: test and interval disagree."
    return ("more than" if certain else "within what") + " the choice of test images explains."


def p_words(value: float) -> str:
    """A p-value after the letter."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _first_words(runs: ComparedRuns, pairs: Mapping[str, Comparison], words: Mapping[str, str]) -> str:
    """Of two runs how they differ; of more, which can be told from the first; nothing where the seeds say it better."""
    if len(pairs) == 1:
        return next(iter(words.values()))
    if any(len(group.names) > 1 for group in runs.groups):
        # The best of several seeds is partly luck: which spec is better is said of the seeds' means.
        return ""
    best = max(runs.names, key=lambda name: runs.scores(name)["accuracy"])
    better = [runs.letter(name) for name, pair in pairs.items() if _is_better(pair)]
    lead = f"Most accurate of the {len(runs.names)} runs is {runs.letter(best)} ({best}), with "
    lead += f"{runs.scores(best)['accuracy']:.1%} of {len(runs.first.ids):,d} images right. "
    if not better:
        return lead + "No run is better than A by more than the choice of test images explains."
    return lead + f"Better than A by more than the choice of test images explains: {', '.join(better)}."


def _is_better(pair: Comparison) -> bool:
    return _is_certain(pair) is True and pair.figures["accuracy"].value > 0


def _values(pair: Comparison) -> dict[str, Any]:
    figures = {
        figure: {"value": one.value, "low": one.interval.low, "high": one.interval.high}
        for figure, one in pair.figures.items()
    }
    sides = {"only_first": len(pair.only_first), "only_this": len(pair.only_second)}
    return {**figures, "mcnemar_p": pair.p_value, **sides}
