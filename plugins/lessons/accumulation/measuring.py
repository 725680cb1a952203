"""The same windows trained in one piece and in pieces: gradients, weights and BatchNorm's statistics, side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ahekit.data.batches import MicroBatch, Window, class_weights, epoch_order
from ahekit.models import build_component
from ahekit.training.accumulation import accumulate, soft_cross_entropy
from ahekit.training.optim import build_optimizer, parameter_groups
from ahekit.training.processes import Processes
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps

MISTAKEN = 4
"""Micro-batches of the windows that the two common mistakes are measured on."""

LARGEST = 16
"""Images of each at most: more would make no other point, in double precision."""


def has_batch_norm(module: nn.Module) -> bool:
    """Whether anything in it looks at more than one image at a time."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def made_comparable(module: nn.Module, *, batch_norm: bool) -> nn.Module:
    """A copy whose output is no matter of chance: dropout is off; BatchNorm by its batch, or by stored statistics."""
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.train(batch_norm)
    return module


def fresh(setup: Setup, seed: int) -> Setup:
    """The setup with a seed's own weights and order of images."""
    spec = setup.spec.model_copy(update={"seed": seed})
    torch.manual_seed(seed)
    component = build_component(
        spec.model.name,
        spec.model.params,
        num_classes=len(setup.dataset.class_names),
        image_size=spec.data.image_size,
    )
    return replace(setup, spec=spec, built=component.built)


def cut(setup: Setup, steps: int) -> Setup:
    """The setup with its window in so many micro-batches of one size."""
    optim = setup.spec.optim
    size = optim.effective_batch_size // steps
    optim = optim.model_copy(update={"batch_size": size, "accumulation_steps": steps})
    return replace(setup, spec=setup.spec.model_copy(update={"optim": optim}))


def windows(setup: Setup) -> Iterator[Window]:
    """The windows of all epochs, one after the other; the same images in each, however it is cut."""
    batches = setup.batches(Processes())
    return chain.from_iterable(batches.epoch(epoch) for epoch in count(1))


def first_window(setup: Setup) -> tuple[MicroBatch, NDArray[np.int64]]:
    """The images of the first window in one piece, and their places in the dataset."""
    order = epoch_order(setup.splits.train, setup.dataset.labels, seed=setup.spec.seed, epoch=1)
    (whole,) = next(windows(cut(setup, 1))).micro_batches
    return whole, order[: len(whole.labels)]


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        gradient: Of the first window, `(P,)`.
        weights: `(P,)`.
        statistics: Running means and variances of BatchNorm, `(S,)`; empty without.
        seconds: For an optimizer step, the first one left out where there are more.
    """

    gradient: Tensor
    weights: Tensor
    statistics: Tensor
    seconds: float


def train(setup: Setup, module: nn.Module, steps: int) -> Trained:
    """Take optimizer steps with a network, which is changed."""
    optim = setup.spec.optim
    setup.compute.place(module)
    groups = parameter_groups(module, weight_decay=optim.weight_decay, decay_all=optim.decay_all)
    optimizer = build_optimizer(groups, optim)
    seconds = []
    gradient = torch.zeros(0)
    records = train_steps(module, windows(setup), optimizer, compute=setup.compute)
    for record in islice(records, steps):
        seconds.append(record.seconds)
        if record.step == 1:
            gradient = gradients(module)
    return Trained(gradient, weights(module), running_statistics(module), float(np.mean(seconds[1:] or seconds)))


def gradients(module: nn.Module) -> Tensor:
    """All that there are as one vector `(P,)`."""
    return torch.cat([each.grad.flatten().cpu() for each in module.parameters() if each.grad is not None])


def weights(module: nn.Module) -> Tensor:
    """All trained parameters as one vector `(P,)`."""
    return torch.cat([each.detach().flatten().cpu() for each in module.parameters() if each.requires_grad])


def running_statistics(module: nn.Module) -> Tensor:
    """Running means and variances of BatchNorm as one vector `(S,)`."""
    kept = [
        values.detach().flatten().cpu()
        for part in module.modules()
        if isinstance(part, _BatchNorm)
        for values in (part.running_mean, part.running_var)
        if values is not None
    ]
    return torch.cat(kept) if kept else torch.zeros(0)


def distance(vector: Tensor, reference: Tensor, *, start: Tensor | None = None) -> float:
    """Length of the difference as a share of the reference's, or of the way it has come from its start."""
    scale = float((reference if start is None else reference - start).norm())
    gap = float((vector - reference).norm())
    return gap / scale if scale else gap


def in_pieces(batch: MicroBatch, sizes: Sequence[int]) -> list[MicroBatch]:
    """The first images of a micro-batch as smaller ones of these sizes."""
    pieces = []
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        pieces.append(MicroBatch(batch.images[part], batch.targets[part], batch.weights[part], batch.labels[part]))
        start += size
    return pieces


def gradient_in_double(module: nn.Module, batches: Iterable[MicroBatch], divisors: Sequence[float]) -> Tensor:
    """The sum of the micro-batches' gradients, each of its weighted losses' sum over a divisor of its own.

    Args:
        module: In double precision.
    """
    module.zero_grad(set_to_none=True)
    device = next(module.parameters()).device
    for batch, divisor in zip(batches, divisors, strict=True):
        accumulate(module, [batch], weight=divisor, prepare=lambda images: images.to(device).double())
    return gradients(module)


@dataclass(frozen=True)
class Mistake:
    """What a wrong divisor makes of a gradient.

    Attributes:
        name: The mistake in words.
        sizes: Images of each micro-batch.
        error: Distance to the right gradient as a share of its length.
        length: Of the wrong gradient as a share of the right one's.
        cosine: Between the two.
    """

    name: str
    sizes: tuple[int, ...]
    error: float
    length: float
    cosine: float


def mistakes(setup: Setup, module: nn.Module, batch: MicroBatch) -> tuple[Mistake, ...]:
    """The two common mistakes on the first images of a window, the second one with class weights too.

    Args:
        module: In double precision, by stored statistics.
    """
    size = min(LARGEST, len(batch.labels) // MISTAKEN)
    full = (size,) * MISTAKEN
    by_class = class_weights(
        setup.dataset.labels[setup.splits.train], len(setup.dataset.class_names), "balanced"
    ).double()
    weighted = replace(batch, weights=batch.targets.double() @ by_class)

    def measured(name: str, whole: MicroBatch, sizes: tuple[int, ...], count: int) -> Mistake:
        pieces = in_pieces(whole, sizes)
        sums = [float(piece.weights.double().sum()) for piece in pieces]
        right = gradient_in_double(module, pieces, [sum(sums)] * len(pieces))
        wrong = gradient_in_double(module, pieces, [each * count for each in sums])
        cosine = float(wrong @ right / (wrong.norm() * right.norm()))
        return Mistake(name, sizes, distance(wrong, right), float(wrong.norm() / right.norm()), cosine)

    return (
        measured("fixed divisor, last window short", batch, full[:-1], MISTAKEN),
        measured("mean of means, last one short", batch, (*full[:-1], max(1, size // 4)), MISTAKEN),
        measured("mean of means, class weights", weighted, full, MISTAKEN),
    )


def losses(module: nn.Module, batch: MicroBatch) -> list[float]:
    """Each image's loss by a network in double precision, `(B,)`."""
    device = next(module.parameters()).device
    with torch.no_grad():
        logits = module(batch.images.to(device).double())
    values: list[float] = soft_cross_entropy(logits, batch.targets.to(device)).cpu().tolist()
    return values
