"""`filter-response`: the source's visualizer, and what its gradient can and can't tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ahekit.errors import SpecError, UnknownNameError, UsageError
from ahekit.reporting.style import render_figure

Make = Callable[..., Any]


def test_the_filters_own_mean_has_a_constant_gradient_and_only_scales_its_map(
    make_request: Make, visualize: Make
) -> None:
    looked_at = make_request(layers=["conv2"])

    seen = visualize("filter-response", looked_at, filter=3)

    expected = np.zeros((3, 5), np.float32)
    expected[:, 3] = 1 / 36  # maps of 6 x 6
    np.testing.assert_allclose(seen.arrays["weights"], expected, rtol=1e-6)
    activation = visualize("activations", looked_at).arrays["conv2"]
    np.testing.assert_allclose(seen.arrays["map"], activation[:, 3] / 36 / 5, rtol=1e-5)
    assert "constant gradient" in seen.notes[0]


def test_gradient_at_the_pixels_is_that_of_the_mean_of_each_image_alone(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["conv2"])
    module = looked_at.model.module.eval()
    image = looked_at.images[1:2].clone().requires_grad_()
    module[3][0](module[:3](image))[0, 2].mean().backward()
    module.zero_grad(set_to_none=True)

    seen = visualize("filter-response", looked_at, filter=2)

    assert image.grad is not None
    np.testing.assert_allclose(seen.arrays["pixel_gradient"][1], image.grad[0].abs().amax(0).numpy(), rtol=1e-5)
    assert np.ptp(seen.arrays["pixel_gradient"][1]) > 0


def test_earlier_layers_maps_are_weighted_by_their_pooled_gradient(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["conv2"])
    module = looked_at.model.module.eval()
    first = module[0](looked_at.images).detach().requires_grad_()
    module[3][0](module[2](torch.relu(first)))[:, 1].mean((1, 2)).sum().backward()
    assert first.grad is not None
    expected = (first.grad.mean((2, 3), keepdim=True) * first.detach()).sum(1).numpy()

    seen = visualize("filter-response", looked_at, filter=1)

    np.testing.assert_allclose(seen.arrays["earlier"], expected, rtol=1e-4, atol=1e-7)


def test_default_filter_is_the_most_active_of_each_image(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["conv2"])
    activation = visualize("activations", looked_at).arrays["conv2"]
    seen = visualize("filter-response", looked_at)
    assert seen.arrays["filters"].tolist() == activation.mean((2, 3)).argmax(1).tolist()


def test_all_filters_at_once_are_what_each_is_alone(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["conv2"])
    together = visualize("filter-response", looked_at, filter="all").arrays["maps"]
    for number in range(5):
        alone = visualize("filter-response", looked_at, filter=number).arrays["maps"]
        np.testing.assert_allclose(together[:, number], alone[:, number], rtol=1e-6)


def test_logit_as_scalar_weights_by_what_the_class_depends_on(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["3.2"])

    seen = visualize("filter-response", looked_at, scalar="logit", target="vault")

    # Behind the last ReLU there is only the mean over 6 x 6 places and the linear layer.
    weight = looked_at.model.module[6].weight.detach().numpy()[2]
    np.testing.assert_allclose(seen.arrays["weights"], np.tile(weight / 36, (3, 1)), rtol=1e-5)
    assert not seen.notes


def test_one_filters_share_of_a_logit_leaves_the_others_out(make_request: Make, visualize: Make) -> None:
    seen = visualize("filter-response", make_request(layers=["conv2"]), scalar="logit", filter=4)
    assert not seen.arrays["maps"][:, :4].any()
    assert seen.arrays["maps"][:, 4].any()


def test_all_filters_come_from_the_most_active(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["conv2"])
    activation = visualize("activations", looked_at).arrays["conv2"]
    seen = visualize("filter-response", looked_at, filter="all", show_units=3)
    assert seen.figures[0].data["filters"] == np.argsort(-activation.mean((0, 2, 3)))[:3].tolist()


def test_in_place_and_out_of_place_networks_respond_alike(make_request: Make, toy: Make, visualize: Make) -> None:
    one = visualize("filter-response", make_request(toy(inplace=True), layers=["conv1"]), filter=0)
    other = visualize("filter-response", make_request(toy(inplace=False), layers=["conv1"]), filter=0)
    for name, array in one.arrays.items():
        np.testing.assert_allclose(array, other.arrays[name], rtol=1e-6, err_msg=name)


def test_gray_images_and_odd_sides_are_taken(make_request: Make, visualize: Make) -> None:
    gray = np.repeat(np.random.default_rng(1).integers(0, 256, (1, 13, 9, 1)), 3, axis=3).astype(np.uint8)
    seen = visualize("filter-response", make_request(pixels=gray, layers=["conv2"]))
    assert seen.arrays["map"].shape == (1, 6, 4)
    assert render_figure(seen.figures[0]).startswith(b"\x89PNG")


def test_first_convolution_has_no_earlier_one(make_request: Make, visualize: Make) -> None:
    assert "earlier" not in visualize("filter-response", make_request(layers=["conv1"])).arrays


def test_unknown_filter_is_one_clear_line(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UsageError, match="layer conv2 has 5 filters, 0 to 4; there is no filter 5"):
        visualize("filter-response", make_request(layers=["conv2"]), filter=5)
    with pytest.raises(SpecError, match="filter"):
        visualize("filter-response", make_request(layers=["conv2"]), filter=-1)


def test_unknown_class_names_those_there_are(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UnknownNameError, match="did you mean altar"):
        visualize("filter-response", make_request(), scalar="logit", target="alta")


def test_all_and_logit_figures_can_be_drawn(make_request: Make, visualize: Make) -> None:
    for params in ({"filter": "all"}, {"scalar": "logit"}, {"scalar": "logit", "filter": "all"}):
        seen = visualize("filter-response", make_request(layers=["conv2"]), **params)
        assert render_figure(seen.figures[0]).startswith(b"\x89PNG")
