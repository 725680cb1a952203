"""Exact gradient accumulation: many micro-batches, the gradient of one batch.

For a window of micro-batches the gradient is (sum of per-sample weighted losses) / (sum of weights), whatever the sizes
of the micro-batches. Dividing each micro-batch's mean loss by their number, as most loops do, is only the same when all
are of equal size and weight; the last window of an epoch hardly ever is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ahekit.data.batches import MicroBatch
from ahekit.spec import DistillSpec


@dataclass(frozen=True)
class WindowResult:
    """What a window's forward passes gave, before the optimizer steps.

    Attributes:
        loss_sum: Weighted sum of the per-sample losses.
        predicted: `(N,)` class with the largest logit, in the order of the micro-batches.
        labels: `(N,)` class with the largest share of the target; -1 for padding.
    """

    loss_sum: float
    predicted: Tensor
    labels: Tensor


def soft_cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each sample, `(B,)`, in at least single precision.

    Args:
        logits: `(B, C)`.
        targets: `(B, C)`, rows sum to 1.
        label_smoothing: Share of each target that is spread over all classes evenly.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, targets.to(logits.dtype), reduction="none", label_smoothing=label_smoothing)


def losses_of(
    logits: Tensor, batch: MicroBatch, *, label_smoothing: float = 0.0, distill: DistillSpec | None = None
) -> Tensor:
    """The loss of each sample, `(B,)`: against its target and, where there is one, against a teacher's answer.

    The part against the answers is multiplied by the squared temperature, which keeps its gradient's size (Hinton et
    al., https://arxiv.org/abs/1503.02531, section 2).

    Args:
        logits: `(B, C)`.
    """
    losses = soft_cross_entropy(logits, batch.targets.to(logits.device), label_smoothing=label_smoothing)
    if batch.answers is None or distill is None:
        return losses
    heat = distill.temperature
    taught = heat**2 * soft_cross_entropy(logits / heat, batch.answers.to(logits.device))
    return (1 - distill.weight) * losses + distill.weight * taught


def accumulate(
    model: nn.Module,
    micro_batches: Iterable[MicroBatch],
    *,
    weight: float,
    label_smoothing: float = 0.0,
    distill: DistillSpec | None = None,
    prepare: Callable[[Tensor], Tensor] = lambda images: images,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    no_sync: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> WindowResult:
    """Add a window's gradient to the parameters' `.grad`.

    Args:
        model: Maps `(B, 3, H, W)` to `(B, C)` logits.
        micro_batches: The window's, in order.
        weight: Sum of the weights of all the window's samples; the divisor of every micro-batch.
        prepare: Brings images to the model's device and memory format.
        autocast: Context of the forward passes.
        no_sync: Context for all but the last micro-batch, under which gradients are not exchanged between processes.
    """
    losses_by_batch = []
    predicted = []
    labels = []
    for batch, is_last in _mark_last(micro_batches):
        with nullcontext() if is_last else no_sync():
            with autocast():
                logits = model(prepare(batch.images))
            losses = losses_of(logits, batch, label_smoothing=label_smoothing, distill=distill)
            weighted = (losses * batch.weights.to(losses)).sum()
            (weighted / weight).backward()
        # Read at the window's end; reading each value at once would make a GPU wait at every micro-batch.
        losses_by_batch.append(weighted.detach())
        predicted.append(logits.detach().argmax(dim=1))
        labels.append(batch.labels)
    # Added up in double precision, which not every device has.
    loss_sum = sum(torch.stack(losses_by_batch).tolist())
    return WindowResult(loss_sum, torch.cat(predicted).cpu(), torch.cat(labels))


def _mark_last(batches: Iterable[MicroBatch]) -> Iterable[tuple[MicroBatch, bool]]:
    iterator = iter(batches)
    current = next(iterator, None)
    while current is not None:
        following = next(iterator, None)
        yield current, following is None
        current = following
