"""Proof of accumulation: how far its gradient is from that of one large batch, measured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ahekit.data.augment import normalize
from ahekit.data.batches import MicroBatch, class_weights
from ahekit.data.random import generator
from ahekit.errors import UsageError
from ahekit.sections import Column, Table
from ahekit.training.accumulation import accumulate
from ahekit.training.setup import Setup

LIMITS = {"float64": 1e-9, "fp32": 1e-4, "bf16": 5e-2}
"""Largest relative error that passes. bf16 keeps 8 bits of a number, so its rounding differs with the batch."""

COMPARISONS = 6

LARGEST_BATCH = 128
"""Images of the large batch at most: in double precision they need four times the memory of training."""


@dataclass(frozen=True)
class Check:
    """One comparison of two gradients.

    Attributes:
        error: Norm of the difference over the norm of the large batch's gradient.
        limit: Largest error that passes; None where the difference is only told.
    """

    name: str
    precision: str
    micro_batches: tuple[int, ...]
    error: float
    limit: float | None

    @property
    def passed(self) -> bool:
        """Whether the error is within its limit."""
        return self.limit is None or self.error <= self.limit


@dataclass(frozen=True)
class _Case:
    """Images, targets and weights of a window, uncut."""

    images: Tensor
    targets: Tensor
    weights: Tensor

    def cut(self, sizes: tuple[int, ...]) -> Iterator[MicroBatch]:
        parts = zip(self.images.split(sizes), self.targets.split(sizes), self.weights.split(sizes), strict=True)
        for images, targets, weights in parts:
            yield MicroBatch(images, targets, weights, targets.argmax(dim=1))


def prove_accumulation(setup: Setup, *, advance: Callable[[], None] = lambda: None) -> list[Check]:
    """Compare accumulated gradients with a large batch's, for the model, data, loss and precision of a run.

    The micro-batch is the run's, or smaller where the large batch would pass `LARGEST_BATCH` images. Every check but
    the last two runs with dropout off and BatchNorm on its running statistics, where the two must agree.

    Args:
        advance: Called after each of the at most `COMPARISONS` comparisons.

    Raises:
        UsageError: The run doesn't accumulate.
    """
    steps = setup.spec.optim.accumulation_steps
    if steps < 2:
        raise UsageError("optim.accumulation_steps: 1 accumulates nothing; prove it with --accum 2 or more")
    size = max(2, min(setup.spec.optim.batch_size, LARGEST_BATCH // steps, len(setup.splits.train) // steps))
    even = (size,) * steps
    ragged = (*(size,) * (steps - 1), max(1, size // 3))
    plain = _case(setup, sum(even), "none")
    weighted = _case(setup, sum(even), "balanced")
    # In double precision on the processor, which has it wherever the run computes.
    double = copy.deepcopy(setup.built.module).cpu().eval().double()
    compute = setup.compute
    frozen = compute.place(copy.deepcopy(setup.built.module).eval())
    precision = setup.spec.runtime.precision
    batch_norm = _without_dropout(copy.deepcopy(setup.built.module).cpu().train()).double()
    checks = []
    for name, module, case, sizes, run in (
        ("equal micro-batches", double, plain, even, None),
        ("shorter last micro-batch", double, plain, ragged, None),
        ("shorter last, class weights", double, weighted, ragged, None),
        ("shorter last, class weights", frozen, weighted, ragged, setup),
    ):
        checks.append(_check(name, module, case, sizes, run, precision if run else "float64"))
        advance()
    usual = _relative(_usual_gradient(double, weighted, ragged), _gradient(double, weighted, (sum(ragged),)))
    checks.append(Check("the usual loop: mean of the micro-batches' means", "float64", ragged, usual, None))
    advance()
    if any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in batch_norm.modules()):
        error = _relative(_gradient(batch_norm, plain, even), _gradient(batch_norm, plain, (sum(even),)))
        checks.append(Check("BatchNorm on each micro-batch's own statistics", "float64", even, error, None))
        advance()
    return checks


def proof_table(checks: list[Check]) -> Table:
    """The checks as a table."""
    columns = (
        Column("accumulated against one batch"),
        Column("precision"),
        Column("micro-batches"),
        Column("relative error", ".1e", "right"),
        Column("limit", ".0e", "right"),
        Column("verdict"),
    )
    rows = tuple(
        (
            check.name,
            check.precision,
            _sizes(check.micro_batches),
            check.error,
            check.limit,
            "told only" if check.limit is None else "passed" if check.passed else "FAILED",
        )
        for check in checks
    )
    note = "Told only: what differs by nature. The usual loop divides by the number of micro-batches; ahekit doesn't."
    return Table("Gradient of accumulation", columns, rows, note)


def _check(
    name: str,
    module: nn.Module,
    case: _Case,
    sizes: tuple[int, ...],
    setup: Setup | None = None,
    precision: str = "float64",
) -> Check:
    error = _relative(_gradient(module, case, sizes, setup), _gradient(module, case, (sum(sizes),), setup))
    return Check(name, precision, sizes, error, LIMITS[precision])


def _case(setup: Setup, count: int, weighting: str) -> _Case:
    labels = setup.dataset.labels
    chosen = generator("prove", setup.spec.seed).choice(setup.splits.train, size=count, replace=False)
    classes = len(setup.dataset.class_names)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels[chosen]), classes).double()
    by_class = class_weights(labels[setup.splits.train], classes, weighting).double()
    images = normalize(np.asarray(setup.dataset.images[chosen]), setup.dataset.preprocessing)
    return _Case(images, targets, targets @ by_class)


def _gradient(module: nn.Module, case: _Case, sizes: tuple[int, ...], setup: Setup | None = None) -> Tensor:
    """The accumulated gradient of the first `sum(sizes)` images as one vector, in double precision."""
    count = sum(sizes)
    part = _Case(case.images[:count], case.targets[:count], case.weights[:count])
    dtype = next(module.parameters()).dtype
    module.zero_grad(set_to_none=True)
    accumulate(
        module,
        part.cut(sizes),
        weight=float(part.weights.sum()),
        prepare=lambda images: setup.compute.prepare(images) if setup else images.to(dtype),
        autocast=setup.compute.autocast if setup else nullcontext,
    )
    return _vector(module)


def _usual_gradient(module: nn.Module, case: _Case, sizes: tuple[int, ...]) -> Tensor:
    """What most loops accumulate: each micro-batch's weighted mean loss, divided by the number of micro-batches."""
    module.zero_grad(set_to_none=True)
    count = sum(sizes)
    for batch in _Case(case.images[:count], case.targets[:count], case.weights[:count]).cut(sizes):
        accumulate(
            module, [batch], weight=float(batch.weights.sum()) * len(sizes), prepare=lambda images: images.double()
        )
    return _vector(module)


def _vector(module: nn.Module) -> Tensor:
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return torch.cat([gradient.double().flatten().cpu() for gradient in gradients])


def _relative(gradient: Tensor, reference: Tensor) -> float:
    return float((gradient - reference).norm() / reference.norm())


def _without_dropout(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.eval()
    return module


def _sizes(sizes: tuple[int, ...]) -> str:
    first = sizes[0]
    last = sizes[-1]
    return f"{len(sizes)} x {first}" if first == last else f"{len(sizes) - 1} x {first} + {last}"
