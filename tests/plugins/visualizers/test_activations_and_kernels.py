"""`activations` and `kernels`, against what the network itself computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ahekit.errors import UsageError
from ahekit.reporting.style import render_figure

Make = Callable[..., Any]


def test_arrays_hold_the_layers_whole_output_although_the_next_op_is_in_place(
    make_request: Make, visualize: Make
) -> None:
    looked_at = make_request(layers=["conv2"])
    module = looked_at.model.module.eval()

    seen = visualize("activations", looked_at)

    expected = module[3][0](module[:3](looked_at.images)).detach().numpy()
    np.testing.assert_allclose(seen.arrays["conv2"], expected, rtol=1e-6)
    assert (seen.arrays["conv2"] < 0).any()


def test_units_come_by_the_mean_of_their_positive_part(make_request: Make, visualize: Make) -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.copy_(torch.tensor([1.0, -5.0, 2.0]))
    looked_at = make_request(net, layers=["0"], aliases={})

    seen = visualize("activations", looked_at, show_units=2)

    assert seen.arrays["0.units"].tolist() == [2, 0, 1]
    assert seen.figures[0].data == {"units": [2, 0]}
    assert "2 of 3 units" in seen.figures[0].title


def test_without_a_layer_every_convolution_is_shown_by_its_alias_where_it_has_one(
    make_request: Make, visualize: Make
) -> None:
    partly = visualize("activations", make_request(aliases={"conv1": "0"}))
    assert {name for name in partly.arrays if not name.endswith(".units")} == {"conv1", "3.0"}

    seen = visualize("activations", make_request())

    assert {name for name in seen.arrays if "." not in name} == {"conv1", "conv2"}
    assert [figure.name for figure in seen.figures] == ["layers"]


def test_layers_left_out_of_the_figure_are_counted(make_request: Make, visualize: Make) -> None:
    seen = visualize("activations", make_request(), show_layers=1)
    assert any("1 of 2 layers looked at" in note for note in seen.notes)


def test_layer_without_maps_is_refused_by_name(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UsageError, match="layer 6 returns 3 numbers an image, not maps; choose one of conv1, conv2"):
        visualize("activations", make_request(layers=["6"]))


@pytest.mark.parametrize("name", ["activations", "kernels", "gradcam", "filter-response"])
def test_network_without_convolutions_is_refused_in_one_line(make_request: Make, visualize: Make, name: str) -> None:
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 3))
    with pytest.raises(UsageError, match="the network has no convolution to look at"):
        visualize(name, make_request(net, aliases={}))


def test_kernels_are_the_weights_of_the_first_convolution(make_request: Make, visualize: Make) -> None:
    looked_at = make_request()

    seen = visualize("kernels", looked_at)

    weights = looked_at.model.module[0].weight
    np.testing.assert_array_equal(seen.arrays["conv1"], weights.detach().numpy())
    norms = weights.detach().flatten(1).norm(dim=1)
    assert seen.figures[0].data["units"] == norms.argsort(descending=True).tolist()


def test_colour_tile_has_gray_at_zero_and_full_colour_at_the_largest_weight() -> None:
    from ahekit_plugins.visualizers.kernels import as_colours

    kernel = np.array([[[2.0]], [[0.0]], [[-1.0]]], dtype=np.float32)
    assert as_colours(kernel).tolist() == [[[1.0, 0.5, 0.25]]]
    assert as_colours(np.zeros((3, 1, 1), np.float32)).tolist() == [[[0.5, 0.5, 0.5]]]


def test_kernels_of_what_is_no_convolution_are_refused(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UsageError, match="layer 6 is a Linear, not a convolution; choose one of conv1, conv2"):
        visualize("kernels", make_request(layers=["6"]))


def test_more_tiles_than_can_be_drawn_are_refused(make_request: Make, visualize: Make) -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 400, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(400, 3))
    with pytest.raises(UsageError, match="show fewer"):
        visualize("activations", make_request(net, layers=["0"], aliases={}), show_units=400)


@pytest.mark.parametrize(("name", "layers"), [("activations", ["conv1"]), ("activations", []), ("kernels", ["conv2"])])
def test_figures_can_be_drawn(make_request: Make, visualize: Make, name: str, layers: list[str]) -> None:
    for figure in visualize(name, make_request(layers=layers)).figures:
        assert render_figure(figure).startswith(b"\x89PNG")
