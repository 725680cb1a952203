"""What the numbers make of the claims about matching, and the questions that they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ahekit.evaluation.claims import read_difference
from ahekit.sections import Claim, ClaimReading, Exercise

from .identities import Identities
from .learning import Matched

UNTRAINED = "before training"
MANY = "one picture of each of many"
FEW = "several pictures of few"
RUN = "your own network"

LIMIT = 0.01
"""False-accept rate of the exercise, and at which true accepts are told."""


@dataclass(frozen=True)
class Facts:
    """What was measured.

    Attributes:
        measured: By kind of network, one for each seed; of the own network one alone.
    """

    identities: Identities
    measured: Mapping[str, Sequence[Matched]]
    seeds: tuple[int, ...]

    def figure(self, kind: str, name: str) -> list[float]:
        """A figure of each seed's network; NaN where the pairs can't tell it."""
        return [float(each.figures.get(name, np.nan)) for each in self.measured[kind]]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of galleries, from two identities up to all."""
        count = self.identities.held_out.count
        sizes = {round(each) for each in np.geomspace(2, count, 9).tolist()}
        return tuple(sorted(sizes))

    def rank_one(self, kind: str, size: int) -> list[float]:
        """Of each seed's network, the share of probes whose identity comes first in a gallery of that size."""
        count = self.identities.held_out.count
        return [each.retrieval.match_rate_among(count, size) for each in self.measured[kind]]


def claims(facts: Facts) -> Iterator[Claim]:
    """Each claim with what is read off."""
    few, many = facts.figure(FEW, "eer"), facts.figure(MANY, "eer")
    reading, because = read_difference(_minus(many, few))
    yield Claim(
        "Several pictures of few identities teach verification more than as many pictures of one identity each.",
        reading,
        f"equal error rate of the latter less that of the former: {because}",
    )
    reading, because = read_difference(_minus(facts.figure(UNTRAINED, "eer"), many))
    yield Claim(
        "From one picture of each identity nothing can be learned for verification.",
        _opposite(reading),
        f"equal error rate before training less that after it: {because}",
    )
    first, last = facts.sizes[0], facts.sizes[-1]
    reading, because = read_difference(_minus(facts.rank_one(FEW, first), facts.rank_one(FEW, last)))
    yield Claim(
        "Identification gets harder with every identity in the gallery.",
        reading,
        f"right identity first among {first} less that among {last}: {because}",
    )
    errors = [1 - rate for rate in facts.figure(FEW, "rank_1")]
    reading, because = read_difference(_minus(errors, few))
    yield Claim(
        "Identification errs more often than verification by the same embeddings.",
        reading,
        f"wrong identity first among {last} less the equal error rate: {because}",
    )


def _minus(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(first, second, strict=True)]


def _opposite(reading: ClaimReading) -> ClaimReading:
    opposites: dict[ClaimReading, ClaimReading] = {"supported": "not supported", "not supported": "supported"}
    return opposites.get(reading, reading)


def exercises(facts: Facts) -> tuple[Exercise, ...]:
    """Three questions."""
    count = facts.identities.held_out.count
    pairs = facts.measured[FEW][0].pairs
    means = {kind: float(np.mean(facts.figure(kind, "eer"))) for kind in (MANY, FEW)}
    return (
        Exercise(
            "false_accepts",
            f"Somebody who is not in a gallery of {count} identities is compared with each of them, at a threshold of "
            f"{LIMIT:g} false accepts. How likely is at least one false accept (0 to 1), if comparisons are "
            "independent?",
            1 - (1 - LIMIT) ** count,
            hint="1 less the probability that every comparison is right",
        ),
        Exercise(
            "pairs",
            f"The pictures measured on make {pairs.genuine + pairs.impostors:,d} pairs. How many of them show one "
            "identity?",
            float(pairs.genuine),
            tolerance=0,
            hint="of m pictures of an identity m (m - 1) / 2 pairs, summed over the identities",
        ),
        Exercise(
            "better",
            "By which pictures was verification learned better, one each of many identities or several of few? Answer "
            "many or few.",
            "few" if means[FEW] < means[MANY] else "many",
            hint="the smaller equal error rate, mean over seeds",
        ),
    )
