"""Optimizer steps: clipping, the casts of a window, and momentum that nothing feeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ahekit.compute import Compute
from ahekit.data.batches import MicroBatch, Window
from ahekit.spec import OptimSpec
from ahekit.training.optim import NOTHING, build_optimizer, drop_denormals, parameter_groups
from ahekit.training.steps import STEPS_TO_DENORMALS, train_steps


def windows(micro_batches: int, count: int = 2) -> Iterator[Window]:
    random = torch.Generator().manual_seed(0)
    for index in range(count):
        targets = torch.eye(5)[torch.randint(5, (micro_batches, 4), generator=random)]
        batches = [
            MicroBatch(torch.randn(4, 3, generator=random), target, torch.ones(4), target.argmax(dim=1))
            for target in targets
        ]
        yield Window(1, index, 4.0 * micro_batches, 4 * micro_batches, iter(batches))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 5))


def trained(
    compute: Compute, *, micro_batches: int = 1, clip_norm: float | None = None
) -> tuple[list[Tensor], list[float]]:
    """The weights after each step, before the first too, and the norms that were told."""
    model = network()
    optimizer = build_optimizer(parameter_groups(model, weight_decay=0.0), OptimSpec(name="sgd", momentum=0.0, lr=1.0))
    weights = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()]
    norms = []
    for record in train_steps(model, windows(micro_batches), optimizer, compute=compute, clip_norm=clip_norm):
        weights.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        norms.append(record.grad_norm)
    return weights, norms


IN_FULL = Compute(torch.device("cpu"), bf16=False, channels_last=False)
IN_HALF = Compute(torch.device("cpu"), bf16=True, channels_last=False)


def test_a_longer_gradient_is_clipped_and_its_own_norm_told() -> None:
    free, norms = trained(IN_FULL)
    clipped, told = trained(IN_FULL, clip_norm=norms[0] / 4)
    assert told[0] == norms[0]
    torch.testing.assert_close(clipped[1] - clipped[0], (free[1] - free[0]) / 4)
    assert [float((after - before).norm()) for before, after in pairwise(clipped)] == pytest.approx(
        [norms[0] / 4] * 2, rel=1e-5
    )


def test_a_shorter_gradient_is_left_as_it_is() -> None:
    free, norms = trained(IN_FULL)
    clipped, told = trained(IN_FULL, clip_norm=2 * max(norms))
    assert told == norms
    assert all(torch.equal(own, other) for own, other in zip(clipped, free, strict=True))


class Casts(TorchDispatchMode):
    """Counts casts of what has a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape = shape
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].shape == self.shape:
            self.count += kwargs["dtype"] == torch.bfloat16
        return func(*args, **(kwargs or {}))


def test_a_windows_passes_share_one_bf16_copy_of_the_weights() -> None:
    with Casts((7, 3)) as casts:
        trained(IN_HALF, micro_batches=3)
    assert casts.count == 2, "one for each of two windows, and none of stale weights"


def test_sharing_the_copies_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, _ = trained(IN_HALF, micro_batches=3)
    monkeypatch.setattr(Compute, "casts_kept", lambda self: nullcontext())
    alone, _ = trained(IN_HALF, micro_batches=3)
    assert all(torch.equal(own, other) for own, other in zip(shared, alone, strict=True))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_momentum_of_weights_that_get_no_gradient_ends_in_zero(name: str) -> None:
    smallest = torch.full((1,), torch.finfo(torch.float32).smallest_normal) * 2**-21
    assert smallest * 0.9 == smallest, "rounding keeps it for ever, and to multiply it is slow"
    model = network()
    optimizer = build_optimizer(
        parameter_groups(model, weight_decay=0.0), OptimSpec.model_validate({"name": name, "lr": 1e-3})
    )

    def momenta() -> list[Tensor]:
        return [
            value
            for state in optimizer.state.values()
            for key, value in state.items()
            if key in ("exp_avg", "momentum_buffer")
        ]

    list(train_steps(model, windows(1), optimizer, compute=IN_FULL))
    learned = [state.count_nonzero() for state in momenta()]
    for momentum in momenta():
        momentum[0] = smallest
    weightless = (
        replace(window, micro_batches=(replace(batch, weights=torch.zeros(4)) for batch in window.micro_batches))
        for window in windows(1, STEPS_TO_DENORMALS)
    )
    list(train_steps(model, weightless, optimizer, compute=IN_FULL))
    assert all((momentum[0] == 0).all() for momentum in momenta())
    assert sum(int(momentum.count_nonzero()) for momentum in momenta()) > sum(map(int, learned)) / 2, "others stay"


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_what_is_taken_for_zero_changes_no_weight(name: str) -> None:
    spec = OptimSpec.model_validate({"name": name, "lr": 1e-2, "weight_decay": 0.0})
    models = [network(), network()]
    for model, is_dropped in zip(models, (True, False), strict=True):
        optimizer = build_optimizer(parameter_groups(model, weight_decay=0.0), spec)
        list(train_steps(model, windows(1), optimizer, compute=IN_FULL))
        small = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
        for value in small:
            value[::2] = 0.9 * NOTHING
        if is_dropped:
            drop_denormals(optimizer)
            assert not any(value[::2].any() for value in small)
            assert any(value.any() for value in small)
        list(train_steps(model, windows(2), optimizer, compute=IN_FULL))
    for own, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(own, other)
