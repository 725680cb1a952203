"""Whatever a visualizer does or meets, the network is afterwards as it was before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ahekit.protocols import BuiltModel, VisualizerInput
from ahekit.registry import MODELS, VISUALIZERS

Make = Callable[..., Any]

NAMES = VISUALIZERS.names()
PARAMS: dict[str, dict[str, Any]] = {"class-image": {"steps": 2}, "units": {"steps": 2}}
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
def test_success_leaves_no_trace(given: Make, visualize: Make, name: str) -> None:
    looked_at = given()
    disturb(looked_at.model.module)
    before, images = state_of(looked_at.model.module), looked_at.images.clone()

    visualize(name, looked_at, **PARAMS.get(name, {}))

    assert state_of(looked_at.model.module) == before
    assert torch.equal(looked_at.images, images)
    assert not looked_at.images.requires_grad


@pytest.mark.parametrize("place", ["first", "second", "backward"])
@pytest.mark.parametrize("name", NAMES)
def test_exception_leaves_no_trace(given: Make, toy: Make, visualize: Make, name: str, place: str) -> None:
    module = toy()
    module.insert(3, Failing({"first": 0, "second": 1, "backward": 0}[place], backward=place == "backward"))
    layers = ["conv1"] if name in GRADIENTS_END_AT_THE_LAYER else []
    looked_at = given(module, aliases={"conv1": "0", "conv2": "4.0"}, layers=layers)
    disturb(module)
    before = state_of(module)
    spared = {"first": NO_FORWARD, "second": NO_FORWARD | ONE_FORWARD, "backward": NO_BACKWARD}[place]

    if name in spared:
        visualize(name, looked_at, **PARAMS.get(name, {}))
    else:
        with pytest.raises(Boom):
            visualize(name, looked_at, **PARAMS.get(name, {}))

    assert state_of(module) == before


def small_models() -> dict[str, Callable[[], BuiltModel]]:
    def cnn5(**params: Any) -> BuiltModel:
        plugin = MODELS.get("cnn5")
        return plugin.build(plugin.Params(channels=(4, 6, 8), hidden=(8,), **params), num_classes=3, image_size=12)

    def timm(name: str) -> BuiltModel:
        plugin = MODELS.get(f"timm/{name}")
        return plugin.build(plugin.Params(weights="none"), num_classes=3, image_size=32)

    return {
        "cnn5": cnn5,
        "cnn5-blur-group": lambda: cnn5(pool="blur", norm="group"),
        "timm-resnet": lambda: timm("test_resnet"),
        "timm-efficientnet": lambda: timm("test_efficientnet"),
    }


@pytest.mark.parametrize("family", list(small_models()))
@pytest.mark.parametrize("name", NAMES)
def test_every_model_family_is_looked_into_without_a_trace(
    given: Make, visualize: Make, name: str, family: str
) -> None:
    built = small_models()[family]()
    size = built.preprocessing.size
    looked_at: VisualizerInput = given(images=torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)))
    looked_at = replace(looked_at, model=built)
    before = state_of(built.module)
    if name in ("guided-backprop", "deconvnet") and family == "timm-efficientnet":
        with pytest.raises(Exception, match="no ReLU module"):
            visualize(name, looked_at)
    else:
        seen = visualize(name, looked_at, **PARAMS.get(name, {}))
        assert seen.figures
    assert state_of(built.module) == before
