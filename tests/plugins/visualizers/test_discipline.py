"""Whatever a visualizer does or meets, the network is afterwards as it was before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit import visualizing
from ahekit.errors import UsageError
from ahekit.models import build_component
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, NoParams, VisualizerInput
from ahekit.registry import VISUALIZERS
from ahekit.sections import Visualization

Make = Callable[..., Any]

NAMES = VISUALIZERS.names()
PARAMS: dict[str, dict[str, Any]] = {"class-image": {"steps": 2}, "units": {"steps": 2}}
PARAMS |= {
    "smoothgrad": {"samples": 2},
    "integrated-gradients": {"steps": 2},
    "occlusion": {"window": 12, "stride": 12},
}
CHECKED = [name for name in NAMES if "check" in VISUALIZERS.get(name).Params.model_fields]
NO_FORWARD = {"kernels"}
ONE_FORWARD = {"activations", "deconvnet"}
NO_BACKWARD = {"kernels", "activations", "occlusion", "embedding"}
GRADIENTS_END_AT_THE_LAYER = {"gradcam", "gradcam++", "layercam"}
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)


class Boom(Exception):
    """Raised in the middle of the network."""


class _FailingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise Boom


class Failing(nn.Module):
    """Lets some forward passes through, then fails; or fails on the way back."""

    def __init__(self, good_passes: int = 0, *, backward: bool = False) -> None:
        super().__init__()
        self.left, self.backward = good_passes, backward

    def forward(self, values: Tensor) -> Tensor:
        if self.backward:
            result: Tensor = _FailingGradient.apply(values)
            return result
        if not self.left:
            raise Boom
        self.left -= 1
        return values


def state_of(module: nn.Module) -> dict[str, Any]:
    """Everything that a look must leave alone; tensors as bytes."""
    state: dict[str, Any] = {"random": torch.get_rng_state().numpy().tobytes(), "grad": torch.is_grad_enabled()}
    for name, part in module.named_modules():
        state |= {f"{name} {hook}": len(getattr(part, hook)) for hook in HOOKS}
        state |= {f"{name} training": part.training, f"{name} inplace": getattr(part, "inplace", None)}
    for name, parameter in module.named_parameters():
        state[f"{name} requires_grad"] = parameter.requires_grad
        state[f"{name} gradient"] = None if parameter.grad is None else parameter.grad.numpy().tobytes()
    for name, value in module.state_dict().items():
        state[name] = value.numpy().tobytes()
    return state


def disturb(module: nn.Module) -> None:
    """Give flags and gradients values that no default restores by chance."""
    parts = list(module.modules())
    for number, part in enumerate(parts):
        part.training = number % 2 == 0
    for number, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(number % 3 != 0)
        parameter.grad = torch.full_like(parameter, 0.5) if number % 2 else None


@pytest.mark.parametrize("name", NAMES)
def test_success_leaves_no_trace(make_request: Make, visualize: Make, name: str) -> None:
    looked_at = make_request()
    disturb(looked_at.model.module)
    before, images = state_of(looked_at.model.module), looked_at.images.clone()

    visualize(name, looked_at, **PARAMS.get(name, {}))

    assert state_of(looked_at.model.module) == before
    assert torch.equal(looked_at.images, images)
    assert not looked_at.images.requires_grad


@pytest.mark.parametrize("place", ["first", "second", "backward"])
@pytest.mark.parametrize("name", NAMES)
def test_exception_leaves_no_trace(make_request: Make, toy: Make, visualize: Make, name: str, place: str) -> None:
    module = toy()
    module.insert(3, Failing({"first": 0, "second": 1, "backward": 0}[place], backward=place == "backward"))
    layers = ["conv1"] if name in GRADIENTS_END_AT_THE_LAYER else []
    looked_at = make_request(module, aliases={"conv1": "0", "conv2": "4.0"}, layers=layers)
    disturb(module)
    before = state_of(module)
    spared = {"first": NO_FORWARD, "second": NO_FORWARD | ONE_FORWARD, "backward": NO_BACKWARD}[place]

    if name in spared:
        visualize(name, looked_at, **PARAMS.get(name, {}))
    else:
        with pytest.raises(Boom):
            visualize(name, looked_at, **PARAMS.get(name, {}))

    assert state_of(module) == before


class Recorder:
    """Writes down which parts of the network are in training mode while it works."""

    Params = NoParams

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.flags: list[bool] = []

    def visualize(self, request: VisualizerInput, params: NoParams) -> Visualization:
        self.flags = [part.training for part in request.model.module.modules()]
        if self.fails:
            raise Boom
        return Visualization({}, ())


@pytest.mark.parametrize("fails", [False, True])
def test_visualizers_get_the_network_in_eval_mode_and_every_flag_is_restored(make_request: Make, fails: bool) -> None:
    looked_at = make_request()
    disturb(looked_at.model.module)
    before = state_of(looked_at.model.module)
    recorder = Recorder(fails=fails)

    with pytest.raises(Boom) if fails else nullcontext():
        visualizing.visualize(recorder, looked_at, NoParams())

    assert recorder.flags
    assert not any(recorder.flags)
    assert state_of(looked_at.model.module) == before


@pytest.mark.parametrize("name", CHECKED)
def test_checks_leave_no_trace(make_request: Make, visualize: Make, name: str) -> None:
    looked_at = make_request()
    disturb(looked_at.model.module)
    before, images = state_of(looked_at.model.module), looked_at.images.clone()

    seen = visualize(name, looked_at, check=True, **PARAMS.get(name, {}))

    assert seen.tables
    assert state_of(looked_at.model.module) == before
    assert torch.equal(looked_at.images, images)


@pytest.mark.parametrize("good_passes", [2, 3, 9])
def test_exception_in_a_check_leaves_no_trace(make_request: Make, toy: Make, visualize: Make, good_passes: int) -> None:
    module = toy()
    module.insert(3, Failing(good_passes))
    looked_at = make_request(module, aliases={"conv1": "0", "conv2": "4.0"})
    disturb(module)
    module[3].left = good_passes
    before = state_of(module)

    # The third pass is the first score that checks look at, later ones are made on copies and on covered images.
    with pytest.raises(Boom):
        visualize("saliency", looked_at, check=True)

    assert state_of(module) == before


def small_vgg() -> BuiltModel:
    """As timm's family builds it, with few channels: the real ones have 130 million parameters."""
    from timm.models.vgg import VGG

    from ahekit.backbones.build import build
    from ahekit.backbones.params import BackboneParams
    from ahekit_plugins.models.timm_family.family import _ends

    backbone = VGG([4, "M", 6, "M", 8, "M"], num_classes=0, mlp_ratio=0.002)
    params = BackboneParams(weights="none")
    preprocessing = Preprocessing(size=32)
    return build(
        backbone, params, name="vgg", ends=_ends(backbone), preprocessing=preprocessing, num_classes=3, load=None
    )


def registered(name: str, size: int, **params: Any) -> Callable[[], BuiltModel]:
    def build() -> BuiltModel:
        return build_component(name, params, num_classes=3, image_size=size).built

    return build


FAMILIES: dict[str, Callable[[], BuiltModel]] = {
    "cnn5": registered("cnn5", 12, channels=(4, 6, 8), hidden=(8,)),
    "cnn5-blur-group": registered("cnn5", 12, channels=(4, 6, 8), hidden=(8,), pool="blur", norm="group"),
    "resnet": registered("timm/test_resnet", 32, weights="none"),
    "vgg": small_vgg,
    "inception": registered("googlenet", 64, weights="none"),
    "mobilenetv2": registered("timm/mobilenetv2_035", 32, weights="none"),
    "mobilenetv3": registered("timm/mobilenetv3_small_050", 32, weights="none"),
    "efficientnet": registered("timm/test_efficientnet", 32, weights="none"),
    "convnext": registered("timm/test_convnext", 32, weights="none"),
}
WITHOUT_RELU = {"efficientnet", "convnext"}


@cache
def small_model(family: str) -> BuiltModel:
    """Built once: nobody leaves a trace on it, which is what is tested."""
    torch.manual_seed(0)
    return FAMILIES[family]()


def of_family(make_request: Make, family: str, *, count: int = 2) -> VisualizerInput:
    built = small_model(family)
    size = built.preprocessing.size
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    looked_at: VisualizerInput = make_request(images=images)
    return replace(looked_at, model=built)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_family_is_looked_into_without_a_trace(
    make_request: Make, visualize: Make, name: str, family: str
) -> None:
    looked_at = of_family(make_request, family)
    before = state_of(looked_at.model.module)
    if name in ("guided-backprop", "deconvnet") and family in WITHOUT_RELU:
        with pytest.raises(UsageError, match="no ReLU"):
            visualize(name, looked_at)
    else:
        seen = visualize(name, looked_at, **PARAMS.get(name, {}))
        assert seen.figures
    assert state_of(looked_at.model.module) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_every_model_family_is_checked_without_a_trace(make_request: Make, visualize: Make, family: str) -> None:
    looked_at = of_family(make_request, family, count=1)
    before = state_of(looked_at.model.module)

    seen = visualize("gradcam", looked_at, check=True)

    assert seen.arrays["check_stages"].tolist() == list(looked_at.model.stages)[::-1]
    assert np.isfinite(seen.arrays["check_maps"]).all()
    assert "NOT the same" not in seen.notes[-1]
    assert state_of(looked_at.model.module) == before
