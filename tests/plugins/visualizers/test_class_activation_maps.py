"""`gradcam`, `gradcam++`, `layercam`: by hand on a network of one weight a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ahekit.errors import UnknownNameError, UsageError
from ahekit.reporting.style import render_figure
from ahekit_plugins.visualizers import cams

Make = Callable[..., Any]


def one_by_one_net() -> Any:
    """Channel c of the convolution is colour c; the logit of class 0 is 4 mean(red) - 8 mean(green)."""
    net: Any = nn.Sequential(
        nn.Conv2d(3, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, False)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[:, :, None, None])
        net[3].weight.zero_()
        net[3].weight[0, 0], net[3].weight[0, 1] = 4.0, -8.0
    return net


RED = [[1.0, 2.0], [3.0, 0.0]]
GREEN = [[0.0, 1.0], [1.0, 0.0]]
IMAGE = torch.tensor([[RED, GREEN, [[9.0, 9.0], [9.0, 9.0]]]])


def test_gradcam_by_hand(make_request: Make, visualize: Make) -> None:
    seen = visualize("gradcam", make_request(one_by_one_net(), aliases={}, images=IMAGE), target="altar")
    # Gradients are 4/4 and -8/4 at each of the four places: the map is relu(1 red - 2 green).
    assert seen.arrays["map"].tolist() == [[[1.0, 0.0], [1.0, 0.0]]]


def test_gradcam_plus_plus_by_hand(make_request: Make, visualize: Make) -> None:
    seen = visualize("gradcam++", make_request(one_by_one_net(), aliases={}, images=IMAGE), target="altar")
    # Red: g = 1, alpha = 1 / (2 + 6), its weight the sum over four places: 1/2. Green's gradient is negative.
    assert seen.arrays["map"].tolist() == [[[0.5, 1.0], [1.5, 0.0]]]


def test_gradcam_plus_plus_where_gradients_differ_from_place_to_place() -> None:
    activation, gradient = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0], [2.0, -1.0]]]])
    # The activation adds up to 6: alpha is 1 / (2 + 6 x 1) and 4 / (8 + 6 x 8); negative gradients don't count.
    weight = 1 / 8 * 1 + 4 / 56 * 2
    expected = weight * activation[:, 0]
    torch.testing.assert_close(cams.gradcam_plus_plus(activation, gradient), expected)


def test_layercam_by_hand(make_request: Make, visualize: Make) -> None:
    seen = visualize("layercam", make_request(one_by_one_net(), aliases={}, images=IMAGE), target="altar")
    assert seen.arrays["map"].tolist() == [RED]


def test_alpha_without_gradient_is_no_division_by_zero() -> None:
    zero = torch.zeros(1, 2, 2, 2)
    assert cams.gradcam_plus_plus(zero, zero).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_map_that_is_zero_everywhere_is_told(make_request: Make, visualize: Make) -> None:
    seen = visualize("gradcam", make_request(one_by_one_net(), aliases={}, images=IMAGE), target="vault")
    assert not seen.arrays["map"].any()
    assert seen.notes == ("1 of 1 maps are zero everywhere: nothing at 0 speaks for the score",)


@pytest.mark.parametrize("name", ["gradcam", "gradcam++", "layercam"])
def test_in_place_networks_have_the_same_maps(make_request: Make, toy: Make, visualize: Make, name: str) -> None:
    one = visualize(name, make_request(toy(inplace=True), layers=["conv2"])).arrays["map"]
    other = visualize(name, make_request(toy(inplace=False), layers=["conv2"])).arrays["map"]
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_target_against_a_class_is_the_difference_of_logits(make_request: Make, visualize: Make) -> None:
    from ahekit.inspection.targets import choose_target

    looked_at = make_request()
    target = choose_target(looked_at, "vs:vault")
    logits = target.logits
    for index, row in enumerate(logits):
        order = row.argsort(descending=True).tolist()
        rival = order[1] if order[0] == 2 else 2
        assert int(target.of[index]) == order[0]
        torch.testing.assert_close(target.score(logits)[index], row[order[0]] - row[rival])
    assert "against" in target.label(0)[1]


def test_target_is_taken_in_any_known_spelling_and_refused_by_name(make_request: Make, visualize: Make) -> None:
    one = visualize("gradcam", make_request(), target="inner dome").arrays["map"]
    other = visualize("gradcam", make_request(), target="dome_inner").arrays["map"]
    np.testing.assert_array_equal(one, other)
    for wrong in ("dom", "vs:dom"):
        with pytest.raises(UnknownNameError, match="no class named 'dom'"):
            visualize("gradcam", make_request(), target=wrong)


def test_true_target_needs_labels(make_request: Make, visualize: Make) -> None:
    assert visualize("gradcam", make_request(labels=[2, 1, 0]), target="true").arrays["map"].shape == (3, 6, 6)
    with pytest.raises(UsageError, match=r"test/1\.png: its true class isn't known"):
        visualize("gradcam", make_request(labels=[0, -1, 0]), target="true")


def test_without_a_layer_the_maps_that_the_classifier_reads_are_taken(make_request: Make, visualize: Make) -> None:
    looked_at = make_request()
    (figure,) = visualize("gradcam", looked_at).figures
    assert figure.title.startswith("Grad-CAM of 3:")  # the block that ends in a rectifier, not the mean behind it
    np.testing.assert_array_equal(
        visualize("gradcam", looked_at).arrays["map"], visualize("gradcam", make_request(layers=["3.2"])).arrays["map"]
    )


def test_several_layers_are_refused(make_request: Make, visualize: Make) -> None:
    with pytest.raises(UsageError, match="choose one of conv1, conv2"):
        visualize("gradcam", make_request(layers=["conv1", "conv2"]))


def test_figure_names_layer_class_and_images(make_request: Make, visualize: Make) -> None:
    figure = visualize("layercam", make_request(layers=["conv1"]), target="vault").figures[0]
    assert figure.title == "LayerCAM of conv1: score of vault, 3 images"
    assert render_figure(figure).startswith(b"\x89PNG")
