"""What the numbers make of the course's claims, and the questions that they answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from ahekit.evaluation.intervals import mean_interval
from ahekit.sections import Claim, ClaimReading, Exercise
from ahekit.training.prove import LIMITS
from ahekit.wording import counted

from .measuring import MISTAKEN
from .trial import Measured, Plan

SAME = 0.01
"""Share of the large batch's gradient, or of the way the weights went, below which two are called the same."""

LESS_MEMORY = 0.9
"""Share of the large batch's memory that training has to stay below for memory to count as saved."""

MORE_TIME = 1.05
"""Times the large batch's time from which on an optimizer step counts as slower."""

MB = 1e6


def claims(plan: Plan, measured: Measured) -> Iterator[Claim]:
    """Each claim with what is read off."""
    last = plan.counts[-1]
    worst = max(measured.double.values())
    limit = LIMITS["float64"]
    yield Claim(
        "The gradients of K micro-batches add up to the gradient of one large batch.",
        "supported" if worst < limit else "not supported",
        f"distance of {worst:.0e} at most in double precision (limit {limit:.0e}), if nothing looks at a micro-batch "
        "as a whole",
    )
    stored = [measured.stored[count].weights for count in plan.counts[1:]]
    farthest = max(float(np.mean(values)) for values in stored)
    yield Claim(
        "So training ends in the same weights, however the window is cut.",
        _small(stored),
        f"after {counted(plan.steps, 'step')} they are {farthest:.1e} of their way apart at most, BatchNorm by stored "
        f"statistics (limit {SAME:g}, over seeds)",
    )
    yield _memory_claim(plan, measured)
    times = ratios(measured, last)
    yield Claim(
        "Accumulation costs time.",
        _above(times, MORE_TIME),
        f"a step in {last} micro-batches takes {np.mean(times):.2f} times as long as in one "
        f"({span(times) or 'one seed, no interval'}; limit {MORE_TIME:g})",
    )
    if measured.batch:
        gradients = [measured.batch[count].gradient for count in plan.counts[1:]]
        means = [float(np.mean(values)) for values in gradients]
        reading = _small(gradients)
        because = (
            f"its gradient is {min(means):.3f} to {max(means):.3f} of its length away from the large batch's (limit "
            f"{SAME:g}, over seeds)"
        )
    else:
        reading = "undecided"
        because = "out of reach of this experiment: the network has no BatchNorm"
    yield Claim("It is a large batch to a network with BatchNorm too.", reading, because)
    error = max(each.error for each in measured.mistakes)
    yield Claim(
        "To divide each micro-batch's loss by K is all that it takes.",
        "not supported" if error > SAME else "supported",
        f"the gradient is off by up to {error:.0%} where a window or a micro-batch is short, or images have weights",
    )


def _memory_claim(plan: Plan, measured: Measured) -> Claim:
    text = "Accumulation saves memory: only a micro-batch's activations are held."
    sizes = [memory.training for memory in measured.memory.values()]
    if not sizes:
        return Claim(text, "undecided", "out of reach of this experiment: the system doesn't tell peak memory")
    share = sizes[-1] / sizes[0]
    # What the allocator rounds up differs by some percent from one process to the next: that is no rise.
    falls = all(after <= 1.1 * before for before, after in pairwise(sizes))
    return Claim(
        text,
        "supported" if share <= LESS_MEMORY and falls else "not supported",
        f"training takes {sizes[0] / MB:,.0f} MB in one piece and {sizes[-1] / MB:,.0f} MB in {plan.counts[-1]} "
        f"({share:.0%}; limit {LESS_MEMORY:.0%}{'' if falls else ', and it rises in between'})",
    )


def _small(values: Sequence[Sequence[float]]) -> ClaimReading:
    """Whether distances, each over seeds, are below `SAME`: all of them, or one of them surely not."""
    spans = [mean_interval(np.array(each)) for each in values]
    known = [span for span in spans if span is not None]
    if any(span.low > SAME for span in known):
        return "not supported"
    return "supported" if known and all(span.high <= SAME for span in known) else "undecided"


def _above(values: Sequence[float], limit: float) -> ClaimReading:
    ends = mean_interval(np.array(values))
    if ends is None or ends.low <= limit < ends.high:
        return "undecided"
    return "supported" if ends.low > limit else "not supported"


def span(values: Sequence[float], form: str = ".3f") -> str | None:
    """The 95 % interval of a mean over seeds in words; None of one seed."""
    ends = mean_interval(np.array(values))
    return None if ends is None else f"{ends.low:{form}}–{ends.high:{form}}"


def ratios(measured: Measured, count: int) -> tuple[float, ...]:
    """Each seed's time for an optimizer step over that in one piece."""
    pairs = zip(measured.usual[count].seconds, measured.usual[1].seconds, strict=True)
    return tuple(own / whole for own, whole in pairs)


def exercises(plan: Plan, measured: Measured, images: int) -> tuple[Exercise, ...]:
    """Three questions; `images` is how many are trained on."""
    rest = images % plan.window or plan.window
    size = plan.window // MISTAKEN
    pieces = -(-rest // size)
    first = Exercise(
        "last_window",
        f"An epoch has {images:,d} images. By how many does the loss of its last window of at most {plan.window} have "
        "to be divided?",
        float(rest),
        tolerance=0,
        hint="what the whole windows leave over",
    )
    second = Exercise(
        "fixed_divisor",
        f"That window passes in micro-batches of up to {size}. Somebody divides each one's mean loss by {MISTAKEN}. "
        "How long is the step compared with one that divides by the micro-batches there are (1: as long)?",
        pieces / MISTAKEN,
        hint="how many micro-batches the last window fills, of the number it is divided by",
    )
    if not measured.batch:
        return (
            first,
            second,
            Exercise(
                "heavier",
                f"A window of micro-batches of {size} ends with one of {max(1, size // 4)}. By the mean of means, how "
                "many times as much does an image of the last one count as one of the others?",
                size / max(1, size // 4),
                hint="its share of its own micro-batch's mean",
            ),
        )
    means = {count: float(np.mean(measured.batch[count].gradient)) for count in plan.counts[1:]}
    return (
        first,
        second,
        Exercise(
            "farthest",
            "At which K is the gradient farthest from the large batch's, with BatchNorm by micro-batch?",
            float(max(means, key=lambda count: means[count])),
            tolerance=0,
            hint="the table of BatchNorm's section",
        ),
    )
