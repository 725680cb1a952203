"""Verification (do two pictures show the same one?) and identification (which one of a gallery is it?) by similarity.

Everything rests on cosine similarities of embeddings, all pairs, by one matrix product: exact search. Verification is
told by the trade-off of false accepts (two are taken for one) and false rejects, identification by the rank at which
the first right picture stands.

Sources: ISO/IEC 19795-1, Biometric performance testing and reporting (the rates, the equal error rate, ranks of the
cumulative match characteristic); P. J. Grother, M. L. Ngan, K. K. Hanaoka, Face Recognition Vendor Test
(https://doi.org/10.6028/NIST.IR.8238, open-set identification); R. M. Bolle, N. K. Ratha, S. Pankanti, Error Analysis
of Pattern Recognition Systems: the Subsets Bootstrap (2004), https://doi.org/10.1016/j.cviu.2003.08.002 (identities,
not pairs, are drawn anew, since pairs of one identity aren't independent).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.intervals import Interval
from ahekit.evaluation.unknown import unit

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

FALSE_ACCEPT_RATES = (1e-2, 1e-3)
RANKS = (1, 5)
RESAMPLES = 200
MOST_PAIRS = 4_000_000
"""Pairs of different identities, and of pictures beyond `WHOLE` of one identity, beyond which so many are drawn."""
WHOLE = 4_000
"""Pictures up to which all pairs are listed, and all similarities in memory at once."""
BLOCK = 50_000
"""Pairs compared at a time where there are more."""
PROBES = 256
"""Searched at a time: bounds the memory whatever the gallery's size."""


def similarities(probes: NDArray[np.floating], gallery: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cosine similarity of each of `(N, D)` with each of `(M, D)`, `(N, M)` in [-1, 1]; of a vector of zeros, 0."""
    return unit(probes) @ unit(gallery).T


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures with their similarity.

    Attributes:
        scores: `(P,)`, the highest first.
        is_same: Whether both pictures of a pair show one identity, `(P,)`.
        first: Identity of a pair's pictures, `(P,)`; `second` likewise.
    """

    scores: Floats
    is_same: Bools
    first: Indices
    second: Indices

    @property
    def genuine(self) -> int:
        """Pairs of one identity."""
        return int(self.is_same.sum())

    @property
    def impostors(self) -> int:
        """Pairs of two identities."""
        return len(self.is_same) - self.genuine


def all_pairs(
    embeddings: NDArray[np.floating], identities: Indices, groups: Indices | None = None, *, seed: int = 0
) -> Pairs:
    """Every pair of pictures, but for pairs of one group, which would be right for the wrong reason.

    Args:
        embeddings: `(N, D)`.
        identities: `(N,)`.
        groups: Pictures taken on one visit, `(N,)`; None: each is a group of its own.
    """
    group = np.arange(len(identities)) if groups is None else groups
    rng = np.random.default_rng(seed)
    if len(identities) <= WHOLE:
        rows, columns = np.triu_indices(len(identities), k=1)
        kept = group[rows] != group[columns]
        is_same = identities[rows] == identities[columns]
        impostors = np.flatnonzero(kept & ~is_same)
        if len(impostors) > MOST_PAIRS:
            impostors = rng.choice(impostors, MOST_PAIRS, replace=False)
        chosen = np.concatenate([np.flatnonzero(kept & is_same), impostors])
        rows, columns = rows[chosen], columns[chosen]
    else:
        drawn = [_genuine_pairs(identities, rng), _impostor_pairs(identities, rng)]
        rows, columns = np.concatenate(drawn, axis=1)
        kept = group[rows] != group[columns]
        rows, columns = rows[kept], columns[kept]
    scores = _scores(unit(embeddings), rows, columns)
    order = np.argsort(-scores, kind="stable")
    rows, columns = rows[order], columns[order]
    return Pairs(scores[order], identities[rows] == identities[columns], identities[rows], identities[columns])


def _genuine_pairs(identities: Indices, rng: np.random.Generator) -> Indices:
    """Pairs of one identity, `(2, P)`: all of them, or as many as there may be, drawn by lot."""
    order = np.argsort(identities, kind="stable")
    _, starts, counts = np.unique(identities[order], return_index=True, return_counts=True)
    pairs = counts * (counts - 1) // 2
    total = int(pairs.sum())
    numbers = np.arange(total) if total <= MOST_PAIRS else np.sort(rng.choice(total, MOST_PAIRS, replace=False))
    ends = np.cumsum(pairs)
    owner = np.searchsorted(ends, numbers, side="right")
    within = numbers - (ends - pairs)[owner]
    # Of the pairs (0, 1), (0, 2), (1, 2), (0, 3) … number w has the second w such that w (w - 1) / 2 is at most it.
    second = np.floor((1 + np.sqrt(1 + 8.0 * within)) / 2).astype(np.int64)
    first = within - second * (second - 1) // 2
    pair: Indices = np.stack([order[starts[owner] + first], order[starts[owner] + second]])
    return pair


def _impostor_pairs(identities: Indices, rng: np.random.Generator) -> Indices:
    """Pairs of two identities drawn by lot, `(2, P)`, each once; fewer than there may be where most are of one."""
    count = len(identities)
    drawn = rng.integers(count, size=(2, MOST_PAIRS))
    drawn = drawn[:, identities[drawn[0]] != identities[drawn[1]]]
    keys = np.unique(drawn.min(axis=0) * count + drawn.max(axis=0))
    pair: Indices = np.stack([keys // count, keys % count])
    return pair


def _scores(vectors: NDArray[np.float32], rows: Indices, columns: Indices) -> Floats:
    """Similarity of pairs of vectors of unit length."""
    if len(vectors) <= WHOLE:
        return (vectors @ vectors.T)[rows, columns].astype(np.float64)
    scores = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        scores[part] = np.einsum("pd,pd->p", vectors[rows[part]], vectors[columns[part]])
    return scores


@dataclass(frozen=True)
class Roc:
    """Rates at falling thresholds; a pair counts as one identity from the threshold on.

    Attributes:
        thresholds: Distinct similarities, falling, `(T,)`.
        false_accepts: Share of the pairs of two identities that are accepted, `(T,)`, rising.
        true_accepts: Share of the pairs of one identity that are, `(T,)`, rising.
    """

    thresholds: Floats
    false_accepts: Floats
    true_accepts: Floats

    @classmethod
    def of(cls, pairs: Pairs, weights: Floats | None = None) -> Roc:
        """Of pairs, each of which may count more than once or not at all.

        Raises:
            ValueError: There are no pairs of one identity, or none of two.
        """
        counts = np.ones(len(pairs.scores)) if weights is None else weights
        accepted = np.cumsum(counts * pairs.is_same)
        mistaken = np.cumsum(counts * ~pairs.is_same)
        if not len(counts) or accepted[-1] <= 0 or mistaken[-1] <= 0:
            raise ValueError("verification needs pairs of one identity and pairs of two")
        # Pairs of one similarity are accepted together.
        last = np.flatnonzero(np.append(pairs.scores[1:] != pairs.scores[:-1], True))
        return cls(pairs.scores[last], mistaken[last] / mistaken[-1], accepted[last] / accepted[-1])

    @property
    def equal_error(self) -> tuple[float, float]:
        """The rate at which false accepts and false rejects are alike, and the threshold that comes nearest to it.

        Between two thresholds the rates are taken to go on a straight line.
        """
        accepts = np.concatenate([[0.0], self.false_accepts])
        gap = accepts - (1 - np.concatenate([[0.0], self.true_accepts]))
        after = int(np.argmax(gap >= 0))
        before = after - 1
        share = gap[before] / (gap[before] - gap[after])
        rate = float(accepts[before] + share * (accepts[after] - accepts[before]))
        nearest = after if before == 0 or abs(gap[after]) <= abs(gap[before]) else before
        return rate, float(self.thresholds[nearest - 1])

    def at(self, false_accept_rate: float) -> tuple[float, float] | None:
        """True-accept rate and threshold at which no more than this share of false accepts is made.

        None: even the highest threshold accepts more.
        """
        allowed = np.flatnonzero(self.false_accepts <= false_accept_rate)
        if not len(allowed):
            return None
        place = int(allowed[-1])
        return float(self.true_accepts[place]), float(self.thresholds[place])


@dataclass(frozen=True)
class Retrieval:
    """What a search finds for each probe.

    Attributes:
        ranks: Place of the first picture of the probe's identity among the gallery's identities, from 1, `(N,)`.
        precision: Average precision of each probe over the pictures of its identity, `(N,)`.
        identities: Of the probes, `(N,)`.
    """

    ranks: Indices
    precision: Floats
    identities: Indices

    def match_rate(self, rank: int) -> float:
        """Share of the probes whose identity is among the first `rank` (the cumulative match characteristic)."""
        return float((self.ranks <= rank).mean())

    def match_rate_among(self, identities: int, count: int) -> float:
        """Share of the probes whose identity comes first in a gallery of `count` identities drawn by lot.

        The mean over all ways to draw the others, not over some: of a probe that r - 1 identities come before, none of
        these is among the `count` - 1 drawn with a probability that the hypergeometric distribution tells.

        Args:
            identities: In the whole gallery.
        """
        from scipy.stats import hypergeom

        return float(hypergeom.pmf(0, identities - 1, self.ranks - 1, count - 1).mean())

    @property
    def mean_precision(self) -> float:
        """Mean average precision."""
        return float(self.precision.mean())


def retrieve(embeddings: NDArray[np.floating], identities: Indices, groups: Indices | None = None) -> Retrieval:
    """Search every picture among all others but those of its own group; who has no other picture is no probe."""
    vectors = unit(embeddings)
    group = np.arange(len(identities)) if groups is None else groups
    ranks = []
    precisions = []
    probes = []
    for place, identity in enumerate(identities):
        if place % PROBES == 0:
            scores = vectors[place : place + PROBES] @ vectors.T
        is_other = group != group[place]
        is_other[place] = False
        is_right = identities[is_other] == identity
        if not is_right.any():
            continue
        order = np.argsort(-scores[place % PROBES, is_other], kind="stable")
        ranked = identities[is_other][order]
        hits = np.flatnonzero(ranked == identity)
        # An identity stands where its most similar picture does.
        ranks.append(1 + len(np.unique(ranked[: hits[0]])))
        precisions.append(float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1))))
        probes.append(identity)
    return Retrieval(np.array(ranks, dtype=np.int64), np.array(precisions), np.array(probes, dtype=np.int64))


def open_searches(embeddings: NDArray[np.floating], identities: Indices, groups: Indices | None = None) -> Pairs:
    """Every picture searched among all others but those of its own group, twice: with its identity there, and without.

    What comes first is to be accepted of its own identity, and to be refused of the others, as if its own weren't in
    the gallery: a stranger meets the most similar of them all, which passes a threshold more easily than any one pair.

    Returns:
        The similarity of the first of either kind; both identities of a pair are the searched picture's.
    """
    vectors = unit(embeddings)
    group = np.arange(len(identities)) if groups is None else groups
    scores = []
    is_same = []
    places = []
    for start in range(0, len(identities), PROBES):
        part = slice(start, start + PROBES)
        similar = (vectors[part] @ vectors.T).astype(np.float64)
        similar[group[part, None] == group[None, :]] = -np.inf
        own = identities[part, None] == identities[None, :]
        for kind in (True, False):
            best = np.where(own == kind, similar, -np.inf).max(axis=1)
            there = np.flatnonzero(best > -np.inf)
            scores.append(best[there])
            is_same.append(np.full(len(there), kind))
            places.append(start + there)
    values = np.concatenate(scores)
    order = np.argsort(-values, kind="stable")
    searched = identities[np.concatenate(places)[order]]
    return Pairs(values[order], np.concatenate(is_same)[order], searched, searched)


def verification_figures(pairs: Pairs, weights: Floats | None = None) -> dict[str, float]:
    """Equal error rate, and true-accept rates at the false-accept rates that so many pairs can tell.

    A rate of 1 in 1,000 takes 1,000 pairs of two identities at least.
    """
    roc = Roc.of(pairs, weights)
    figures = {"eer": roc.equal_error[0]}
    for rate in FALSE_ACCEPT_RATES:
        if pairs.impostors * rate >= 1:
            found = roc.at(rate)
            figures[f"tar_at_far_{rate:g}"] = 0.0 if found is None else found[0]
    return figures


def identification_figures(retrieval: Retrieval, weights: Floats | None = None) -> dict[str, float]:
    """Match rates at ranks 1 and 5, and mean average precision.

    Args:
        weights: Of each probe, `(N,)`.
    """
    counts = np.ones(len(retrieval.ranks)) if weights is None else weights
    total = counts.sum()
    rates = {f"rank_{rank}": float(counts @ (retrieval.ranks <= rank) / total) for rank in RANKS}
    return {**rates, "map": float(counts @ retrieval.precision / total)}


def intervals(
    measure: Callable[[Floats], Mapping[str, float]], identities: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """95 % intervals of figures when identities are drawn anew, as many as there are.

    Args:
        measure: From how often each identity was drawn, `(identities,)`, to the figures; what a draw can't tell
            (`ValueError`) is left out.
        identities: How many there are.
    """
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for _ in range(resamples):
        counts = np.bincount(rng.integers(identities, size=identities), minlength=identities).astype(np.float64)
        try:
            figures = measure(counts)
        except ValueError:
            continue
        for name, value in figures.items():
            draws.setdefault(name, []).append(value)
    bounds = {name: np.quantile(values, (0.025, 0.975)) for name, values in draws.items() if np.isfinite(values).all()}
    return {
        name: Interval(float(low), float(high), "bootstrap over identities") for name, (low, high) in bounds.items()
    }


def pair_weights(pairs: Pairs, counts: Floats) -> Floats:
    """How often each pair is there when identities were drawn so often: a pair of one identity as often as that is."""
    return np.where(pairs.is_same, counts[pairs.first], counts[pairs.first] * counts[pairs.second])


def split_identities(identities: Indices, *, seed: int = 0) -> tuple[Indices, Indices]:
    """Places of pictures in two halves that share no identity: one to choose a threshold on, one to measure it on.

    Identities of one picture alone are dealt out last, so that both halves hold pairs.
    """
    names, inverse, counts = np.unique(identities, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(names)), -np.minimum(counts, 2)))
    half = np.zeros(len(names), dtype=np.int64)
    half[order] = np.arange(len(names)) % 2
    return np.flatnonzero(half[inverse] == 0), np.flatnonzero(half[inverse] == 1)


def rank_identities(
    scores: NDArray[np.floating], identities: Sequence[str], *, top: int | None = None
) -> list[list[tuple[str, float, int]]]:
    """Each probe's identities, the most similar first: name, similarity and place of its most similar picture.

    Args:
        scores: `(N, M)` of probes and gallery pictures; NaN where the two aren't to be compared.
        identities: Of the gallery's pictures, `(M,)`.
        top: As many of them; None: all.
    """
    names, numbers = np.unique(np.asarray(identities), return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(len(names)))
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = np.maximum.reduceat(filled[:, order], starts, axis=1)
    members = np.split(order, starts[1:])
    ranked = []
    for row, values in zip(filled, best, strict=True):
        first = [number for number in np.argsort(-values, kind="stable")[:top].tolist() if values[number] > -np.inf]
        places = [members[number][row[members[number]].argmax()] for number in first]
        ranked.append(
            [(str(names[number]), float(row[place]), int(place)) for number, place in zip(first, places, strict=True)]
        )
    return ranked
