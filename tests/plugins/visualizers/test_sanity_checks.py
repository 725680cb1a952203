"""`--check`: what it says of maps that are known to be good, and of maps that are known to be worthless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit.inspection import sanity_checks as _checks
from ahekit.inspection.targets import choose_target
from ahekit.protocols import VisualizerInput
from ahekit.reporting.style import render_figure
from ahekit.sections import Figure, Visualization

Make = Callable[..., Any]

ONE_MAP = [
    *("gradcam", "gradcam++", "layercam", "saliency", "smoothgrad", "integrated-gradients", "guided-backprop"),
    *("deconvnet", "occlusion", "filter-response"),
]
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 2},
    "integrated-gradients": {"steps": 2},
    "occlusion": {"window": 6, "stride": 6},
}


def bright_net() -> Any:
    """The logit of class 0 grows with the mean of what is above gray; those of the others stay zero."""
    net: Any = nn.Sequential(
        nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3)
    )
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[4].weight.copy_(torch.tensor([[10.0], [0.0], [0.0]]))
        net[4].bias.zero_()
    return net


def spotted(count: int = 4) -> Tensor:
    """Gray images with one bright spot each."""
    images = torch.zeros(count, 3, 12, 12)
    for number in range(count):
        images[number, :, 2 * number : 2 * number + 3, 1:4] = 2.0
    return images


def check(request: VisualizerInput, maps: Callable[[VisualizerInput], Tensor]) -> Visualization:
    """Check a method of its own."""
    target = choose_target(request, "altar")
    figure = Figure("one", "A map", "A map.", lambda canvas: None)
    seen = Visualization({"map": maps(request).numpy()}, (figure,))
    params = _checks.CheckedParams(check=True)
    found: Visualization = _checks.checked(seen, request, params, _checks.Explanation.of_class(target, maps))
    return found


def verdicts(seen: Visualization) -> dict[str, str]:
    return {note.split(":")[0]: note for note in seen.notes}


def test_a_map_of_the_image_alone_is_called_worthless(make_request: Make) -> None:
    looked_at = make_request(bright_net(), aliases={}, images=spotted())

    seen = check(looked_at, lambda request: request.images.abs().sum(1))

    np.testing.assert_allclose(seen.arrays["check_correlations"], 1)
    assert "is 1.00 with the weights down to head" in verdicts(seen)["weights"]
    assert "worthless as evidence, a map that does not change when the weights do" in verdicts(seen)["weights"]


def test_a_map_that_hangs_on_the_weights_is_not(make_request: Make) -> None:
    looked_at = make_request(bright_net(), aliases={}, images=spotted())
    noise = torch.rand(2, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    head = looked_at.model.module[4].weight.detach().clone()

    def maps(request: VisualizerInput) -> Tensor:
        return noise[int(torch.equal(request.model.module.get_parameter("4.weight"), head))]

    seen = check(looked_at, maps)

    assert np.abs(seen.arrays["check_correlations"]).max() < 0.4
    assert "depend on what was learnt" in verdicts(seen)["weights"]


def test_the_right_place_is_told_from_a_wrong_one(make_request: Make) -> None:
    looked_at = make_request(bright_net(), aliases={}, images=spotted())
    right = check(looked_at, lambda request: spotted().sum(1))
    wrong = check(looked_at, lambda request: -spotted().sum(1))
    for curve, better in (("check_deletion", -1), ("check_insertion", 1)):
        by_map, moved, random = right.arrays[curve].mean((1, 2))
        assert better * (by_map - moved) > 0
        assert better * (by_map - random) > 0
    assert (
        "smaller deletion area on 4 of 4 images, a larger insertion area on 4: the score depends on what"
        in (verdicts(right)["deletion and insertion"])
    )
    assert "tell no more than other places" in verdicts(wrong)["deletion and insertion"]


def test_curves_are_the_probability_of_the_class_from_the_image_to_gray(make_request: Make) -> None:
    looked_at = make_request(bright_net(), aliases={}, images=spotted())
    seen = check(looked_at, lambda request: request.images.sum(1))
    whole = torch.softmax(torch.tensor([10 * 9 * 6 / 144, 0.0, 0.0]), 0)[0]
    for curve, end in (("check_deletion", 0), ("check_insertion", -1)):
        np.testing.assert_allclose(seen.arrays[curve][..., end], whole, rtol=1e-5)
    np.testing.assert_allclose(seen.arrays["check_deletion"][..., -1], 1 / 3, rtol=1e-5)


def test_a_map_that_differs_in_place_is_told(make_request: Make) -> None:
    looked_at = make_request(bright_net(), aliases={}, images=spotted())

    def maps(request: VisualizerInput) -> Tensor:
        return request.images.sum(1) * (2 if request.model.module.get_submodule("1").inplace else 1)

    assert "NOT the same maps" in verdicts(check(looked_at, maps))["in place and not in place"]


class Residual(nn.Module):
    """Needs what its rectifier would overwrite."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        rectified: Tensor = self.relu(values)
        return values - rectified


def test_a_network_that_cannot_work_in_place_is_not_compared(make_request: Make) -> None:
    net = bright_net()
    net[1] = Residual()
    seen = check(make_request(net, aliases={}, images=-spotted()), lambda request: request.images.sum(1))
    assert "in place: the network can't work in place" in seen.notes[-1]


@pytest.mark.parametrize("name", ONE_MAP)
def test_every_method_of_one_map_is_checked(make_request: Make, toy: Make, visualize: Make, name: str) -> None:
    looked_at = make_request(toy(inplace=True))
    plain = visualize(name, looked_at, **QUICK.get(name, {}))

    seen = visualize(name, looked_at, check=True, **QUICK.get(name, {}))

    assert not plain.tables
    for array in plain.arrays:
        np.testing.assert_array_equal(seen.arrays[array], plain.arrays[array])
    assert seen.notes[: len(plain.notes)] == plain.notes
    assert seen.arrays["check_stages"].tolist() == ["head", "body"]
    assert seen.arrays["check_maps"].shape == (2, *seen.arrays["map"].shape)
    assert seen.arrays["check_deletion"].shape == seen.arrays["check_insertion"].shape == (3, 3, 21)
    assert "same maps" in verdicts(seen)["in place and not in place"]
    assert [len(table.rows) for table in seen.tables] == [2, 2]
    assert [figure.name for figure in seen.figures[1:]] == [
        f"{seen.figures[0].name}-{what}" for what in ("randomized", "deletion-insertion")
    ]
    # Drawn once of each kind: a map of a layer's size that has a class, one of the pictures' size, one without a class.
    if name in ("gradcam", "saliency", "filter-response"):
        assert all(render_figure(figure).startswith(b"\x89PNG") for figure in seen.figures)


def test_randomized_maps_are_those_of_the_same_filter_and_of_what_the_layer_became(
    make_request: Make, visualize: Make
) -> None:
    seen = visualize("filter-response", make_request(layers=["conv2"]), filter=3, check=True)
    # The head has no say in a filter's mean, the body has.
    assert "down to body randomized, the first that the score depends on" in verdicts(seen)["weights"]
    np.testing.assert_allclose(seen.arrays["check_maps"][0], seen.arrays["map"], rtol=1e-5)
    assert not np.allclose(seen.arrays["check_maps"][1], seen.arrays["map"])


def test_constant_maps_are_not_judged_by_their_weights(make_request: Make) -> None:
    seen = check(make_request(bright_net(), aliases={}, images=spotted()), lambda request: torch.zeros(4, 12, 12))
    assert "constant, so there is nothing to compare" in verdicts(seen)["weights"]
    assert seen.tables[0].rows[0][1] is None


def test_progress_is_told_to_its_end(make_request: Make, visualize: Make) -> None:
    told: list[tuple[int, int]] = []
    visualize("saliency", replace(make_request(), progress=lambda done, total: told.append((done, total))), check=True)
    assert told == [(number, 6) for number in range(1, 7)]
