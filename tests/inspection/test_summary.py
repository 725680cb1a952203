"""A network's layers: shapes, parameters and multiply-adds by hand; nothing left behind."""

from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn

from ahekit.inspection.summary import Layer, ModelSummary, summarize
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit_plugins.models.cnn5 import Cnn5


class Odd(nn.Module):
    """A parameter outside any layer, a layer used twice, one never used, and one that returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 1, groups=2, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.auxiliary = nn.Linear(4, 2)
        self.best = nn.AdaptiveMaxPool2d(1, return_indices=True)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.act(self.stem(images))
        maps = self.twice(self.twice(maps)) * self.scale[:, None, None]
        logits: Tensor = self.head(self.best(maps)[0].flatten(1))
        return logits @ torch.ones(2, 2, dtype=logits.dtype)


def wrapped(module: nn.Module, *, size: int = 8, layers: dict[str, str] | None = None) -> BuiltModel:
    return BuiltModel(
        module=module,
        preprocessing=Preprocessing(size=size),
        stages={"all": (module,)},
        layers=layers or {},
        embed=module,
        split=lambda stage: (module, module),
    )


@pytest.fixture(scope="module")
def cnn5() -> ModelSummary:
    return summarize(Cnn5().build(Cnn5.Params(), num_classes=10, image_size=64))


def by_name(summary: ModelSummary) -> dict[str, Layer]:
    return {layer.name: layer for layer in summary.layers}


def test_cnn5_parameters_and_multiply_adds_by_hand(cnn5: ModelSummary) -> None:
    layers = by_name(cnn5)
    assert cnn5.parameters == sum(layer.parameters for layer in cnn5.layers) == 20_977_930
    # Kernel positions x channels in x channels out x places; a pool quarters the places, a layer doubles channels.
    expected = {"conv1": 9 * 3 * 32 * 64 * 64} | {f"conv{n}": 9 * 32 * 64 * 32 * 32 for n in range(2, 6)}
    expected |= {"fc1": 8192 * 2048, "fc2": 2048 * 1024, "fc3": 1024 * 512, "fc4": 512 * 10}
    assert {name: layers[name].multiply_adds for name in expected} == expected
    assert cnn5.multiply_adds == sum(expected.values()) == 98_440_192
    assert layers["conv2"].parameters == 9 * 32 * 64 + 64
    assert layers["block2.norm"].parameters == 128


def test_cnn5_shapes_and_fields_in_the_order_of_work(cnn5: ModelSummary) -> None:
    assert [layer.name for layer in cnn5.layers[:4]] == ["conv1", "block1.norm", "block1.pool", "conv2"]
    layers = by_name(cnn5)
    shapes = {name: layers[name].shape for name in ("conv1", "block4.pool", "conv5", "block5.flatten", "fc1", "fc4")}
    assert shapes == {
        "conv1": (32, 64, 64),
        "block4.pool": (256, 4, 4),
        "conv5": (512, 4, 4),
        "block5.flatten": (8192,),
        "fc1": (2048,),
        "fc4": (10,),
    }
    assert [layers[f"conv{n}"].receptive_field for n in range(1, 6)] == [(3, 3), (8, 8), (18, 18), (38, 38), (78, 78)]
    assert layers["fc1"].receptive_field == "all"


def test_what_is_not_listed_is_counted(cnn5: ModelSummary) -> None:
    assert cnn5.unlisted == {"ReLU": 8, "Dropout": 4}
    assert asdict(cnn5)["unlisted"] == {"ReLU": 8, "Dropout": 4}


def test_stages_add_up_to_the_whole(cnn5: ModelSummary) -> None:
    assert cnn5.stages["block1"] == 3 * 9 * 32 + 32 + 64
    assert sum(cnn5.stages.values()) == cnn5.parameters


def test_dilated_cnn5_does_65_times_the_work(cnn5: ModelSummary) -> None:
    dilated = summarize(Cnn5().build(Cnn5.Params(pool="dilate"), num_classes=10, image_size=64))
    assert round(dilated.multiply_adds / cnn5.multiply_adds) == 65


def test_an_odd_network_is_told_whole() -> None:
    summary = summarize(wrapped(Odd().double(), layers={"conv1": "stem"}))
    layers = by_name(summary)
    assert list(layers) == ["conv1", "twice", "head", "(network)", "auxiliary"]
    assert layers["conv1"].multiply_adds == 9 * 3 * 4 * 64
    assert layers["twice"].multiply_adds == 2 * (2 * 4 * 64), "two uses of a grouped convolution"
    assert layers["auxiliary"] == Layer("auxiliary", "auxiliary", "Linear", None, 10, 0, None)
    assert (layers["(network)"].parameters, layers["(network)"].multiply_adds) == (4, 2 * 2)
    assert summary.parameters == sum(layer.parameters for layer in summary.layers)
    assert summary.multiply_adds == sum(layer.multiply_adds for layer in summary.layers)
    assert summary.unlisted == {"ReLU": 1, "AdaptiveMaxPool2d": 1}


def test_a_network_of_one_layer_is_told() -> None:
    (layer,) = summarize(wrapped(nn.Conv2d(3, 2, 3), size=16)).layers
    assert layer == Layer("(network)", "", "Conv2d", (2, 14, 14), 56, 9 * 3 * 2 * 14 * 14, (3, 3))


def test_measuring_leaves_the_network_as_it_was() -> None:
    built = Cnn5().build(Cnn5.Params(channels=(2, 2, 2, 2, 2), hidden=(4,)), num_classes=2, image_size=16)
    built.module.train()
    built.module.get_submodule("block2").eval()
    flags = [part.training for part in built.module.modules()]
    state = copy.deepcopy(built.module.state_dict())
    summarize(built)
    assert [part.training for part in built.module.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in built.module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in built.module.modules())
    assert all(parameter.grad is None for parameter in built.module.parameters())


def test_a_network_that_fails_keeps_nothing_either() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Linear(5, 2))
    with pytest.raises(RuntimeError):
        summarize(wrapped(module))
    assert all(part.training and not part._forward_hooks for part in module.modules())
    assert module[0](torch.zeros(1, 3, 8, 8)).shape == (1, 2, 6, 6)
