"""Maps at the pixels: gradients, their rectified kin, and occlusion; by hand on networks of a few weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ahekit.errors import SpecError, UsageError
from ahekit.reporting.style import render_figure

Make = Callable[..., Any]


def weighing_net(weights: list[float]) -> Any:
    """The logit of class 0 is the weighted sum of red's four pixels; no other colour counts."""
    net: Any = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
        net[2].weight.zero_()
        net[2].weight[0] = torch.tensor(weights)
    return net


IMAGE = torch.zeros(1, 3, 2, 2)
IMAGE[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_saliency_is_the_size_of_the_weights(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(weighing_net([1, -2, 0, 3]), aliases={}, images=IMAGE)
    seen = visualize("saliency", looked_at, target="altar")
    assert seen.arrays["map"].tolist() == [[[1.0, 2.0], [0.0, 3.0]]]
    assert seen.arrays["gradient"][0, 0].tolist() == [[1.0, -2.0], [0.0, 3.0]]


def test_smoothgrad_of_a_linear_network_is_its_saliency(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(weighing_net([1, -2, 0, 3]), aliases={}, images=IMAGE)
    seen = visualize("smoothgrad", looked_at, target="altar", samples=3)
    np.testing.assert_allclose(seen.arrays["map"], [[[1, 2], [0, 3]]], rtol=1e-6)


def test_smoothgrad_is_the_mean_over_noisy_copies_and_repeats(make_request: Make, toy: Make, visualize: Make) -> None:
    one, again = (visualize("smoothgrad", make_request(toy()), samples=4).arrays["gradient"] for _ in range(2))
    plain = visualize("saliency", make_request(toy())).arrays["gradient"]
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - plain).max() > 1e-4 * np.abs(plain).max()


def test_integrated_gradients_are_weight_times_distance_from_the_baseline(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(weighing_net([1, -2, 0, 3]), aliases={}, images=IMAGE)
    # The preprocessing maps gray (0.5) to 0 and black to -2.
    gray = visualize("integrated-gradients", looked_at, target="altar", steps=2)
    black = visualize("integrated-gradients", looked_at, target="altar", steps=2, baseline="black")
    np.testing.assert_allclose(gray.arrays["map"], [[[1, -4], [0, 12]]], rtol=1e-6)
    np.testing.assert_allclose(black.arrays["map"], [[[3, -8], [0, 18]]], rtol=1e-6)
    np.testing.assert_allclose(gray.arrays["gap"], [0], atol=1e-5)


def test_integrated_gradients_add_up_to_the_rise(make_request: Make, toy: Make, visualize: Make) -> None:
    looked_at = make_request(toy())
    module = looked_at.model.module.eval()
    seen = visualize("integrated-gradients", looked_at, target="vault", steps=300)
    with torch.no_grad():
        rise = (module(looked_at.images) - module(torch.zeros_like(looked_at.images)))[:, 2].numpy()
    np.testing.assert_allclose(seen.arrays["map"].sum((1, 2)), rise, atol=1e-3)
    np.testing.assert_allclose(seen.arrays["gap"], seen.arrays["map"].sum((1, 2)) - rise, atol=1e-6)


def test_occlusion_is_the_fall_of_the_score(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(weighing_net([1, -2, 0, 3]), aliases={}, images=IMAGE)
    seen = visualize("occlusion", looked_at, target="altar", window=1)
    np.testing.assert_allclose(seen.arrays["map"], [[[1, -4], [0, 12]]], rtol=1e-6)
    whole = visualize("occlusion", looked_at, target="altar", window=2)
    np.testing.assert_allclose(whole.arrays["map"], np.full((1, 2, 2), 9.0), rtol=1e-6)


def test_pixels_under_several_patches_have_the_mean(make_request: Make) -> None:
    from ahekit_plugins.visualizers.occlusion import _starts, spread_over_pixels

    falls = torch.tensor([[[1.0, 3.0]]])
    assert spread_over_pixels(falls, [0], [0, 1], 2, (2, 3)).tolist() == [[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]]
    assert _starts(7, 3, 3) == [0, 3, 4]
    assert _starts(6, 3, 3) == [0, 3]


def test_occlusion_refuses_patches_that_cannot_be(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UsageError, match=r"occlusion\.window: 13 pixels are more than the image's 12"):
        visualize("occlusion", make_request(), window=13)
    with pytest.raises(SpecError, match="never covered"):
        visualize("occlusion", make_request(), window=2, stride=3)


def rectifying_net() -> Any:
    """One ReLU between weights of both signs: class 0 is relu(red) - relu(-red), at each of four pixels."""
    net: Any = nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3, bias=False)
    )
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[0, 0], net[0].weight[1, 0] = 1.0, -1.0
        net[3].weight.zero_()
        net[3].weight[0] = torch.tensor([2.0, 2.0, -2.0, -2.0, 5.0, 5.0, 5.0, 5.0])
    return net


MIXED = torch.zeros(1, 3, 2, 2)
MIXED[0, 0] = torch.tensor([[1.0, -1.0], [1.0, -1.0]])


def test_guided_backpropagation_stops_negative_gradients_and_silent_units(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(rectifying_net(), aliases={}, images=MIXED)
    seen = visualize("guided-backprop", looked_at, target="altar")
    # First pixel: +2 through the first unit. Third: -2 is stopped. Second and fourth: +5 through the unit of -1.
    assert seen.arrays["gradient"][0, 0].tolist() == [[2.0, -5.0], [0.0, -5.0]]
    plain = visualize("saliency", looked_at, target="altar").arrays["gradient"]
    assert plain[0, 0].tolist() == [[2.0, -5.0], [-2.0, -5.0]]


class Rectifies(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.function(values)


def overwritten(values: torch.Tensor) -> torch.Tensor:
    nn.functional.relu(values, inplace=True)
    return values


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        Rectifies(torch.relu),
        Rectifies(torch.relu_),
        Rectifies(overwritten),
        Rectifies(lambda values: values.relu()),
        Rectifies(lambda values: nn.functional.relu(input=values)),
    ],
)
def test_rectifiers_are_met_however_they_are_written(make_request: Make, visualize: Make, relu: nn.Module) -> None:
    net = rectifying_net()
    net[1] = relu
    seen = visualize("guided-backprop", make_request(net, aliases={}, images=MIXED), target="altar")
    assert seen.arrays["gradient"][0, 0].tolist() == [[2.0, -5.0], [0.0, -5.0]]


def test_guided_backpropagation_passes_nothing_where_relu6_is_level(make_request: Make, visualize: Make) -> None:
    net = rectifying_net()
    net[1] = nn.ReLU6(inplace=True)
    images = MIXED.clone()
    images[0, 0, 0] = torch.tensor([7.0, -7.0])
    seen = visualize("guided-backprop", make_request(net, aliases={}, images=images), target="altar")
    assert seen.arrays["gradient"][0, 0].tolist() == [[0.0, 0.0], [0.0, -5.0]]


def test_deconvnet_rectifies_the_gradient_and_ignores_what_was_silent(make_request: Make, visualize: Make) -> None:
    net: Any = nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(2, 1, 1, bias=False), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[0, 0], net[0].weight[1, 0] = 1.0, -1.0
        net[2].weight.copy_(torch.tensor([3.0, 7.0]).view(1, 2, 1, 1))
    image = torch.zeros(1, 3, 2, 2)
    image[0, 0] = torch.tensor([[1.0, 2.0], [-0.5, 0.0]])

    seen = visualize("deconvnet", make_request(net, aliases={}, images=image, layers=["2"]))

    # The second pixel is strongest (3 x 2). Backprop would give 3; the deconvnet lets the silent unit's 7 through.
    assert seen.arrays["places"].tolist() == [[0, 1]]
    assert seen.arrays["projection"][0, 0].tolist() == [[0.0, 3.0 - 7.0], [0.0, 0.0]]


def test_networks_without_relu_are_refused(make_request: Make, visualize: Make) -> None:
    for name in ("guided-backprop", "deconvnet"):
        with pytest.raises(UsageError, match="the network has no ReLU, which this method is defined by"):
            visualize(name, make_request(weighing_net([1, 1, 1, 1]), aliases={}, images=IMAGE))


def test_deconvnet_refuses_unknown_filters(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UsageError, match="layer conv2 has 5 filters, 0 to 4; there is no filter 5"):
        visualize("deconvnet", make_request(), filter=5)


@pytest.mark.parametrize(
    "name", ["saliency", "smoothgrad", "integrated-gradients", "guided-backprop", "deconvnet", "occlusion"]
)
def test_figures_can_be_drawn(make_request: Make, visualize: Make, name: str) -> None:
    (figure,) = visualize(name, make_request()).figures
    assert render_figure(figure).startswith(b"\x89PNG")
