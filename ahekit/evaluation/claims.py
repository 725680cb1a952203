"""From measured differences to what becomes of a claim, by one rule for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ahekit.evaluation.comparison import SeedSpread, seed_spread
from ahekit.evaluation.intervals import Interval
from ahekit.sections import ClaimReading

RULE = (
    "A claim that one thing is larger than another is supported where the 95 % interval of their difference over seeds "
    "(Student's t, the same seed on both sides) lies above 0, not supported where it lies below, and undecided where "
    "it holds 0. Each claim is read by itself."
)


def read_interval(interval: Interval | None, *, least: float = 0.0) -> ClaimReading:
    """What becomes of the claim that a quantity is above `least`, by its interval; without one nothing is decided."""
    if interval is None or interval.low <= least <= interval.high:
        return "undecided"
    return "supported" if interval.low > least else "not supported"


def read_difference(
    differences: Sequence[float], *, least: float = 0.0, form: str = "+.3f"
) -> tuple[ClaimReading, str]:
    """What becomes of the claim that a difference is above `least`, and the numbers it is read off.

    Args:
        differences: One for each seed, of two things made with the same seed.
        form: Format of the numbers.

    Example:
        >>> read_difference([0.02, 0.03, 0.04])
        ('supported', '+0.030, 95 % interval over 3 seeds +0.005 to +0.055')
    """
    spread = seed_spread(list(differences))
    mean = format(spread.mean, form)
    if spread.interval is None:
        why = "one seed tells nothing of others" if len(differences) < 2 else "no seed differs from another"
        return "undecided", f"{mean}; {why}"
    ends = " to ".join(format(end, form) for end in (spread.interval.low, spread.interval.high))
    return read_interval(spread.interval, least=least), f"{mean}, 95 % interval over {len(differences)} seeds {ends}"


def differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The first's figures less the second's, seed by seed."""
    return [one - other for one, other in zip(first, second, strict=True)]


def best_by_seed(figures: Mapping[str, Sequence[float]], what: str) -> str:
    """Which of several has the largest mean of a figure, and which others that doesn't show to be worse.

    Args:
        figures: By name, one figure for each seed; all with the same seeds.
        what: The figure's name, after "the largest mean".

    Example:
        >>> best_by_seed({"max": [0.7, 0.8], "average": [0.7, 0.7], "none": [0.2, 0.31]}, "macro-F1")
        'max has the largest mean macro-F1, 0.750; not shown to be worse: average.'
    """
    best = max(figures, key=lambda name: sum(figures[name]) / len(figures[name]))
    words = f"{best} has the largest mean {what}, {sum(figures[best]) / len(figures[best]):.3f}"
    alike = [
        name
        for name in figures
        if name != best and read_difference(differences(figures[best], figures[name]))[0] != "supported"
    ]
    return f"{words}; not shown to be worse: {'; '.join(alike)}." if alike else f"{words}, and the others are worse."


def share_ends(spread: SeedSpread) -> tuple[float | None, float | None]:
    """The ends of a mean's interval, of a figure between 0 and 1; None where there is no interval."""
    if spread.interval is None:
        return None, None
    return max(spread.interval.low, 0.0), min(spread.interval.high, 1.0)
