"""The maps against captum's, on networks without anything in place, which captum's hooks would not survive."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from torch import Tensor, nn

from ahekit.models import build_component
from ahekit.protocols import VisualizerInput

Make = Callable[..., Any]

CLASS = 1  # dome_inner


def cnn5() -> nn.Module:
    return build_component("cnn5", {"channels": (4, 6, 8), "hidden": (8,)}, num_classes=3, image_size=12).built.module


@pytest.fixture(params=["toy", "cnn5"])
def looked_at(request: pytest.FixtureRequest, make_request: Make, toy: Make) -> VisualizerInput:
    torch.manual_seed(1)
    module, layers = (toy(inplace=False), "3.0") if request.param == "toy" else (cnn5(), "block3.conv")
    made: VisualizerInput = make_request(module.eval(), aliases={"last": layers}, layers=["last"])
    return made


@pytest.fixture(autouse=True)
def captum_may_warn() -> Iterator[None]:
    """It warns of the hooks it sets and of inputs that it lets have gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def last(looked_at: VisualizerInput) -> nn.Module:
    return looked_at.model.module.get_submodule(looked_at.layers["last"])


def agree(ours: np.ndarray[Any, Any], theirs: Tensor) -> None:
    expected = theirs.detach().numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_gradcam(looked_at: VisualizerInput, visualize: Make) -> None:
    cam = attr.LayerGradCam(looked_at.model.module, last(looked_at))
    theirs = cam.attribute(looked_at.images, target=CLASS, relu_attributions=True)
    seen = visualize("gradcam", looked_at, target="dome_inner")
    agree(seen.arrays["map"], theirs[:, 0])


def test_gradcam_enlarged(looked_at: VisualizerInput, visualize: Make) -> None:
    cam = attr.LayerGradCam(looked_at.model.module, last(looked_at))
    theirs = cam.attribute(looked_at.images, target=CLASS, relu_attributions=True)
    enlarged = attr.LayerAttribution.interpolate(theirs, (12, 12), interpolate_mode="bilinear")
    agree(visualize("gradcam", looked_at, target="dome_inner").arrays["enlarged"], enlarged[:, 0])


def test_saliency(looked_at: VisualizerInput, visualize: Make) -> None:
    theirs = attr.Saliency(looked_at.model.module).attribute(looked_at.images.clone(), target=CLASS, abs=False)
    seen = visualize("saliency", looked_at, target="dome_inner")
    agree(seen.arrays["gradient"], theirs)
    agree(seen.arrays["map"], theirs.abs().amax(1))


def test_integrated_gradients(looked_at: VisualizerInput, visualize: Make) -> None:
    theirs, gap = attr.IntegratedGradients(looked_at.model.module).attribute(
        looked_at.images,
        baselines=0.0,  # the preprocessing's gray
        target=CLASS,
        n_steps=16,
        method="riemann_middle",
        return_convergence_delta=True,
    )
    seen = visualize("integrated-gradients", looked_at, target="dome_inner", steps=16)
    agree(seen.arrays["attribution"], theirs)
    np.testing.assert_allclose(seen.arrays["gap"], gap.numpy(), atol=1e-5)


def test_guided_backpropagation(looked_at: VisualizerInput, visualize: Make) -> None:
    theirs = attr.GuidedBackprop(looked_at.model.module).attribute(looked_at.images.clone(), target=CLASS)
    agree(visualize("guided-backprop", looked_at, target="dome_inner").arrays["gradient"], theirs)


class UpTo(nn.Module):
    """The network as far as a layer, which is its output."""

    def __init__(self, module: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.module, self.seen = module, {}  # type: ignore[var-annotated]
        layer.register_forward_hook(lambda part, inputs, output: self.seen.update(output=output))

    def forward(self, images: Tensor) -> Tensor:
        self.module(images)
        output: Tensor = self.seen["output"]
        return output


def test_deconvolution(looked_at: VisualizerInput, visualize: Make) -> None:
    seen = visualize("deconvnet", looked_at)
    places = [
        (int(filter), int(row), int(column))
        for filter, (row, column) in zip(seen.arrays["filters"], seen.arrays["places"], strict=True)
    ]
    deconvolution = attr.Deconvolution(UpTo(looked_at.model.module, last(looked_at)))
    theirs = deconvolution.attribute(looked_at.images.clone(), target=places)
    agree(seen.arrays["projection"], theirs)


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 3), (12, 1)])
def test_occlusion(looked_at: VisualizerInput, visualize: Make, window: int, stride: int) -> None:
    theirs = attr.Occlusion(looked_at.model.module).attribute(
        looked_at.images,
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=0.0,
        target=CLASS,
    )
    seen = visualize("occlusion", looked_at, target="dome_inner", window=window, stride=stride)
    agree(seen.arrays["map"], theirs[:, 0])
