"""Optimizers, their parameter groups, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ahekit.errors import UsageError
from ahekit.spec import OptimSpec, ScheduleSpec


def parameter_groups(module: nn.Module, *, weight_decay: float, decay_all: bool = False) -> list[dict[str, object]]:
    """Two groups of trainable parameters: those that decay, and norms and biases, which don't.

    Vectors (norm scales and every bias) are the ones kept out: "Bag of Tricks for Image Classification with
    Convolutional Neural Networks", https://arxiv.org/abs/1812.01187, section 3.1.

    Raises:
        UsageError: Nothing is left to train.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise UsageError("nothing is left to train: every parameter is frozen")
    decayed = [parameter for parameter in trainable if decay_all or parameter.ndim > 1]
    kept = [parameter for parameter in trainable if not (decay_all or parameter.ndim > 1)]
    groups: list[dict[str, object]] = [{"params": decayed, "weight_decay": weight_decay}]
    if kept:
        groups.append({"params": kept, "weight_decay": 0.0})
    return groups


def rated_groups(
    module: nn.Module, rates: Mapping[str, float], *, weight_decay: float, decay_all: bool = False
) -> list[dict[str, object]]:
    """`parameter_groups` of the trainable parameters of each rate, those of the head first.

    Args:
        rates: Peak learning rate of each parameter, by name.

    Raises:
        UsageError: Nothing is left to train.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in reversed(list(module.named_parameters())):
        if parameter.requires_grad:
            decay = weight_decay if decay_all or parameter.ndim > 1 else 0.0
            groups.setdefault((rates[name], decay), []).append(parameter)
    if not groups:
        raise UsageError("nothing is left to train: every parameter is frozen")
    return [
        {"params": parameters, "weight_decay": decay, "lr": rate, "initial_lr": rate}
        for (rate, decay), parameters in groups.items()
    ]


def build_optimizer(groups: Iterable[dict[str, object]], spec: OptimSpec) -> torch.optim.Optimizer:
    """The optimizer a spec asks for; each group's rate is scaled from its `initial_lr` by the schedule."""
    groups = [{"lr": spec.lr, "initial_lr": spec.lr, **group} for group in groups]
    if spec.name == "sgd":
        return torch.optim.SGD(
            groups, lr=spec.lr, momentum=spec.momentum, nesterov=spec.momentum > 0, fused=spec.fused or None
        )
    kind = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=spec.lr, betas=(spec.momentum, spec.beta2), fused=spec.fused or None)


def rate_factor(step: int, total: int, spec: ScheduleSpec) -> float:
    """Share of the peak learning rate at an optimizer step (counted from 0) of `total`.

    one-cycle rises and falls along half cosines (Super-Convergence, https://arxiv.org/abs/1708.07120, without its
    cycled momentum); cosine rises linearly and falls along a half cosine (SGDR without restarts,
    https://arxiv.org/abs/1608.03983); constant rises linearly and stays.
    """
    rise = round(spec.warmup * total)
    if step < rise:
        progress = step / rise
        if spec.name == "one-cycle":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return spec.start_factor + (1 - spec.start_factor) * progress
    if spec.name == "constant":
        return 1.0
    progress = (step - rise) / max(total - 1 - rise, 1)
    return spec.end_factor + (1 - spec.end_factor) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's rate to `factor` of its peak; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


NOTHING = 1e-32
"""What an optimizer's state holds below this is taken for zero: it changes a step by less than rounding does."""


def drop_denormals(optimizer: torch.optim.Optimizer) -> None:
    """Set what of an optimizer's state is, or will soon be, too small for a normalized float (1.2e-38) to zero.

    The momentum of a weight whose gradient stays zero, say behind a unit that is never active, is multiplied by 0.9 at
    each step. Rounding holds it for ever at a few times the smallest number, and a processor takes ten times as long to
    multiply such numbers as others. torch's own switch (`torch.set_flush_denormal`) doesn't reach all of its threads.

    What is below `NOTHING` goes already, or many would get there before the next time: at 0.9 a step that takes 130
    steps. Momentum m moves a weight by at most rate * m / 1e-8, and the root of the second moment is added to 1e-8.
    """
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor) and value.ndim and value.is_floating_point():
                value.masked_fill_(value.abs() < NOTHING, 0.0)
