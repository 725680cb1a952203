"""Which of several runs is better, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.comparison import FIGURES, Comparison
from ahekit.figures.dot_plot import difference_figure
from ahekit.protocols import BootstrapParams
from ahekit.sections import Cell, Column, Figure, Section, Table
from ahekit.wording import counted

from .intervals import NAMES

_RUN_COLUMNS = (
    Column("Run"),
    Column("Name"),
    Column("Model"),
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
            tables=(_run_table(runs), _table(runs, pairs)),
            figures=(_figure(runs, pairs),),
            values={
                "first": runs.names[0],
                "shared_images": len(runs.first.ids),
                "test_images": dict(runs.totals),
                "scores": {name: runs.scores(name) for name in runs.names},
                "runs": {name: _values(pair) for name, pair in pairs.items()},
            },
            verdict=_first_words(runs, pairs, words),
        )


def _run_table(runs: ComparedRuns) -> Table:
    rows = []
    for name, record in runs.records.items():
        scores = runs.scores(name)
        what = runs.letter(name), name, record.spec.model.name, record.spec.seed, runs.totals[name]
        rows.append((*what, scores["accuracy"], scores["f1"]))
    title = f"Runs on the {counted(len(runs.first.ids), 'test image')} they share"
    return Table(title, _RUN_COLUMNS, tuple(rows))


def _sharing(runs: ComparedRuns) -> str:
    if runs.is_same_test:
        return "All runs were tested on the same images."
    return "The runs were tested on different images: only those that all of them were tested on count here."


def _table(runs: ComparedRuns, pairs: Mapping[str, Comparison]) -> Table:
    note = (
        "Each run minus A, with the 95% interval of a paired, stratified bootstrap over the images (both runs' "
        "answers are drawn together). McNemar: exact, two-sided, of equal accuracy. Neither knows of other seeds."
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
    excludes_zero = accuracy.interval.low > 0 or accuracy.interval.high < 0
    return (
        f"{verdict}: accuracy {accuracy.second:.3f} against {accuracy.first:.3f}, a difference of "
        f"{accuracy.value:+.3f} ({accuracy.interval.low:+.3f} to {accuracy.interval.high:+.3f}, p {_p(pair.p_value)}), "
        + ("more than" if excludes_zero else "within what")
        + " the choice of test images explains."
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _first_words(runs: ComparedRuns, pairs: Mapping[str, Comparison], words: Mapping[str, str]) -> str:
    """Of two runs how they differ; of more, which is best and how many can't be told from it."""
    if len(pairs) == 1:
        return next(iter(words.values()))
    best = max(runs.names, key=lambda name: runs.scores(name)["accuracy"])
    others = [name for name, pair in pairs.items() if pair.figures["accuracy"].interval.low > 0]
    lead = f"Most accurate of the {len(runs.names)} runs is {runs.letter(best)} ({best}), with "
    lead += f"{runs.scores(best)['accuracy']:.1%} of {len(runs.first.ids):,d} images right. "
    if not others:
        return lead + "No run is better than A by more than the choice of test images explains."
    better = ", ".join(runs.letter(name) for name in others)
    return lead + f"Better than A by more than the choice of test images explains: {better}."


def _values(pair: Comparison) -> dict[str, Any]:
    figures = {
        figure: {"value": one.value, "low": one.interval.low, "high": one.interval.high}
        for figure, one in pair.figures.items()
    }
    sides = {"only_first": len(pair.only_first), "only_this": len(pair.only_second)}
    return {**figures, "mcnemar_p": pair.p_value, **sides}
