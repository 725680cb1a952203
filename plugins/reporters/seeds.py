"""Runs of one spec with several seeds: how much training anew moves the figures, and which spec is better."""

from __future__ import annotations

from ahekit.evaluation.compared import ComparedRuns, Group
from ahekit.evaluation.comparison import GroupDifference, SeedSpread, group_difference, seed_spread
from ahekit.protocols import NoParams
from ahekit.sections import Cell, Column, Section, Table
from ahekit.wording import listed

from .differences import p_words

_FIGURES = {"accuracy": "accuracy", "f1": "macro-F1"}
_SIGNIFICANT = 0.05
_COLUMNS = (
    Column("Spec"),
    Column("Runs"),
    Column("Seeds"),
    Column("Figure"),
    *(Column(name, ".3f", "right") for name in ("Mean", "Deviation", "From", "To")),
)
_NOTE = (
    "From, to: 95% interval of the mean over seeds (Student's t, cut at 0 and 1); it is of training anew, on these "
    "test images. Two or three seeds leave it wide."
)
_DIFFERENCE_COLUMNS = (
    Column("Spec"),
    Column("Against"),
    Column("Figure"),
    *(Column(name, "+z.3f", "right") for name in ("Difference", "From", "To")),
    Column("Welch p", ".2g", "right"),
)
_DIFFERENCE_NOTE = (
    "Difference of the means over seeds with its 95% interval (Welch's t): what training both anew would give, on "
    "these test images. A dash: one seed alone, or seeds that agree to the last image."
)


class Seeds:
    """Mean, standard deviation and interval over the seeds of each spec, and the specs against each other."""

    order = 14
    Params = NoParams

    def compare(self, runs: ComparedRuns, params: NoParams) -> Section:
        """Group the runs that differ in nothing but the seed and the machine, and compare the groups."""
        groups = runs.groups
        repeated = [group for group in groups if _seeds(runs, group) > 1]
        tables = []
        if repeated:
            rows = tuple(_row(runs, group, figure) for group in groups for figure in _FIGURES)
            tables.append(Table("Mean over the seeds of each spec", _COLUMNS, rows, _NOTE))
        compares = len(groups) > 1 and bool(repeated)
        differences = {group: _differences(runs, groups[0], group) for group in groups[1:]} if compares else {}
        if differences:
            tables.append(_difference_table(groups[0], differences))
        return Section(
            title="Seeds and specs",
            reading=_reading(runs, groups, differences),
            tables=tuple(tables),
            values={
                "groups": [list(group.names) for group in groups],
                "specs": [group.words for group in groups],
                "differences": [
                    {
                        "spec": group.words,
                        "against": groups[0].words,
                        **{
                            figure: {
                                "value": one.value,
                                "low": one.interval.low if one.interval else None,
                                "high": one.interval.high if one.interval else None,
                                "p": one.p_value,
                            }
                            for figure, one in by_figure.items()
                        },
                    }
                    for group, by_figure in differences.items()
                ],
            },
            verdict=_verdict(runs, groups, differences),
        )


def _seeds(runs: ComparedRuns, group: Group) -> int:
    return len({runs.records[name].spec.seed for name in group.names})


def _scores(runs: ComparedRuns, group: Group, figure: str) -> list[float]:
    return [runs.scores(name)[figure] for name in group.names]


def _row(runs: ComparedRuns, group: Group, figure: str) -> tuple[Cell, ...]:
    spread = seed_spread(_scores(runs, group, figure))
    ends = (max(spread.interval.low, 0.0), min(spread.interval.high, 1.0)) if spread.interval else (None, None)
    letters = ", ".join(runs.letter(name) for name in group.names)
    seeds = ", ".join(str(runs.records[name].spec.seed) for name in group.names)
    return group.words, letters, seeds, _FIGURES[figure], spread.mean, spread.deviation, *ends


def _differences(runs: ComparedRuns, first: Group, second: Group) -> dict[str, GroupDifference]:
    return {
        figure: group_difference(_scores(runs, first, figure), _scores(runs, second, figure)) for figure in _FIGURES
    }


def _difference_table(first: Group, differences: dict[Group, dict[str, GroupDifference]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group, by_figure in differences.items():
        for figure, one in by_figure.items():
            ends = (one.interval.low, one.interval.high) if one.interval else (None, None)
            rows.append((group.words, first.words, _FIGURES[figure], one.value, *ends, one.p_value))
    return Table("Specs against the first one's", _DIFFERENCE_COLUMNS, tuple(rows), _DIFFERENCE_NOTE)


def _reading(runs: ComparedRuns, groups: list[Group], differences: dict[Group, dict[str, GroupDifference]]) -> str:
    repeated = [group for group in groups if _seeds(runs, group) > 1]
    if not repeated:
        return (
            "Every run here is the only one of its spec, so how far another seed of the same spec would move these "
            "figures isn't known; a difference that holds for other images may not hold for other seeds."
        )
    spreads = {group.words: seed_spread(_scores(runs, group, "accuracy")) for group in repeated}
    sentences = [f"Over seeds, accuracy is {listed([_spread_words(*pair) for pair in spreads.items()])}."]
    sentences += [_sentence(groups[0], group, by_figure) for group, by_figure in differences.items()]
    return " ".join(sentences)


def _spread_words(words: str, spread: SeedSpread) -> str:
    return f"{spread.mean:.3f} ± {spread.deviation or 0:.3f} ({words})"


def _sentence(first: Group, group: Group, by_figure: dict[str, GroupDifference]) -> str:
    one = by_figure["accuracy"]
    if one.interval is None or one.p_value is None:
        return f"How {group.words} compares with {first.words} can't be told: that takes two seeds of each that differ."
    size = f"{one.value:+.3f} ({one.interval.low:+.3f} to {one.interval.high:+.3f}, p {p_words(one.p_value)})"
    if one.p_value >= _SIGNIFICANT:
        return f"{group.words} against {first.words}: {size}, within what training anew explains."
    return (
        f"{group.words} is {'better' if one.value > 0 else 'worse'} than {first.words} by {size}, over training anew."
    )


def _verdict(runs: ComparedRuns, groups: list[Group], differences: dict[Group, dict[str, GroupDifference]]) -> str:
    """What the runs say together, where there are several of a spec; the best of them alone is partly luck."""
    if differences:
        sentences = [_sentence(groups[0], group, by_figure) for group, by_figure in differences.items()]
        return " ".join([f"{len(runs.names)} runs of {len(groups)} specs.", *sentences])
    if len(groups) > 1 or _seeds(runs, groups[0]) < 3:
        return ""
    spread = seed_spread(_scores(runs, groups[0], "accuracy"))
    between = f" (95% interval of the mean {spread.interval})" if spread.interval else ""
    return f"{len(runs.names)} runs of one spec: accuracy {spread.mean:.3f} ± {spread.deviation:.3f}{between}."
