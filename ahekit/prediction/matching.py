"""Pictures of identities (buildings, persons, the classes of a folder), compared by a network's embeddings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure as MplFigure
from numpy.typing import NDArray

from ahekit.data.decode import DecodeError, fit, needed_side, quiet_pillow, read, to_rgb
from ahekit.data.series import ALONE, Named, decide_rule, describe_rule, series_of
from ahekit.errors import DataError, UsageError
from ahekit.evaluation.intervals import Interval, wilson_interval
from ahekit.evaluation.matching import (
    FALSE_ACCEPT_RATES,
    PROBES,
    RANKS,
    Pairs,
    Retrieval,
    Roc,
    all_pairs,
    identification_figures,
    intervals,
    open_searches,
    pair_weights,
    rank_identities,
    retrieve,
    split_identities,
    verification_figures,
)
from ahekit.evaluation.unknown import unit
from ahekit.prediction.photos import find_photos
from ahekit.prediction.predictor import Predictor
from ahekit.prediction.survey import FILE_NAME, Survey
from ahekit.sections import Column, Figure, Section, Table

BATCH = 32
FEW = 20
"""Identities below which an interval over them says little of how far a figure would move with others."""
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Gallery:
    """Pictures of identities with their embeddings.

    Attributes:
        files: Absolute, N of them.
        identities: Of each.
        embeddings: `(N, D)`.
        groups: The visit each was taken on, `(N,)`.
        rule: That told the visits.
        refused: What couldn't be read, a line each.
    """

    files: tuple[Path, ...]
    identities: tuple[str, ...]
    embeddings: NDArray[np.floating]
    groups: Indices
    rule: str = "none"
    refused: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The identities, sorted."""
        return sorted(set(self.identities))

    @property
    def numbers(self) -> Indices:
        """Each picture's place in `names`, `(N,)`."""
        places = {name: place for place, name in enumerate(self.names)}
        return np.array([places[name] for name in self.identities], dtype=np.int64)

    @property
    def singles(self) -> int:
        """Identities of a single picture."""
        return sum(count == 1 for count in Counter(self.identities).values())

    @property
    def warning(self) -> str:
        """What a gallery of single pictures is worth; empty where half of the identities have more."""
        names = len(self.names)
        if self.singles <= names / 2:
            return ""
        return (
            f"{self.singles:,d} of {names:,d} identities have a single picture: how much two pictures of one of them "
            "differ can't be known from it, nor how often it is missed; add more pictures of each"
        )

    def take(self, places: Indices) -> Gallery:
        """Some of the pictures."""
        return Gallery(
            tuple(self.files[place] for place in places),
            tuple(self.identities[place] for place in places),
            self.embeddings[places],
            self.groups[places],
            self.rule,
        )


def embed(
    files: Sequence[Path], predictor: Predictor, *, advance: Callable[[int], object] = lambda count: None
) -> tuple[NDArray[np.floating], list[int], list[str]]:
    """Embeddings of pictures.

    Args:
        advance: Called with the number of pictures done since the last call.

    Returns:
        `(M, D)` of those that can be read, their places among the files, and a line for each of the others.
    """
    side = needed_side(predictor.preprocessing)
    blocks = []
    kept: list[int] = []
    refused: list[str] = []

    def square(file: Path) -> NDArray[np.uint8] | str:
        try:
            return fit(to_rgb(read(file), shorter_side=side), predictor.preprocessing)
        except DecodeError as error:
            return f"{file}: {error.reason}"

    with quiet_pillow(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), BATCH):
            squares = list(pool.map(square, files[start : start + BATCH]))
            whole = {place: pixels for place, pixels in enumerate(squares) if not isinstance(pixels, str)}
            refused += [pixels for pixels in squares if isinstance(pixels, str)]
            if whole:
                blocks.append(predictor(np.stack(list(whole.values())))[1])
                kept += [start + place for place in whole]
            advance(len(squares))
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.float16), kept, refused


def open_gallery(
    folder: Path,
    predictor: Predictor,
    *,
    group_by: str = "auto",
    advance: Callable[[int], object] = lambda count: None,
) -> Gallery:
    """A folder of identities: each folder in it is one, and so is each picture that lies in it directly.

    Args:
        group_by: What tells a visit; see `data.group_by` of a run spec.

    Raises:
        DataError: It holds no picture that can be read.
        UsageError: The rule is none.
    """
    listing = find_photos([str(folder)])
    root = Path(listing.root)
    files = [Path(file) for file in listing.files]
    vectors, kept, refused = embed(files, predictor, advance=advance)
    if not kept:
        raise DataError(f"{folder}: no picture in it can be read; the first: {refused[0]}")
    files = [files[place] for place in kept]
    ids = [file.relative_to(root).as_posix() for file in files]
    identities = tuple(map(_by_folder, ids))
    rule, groups = _visits(Named(ids, identities, root), group_by)
    return Gallery(tuple(files), identities, vectors, groups, rule, tuple(refused))


def _by_folder(name: str) -> str:
    """Whose picture it is: that of the first folder on its path, or its own."""
    return name.split("/")[0] if "/" in name else Path(name).stem


def _visits(images: Named, group_by: str) -> tuple[str, Indices]:
    """The rule that tells visits, and the visit of each picture, `(N,)`."""
    rule = decide_rule(group_by, images.ids)
    count = len(images.ids)
    series = np.full(count, ALONE) if rule == "none" else series_of(images, rule)
    # Who shares a visit with nobody has one of their own.
    return rule, np.where(series == ALONE, count + np.arange(count), series)


Identified = Literal["folder", "decision"]


def is_survey(folder: Path) -> bool:
    """Whether a folder holds a survey."""
    return (folder / FILE_NAME).is_file()


def survey_gallery(survey: Survey, *, by: Identified = "folder", group_by: str = "auto") -> Gallery:
    """The photos of a survey as a gallery, by the embeddings that it holds: no photo is opened.

    Args:
        by: What a photo's identity is. folder: the first folder on its path, or itself where it lies in none;
            decision: what a person said that it shows, which leaves out all others and "none of the classes".
        group_by: As for `open_gallery`.

    Raises:
        DataError: It holds no such photo.
        UsageError: The rule is none, or asks for files that don't lie in one folder.
    """
    rows = [
        (path, file, _by_folder(path) if by == "folder" else decision, embedding)
        for path, file, decision, embedding in survey.embeddings()
        if by == "folder" or decision
    ]
    if not rows:
        what = "photo that could be read" if by == "folder" else "photo that a person decided on"
        raise DataError(f"{survey.folder}: no {what} in it")
    ids = [path for path, _, _, _ in rows]
    identities = tuple(str(identity) for _, _, identity, _ in rows)
    roots = {str(file).removesuffix(path) for path, file, _, _ in rows}
    if group_by == "date" and len(roots) > 1:
        raise UsageError(f"{survey.folder}: its photos are of several folders; tell visits by another --group-by")
    rule, groups = _visits(Named(ids, identities, Path(min(roots))), group_by)
    vectors = np.frombuffer(b"".join(embedding for _, _, _, embedding in rows), np.float16).reshape(len(rows), -1)
    return Gallery(tuple(file for _, file, _, _ in rows), identities, vectors, groups, rule)


def find_identities(
    files: Sequence[Path], embeddings: NDArray[np.floating], gallery: Gallery, *, top: int
) -> Iterator[list[tuple[str, float, int]]]:
    """Search a gallery for pictures, one after the other: the most similar identities of each, as `rank_identities`.

    A picture that is in the gallery itself isn't compared with itself, which would tell nothing.

    Args:
        files: Absolute, N of them.
        embeddings: `(N, D)`.
        top: Identities of each at most.
    """
    own: dict[Path, list[int]] = {}
    for place, file in enumerate(gallery.files):
        own.setdefault(file, []).append(place)
    known = unit(gallery.embeddings)
    asked = unit(embeddings)
    for start in range(0, len(files), PROBES):
        scores = asked[start : start + PROBES] @ known.T
        for row, file in enumerate(files[start : start + PROBES]):
            scores[row, own.get(file, [])] = np.nan
        yield from rank_identities(scores, gallery.identities, top=top)


@dataclass(frozen=True)
class Threshold:
    """From which similarity on two pictures count as one identity.

    Attributes:
        words: How it was chosen, and on what.
    """

    value: float
    words: str


def choose_threshold(gallery: Gallery, *, false_accept_rate: float | None = None) -> Threshold:
    """The threshold of equal error, or of a false-accept rate, over all pairs of a gallery but those of one visit.

    Raises:
        UsageError: The gallery has no pairs of one identity or of two, or too few pairs to tell the rate.
    """
    pairs = all_pairs(gallery.embeddings, gallery.numbers, gallery.groups)
    return _threshold(pairs, false_accept_rate, "pairs of one identity", "of two", "pairs of two identities")


def choose_search_threshold(gallery: Gallery, *, false_accept_rate: float | None = None) -> Threshold:
    """The threshold of "none of these": of equal error, or of a rate, over searches of a gallery's pictures in it.

    Each is searched with its own identity there, and without, as a stranger is. What passes for a pair doesn't for a
    search: a stranger is compared with everybody.

    Args:
        false_accept_rate: Share of strangers that are taken for somebody.

    Raises:
        UsageError: As for `choose_threshold`.
    """
    searches = open_searches(gallery.embeddings, gallery.numbers, gallery.groups)
    return _threshold(searches, false_accept_rate, "searches with the identity there", "without", "searches without it")


def _threshold(pairs: Pairs, rate: float | None, same: str, other: str, needed_of: str) -> Threshold:
    stock = f"{pairs.genuine:,d} {same} and {pairs.impostors:,d} {other}"
    try:
        roc = Roc.of(pairs)
    except ValueError as error:
        raise UsageError(
            f"no threshold can be chosen from {stock}: it takes two identities, one of them with two pictures (of two "
            "visits, where these are known)"
        ) from error
    if rate is None:
        error_rate, value = roc.equal_error
        return Threshold(value, f"equal error ({error_rate:.1%}) over {stock}")
    if pairs.impostors * rate < 1:
        needed = f"{int(np.ceil(1 / rate)):,d} {needed_of}" if rate else "more than any number of pictures"
        raise UsageError(
            f"a false-accept rate of {rate:g} takes {needed}; there are {pairs.impostors:,d}: add pictures or ask for "
            "a higher rate"
        )
    point = roc.at(rate)
    if point is None:
        raise UsageError(f"even the most alike are accepted more often than {rate:g}; ask for more")
    return Threshold(point[1], f"false accepts in {rate:g} of {stock}; {point[0]:.1%} of the former pass")


def evaluate(gallery: Gallery, *, seed: int = 0) -> Section:
    """Verification and identification on a gallery, as a section of a report.

    The threshold is chosen on one half of the identities and measured on the other.

    Raises:
        UsageError: Too few identities have two pictures.
    """
    numbers = gallery.numbers
    counts = np.bincount(numbers)
    if (counts >= 2).sum() < 2:
        raise UsageError(
            f"identities with two pictures or more: {int((counts >= 2).sum())}; it takes two, in folders of their own"
        )
    pairs = all_pairs(gallery.embeddings, numbers, gallery.groups, seed=seed)
    found = retrieve(gallery.embeddings, numbers, gallery.groups)
    if not pairs.genuine or not len(found.ranks):
        raise UsageError("every identity's pictures are of one visit: there is no fair pair; see --group-by")
    identities = len(counts)
    searches = open_searches(gallery.embeddings, numbers, gallery.groups)
    figures = {
        **verification_figures(pairs),
        **identification_figures(found),
        "open_eer": Roc.of(searches).equal_error[0],
    }
    spans = {
        **intervals(lambda drawn: verification_figures(pairs, pair_weights(pairs, drawn)), identities, seed=seed),
        **intervals(lambda drawn: _drawn_retrieval(found, drawn), identities, seed=seed),
        **intervals(
            lambda drawn: {"open_eer": Roc.of(searches, drawn[searches.first]).equal_error[0]}, identities, seed=seed
        ),
    }
    # Where every draw is all right or all wrong, the bootstrap would have a point for certainty.
    spans = {
        name: span if span.low < span.high else wilson_interval(figures[name] * identities, identities)
        for name, span in spans.items()
    }
    few = f" There are {identities}: intervals over so few tell little." if identities < FEW else ""
    table = Table(
        "Figures",
        (Column("figure"), Column("value", ".3f", "right"), Column("95 % interval", align="right")),
        tuple((_WORDS[name], value, _interval(spans.get(name))) for name, value in figures.items()),
        note=f"Intervals by drawing identities anew, as many as there are.{few} Of all or none of these: strangers "
        "taken for somebody as often as pictures of the gallery for nobody.",
    )
    held_out = _held_out(gallery, seed)
    tables = (table, held_out) if held_out else (table,)
    visits = "" if gallery.rule == "none" else f" Pairs of one visit ({describe_rule(gallery.rule)}) are left out."
    return Section(
        title="Verification and identification",
        reading=(
            f"{len(gallery.files):,d} pictures of {identities:,d} identities: "
            f"{pairs.genuine:,d} pairs of one identity, {pairs.impostors:,d} of two.{visits} Verification errs equally "
            f"often either way in {figures['eer']:.1%} of the pairs; the most similar other picture is of the right "
            f"identity for {figures['rank_1']:.1%} of {len(found.ranks):,d} probes."
            + (f" {gallery.warning}." if gallery.warning else "")
        ),
        tables=tables,
        figures=(_roc_figure(Roc.of(pairs)), _cmc_figure(found)),
        values={"figures": figures, "pictures": len(gallery.files), "identities": identities},
        name="match",
    )


_WORDS = {
    "eer": "equal error rate",
    **{f"tar_at_far_{rate:g}": f"true accepts at false accepts of {rate:g}" for rate in FALSE_ACCEPT_RATES},
    **{f"rank_{rank}": f"right identity among the first {rank}" for rank in RANKS},
    "map": "mean average precision",
    "open_eer": "one of all or none of these: equal error",
}


def _interval(span: Interval | None) -> str | None:
    return None if span is None else str(span)


def _drawn_retrieval(found: Retrieval, drawn: NDArray[np.float64]) -> dict[str, float]:
    weights = drawn[found.identities]
    if not weights.any():
        raise ValueError("no probe was drawn")
    return identification_figures(found, weights)


def _held_out(gallery: Gallery, seed: int) -> Table | None:
    """What a threshold chosen on one half of the identities does on the other half."""
    one, other = split_identities(gallery.numbers, seed=seed)
    try:
        threshold = choose_threshold(gallery.take(one))
    except UsageError:
        return None
    half = gallery.take(other)
    pairs = all_pairs(half.embeddings, half.numbers, half.groups, seed=seed)
    if not pairs.genuine or not pairs.impostors:
        return None
    accepted = pairs.scores >= threshold.value
    false_accepts = float(accepted[~pairs.is_same].mean())
    false_rejects = float((~accepted[pairs.is_same]).mean())
    return Table(
        "A threshold chosen on one half of the identities, on the other half",
        (
            Column("chosen by"),
            Column("similarity", ".3f", "right"),
            Column("false accepts", ".3f", "right"),
            Column("false rejects", ".3f", "right"),
        ),
        (("equal error", threshold.value, false_accepts, false_rejects),),
    )


def _roc_figure(roc: Roc) -> Figure:
    every = max(1, len(roc.thresholds) // 1000)
    accepts = roc.false_accepts[::every]
    hits = roc.true_accepts[::every]
    rate = roc.equal_error[0]
    return Figure(
        name="roc",
        title="Verification: true against false accepts",
        alt=f"ROC curve; equal error rate {rate:.3f}",
        draw=partial(_draw_roc, accepts=accepts, hits=hits, rate=rate),
        size=(5.0, 4.2),
        data={"false_accepts": accepts.tolist(), "true_accepts": hits.tolist()},
        caption="The nearer to the upper left corner, the better. The dot is where both kinds of error are equal.",
    )


def _draw_roc(figure: MplFigure, *, accepts: NDArray[np.float64], hits: NDArray[np.float64], rate: float) -> None:
    axes = figure.add_subplot()
    least = accepts[accepts > 0].min(initial=1.0)
    axes.plot(np.maximum(accepts, least), hits)
    axes.plot([max(rate, least)], [1 - rate], "o", color="C1")
    axes.set_xscale("log")
    axes.set_xlabel("false accepts")
    axes.set_ylabel("true accepts")
    axes.set_ylim(0, 1.02)


def _cmc_figure(found: Retrieval) -> Figure:
    ranks = list(range(1, int(min(found.ranks.max(), 20)) + 1))
    rates = [found.match_rate(rank) for rank in ranks]
    return Figure(
        name="cmc",
        title="Identification: the right identity among the first",
        alt=f"Cumulative match characteristic: {rates[0]:.3f} at rank 1, {rates[-1]:.3f} at rank {ranks[-1]}",
        draw=partial(_draw_cmc, ranks=ranks, rates=rates),
        size=(5.0, 4.2),
        data={"ranks": ranks, "rates": rates},
        caption="Each picture is looked for among all others but those of its own visit.",
    )


def _draw_cmc(figure: MplFigure, *, ranks: list[int], rates: list[float]) -> None:
    axes = figure.add_subplot()
    axes.plot(ranks, rates, "o-")
    axes.set_xlabel("rank")
    axes.set_ylabel("share of the probes")
    axes.set_ylim(0, 1.02)
