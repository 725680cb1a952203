"""timm's CNNs: stages that really are the network, preprocessing, heads, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ahekit.errors import SpecError, UnknownNameError, UsageError
from ahekit.inspection.summary import summarize
from ahekit.protocols import BuiltModel, ModelPlugin
from ahekit.registry import MODELS
from ahekit.validation import validate
from ahekit_plugins.models.googlenet import GoogLeNet
from ahekit_plugins.models.timm_family.family import TimmFamily

SIZES = {
    "resnet18": 64,
    "vgg11_bn": 32,
    "inception_v3": 80,
    "mobilenetv3_small_100": 64,
    "tf_efficientnet_lite0": 64,
    "convnext_atto": 64,
    "googlenet": 64,
}
NECKS = {"vgg11_bn", "mobilenetv3_small_100", "tf_efficientnet_lite0", "convnext_atto"}


def plugin(name: str) -> ModelPlugin:
    found: ModelPlugin | None = GoogLeNet() if name == "googlenet" else TimmFamily().resolve(name)
    assert found is not None
    return found


def built(name: str, *, size: int | None = None, classes: int = 10, **params: Any) -> BuiltModel:
    torch.manual_seed(0)
    model = plugin(name)
    given = model.Params(**{"weights": "none", **params})
    built = model.build(given, num_classes=classes, image_size=size or SIZES[name])
    assert isinstance(built, BuiltModel)
    return built


def images(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SIZES)
def test_cut_before_any_stage_the_two_parts_are_the_network(name: str) -> None:
    model, batch = built(name), images(SIZES[name])
    model.module.eval()
    with torch.no_grad():
        whole = model.module(batch)
        assert whole.shape == (2, 10)
        for stage in model.stages:
            prefix, suffix = model.split(stage)
            middle = prefix(batch)
            before = middle.clone()
            assert torch.equal(suffix(middle), whole)
            assert torch.equal(middle, before), "a suffix that changes its input would spoil a cache of it"


@pytest.mark.parametrize("name", SIZES)
def test_stages_are_few_ordered_and_hold_every_parameter_once(name: str) -> None:
    model = built(name)
    names = list(model.stages)
    assert names[:4] == ["stem", "stage1", "stage2", "stage3"]
    assert names[-1] == "head"
    assert ("neck" in names) == (name in NECKS)
    assert 5 <= len(names) <= 8
    held = [id(p) for units in model.stages.values() for unit in units for p in unit.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.module.parameters())
    for alias, path in model.layers.items():
        assert isinstance(model.module.get_submodule(path), nn.Module), alias
    assert model.layers["head"] == "head"


def test_the_aliases_are_stages_and_the_backbone_s_own_names() -> None:
    layers = built("resnet18").layers
    assert layers["stage4"] == layers["layer4"] == "backbone.layer4"
    assert layers["conv1"] == "backbone.conv1"
    assert layers["fc"] == "head.linear"


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_the_embedding_is_what_the_head_sees(name: str) -> None:
    model, batch = built(name), images(SIZES[name])
    model.module.eval()
    embedding = model.embed(batch)
    assert embedding.shape == (2, 512 if name == "resnet18" else 1024)
    assert torch.equal(model.module.get_submodule("head")(embedding), model.module(batch))


def test_googlenet_returns_logits_in_train_mode_too() -> None:
    model = built("googlenet").module.train()
    assert isinstance(model(images(64)), Tensor)
    assert not [path for path, _ in model.named_modules() if "aux" in path]


def test_a_network_that_is_no_chain_of_its_modules_has_one_stage_and_a_head() -> None:
    model = built("hrnet_w18_small", size=64)
    assert list(model.stages) == ["backbone", "head"]
    model.module.eval()
    prefix, suffix = model.split("head")
    with torch.no_grad():
        assert torch.equal(suffix(prefix(images(64))), model.module(images(64)))


def test_pixels_are_prepared_as_the_weights_were_trained() -> None:
    own = built("tf_efficientnet_lite0", size=64).preprocessing
    assert (own.size, own.mean, own.std) == (64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (own.interpolation, own.fit, own.crop_fraction) == ("bicubic", "crop", 0.875)
    tagged = built("resnet18", tag="tv_in1k").preprocessing
    assert (tagged.interpolation, tagged.mean) == ("bilinear", (0.485, 0.456, 0.406))
    assert plugin("inception_v3").image_size == 299


def test_the_mlp_head_has_a_hidden_layer_and_dropout_before_each() -> None:
    head = built("resnet18", head="mlp", hidden=32, dropout=0.3, classes=4).module.get_submodule("head")
    assert [type(part) for part in head.children()] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [tuple(p.shape) for p in head.parameters()] == [(32, 512), (32,), (4, 32), (4,)]
    assert {part.p for part in head.modules() if isinstance(part, nn.Dropout)} == {0.3}


def test_drop_path_reaches_the_network_and_is_refused_where_there_is_none() -> None:
    parts = built("tf_efficientnet_lite0", drop_path=0.2).module.modules()
    assert max(getattr(part, "drop_prob", 0) for part in parts) > 0
    for name in ("vgg11_bn", "googlenet"):
        with pytest.raises(UsageError, match="has no residual blocks to skip"):
            built(name, drop_path=0.2)


def test_a_deep_copy_is_whole_and_its_own() -> None:
    model = built("resnet18")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter.zero_()
    assert twin.split("head")[0](images(64)).abs().sum() == 0
    assert twin.embed(images(64)).abs().sum() == 0
    assert model.embed(images(64)).abs().sum() > 0


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s32_224", "mobilevit_xxs", "botnet26t_256"])
def test_what_is_no_cnn_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is no CNN classifier") as refused:
        built(name, size=224 if name.endswith("224") else 256)
    assert "\n" not in str(refused.value)


def test_an_image_too_small_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="inception_v3 can't take images of 32 x 32 pixels") as refused:
        built("inception_v3", size=32)
    assert "\n" not in str(refused.value)


def test_an_unknown_tag_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="no tag named 'a9_in1k'; did you mean a3_in1k or a2_in1k or a1_in1k"):
        built("resnet18", tag="a9_in1k")
    with pytest.raises(UnknownNameError, match="googlenet has one set of weights"):
        built("googlenet", tag="x")


def test_the_registry_finds_timm_names_and_near_ones() -> None:
    assert MODELS.get("resnet18").image_size == MODELS.get("timm/resnet18").image_size == 224
    assert MODELS.get("resnet18.tv_in1k").image_size == 224
    with pytest.raises(UnknownNameError, match="no model named 'resnet19'; did you mean resnet"):
        MODELS.get("resnet19")


def test_weights_are_a_known_word_or_a_file_of_weights() -> None:
    for right in ("hub", "none", "x.safetensors", "folder/x.pth", "package:a"):
        validate(GoogLeNet.Params, {"weights": right})
    with pytest.raises(SpecError, match=r"weights: must match pattern"):
        validate(GoogLeNet.Params, {"weights": "imagenet"})


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv3_small_100", "tf_efficientnet_lite0", "convnext_atto", "googlenet"]
)
def test_the_suggestions_say_what_the_networks_are(name: str) -> None:
    suggested = [suggestion for entry in MODELS.entries() for suggestion in entry.suggested()]
    (told,) = [suggestion for suggestion in suggested if suggestion.name == name]
    summary = summarize(built(name, size=told.image_size))
    assert (summary.parameters, summary.multiply_adds) == (told.parameters, told.multiply_adds)
    assert plugin(name).image_size == told.image_size
