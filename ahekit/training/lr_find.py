"""The learning-rate range test: raise the rate step by step until the loss bursts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ahekit.data.batches import TrainingBatches, Window
from ahekit.errors import TrainingError
from ahekit.sections import Column, Table
from ahekit.training.optim import build_optimizer, parameter_groups
from ahekit.training.processes import Processes
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps

LOWEST = 1e-6
HIGHEST = 1.0
SMOOTHING = 0.8
BURST = 3.0


@dataclass(frozen=True)
class RangeTest:
    """What the range test saw.

    Attributes:
        rates: Learning rate of each optimizer step.
        losses: Smoothed loss at each.
        suggestion: The rate at which the smoothed loss falls fastest per decade.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_learning_rate(setup: Setup, *, steps: int = 100, advance: Callable[[int], None] = lambda n: None) -> RangeTest:
    """Run the range test on the training images; the setup's weights are spent by it.

    Cyclical Learning Rates for Training Neural Networks, section 3.3, https://arxiv.org/abs/1506.01186, with a
    geometric instead of a linear rise, so that every decade gets as many steps.

    Args:
        steps: Optimizer steps from the lowest rate to the highest.
        advance: Called with 1 after each.

    Raises:
        TrainingError: The loss bursts at once.
    """
    spec = setup.spec
    module = setup.compute.place(setup.built.module)
    module.train()
    groups = parameter_groups(module, weight_decay=spec.optim.weight_decay, decay_all=spec.optim.decay_all)
    optimizer = build_optimizer(groups, spec.optim.model_copy(update={"lr": 1.0}))
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    losses: list[float] = []
    mean = 0.0
    try:
        for record in train_steps(
            module,
            itertools.islice(_endless(setup.batches(Processes())), steps),
            optimizer,
            compute=setup.compute,
            rate=lambda step: float(rates[step]),
            clip_norm=spec.optim.clip_norm,
            label_smoothing=spec.loss.label_smoothing,
        ):
            mean = SMOOTHING * mean + (1 - SMOOTHING) * record.loss
            losses.append(mean / (1 - SMOOTHING ** (len(losses) + 1)))
            advance(1)
            if losses[-1] > BURST * min(losses):
                break
    except TrainingError:
        # A loss past all numbers ends the test as well as one that is merely large.
        pass
    if len(losses) < 10:
        raise TrainingError(
            "the loss burst within ten steps of the range test; normalize the images or change the model"
        )
    slopes = np.gradient(np.array(losses), np.log10(rates[: len(losses)]))
    # The first steps measure the start of the average, not the rate.
    steepest = int(np.argmin(slopes[5:])) + 5
    return RangeTest(tuple(rates[: len(losses)].tolist()), tuple(losses), float(rates[steepest]))


def range_table(test: RangeTest, *, rows: int = 12) -> Table:
    """The test's course in a few rows."""
    picked = np.unique(np.linspace(0, len(test.rates) - 1, rows).round().astype(int)).tolist()
    columns = (Column("learning rate", ".1e", "right"), Column("smoothed loss", ".3f", "right"))
    note = f"The loss falls fastest at {test.suggestion:.1e}: try --lr {test.suggestion:.1e}, or a third of it."
    return Table("Range test", columns, tuple((test.rates[i], test.losses[i]) for i in picked), note)


def _endless(batches: TrainingBatches) -> Iterator[Window]:
    for epoch in itertools.count(1):
        yield from batches.epoch(epoch)
