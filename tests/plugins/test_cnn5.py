"""cnn5: the published figures, every way of pooling, stages and cuts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ahekit.errors import SpecError, UnknownNameError, UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.validation import validate
from ahekit_plugins.models.cnn5 import Cnn5

POOLS = ["max", "avg", "stride", "blur", "dilate", "none"]
SMALL: dict[str, Any] = {"channels": (4, 8, 8, 8, 12), "hidden": (16, 8)}


def built(*, size: int = 64, classes: int = 10, **params: Any) -> BuiltModel:
    torch.manual_seed(0)
    model: BuiltModel = Cnn5().build(Cnn5.Params(**params), num_classes=classes, image_size=size)
    return model


def images(count: int = 2, *, size: int = 64, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def textbook(twin: nn.Module) -> nn.Sequential:
    """The same network written as the assignment describes it: convolution, norm, ReLU, pooling."""
    layers: list[nn.Module] = []
    for number in range(1, 6):
        parts = [twin.get_submodule(f"block{number}.{name}") for name in ("conv", "norm")]
        layers += [*copy.deepcopy(parts), nn.ReLU()]
        layers += [nn.MaxPool2d(2, 2)] if number < 5 else []
    layers.append(nn.Flatten())
    for name in ("dense1", "dense2", "dense3", "head"):
        layers += [copy.deepcopy(twin.get_submodule(f"{name}.linear")), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_defaults_have_the_published_number_of_parameters() -> None:
    module = built().module
    assert parameters(module) == 20_977_930
    assert module.get_submodule("dense1.linear").in_features == 8192


def test_layers_are_those_of_the_description() -> None:
    model = built()
    layers = {alias: model.module.get_submodule(path) for alias, path in model.layers.items()}
    assert list(layers) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2", "fc3", "fc4"]
    widths = [3, 32, 64, 128, 256, 512]
    for number in range(1, 6):
        conv = layers[f"conv{number}"]
        assert isinstance(conv, nn.Conv2d)
        assert (conv.in_channels, conv.out_channels) == (widths[number - 1], widths[number])
        assert (conv.kernel_size, conv.padding, conv.stride) == ((3, 3), (1, 1), (1, 1))
        assert conv.bias is not None
    assert [layers[f"fc{number}"].out_features for number in range(1, 5)] == [2048, 1024, 512, 10]
    assert [type(part) for part in model.module.get_submodule("block4").children()] == [
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.MaxPool2d,
        nn.ReLU,
    ]


def test_dropout_stands_before_every_fully_connected_layer() -> None:
    parts = [part for part in built(dropout=0.3).module.modules() if not isinstance(part, nn.Sequential)]
    before = [parts[place - 1] for place, part in enumerate(parts) if isinstance(part, nn.Linear)]
    assert [part.p for part in before if isinstance(part, nn.Dropout)] == [0.3] * 4


def test_pooling_before_relu_is_the_textbook_network_in_values_and_gradients() -> None:
    ours = built(dropout=0.0, **SMALL | {"hidden": (16, 8, 8)}).module.double()
    theirs = textbook(ours)
    batch = images(4, dtype=torch.float64)
    results = []
    for module in (ours, theirs):
        given = batch.clone().requires_grad_()
        logits = module(given)
        logits.logsumexp(1).sum().backward()
        gradients = [parameter.grad for parameter in module.parameters()]
        results.append([logits, given.grad, *gradients, *module.buffers()])
    assert len(results[0]) == len(results[1]) == 2 + 28 + 15
    for ours_value, theirs_value in zip(*results, strict=True):
        torch.testing.assert_close(ours_value, theirs_value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("size", [16, 17, 31, 50, 64])
def test_takes_any_image_from_16_pixels(pool: str, size: int) -> None:
    model = built(size=size, pool=pool, classes=3, **SMALL)
    assert model.module(images(2, size=size)).shape == (2, 3)
    assert model.module.eval()(images(1, size=size)).shape == (1, 3)
    assert model.preprocessing == Preprocessing(size=size)


@pytest.mark.parametrize("size", [16, 50, 64])
def test_every_way_of_pooling_has_the_same_parameters(size: int) -> None:
    counts = {parameters(built(size=size, pool=pool, **SMALL).module) for pool in POOLS}
    counts |= {parameters(built(size=size, pool_every=every, **SMALL).module) for every in (2, 3, 4)}
    assert len(counts) == 1


@pytest.mark.parametrize("pool", ["max", "avg", "stride", "blur"])
def test_maps_halve_after_each_convolution_but_the_last(pool: str) -> None:
    maps, sides = images(), []
    for number in range(1, 5):
        maps = built(pool=pool, **SMALL).module.get_submodule(f"block{number}")(maps)
        sides.append(maps.shape[-1])
    assert sides == [32, 16, 8, 4]


def test_pool_every_second_halves_after_the_second_and_fourth_and_averages_the_rest() -> None:
    module = built(pool_every=2, **SMALL).module
    assert [name for name, _ in module.named_modules() if name.endswith("pool")] == ["block2.pool", "block4.pool"]
    assert module.get_submodule("block5.average").output_size == 4
    maps = module[:4](images())  # type: ignore[index]
    assert maps.shape == (2, 8, 16, 16)
    # Averaged over 4x4 tiles of the 16x16 map.
    last = module.get_submodule("block5")
    expected = last[:-2](maps).reshape(2, 12, 4, 4, 4, 4).mean((3, 5)).flatten(1)  # type: ignore[index]
    torch.testing.assert_close(last(maps), expected)


def test_stride_replaces_the_pooling_by_the_convolutions_step() -> None:
    module = built(pool="stride", **SMALL).module
    strides = [part.stride for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert strides == [(2, 2)] * 4 + [(1, 1)]
    assert not [name for name, _ in module.named_modules() if name.endswith("pool")]


def test_dilate_keeps_the_maps_and_doubles_the_dilation() -> None:
    module = built(size=32, pool="dilate", **SMALL).module
    dilations = [part.dilation[0] for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert dilations == [1, 2, 4, 8, 16]
    assert module[:4](images(size=32)).shape == (2, 8, 32, 32)  # type: ignore[index]


@pytest.mark.parametrize("side", [2, 7, 8])
def test_blur_is_a_dense_maximum_under_the_triangle_filter(side: int) -> None:
    maps = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(0))
    triangle = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(triangle, triangle).expand(4, 1, 3, 3)
    dense = functional.pad(functional.max_pool2d(maps, 2, stride=1), (1, 1, 1, 1), mode="replicate")
    expected = functional.conv2d(dense, kernel, stride=2, groups=4)
    blur = built(pool="blur", **SMALL).module.get_submodule("block1.pool")
    torch.testing.assert_close(blur(maps), expected)


@pytest.mark.parametrize("changes", [{}, {"pool": "dilate"}, {"norm": "none"}, {"hidden": ()}, {"pool_every": 3}])
def test_stages_hold_every_parameter_once_and_can_be_cut_apart(changes: dict[str, Any]) -> None:
    model = built(size=32, **SMALL | changes)
    held = [id(p) for stage in model.stages.values() for part in stage for p in part.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in model.module.parameters())
    model.module.eval()
    batch = images(size=32)
    whole = model.module(batch)
    for stage in model.stages:
        prefix, suffix = model.split(stage)
        cut = prefix(batch)
        before = cut.clone()
        assert torch.equal(suffix(cut), whole)
        assert torch.equal(cut, before), "a suffix that changes its input would spoil a cache of it"


def test_stages_run_from_the_first_block_to_the_head() -> None:
    stages = ["block1", "block2", "block3", "block4", "block5", "dense1", "dense2", "dense3", "head"]
    model = built()
    assert list(model.stages) == stages
    assert parameters(model.stages["head"][0]) == 512 * 10 + 10


def test_cutting_at_an_unknown_stage_names_the_stages() -> None:
    with pytest.raises(
        UnknownNameError, match=r"no stage named 'block6'; did you mean .*block5.* Known: block1, block2"
    ):
        built(**SMALL).split("block6")


@pytest.mark.parametrize("hidden", [(), (6,), (16, 8)])
def test_embedding_is_what_the_last_layer_sees(hidden: tuple[int, ...]) -> None:
    model = built(size=16, **SMALL | {"hidden": hidden})
    model.module.eval()
    embedding = model.embed(images(size=16))
    assert embedding.shape == (2, hidden[-1] if hidden else 12)
    last = model.module.get_submodule(model.layers[f"fc{len(hidden) + 1}"])
    assert torch.equal(last(embedding), model.module(images(size=16)))


def test_a_deep_copy_is_whole_and_its_own() -> None:
    model = built(size=16, **SMALL)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter.zero_()
    assert twin.embed(images(size=16)).abs().sum() == 0
    assert twin.split("head")[0](images(size=16)).abs().sum() == 0
    assert model.embed(images(size=16)).abs().sum() > 0


def test_group_norm_trains_on_one_small_image_where_batch_norm_cannot() -> None:
    one = images(1, size=16)
    grouped = built(size=16, norm="group", **SMALL).module
    grouped(one).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in grouped.parameters() if p.grad is not None)
    assert grouped.get_submodule("block5.norm").num_groups == 3  # 12 channels in groups of at least four
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        built(size=16, **SMALL).module(one)


def test_without_norm_there_are_only_convolutions_and_linear_layers_to_train() -> None:
    module = built(norm="none", **SMALL).module
    owners = {type(part) for part in module.modules() if any(True for _ in part.parameters(recurse=False))}
    assert owners == {nn.Conv2d, nn.Linear}


def test_an_image_too_small_for_its_pools_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"halves its images 4 times, so they need at least 16 pixels a side \(got 15\)"
    ):
        built(size=15)
    assert built(size=8, pool_every=2, **SMALL).module(images(size=8)).shape == (2, 10)
    assert built(size=8, pool="dilate", **SMALL).module(images(size=8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"pool": "min"}, "model.params.pool: must be 'max', 'avg', 'stride', 'blur', 'dilate' or 'none' (got 'min')"),
        ({"pool_every": 0}, "model.params.pool_every: must be greater than or equal to 1 (got 0)"),
        (
            {"pool_every": 5},
            "model.params.pool_every: must be less than the number of convolutions, 5: "
            "the last one is never pooled (got 5)",
        ),
        ({"dropout": 1}, "model.params.dropout: must be less than 1 (got 1)"),
        ({"channels": [32, 0]}, "model.params.channels.1: must be greater than 0 (got 0)"),
        ({"hiden": [8]}, "model.params.hiden: no field named 'hiden'; did you mean hidden? Known: "),
    ],
)
def test_impossible_parameters_are_refused_in_one_line(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        validate(Cnn5.Params, values, where="model.params")
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(problem)


def test_one_convolution_needs_no_pool() -> None:
    model = built(size=16, channels=(4,), hidden=(), classes=2)
    assert list(model.layers.values()) == ["block1.conv", "head.linear"]
    assert model.module(images(size=16)).shape == (2, 2)


def test_maps_of_smaller_images_are_stretched_linearly_to_the_grid() -> None:
    flatten = built(**SMALL).module.get_submodule("block5.flatten")
    maps = torch.randn(2, 12, 3, 3)
    expected = functional.interpolate(maps, size=(4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(flatten(maps), expected.flatten(1))
    whole = torch.randn(2, 12, 4, 4)
    assert torch.equal(flatten(whole), whole.flatten(1))


@pytest.mark.parametrize("params", [{}, {"pool": "none"}, {"pool_every": 2}, {"pool": "stride"}])
def test_smaller_training_images_train_the_same_layers(params: dict[str, Any]) -> None:
    module = built(**SMALL, **params).module
    for size in (32, 48):
        module.zero_grad()
        module(images(3, size=size)).logsumexp(1).sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
    with pytest.raises(RuntimeError):  # larger ones are no training images
        built(**SMALL).module(images(1, size=128))
