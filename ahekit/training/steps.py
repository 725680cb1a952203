"""Training as a generator over optimizer steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ahekit.compute import Compute
from ahekit.data.batches import Window
from ahekit.errors import TrainingError
from ahekit.spec import DistillSpec
from ahekit.training.accumulation import accumulate
from ahekit.training.optim import drop_denormals, set_rate
from ahekit.training.processes import Processes

STEPS_TO_DENORMALS = 50
"""Optimizer steps after which denormal numbers are dropped; by the number of the step, so that resuming is exact."""


@dataclass(frozen=True)
class StepRecord:
    """What one optimizer step did.

    Attributes:
        step: Counted from 1 over the whole run.
        loss: Weighted mean of the per-sample losses of the window, over all processes.
        lr: Learning rate of the first parameter group.
        grad_norm: Norm of the gradient before clipping.
        images: Samples in the window, over all processes.
        seconds: From the end of the step before.
        predicted: `(N,)` this process's predictions; `labels` likewise, -1 for padding.
    """

    step: int
    epoch: int
    window: int
    loss: float
    lr: float
    grad_norm: float
    images: int
    seconds: float
    predicted: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    def row(self) -> dict[str, float | int | str]:
        """As a row of the history."""
        names = ("step", "epoch", "loss", "lr", "grad_norm", "images", "seconds")
        return {"type": "step", **{name: getattr(self, name) for name in names}}


def train_steps(
    model: nn.Module,
    windows: Iterable[Window],
    optimizer: torch.optim.Optimizer,
    *,
    compute: Compute,
    rate: Callable[[int], float] = lambda step: 1.0,
    first_step: int = 0,
    clip_norm: float | None = None,
    label_smoothing: float = 0.0,
    distill: DistillSpec | None = None,
    average: Callable[[int], None] = lambda step: None,
    processes: Processes | None = None,
) -> Iterator[StepRecord]:
    """Take one optimizer step for each window, and yield its record.

    Args:
        model: In train mode; wrapped by `Processes.wrap` where several train.
        rate: Optimizer step (from 0) to the share of the peak learning rate.
        first_step: Optimizer steps already taken.
        distill: How the windows' answers of a teacher count, where they hold any.
        average: Called after each step with its number, counted from 1, to take the weights into their average.

    Raises:
        TrainingError: The loss or gradient of a window isn't finite; the weights are left as they were before it.
    """
    processes = processes or Processes()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    started = time.perf_counter()
    for step, window in enumerate(windows, start=first_step):
        lr = set_rate(optimizer, rate(step))
        optimizer.zero_grad(set_to_none=True)
        with processes.exchange(), compute.casts_kept():
            result = accumulate(
                model,
                window.micro_batches,
                # DistributedDataParallel averages gradients over the processes where the window's definition sums them.
                weight=window.weight / processes.world,
                label_smoothing=label_smoothing,
                distill=distill,
                prepare=compute.prepare,
                autocast=compute.autocast,
                no_sync=processes.no_sync(model),
            )
        loss = processes.sum(result.loss_sum)[0] / window.weight
        grad_norm = _clip(parameters, clip_norm)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingError(
                f"the loss is {loss:g} and the gradient norm {grad_norm:g} at optimizer step {step + 1} "
                f"(epoch {window.epoch}, learning rate {lr:.2e})"
            )
        optimizer.step()
        if compute.device.type == "cpu" and (step + 1) % STEPS_TO_DENORMALS == 0:
            drop_denormals(optimizer)
        average(step + 1)
        ended = time.perf_counter()
        yield StepRecord(
            step=step + 1,
            epoch=window.epoch,
            window=window.index,
            loss=loss,
            lr=lr,
            grad_norm=grad_norm,
            images=window.count,
            seconds=ended - started,
            predicted=result.predicted,
            labels=result.labels,
        )
        started = ended


def _clip(parameters: list[nn.Parameter], clip_norm: float | None) -> float:
    norm = torch.nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    length = float(norm)
    # Most gradients are shorter; to multiply them by 1 would be a pass over all of them.
    if clip_norm is not None and length > clip_norm:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return length
