"""What the page tells of matching: the two tasks, the threshold to move, the gallery's size, and what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files

import numpy as np
from matplotlib.figure import Figure as MplFigure

from ahekit.evaluation.comparison import seed_spread
from ahekit.evaluation.matching import FALSE_ACCEPT_RATES, RANKS
from ahekit.sections import Cell, Column, Figure, Section, Table, Widget

from .learning import Matched
from .readings import FEW, MANY, RUN, Facts

BINS = 200
"""Of the similarities, from -1 to 1, that the page's threshold moves over."""


def sections(facts: Facts) -> tuple[Section, ...]:
    """In the order in which they are read."""
    return (_tasks(facts), _both(facts), _threshold(facts), _gallery(facts), _learned(facts))


def _tasks(facts: Facts) -> Section:
    apart = facts.identities.held_out
    return Section(
        title="Two tasks",
        reading=(
            "Verification compares one picture with one other: do both show the same? It errs in two ways, accepting "
            "two for one and rejecting one for two, and a threshold trades them. Identification compares one picture "
            "with a gallery: which of them is it, or none? Both go by the similarity of embeddings, so that identities "
            "which nobody has trained on can be told apart. An identity here: "
            f"{facts.identities.words}. Measured on {len(apart.identities):,d} pictures of {apart.count:,d} "
            "identities that no network below was trained on."
        ),
        values={"pictures": len(apart.identities), "identities": apart.count, "made_up": facts.identities.are_made_up},
    )


_NAMES = {
    "eer": "equal error rate",
    **{f"tar_at_far_{rate:g}": f"true accepts at {rate:g} false" for rate in FALSE_ACCEPT_RATES},
    **{f"rank_{rank}": f"right among the first {rank}" for rank in RANKS},
    "map": "mean average precision",
}


def _both(facts: Facts) -> Section:
    names = [name for name in _NAMES if any(name in each[0].figures for each in facts.measured.values())]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (_NAMES[name], *(float(np.mean(facts.figure(kind, name))) for kind in facts.measured)) for name in names
    )
    columns = (Column("figure"), *(Column(kind, ".3f", "right") for kind in facts.measured))
    own = (
        " Your own network was trained on classes, not on identities, and may have trained on these very pictures."
        if RUN in facts.measured
        else ""
    )
    few = facts.figure(FEW, "eer")
    rank = facts.figure(FEW, "rank_1")
    return Section(
        title="Both tasks by the same embeddings",
        reading=(
            f"By embeddings learned from several pictures of few identities, verification errs in {np.mean(few):.1%} "
            f"of the pairs either way, and the right identity comes first for {np.mean(rank):.1%} of the probes among "
            f"{facts.identities.held_out.count:,d}.{own}"
        ),
        tables=(Table("Means over seeds", columns, rows, "Two pictures of one identity are a pair to be accepted."),),
        values={kind: [dict(each.figures) for each in found] for kind, found in facts.measured.items()},
        verdict=(
            f"Learned from several pictures of few identities: equal error rate {np.mean(few):.3f}; from one picture "
            f"each of many: {np.mean(facts.figure(MANY, 'eer')):.3f}."
        ),
    )


def _threshold(facts: Facts) -> Section:
    found = facts.measured[FEW][0]
    data = {
        "bins": BINS,
        "genuine": histogram(found, is_same=True),
        "impostors": histogram(found, is_same=False),
        "start": found_bin(found),
        "identities": facts.identities.held_out.count,
    }
    text = "move the threshold and see both kinds of error trade, and what the false accepts come to in a gallery."
    return Section(
        title="The threshold",
        reading=(
            "The similarities of all pairs by the first network trained on several pictures of few identities. "
            "A rate of false accepts that is fine for one comparison adds up over a gallery: among n identities at "
            "least one is wrongly accepted with probability 1 − (1 − rate)^n, if comparisons are independent."
        ),
        widgets=(Widget("threshold", _asset("threshold.js"), data, text, _asset("widget.css")),),
        values=data,
    )


def histogram(found: Matched, *, is_same: bool) -> list[int]:
    """Pairs of one identity, or of two, by similarity, in `BINS` steps from -1 to 1."""
    scores = found.pairs.scores[found.pairs.is_same == is_same]
    counts, _ = np.histogram(np.clip(scores, -1, 1), bins=BINS, range=(-1, 1))
    pairs: list[int] = counts.tolist()
    return pairs


def found_bin(found: Matched) -> int:
    """The step of similarity from which on acceptance comes nearest to equal error."""
    genuine = np.array(histogram(found, is_same=True))
    impostors = np.array(histogram(found, is_same=False))
    rejects = 1 - genuine[::-1].cumsum()[::-1] / genuine.sum()
    accepts = impostors[::-1].cumsum()[::-1] / impostors.sum()
    return int(np.abs(rejects - accepts).argmin())


def _gallery(facts: Facts) -> Section:
    sizes = facts.sizes
    rates = {kind: [float(np.mean(facts.rank_one(kind, size))) for size in sizes] for kind in (FEW, MANY)}
    verified = 1 - float(np.mean(facts.figure(FEW, "eer")))
    rows = tuple((size, *(rates[kind][place] for kind in rates)) for place, size in enumerate(sizes))
    columns = (Column("identities", "d", "right"), *(Column(kind, ".3f", "right") for kind in rates))
    figure = Figure(
        name="gallery",
        title="Right identity first, by identities in the gallery",
        alt="; ".join(f"{size}: {rate:.2f}" for size, rate in zip(sizes, rates[FEW], strict=True))
        + f"; verification is right in {verified:.2f} of the pairs whatever the gallery",
        draw=partial(_draw_gallery, sizes=sizes, rates=rates, verified=verified),
        size=(5.6, 3.8),
        data={"identities": list(sizes), **rates, "verification": verified},
        caption="Mean over all galleries of that size, and over seeds. The dashed line is verification's share of "
        "right decisions at equal error.",
    )
    return Section(
        title="The gallery grows",
        reading=(
            f"Among {sizes[0]} identities the right one comes first for {rates[FEW][0]:.0%} of the probes, among "
            f"{sizes[-1]:,d} for {rates[FEW][-1]:.0%}: each further identity is another one to be mistaken for. "
            "Verification knows no gallery."
        ),
        tables=(Table("Right identity first", columns, rows),),
        figures=(figure,),
        values={"identities": list(sizes), **rates},
    )


def _draw_gallery(
    figure: MplFigure, *, sizes: Sequence[int], rates: Mapping[str, Sequence[float]], verified: float
) -> None:
    axes = figure.add_subplot()
    for name, marker in zip(rates, "os", strict=True):
        axes.plot(sizes, rates[name], f"{marker}-", label=name)
    axes.axhline(verified, linestyle="--", color="C2", label="verification")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("identities in the gallery")
    axes.set_ylabel("share of the probes")
    axes.set_ylim(0, 1.02)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)


def _learned(facts: Facts) -> Section:
    rows = []
    for kind, found in facts.measured.items():
        spread = seed_spread(facts.figure(kind, "eer"))
        ends = "" if spread.interval is None else f"{spread.interval.low:.3f} to {spread.interval.high:.3f}"
        rows.append((kind, len(found), spread.mean, ends or None, float(np.mean(facts.figure(kind, "rank_1")))))
    columns = (
        Column("learned from"),
        Column("seeds", "d", "right"),
        Column("equal error", ".3f", "right"),
        Column("95 % interval", align="right"),
        Column("rank 1", ".3f", "right"),
    )
    own = facts.identities
    return Section(
        title="One picture each of many, or several of few?",
        reading=(
            f"Both trainings saw {len(own.few.identities):,d} pictures, as often: {own.many.count:,d} identities with "
            f"one each, or {own.few.count:,d} with several. One picture tells how an identity differs from others, and "
            "nothing of how two pictures of it differ; only pairs of one identity teach what to overlook."
            + (
                " Here the pictures of an identity are changed views of one, so this shows the machinery; real "
                "pictures of buildings differ in more than crop, angle and light."
                if own.are_made_up
                else " Pictures of one visit share light and camera, so that telling them together is easier than "
                "telling a building on another day."
            )
        ),
        tables=(Table("As many pictures", columns, tuple(rows), "Intervals over seeds (Student's t)."),),
        values={kind: facts.figure(kind, "eer") for kind in facts.measured},
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
