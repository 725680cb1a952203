"""What becomes of the text's claims, and the exercises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ahekit.evaluation.claims import differences, read_difference, read_interval
from ahekit.evaluation.comparison import seed_spread
from ahekit.sections import Claim, Exercise
from ahekit.wording import listed

from .measures import WRONG_SHARE, Effect
from .results import Results
from .variants import WAYS

LEAST_MOVED = 0.01
"""Share of predictions that may change where one says that they don't."""


def claims(results: Results, effects: Mapping[str, Effect]) -> tuple[Claim, ...]:
    """The text's claims, each with what the numbers make of it."""
    return (
        _claim_on_size(results),
        _claim(
            "Pooling makes a network less sensitive to where things are.",
            differences(results.moved("strided convolution", "changed", 1), results.moved("max", "changed", 1)),
            "share of predictions that 1 pixel changes, strided convolution less max, which have the same parameters "
            f"(without pooling, at the same work, {np.mean(results.moved('no pooling', 'changed', 1)):.1%} change)",
        ),
        _claim_on_invariance(results),
        _claim(
            "Pooling reduces overfitting.",
            differences(results.gaps("strided convolution"), results.gaps("max")),
            "the gap from training to test accuracy, strided convolution less max, which have the same parameters "
            f"(without pooling, at the same work, the gap is {np.mean(results.gaps('no pooling')):+.3f})",
        ),
        _claim_on_loss(effects),
        _claim(
            "What pooling loses costs accuracy: pooling less often does better.",
            differences(results.test("max, every second", "f1"), results.test("max", "f1")),
            "macro-F1 with max after every second convolution less that after every one, at the same work",
        ),
        _claim_on_features(results),
        _claim(
            "Max pooling does better than average pooling.",
            differences(results.test("max", "f1"), results.test("average", "f1")),
            "macro-F1, max less average",
        ),
        _claim(
            "One wrong maximum spoils max pooling, where an average evens it out.",
            differences(results.lost("max", "wrong pixels"), results.lost("average", "wrong pixels")),
            f"accuracy that {WRONG_SHARE:.0%} wrong pixels cost, max less average",
        ),
        _claim(
            "Max pooling suppresses noise.",
            differences(results.lost("average", "noise"), results.lost("max", "noise")),
            "accuracy that noise costs, average less max",
        ),
        Claim(
            "Max pooling is used most often.",
            "undecided",
            "out of reach of this experiment: it trains networks, and counts nobody's",
        ),
    )


def _claim(text: str, by_seed: Sequence[float], what: str) -> Claim:
    reading, numbers = read_difference(by_seed)
    return Claim(text, reading, f"{what}: {numbers}")


def _claim_on_size(results: Results) -> Claim:
    pooled = results.networks["max"]
    whole = pooled.model_copy(update={"pool": "none"})
    factor = results.work(whole) / results.work(pooled)
    last = pooled.channels[-1]
    sides = [results.plan.image_size // 2 ** sum(each.pools) for each in (whole, pooled)]
    return Claim(
        "Pooling reduces the size of the maps, and with it the work.",
        "supported" if factor > 1 and sides[1] < sides[0] else "not supported",
        f"with the same channels the last maps hold {last * sides[1] ** 2:,d} values instead of "
        f"{last * sides[0] ** 2:,d}, and an image takes {factor:.1f} times fewer multiply-adds",
    )


def _claim_on_invariance(results: Results) -> Claim:
    changed = results.moved("max", "changed", 1)
    spread = seed_spread(changed)
    reading = {"supported": "not supported", "not supported": "supported"}.get(
        read_interval(spread.interval, least=LEAST_MOVED), "undecided"
    )
    ends = f", 95 % interval {spread.interval.low:.1%} to {spread.interval.high:.1%}" if spread.interval else ""
    return Claim(
        "Max pooling makes predictions invariant to small shifts.",
        reading,  # type: ignore[arg-type]
        f"1 pixel changes {spread.mean:.1%} of them{ends}; invariant is read as fewer than {LEAST_MOVED:.0%}",
    )


def _claim_on_loss(effects: Mapping[str, Effect]) -> Claim:
    kept = {name: effect.kept[-1] for name, effect in effects.items()}
    return Claim(
        "Pooling loses information.",
        "supported" if max(kept.values()) < 1 - LEAST_MOVED else "not supported",
        "three poolings leave of the pixels' variance "
        + listed([f"{share:.0%} ({name})" for name, share in kept.items()])
        + "; read as lost where all leave less than 99 %",
    )


def _claim_on_features(results: Results) -> Claim:
    text = "Max pooling keeps features, average pooling keeps the background."
    facts = [outcome.facts.get("features") for outcome in results.outcomes["max"]]
    if not all(facts):
        return Claim(text, "undecided", "the first layer's maps are empty")
    peaks, levels = (
        {name: [each[name][what] for each in facts if each] for name in ("max", "average")}
        for what in ("peak", "level")
    )
    of_peaks, peak_words = read_difference(differences(peaks["max"], peaks["average"]))
    off = {name: [abs(value - 1) for value in levels[name]] for name in levels}
    of_levels, level_words = read_difference(differences(off["max"], off["average"]))
    reading = of_peaks if of_peaks == of_levels else "undecided"
    return Claim(
        text,
        reading,
        f"of the first layer's maps two poolings leave {np.mean(peaks['max']):.0%} of the peak with max and "
        f"{np.mean(peaks['average']):.0%} with average (difference {peak_words}); the level is off by "
        f"{np.mean(off['max']):.0%} with max and {np.mean(off['average']):.0%} with average (difference {level_words})",
    )


def exercises(results: Results, effects: Mapping[str, Effect]) -> tuple[Exercise, ...]:
    """Questions whose answers stand in these numbers."""
    plan = results.plan
    poolings = sum(results.networks["max"].pools)
    steady = min(WAYS, key=lambda name: float(np.mean(results.moved(name, "distance", 1))))
    return (
        Exercise(
            "values_left",
            f"A map of {plan.image_size}×{plan.image_size} values goes through {poolings} poolings of 2×2. How many "
            "values are left?",
            float((plan.image_size // 2**poolings) ** 2),
            tolerance=0,
            hint="each pooling halves both sides",
        ),
        Exercise(
            "moves_least",
            f"With which of {listed(list(WAYS))} do logits move least when pictures move by 1 pixel?",
            steady,
            hint="the column of logits at 1 px",
        ),
        Exercise(
            "three_by_three",
            "By how many grey levels would one wrong white pixel move the value of an average pooling of 3×3 windows "
            "that meets it, on these pictures?",
            effects["average"].wrong * 4 / 9,
            tolerance=0.03,
            hint="the table has it for windows of 2×2: a quarter of what the pixel is off by",
        ),
    )
