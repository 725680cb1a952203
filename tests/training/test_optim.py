"""Parameter groups and schedules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ahekit.errors import UsageError
from ahekit.spec import OptimSpec, ScheduleSpec
from ahekit.training.optim import build_optimizer, parameter_groups, rate_factor, set_rate


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_weight_decay_is_kept_off_norms_and_biases() -> None:
    decayed, kept = parameter_groups(small(), weight_decay=0.1)
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]  # type: ignore[attr-defined]
    assert len(kept["params"]) == 4  # type: ignore[arg-type]


def test_decay_all_puts_every_parameter_into_one_group() -> None:
    (group,) = parameter_groups(small(), weight_decay=0.1, decay_all=True)
    assert len(group["params"]) == 6  # type: ignore[arg-type]


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_an_error() -> None:
    module = small()
    module.get_parameter("0.weight").requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(module, weight_decay=0)) == 5  # type: ignore[misc,arg-type]
    module.requires_grad_(False)
    with pytest.raises(UsageError, match="every parameter is frozen"):
        parameter_groups(module, weight_decay=0)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
@pytest.mark.parametrize("fused", [True, False])
def test_each_optimizer_steps_with_the_rate_it_is_set(name: str, kind: type, fused: bool) -> None:
    module = small()
    spec = OptimSpec.model_validate({"name": name, "fused": fused, "lr": 0.5, "weight_decay": 0})
    optimizer = build_optimizer(parameter_groups(module, weight_decay=0), spec)
    assert type(optimizer) is kind
    assert set_rate(optimizer, 0.5) == 0.25
    before = module.get_parameter("3.bias").detach().clone()
    module(torch.randn(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    moved = (module.get_parameter("3.bias").detach() - before).abs()
    # The bias' gradient is 2: Adam moves by the rate, Nesterov SGD by rate * (1 + momentum) * gradient.
    assert moved.tolist() == pytest.approx([0.25 * (3.8 if name == "sgd" else 1.0)] * 2, rel=1e-3)


def test_one_cycle_rises_to_the_peak_and_falls_to_the_end() -> None:
    spec = ScheduleSpec(name="one-cycle", warmup=0.25, start_factor=0.04, end_factor=0.001)
    factors = [rate_factor(step, 100, spec) for step in range(100)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[25] == pytest.approx(1.0)
    assert factors[99] == pytest.approx(0.001)
    assert factors[:26] == sorted(factors[:26])
    assert factors[25:] == sorted(factors[25:], reverse=True)


def test_cosine_warms_up_linearly() -> None:
    spec = ScheduleSpec(name="cosine", warmup=0.5, start_factor=0.5, end_factor=0)
    assert [rate_factor(step, 8, spec) for step in (0, 1, 2, 4)] == pytest.approx([0.5, 0.625, 0.75, 1.0])
    assert rate_factor(7, 8, spec) == pytest.approx(0.0)


def test_constant_stays() -> None:
    spec = ScheduleSpec(name="constant", warmup=0)
    assert {rate_factor(step, 10, spec) for step in range(10)} == {1.0}


def test_a_run_of_one_step_has_a_rate() -> None:
    assert rate_factor(0, 1, ScheduleSpec()) > 0
