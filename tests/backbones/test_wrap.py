"""Anybody's network as a model: its stages compute the very numbers of the network, or it isn't cut there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from ahekit.backbones.wrap import wrap
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.spec import TransferSpec
from ahekit.training.freezing import plan_freezing

SIZE = 32


class Functional(nn.Module):
    """As most tutorials write one: what has no weights stands in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.fc = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.conv2(functional.relu(self.conv1(images))))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


class EndsInLogSoftmax(Functional):
    def forward(self, images: Tensor) -> Tensor:
        return functional.log_softmax(super().forward(images), dim=1)


class DropsOutEarly(nn.Module):
    """A chain of its children in eval mode alone: its dropout stands elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.fc = nn.Linear(6, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.flat(self.pool(self.conv(self.drop(images)))))
        return logits


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 3),
    )


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(6, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, num_classes=3)


RESNET = ["conv1", "layer1", "layer2", "layer3", "layer4", "head"]
NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str], int]] = {
    "sequential": (sequential, ["stage1", "stage2", "head"], 8),
    "lazy": (lazy, ["stage1", "head"], 6 * 30 * 30),
    "functional": (Functional, ["backbone", "head"], 8),
    "log-softmax": (EndsInLogSoftmax, ["backbone"], 3),
    "early-dropout": (DropsOutEarly, ["backbone", "head"], 6),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3)), ["head"], 3),
    # Between body and head: flatten; pool and flatten; the mean; nothing, but flatten at the end.
    "resnet18": (of_torchvision("resnet18"), RESNET, 512),
    "mobilenet_v2": (of_torchvision("mobilenet_v2"), [*(f"stage{n}" for n in range(1, 20)), "head"], 1280),
    "mnasnet0_5": (of_torchvision("mnasnet0_5"), [*(f"stage{n}" for n in range(1, 11)), "head"], 1280),
    "squeezenet1_1": (of_torchvision("squeezenet1_1"), [*(f"stage{n}" for n in range(1, 10)), "head"], 512),
}


def wrapped(name: str) -> BuiltModel:
    torch.manual_seed(0)
    return wrap(NETWORKS[name][0](), preprocessing=Preprocessing(size=SIZE))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_stages_are_found_and_compute_what_the_network_computes(name: str) -> None:
    _, stages, width = NETWORKS[name]
    model = wrapped(name)
    assert list(model.stages) == stages
    held = [id(p) for units in model.stages.values() for unit in units for p in unit.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in model.module.parameters())
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    model.module.eval()
    with torch.no_grad():
        logits = model.module(images)
        for stage in stages:
            prefix, suffix = model.split(stage)
            assert torch.equal(suffix(prefix(images)), logits)
        assert model.embed(images).shape == (2, width)


@pytest.mark.parametrize("name", ["sequential", "functional", "log-softmax", "resnet18"])
def test_the_network_computes_what_it_did_before_and_nothing_of_it_moved(name: str) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name][0]().train()
    before = copy.deepcopy(module)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    random = torch.get_rng_state()
    model = wrap(module, preprocessing=Preprocessing(size=SIZE))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(part.training for part in model.module.modules())
    tensors = [state.values() for state in (before.state_dict(), model.module.state_dict())]
    assert all(torch.equal(old, new) for old, new in zip(*tensors, strict=True))
    with torch.no_grad():
        assert torch.equal(model.module.eval()(images), before.eval()(images))


def test_dropout_before_the_last_layer_goes_with_the_head_and_norms_with_their_convolution() -> None:
    kinds = {name: [type(unit) for unit in units] for name, units in wrapped("sequential").stages.items()}
    assert kinds["stage1"] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert kinds["head"] == [nn.Dropout, nn.Linear]


def test_convolutions_and_linear_layers_are_numbered_and_a_modules_own_name_stays_its_own() -> None:
    assert dict(wrapped("sequential").layers) == {"conv1": "0", "conv2": "4", "fc1": "9"}
    functional_layers = dict(wrapped("functional").layers)
    assert functional_layers["conv2"] == "backbone.conv2"
    assert functional_layers["fc1"] == "head"

    class Odd(nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.conv2 = nn.Conv2d(3, 4, 3)
            self.conv1 = nn.Conv2d(4, 5, 3)
            self.flat = nn.Flatten()
            self.fc = nn.LazyLinear(3)

    layers = wrap(Odd(), preprocessing=Preprocessing(size=8)).layers
    assert dict(layers) == {"fc1": "fc"}, "conv1 and conv2 are paths, and mean the modules of these names"


@pytest.mark.parametrize(("name", "frozen"), [("resnet18", RESNET[:3]), ("sequential", ["stage1"])])
def test_early_stages_can_be_frozen(name: str, frozen: list[str]) -> None:
    plan = plan_freezing(wrapped(name), TransferSpec.model_validate({"freeze": "early"}), epochs=3)
    assert [stage for stage, opens in plan.opens.items() if opens is None][: len(frozen)] == frozen


def test_a_deep_copy_is_whole_and_its_own() -> None:
    model: Any = wrapped("functional")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter.zero_()
    images = torch.ones(1, 3, SIZE, SIZE)
    assert twin.embed(images).abs().sum() == twin.split("head")[1](twin.embed(images)).abs().sum() == 0
    assert model.embed(images).abs().sum() > 0


def test_what_the_network_raises_on_images_of_the_size_is_raised() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), preprocessing=Preprocessing(size=8))
