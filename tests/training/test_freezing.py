"""Freezing: what stays, to the bit; what moves; and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ahekit.errors import SpecError, UnknownNameError, UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import OptimSpec, RunSpec, TransferSpec, resolve_spec
from ahekit.training.freezing import Freezer, freezing_table, learning_rates, plan_freezing, recalibrate
from ahekit.training.loop import fit
from ahekit.training.optim import rated_groups
from ahekit.training.setup import Setup

NAMES = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
MakeSetup = Callable[..., Setup]
NewRun = Callable[[Setup], Run]


def block(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.Dropout(0.5))


def network() -> BuiltModel:
    torch.manual_seed(0)
    parts = [block(3, 4), *(block(4, 4) for _ in range(4))]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    stages = dict(zip(NAMES, [*parts, head], strict=True))
    return BuiltModel.from_stages(stages, preprocessing=Preprocessing(8))


def deep(setup: Setup) -> Setup:
    """The tiny setup with a network of six stages."""
    return replace(setup, built=network())


def opens(freeze: str, *, epochs: int = 9, **fields: Any) -> list[int | None]:
    plan = plan_freezing(network(), TransferSpec(freeze=freeze, **fields), epochs=epochs)
    assert list(plan.opens) == NAMES
    return list(plan.opens.values())


def test_each_policy_says_which_stages_are_trained_and_from_when() -> None:
    assert opens("none") == [1] * 6
    assert opens("early") == [None, None, None, 1, 1, 1]
    assert opens("backbone") == [None] * 5 + [1]
    assert opens("until:stage3") == [None, None, None, 1, 1, 1]
    assert opens("until:head") == [None] * 5 + [1]
    assert opens("gradual") == [6, 5, 4, 3, 2, 1]
    assert opens("gradual", gradual_epochs=2, warmup_epochs=1, epochs=8) == [None, None, 8, 6, 4, 1]
    assert opens("none", warmup_epochs=2) == [3] * 5 + [1]
    assert opens("early", warmup_epochs=1) == [None, None, None, 2, 2, 1]


def test_what_cannot_be_frozen_is_one_line() -> None:
    with pytest.raises(UnknownNameError, match="no stage named 'stage9'; did you mean stage"):
        opens("until:stage9")
    with pytest.raises(UsageError, match="no parameter is named 'layer1"):
        opens("none", freeze_pattern=("layer1.*",))
    with pytest.raises(UsageError, match="nothing is left to train"):
        opens("none", freeze_pattern=("*",))
    with pytest.raises(SpecError, match=r"transfer\.layer_decay: can't be combined with backbone_lr"):
        resolve_spec(flags={"transfer": {"layer_decay": 0.5, "backbone_lr": 0.1}})
    with pytest.raises(SpecError, match=r"transfer\.freeze: must match pattern"):
        resolve_spec(flags={"transfer": {"freeze": "late"}})
    short = replace(network(), stages={"backbone": (nn.Linear(1, 1),), "head": (nn.Linear(1, 1),)})
    with pytest.raises(UsageError, match="early needs a stem and stages, this network has backbone → head"):
        plan_freezing(short, TransferSpec(freeze="early"), epochs=1)


def state(built: BuiltModel, names: list[str]) -> dict[str, Tensor]:
    """Copies of the parameters and buffers of stages."""
    return {
        f"{name}.{key}": tensor.clone()
        for name in names
        for unit in built.stages[name]
        for key, tensor in unit.state_dict().items()
    }


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def train(module: nn.Module, *, steps: int = 3) -> None:
    """A few careless steps: every parameter handed to the optimizer, `.train()` called at each."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        module.train()
        optimizer.zero_grad()
        module(torch.randn(4, 3, 8, 8)).logsumexp(1).sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("freeze", "frozen"), [("early", NAMES[:3]), ("backbone", NAMES[:5]), ("until:stage1", ["stem"])]
)
def test_frozen_stages_are_the_same_to_the_bit_though_train_is_called(freeze: str, frozen: list[str]) -> None:
    built = network()
    Freezer(built.module, plan_freezing(built, TransferSpec(freeze=freeze), epochs=1)).enter(1)
    kept, rest = state(built, frozen), state(built, [name for name in NAMES if name not in frozen])
    train(built.module)
    assert changed(kept, state(built, frozen)) == set()
    assert changed(rest, state(built, [name for name in NAMES if name not in frozen])) == set(rest)


def test_a_frozen_prefix_is_a_function_of_its_input_in_train_mode_too() -> None:
    built = network()
    Freezer(built.module, plan_freezing(built, TransferSpec(freeze="backbone"), epochs=1)).enter(1)
    built.module.train()
    images = torch.randn(4, 3, 8, 8)
    alone = torch.cat([built.embed(image[None]) for image in images])
    assert torch.allclose(built.embed(images), alone, atol=1e-6)


def test_bn_batch_lets_the_statistics_of_frozen_stages_move_and_nothing_else() -> None:
    built = network()
    plan = plan_freezing(built, TransferSpec(freeze="backbone", bn="batch"), epochs=1)
    Freezer(built.module, plan).enter(1)
    before = state(built, NAMES[:5])
    train(built.module)
    moved = changed(before, state(built, NAMES[:5]))
    assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_pattern_freezes_parameters_and_the_statistics_of_their_norms() -> None:
    built = network()
    spec = TransferSpec(freeze_pattern=("stage2.*",))
    Freezer(built.module, plan_freezing(built, spec, epochs=1)).enter(1)
    before = state(built, NAMES)
    train(built.module)
    assert changed(before, state(built, NAMES)) == {name for name in before if not name.startswith("stage2.")}


def test_stages_are_unfrozen_from_the_head_down() -> None:
    built = network()
    freezer = Freezer(built.module, plan_freezing(built, TransferSpec(freeze="gradual"), epochs=3))
    freezer.trainable()
    assert [any(p.requires_grad for p in built.stages[name][0].parameters()) for name in NAMES] == [False] * 3 + [
        True
    ] * 3
    for epoch, frozen in enumerate((NAMES[:5], NAMES[:4], NAMES[:3]), start=1):
        assert freezer.enter(epoch)
        before = state(built, NAMES)
        train(built.module)
        assert {name.split(".")[0] for name in changed(before, state(built, NAMES))} == set(NAMES) - set(frozen)
    assert not freezer.enter(3)


def test_what_a_network_froze_itself_stays_frozen() -> None:
    built = network()
    own = next(built.module.parameters()).requires_grad_(False)
    freezer = Freezer(built.module, plan_freezing(built, TransferSpec(), epochs=1))
    freezer.enter(1)
    assert not own.requires_grad


def test_rates_fall_from_the_head_to_the_stem() -> None:
    def by_stage(built: BuiltModel, spec: TransferSpec, lr: float) -> list[float]:
        rates = learning_rates(built, spec, lr)
        assert list(rates) == [name for name, _ in built.module.named_parameters()]
        return [rates[f"{name}.0.weight"] for name in NAMES[:-1]] + [rates["head.2.bias"]]

    built = network()
    assert by_stage(built, TransferSpec(), 0.1) == [0.1] * 6
    assert by_stage(built, TransferSpec(backbone_lr=0.02), 0.1) == [0.02] * 5 + [0.1]
    decay = TransferSpec(layer_decay=0.5)
    assert by_stage(built, decay, 0.32) == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
    finer = {name: min(place, 3) for place, (name, _) in enumerate(built.module.named_parameters())}
    rates = learning_rates(replace(built, depths=finer), decay, 0.32)
    assert list(rates.values())[:5] == pytest.approx([0.04, 0.08, 0.16, 0.32, 0.32])


def test_each_rate_is_a_group_or_two_the_head_s_first() -> None:
    module = network().module
    for parameter in module[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    rates = {name: 1.0 + NAMES.index(name.split(".")[0]) for name, _ in module.named_parameters()}
    groups = rated_groups(module, rates, weight_decay=0.1)
    assert [group["lr"] for group in groups] == [6, 6, 5, 5, 4, 4, 3, 3, 2, 2]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.1] * 5
    assert [len(group["params"]) for group in groups] == [1, 1] + [3, 1] * 4  # type: ignore[arg-type]
    module.requires_grad_(False)
    with pytest.raises(UsageError, match="nothing is left to train"):
        rated_groups(module, rates, weight_decay=0.1)


def test_recalibrated_statistics_are_the_mean_over_the_batches() -> None:
    built = network()
    plan = plan_freezing(built, TransferSpec(freeze="until:stage1", bn="recalibrate"), epochs=1)
    batches = [torch.randn(6, 3, 8, 8) + shift for shift in (1.0, 3.0)]
    later = state(built, NAMES[1:])
    recalibrate(built.module, plan, batches)
    conv, norm = built.stages["stem"][0][0], built.stages["stem"][0][1]  # type: ignore[index]
    expected = torch.stack([conv(batch).mean((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)
    assert norm.momentum == 0.1
    assert norm.training
    assert changed(later, state(built, NAMES[1:])) == set()


def test_the_table_lists_each_stage() -> None:
    built = network()
    spec = TransferSpec(freeze="until:stage1", backbone_lr=0.5, warmup_epochs=1)
    table = freezing_table(built, plan_freezing(built, spec, epochs=4), spec, OptimSpec(lr=2.0))
    assert table.rows[0] == ("stem", "yes", "frozen", None, 3 * 4 * 9 + 4 + 8)
    assert table.rows[1] == ("stage1", "until epoch 2", "frozen, then batch", 0.5, 4 * 4 * 9 + 4 + 8)
    assert table.rows[5] == ("head", "no", None, 2.0, 15)


def test_a_run_trains_what_is_open_and_keeps_the_rest(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = deep(make_setup(transfer={"freeze": "early", "backbone_lr": 0.001}, train={"epochs": 2}))
    kept = state(setup.built, NAMES[:3])
    fit(setup, new_run(setup), watcher=watched())
    assert changed(kept, state(setup.built, NAMES[:3])) == set()
    rest = state(network(), NAMES[3:])
    assert changed(rest, state(setup.built, NAMES[3:])) == set(rest)


@pytest.mark.parametrize("stop_at", [2, 6])
def test_a_gradual_run_resumed_ends_in_the_weights_of_the_unbroken_one(
    make_setup: MakeSetup, new_run: NewRun, watched: Any, stop_at: int
) -> None:
    fields: dict[str, Any] = {
        "transfer": {"freeze": "gradual", "layer_decay": 0.5, "bn": "recalibrate"},
        "train": {"epochs": 3},
    }
    whole = deep(make_setup(**fields))
    fit(whole, new_run(whole), watcher=watched())
    run, stop = new_run(whole), StopRequest()

    def at(step: int) -> None:
        stop.asked = step == stop_at

    status = fit(deep(make_setup(**fields)), run, watcher=watched(at), stop=stop)
    assert status.state == "interrupted"
    again = deep(make_setup(**fields))
    assert fit(again, run, watcher=watched(), resume=True).state == "finished"
    stored = [r.checkpoints()[-1] / "model.safetensors" for r in (run,)]
    assert stored[0].is_file()
    ends = [state(setup.built, NAMES) for setup in (whole, again)]
    assert changed(*ends) == set()


def test_the_defaults_train_everything_in_the_two_groups_of_before(make_setup: MakeSetup) -> None:
    from ahekit.training.processes import Processes
    from ahekit.training.session import start

    session = start(make_setup(), Processes())
    assert len(session.optimizer.param_groups) == 2
    session.enter_epoch(1)
    assert all(parameter.requires_grad for parameter in session.module.parameters())
    assert all(part.training for part in session.module.modules())
    assert not any(part._forward_pre_hooks for part in session.module.modules())


def test_the_finetune_recipe_starts_from_a_pretrained_network_and_two_rates() -> None:
    spec = RunSpec.model_validate({"recipe": "finetune"})
    assert spec.model.name == "resnet18"
    assert (spec.transfer.backbone_lr, spec.optim.lr) == (6e-4, 3e-3)
    assert RunSpec.model_validate({}).transfer == TransferSpec()


def test_pretrained_weights_are_named_and_counted_in_the_first_table(make_setup: MakeSetup) -> None:
    from ahekit.training.processes import Processes
    from ahekit.training.setup import overview

    weights = LoadedWeights("hub:x/y", 60, (), ("fc.bias", "fc.weight"))
    setup = deep(make_setup())
    setup = replace(setup, built=replace(setup.built, pretrained=lambda: weights), weights=weights)
    rows = {str(row[0]): str(row[1]) for row in overview(setup, Processes()).rows}
    assert rows["pretrained weights"] == "hub:x/y: 60 tensors loaded, 0 missing, 2 unexpected (fc.bias, fc.weight)"
    assert rows["pixels"].startswith("8 px, bilinear, stretch; mean 0.5 0.5 0.5")
