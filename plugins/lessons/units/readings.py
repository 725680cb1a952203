"""What the numbers make of the claims about hidden units, and the questions that they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, mannwhitneyu, wilcoxon

from ahekit.sections import Claim, ClaimReading, Exercise, Visualization

Floats = NDArray[np.float64]

LIMIT = 0.05
"""Largest p-value of a one-sided test that decides."""

TOLD = 5
"""Layers whose means are told in a sentence."""


@dataclass(frozen=True)
class Facts:
    """What was measured.

    Attributes:
        layers: Names of the convolutions, from input to head.
        early: The one that the question starts from; `late`: that it is compared with.
        top: Strongest images of each unit that are counted.
        seen: What the visualizer `units` returned.
        shuffled: The majority's share of each unit `(U,)`, by layer, of the network with shuffled weights.
    """

    layers: tuple[str, ...]
    early: str
    late: str
    top: int
    class_names: tuple[str, ...]
    seen: Visualization
    shuffled: Mapping[str, Floats]

    def shares(self, layer: str) -> Floats:
        """The majority's share among each unit's strongest images, `(U,)`; 0 of a dead one."""
        shares: Floats = self.seen.arrays[f"{layer}.majority_share"]
        return shares

    def indices(self, layer: str) -> Floats:
        """The selectivity index of the live units."""
        live: Floats = self.seen.arrays[f"{layer}.selectivity"][~self.seen.arrays[f"{layer}.dead"]]
        return live

    def mostly(self, layer: str) -> int:
        """Units more than half of whose strongest images are of one class."""
        return int((self.shares(layer) > 0.5).sum())

    @property
    def drops(self) -> Floats:
        """By how much more F1 falls for the class of each best unit than for the others on average when it is silent.

        `(B,)`.
        """
        arrays = self.seen.arrays
        more: Floats = arrays["best_f1"] - arrays["best_f1_silenced"] - arrays["best_others_drop"]
        return more

    @property
    def field(self) -> str:
        """Side of the late layer's receptive field in pixels, as the table has it."""
        row = self.seen.tables[0].rows[self.layers.index(self.late)]
        return str(row[3])


def claims(facts: Facts) -> Iterator[Claim]:
    """Each claim with what is read off."""
    early, late = facts.early, facts.late
    table = [[facts.mostly(layer), len(facts.shares(layer)) - facts.mostly(layer)] for layer in (late, early)]
    more = float(fisher_exact(table, alternative="greater").pvalue)
    less = float(fisher_exact(table, alternative="less").pvalue)
    yield Claim(
        f"A unit whose strongest images are mostly of one class is likelier in {late} than in {early}.",
        _reading(more, less),
        f"{table[0][0]} of {sum(table[0])} units in {late}, {table[1][0]} of {sum(table[1])} in {early} (Fisher's "
        f"exact test, one-sided p = {more:.2g})",
    )
    steps = [rank_sums(facts.indices(deeper), facts.indices(layer)) for layer, deeper in pairwise(facts.layers)]
    means = [float(facts.indices(layer).mean()) if len(facts.indices(layer)) else 0.0 for layer in facts.layers]
    # Of many steps one falls by chance: each has to be surer.
    falls = any(fall < LIMIT / len(steps) for _, fall in steps)
    rises = all(rise < LIMIT for rise, _ in steps)
    yield Claim(
        "The deeper the layer, the more its units prefer one class.",
        "not supported" if falls else "supported" if rises else "undecided",
        f"mean selectivity {_told(facts.layers, means)} (each layer beside the one before it, Mann-Whitney)",
    )
    shuffled = facts.shuffled[late]
    more, less = rank_sums(facts.shares(late), shuffled)
    yield Claim(
        "Learning makes units so, not depth alone.",
        _reading(more, less),
        f"in {late} the majority class has {facts.shares(late).mean():.0%} of a unit's strongest images, with shuffled "
        f"weights {shuffled.mean():.0%} (Mann-Whitney, one-sided p = {more:.2g})",
    )
    drops = facts.drops
    more, less = signed_ranks(drops)
    yield Claim(
        "The network needs such a unit for its class.",
        _reading(more, less),
        f"silencing the best unit of each of {len(drops)} classes costs the class {_mean(drops):+.3f} of F1 more than "
        f"the others (Wilcoxon, one-sided p = {more:.2g}; chosen and silenced on the same images)",
    )


def _told(layers: tuple[str, ...], means: list[float]) -> str:
    """The means in a line, of many layers those of some."""
    places = sorted({round(place) for place in np.linspace(0, len(layers) - 1, min(len(layers), TOLD)).tolist()})
    return ", ".join(f"{means[place]:.2f} in {layers[place]}" for place in places)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _reading(more: float, less: float) -> ClaimReading:
    """Of a claim, by the p-values of what it says and of the opposite."""
    return "supported" if more < LIMIT else "not supported" if less < LIMIT else "undecided"


def rank_sums(first: Floats, second: Floats) -> tuple[float, float]:
    """P-values of "the first values are larger" and "are smaller" (Mann and Whitney); 1 where nothing differs."""
    if not len(first) or not len(second) or len(np.unique(np.concatenate([first, second]))) == 1:
        return 1.0, 1.0
    sides: tuple[Any, Any] = ("greater", "less")
    more, less = (float(mannwhitneyu(first, second, alternative=side).pvalue) for side in sides)
    return more, less


def signed_ranks(values: Floats) -> tuple[float, float]:
    """P-values of "the values are above 0" and "below" (Wilcoxon's signed ranks); 1 where all are 0."""
    values = values[values != 0]
    if not len(values):
        return 1.0, 1.0
    sides: tuple[Any, Any] = ("greater", "less")
    more, less = (float(wilcoxon(values, alternative=side, method="auto").pvalue) for side in sides)
    return more, less


def exercises(facts: Facts) -> tuple[Exercise, ...]:
    """Three questions."""
    late = facts.late
    if facts.field.isdigit():
        third = Exercise(
            "field",
            f"How many pixels a side does a unit of {late} see?",
            float(facts.field),
            tolerance=0,
            hint="the table's column field",
        )
    else:
        third = Exercise(
            "dead",
            f"How many units of {late} are active on no image?",
            float((facts.shares(late) == 0).sum()),
            tolerance=0,
            hint="the table's column dead",
        )
    return (
        Exercise(
            "mostly",
            f"How many units of {late} have more than half of their {facts.top} strongest images of one class?",
            float(facts.mostly(late)),
            tolerance=0,
            hint="the table's column mostly one class, or the slider",
        ),
        Exercise(
            "least",
            f"There are {len(facts.class_names)} classes. How many of {facts.top} images does the majority class have "
            "at least, whatever a unit looks for?",
            float(-(-facts.top // len(facts.class_names))),
            tolerance=0,
            hint="deal the images out to the classes as evenly as can be",
        ),
        third,
    )
