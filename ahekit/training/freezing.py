"""Freezing: which stages of a network are trained, from which epoch on, and how their BatchNorm works.

Frozen means frozen: parameters get no gradient, and modules stay in eval mode whoever calls `.train()`, so that
BatchNorm's statistics don't move and dropout and drop-path are off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from ahekit.errors import UnknownNameError, UsageError
from ahekit.protocols import BuiltModel, stage_names
from ahekit.sections import Column, Table
from ahekit.spec import OptimSpec, TransferSpec

Opens = Mapping[str, int | None]


@dataclass(frozen=True)
class Freezing:
    """What is frozen of a network, and until when.

    Attributes:
        opens: Stage name to the first epoch (from 1) in which it is trained; None: in none.
        matched: Names of the parameters that `freeze_pattern` freezes besides.
        bn: How BatchNorm of frozen stages works.
    """

    stages: Mapping[str, tuple[nn.Module, ...]]
    opens: Opens
    matched: frozenset[str]
    bn: str

    @property
    def cut(self) -> str | None:
        """The first stage that some epoch trains, where all before it are a function of the pixels alone; else None.

        They are when they stay frozen throughout and BatchNorm doesn't follow the micro-batches; dropout and
        drop-path are off in frozen stages anyway.
        """
        first, *others = self.opens
        if self.opens[first] is not None or self.bn == "batch":
            return None
        return next(name for name in others if self.opens[name] is not None)

    def frozen_stages(self, epoch: int) -> list[str]:
        """Names of the stages that are not trained in an epoch."""
        return [name for name, opens in self.opens.items() if opens is None or epoch < opens]


def plan_freezing(built: BuiltModel, spec: TransferSpec, *, epochs: int) -> Freezing:
    """What a spec freezes of a network.

    Raises:
        UsageError: No such stage, a pattern that matches nothing, too few stages, or nothing is left to train.
    """
    opens = _opens(list(built.stages), spec, epochs)
    names = [name for name, _ in built.module.named_parameters()]
    for pattern in spec.freeze_pattern:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"transfer.freeze_pattern: no parameter is named {pattern!r}; they are named like {names[0]}"
            )
    matched = frozenset(name for name in names if any(fnmatchcase(name, glob) for glob in spec.freeze_pattern))
    plan = Freezing(built.stages, opens, matched, spec.bn)
    if not any(trained for _, trained in ever_trained(built.module, plan)):
        raise UsageError("nothing is left to train: every parameter is frozen; see transfer.freeze and freeze_pattern")
    return plan


def _opens(names: list[str], spec: TransferSpec, epochs: int) -> Opens:
    *body, head = names
    frozen = _frozen(names, spec.freeze)
    opens: dict[str, int | None] = {name: None if name in frozen else 1 + spec.warmup_epochs for name in body}
    if spec.freeze == "gradual":
        opens = {
            name: 1 + spec.warmup_epochs + spec.gradual_epochs * place for place, name in enumerate(body[::-1], start=1)
        }
    late = {name: opens[name] for name in body}
    return {**{name: epoch if epoch is not None and epoch <= epochs else None for name, epoch in late.items()}, head: 1}


def _frozen(names: list[str], freeze: str) -> list[str]:
    """Names of the stages that are never trained."""
    body = names[:-1]
    if freeze in ("none", "gradual"):
        return []
    if freeze == "backbone":
        return body
    if freeze == "early":
        if len(body) < 2:
            raise UsageError(
                f"transfer.freeze: early needs a stem and stages, this network has {stage_names(names)}; "
                "use --freeze backbone or --freeze-pattern"
            )
        return body[: 1 + (len(body) - 1) // 2]
    stage = freeze.removeprefix("until:")
    if stage not in names:
        raise UnknownNameError("stage", stage, names, listed=names)
    return names[: names.index(stage)]


def ever_trained(module: nn.Module, plan: Freezing) -> Iterator[tuple[nn.Parameter, bool]]:
    """Every parameter, and whether some epoch trains it."""
    closed = {id(part) for name, opens in plan.opens.items() if opens is None for part in _parameters(plan, [name])}
    for name, parameter in module.named_parameters():
        yield parameter, not (id(parameter) in closed or name in plan.matched)


class Freezer:
    """Keeps a network's frozen part frozen, epoch by epoch."""

    def __init__(self, module: nn.Module, plan: Freezing) -> None:
        self._module = module
        self._plan = plan
        self._trained = [
            parameter for parameter, trained in ever_trained(module, plan) if trained and parameter.requires_grad
        ]
        self._handles: list[RemovableHandle] = []
        self._frozen: list[str] | None = None

    def trainable(self) -> None:
        """Let gradients flow to those parameters alone that some epoch trains: the optimizer has to know them all."""
        self._module.requires_grad_(False)
        for parameter in self._trained:
            parameter.requires_grad_(True)

    def enter(self, epoch: int) -> bool:
        """Freeze what an epoch doesn't train; returns whether that differs from the epoch before."""
        frozen = self._plan.frozen_stages(epoch)
        before = self._frozen
        if frozen == before:
            return False
        self._frozen = frozen
        self.trainable()
        for parameter in _parameters(self._plan, frozen):
            parameter.requires_grad_(False)
            parameter.grad = None
        for handle in self._handles:
            handle.remove()
        held = list(self._held(frozen))
        self._module.train()
        for part in held:
            part.training = False
        self._handles = [part.register_forward_pre_hook(_stay_in_eval) for part in held]
        return frozen != (before or [])

    def _held(self, frozen: Iterable[str]) -> Iterator[nn.Module]:
        """The modules that stay in eval mode: those of frozen stages, and any whose own parameters are all frozen."""
        for unit in (unit for name in frozen for unit in self._plan.stages[name]):
            yield from (part for part in unit.modules() if self._plan.bn != "batch" or not isinstance(part, _BatchNorm))
        for path, part in self._module.named_modules():
            own = {f"{path}.{name}" if path else name for name, _ in part.named_parameters(recurse=False)}
            if own and own <= self._plan.matched and self._plan.bn != "batch":
                yield part


def _stay_in_eval(part: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Undo a `.train()` before the module works."""
    part.training = False


def _parameters(plan: Freezing, names: Iterable[str]) -> Iterator[nn.Parameter]:
    for name in names:
        for unit in plan.stages[name]:
            yield from unit.parameters()


def learning_rates(built: BuiltModel, spec: TransferSpec, lr: float) -> dict[str, float]:
    """Peak learning rate of each parameter by name: `lr` in the head, and what the spec says below it.

    With `layer_decay` each layer's rate is a share of the next one's towards the head, as in BEiT: BERT Pre-Training of
    Image Transformers, https://arxiv.org/abs/2106.08254. Layers are the network's own, else its stages.
    """
    depths = built.depths or _stage_depths(built)
    last = max(depths.values())
    if spec.layer_decay is not None:
        return {name: lr * spec.layer_decay ** (last - depth) for name, depth in depths.items()}
    return {name: lr if depth == last else spec.backbone_lr or lr for name, depth in depths.items()}


def _stage_depths(built: BuiltModel) -> dict[str, int]:
    depth = {
        id(parameter): number
        for number, units in enumerate(built.stages.values())
        for unit in units
        for parameter in unit.parameters()
    }
    return {name: depth[id(parameter)] for name, parameter in built.module.named_parameters()}


def recalibrate(module: nn.Module, plan: Freezing, batches: Iterable[Tensor]) -> None:
    """Measure the BatchNorm statistics of the stages that start frozen anew, as the mean over batches of images."""
    units = [unit for name in plan.frozen_stages(1) for unit in plan.stages[name]]
    norms = [part for unit in units for part in unit.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.training = True
    try:
        with torch.no_grad():
            for images in batches:
                module(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for part, training in flags:
            part.training = training


def freezing_table(built: BuiltModel, plan: Freezing, spec: TransferSpec, optim: OptimSpec) -> Table:
    """Each stage: frozen or not, how its BatchNorm works, its learning rate and parameters."""
    rates = learning_rates(built, spec, optim.lr)
    rows = []
    names = {id(parameter): name for name, parameter in built.module.named_parameters()}
    for name, units in built.stages.items():
        opens = plan.opens[name]
        norms = any(isinstance(part, _BatchNorm) for unit in units for part in unit.modules())
        frozen = "yes" if opens is None else "no" if opens == 1 else f"until epoch {opens}"
        mode = "batch" if opens == 1 else plan.bn if opens is None else f"{plan.bn}, then batch"
        count = sum(parameter.numel() for unit in units for parameter in unit.parameters())
        own = {rates[names[id(parameter)]] for unit in units for parameter in unit.parameters()} if opens else set()
        shown = f"{min(own):.2g}–{max(own):.2g}" if len(own) > 1 else next(iter(own), None)
        rows.append((name, frozen, mode if norms else None, shown, count))
    columns = (
        Column("stage"),
        Column("frozen"),
        Column("BatchNorm"),
        Column("learning rate", "g", "right"),
        Column("parameters", ",d", "right"),
    )
    note = f"{len(plan.matched)} parameters are frozen by freeze_pattern besides." if plan.matched else ""
    return Table("Stages", columns, tuple(rows), note)
