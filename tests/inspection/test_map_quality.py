"""Checks of maps, on networks and maps whose answers are known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit.inspection.map_quality import (
    area,
    blurred,
    in_place_pair,
    moved,
    randomized,
    rank_correlations,
    replacement_curve,
)


class Scale(nn.Module):
    """Holds a parameter and has no way to draw it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(64.0))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.weight.sum()


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Scale(), nn.Flatten(), nn.Linear(16, 2))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_weights_are_randomized_from_the_head_down_and_the_network_keeps_its_own() -> None:
    module = network()
    module[1].running_mean.fill_(3.0)
    before, random = weights(module), torch.get_rng_state()
    stages = {"body": (module[0], module[1], module[2]), "head": (module[4],)}

    steps = [(stage, weights(changed)) for stage, changed in randomized(module, stages)]

    assert [stage for stage, _ in steps] == ["head", "body"]
    head, all_of_them = steps[0][1], steps[1][1]
    assert [name for name in before if not torch.equal(head[name], before[name])] == ["4.weight", "4.bias"]
    assert torch.equal(all_of_them["4.weight"], head["4.weight"])
    assert not torch.equal(all_of_them["0.weight"], before["0.weight"])
    assert not all_of_them["1.running_mean"].any()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_parameters_that_cannot_be_drawn_are_permuted() -> None:
    module = network()
    ((_, changed),) = randomized(module, {"all": tuple(module)})
    permuted = changed.get_parameter("2.weight").detach()
    assert not torch.equal(permuted, torch.arange(64.0))
    assert torch.equal(permuted.sort().values, torch.arange(64.0))


def test_randomization_repeats_by_its_seed() -> None:
    module = network()

    def drawn(seed: int) -> Tensor:
        ((_, changed),) = randomized(module, {"all": tuple(module)}, seed=seed)
        return changed.get_parameter("0.weight").detach()

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_rank_correlation_sees_order_alone() -> None:
    one = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert rank_correlations(one, one**3).tolist() == [pytest.approx(1)]
    assert rank_correlations(one, -one).tolist() == [pytest.approx(-1)]
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 x 4 / (4 x 15).
    assert rank_correlations(one, np.array([[[2.0, 1.0], [9.0, 7.0]]])).tolist() == [pytest.approx(0.6)]


def test_constant_maps_have_no_order_to_share() -> None:
    one, flat = np.array([[[1.0, 2.0]]]), np.zeros((1, 1, 2))
    assert rank_correlations(one, flat).tolist() == [0]
    assert np.isnan(rank_correlations(flat, one)).tolist() == [True]


def total(images: Tensor, index: Tensor) -> Tensor:
    return images.sum((1, 2, 3))


IMAGE = torch.tensor([[[[8.0, 4.0], [2.0, 1.0]]]])


def test_deletion_takes_the_largest_places_first_and_insertion_puts_them_back() -> None:
    plain = torch.zeros_like(IMAGE)
    deletion = replacement_curve(total, IMAGE, plain, IMAGE[:, 0], steps=4)
    insertion = replacement_curve(total, plain, IMAGE, IMAGE[:, 0], steps=4)
    assert deletion.tolist() == [[15, 7, 3, 1, 0]]
    assert insertion.tolist() == [[0, 8, 12, 14, 15]]
    # Trapezoids: (15 / 2 + 7 + 3 + 1 + 0 / 2) / 4.
    assert area(deletion).tolist() == [4.625]
    assert area(insertion).tolist() == [10.375]
    assert replacement_curve(total, IMAGE, plain, -IMAGE[:, 0], steps=4).tolist() == [[15, 14, 12, 8, 0]]


def test_each_image_has_its_own_order_and_its_own_score() -> None:
    images = torch.cat([IMAGE, 10 * IMAGE])
    maps = torch.stack([IMAGE[0, 0], -IMAGE[0, 0]])

    def of_its_own(images: Tensor, index: Tensor) -> Tensor:
        return images.sum((1, 2, 3)) + 100 * index

    curves = replacement_curve(of_its_own, images, torch.zeros_like(images), maps, steps=4)
    assert curves.tolist() == [[15, 7, 3, 1, 0], [250, 240, 220, 180, 100]]


def test_places_of_one_value_go_in_random_order() -> None:
    images = torch.arange(400.0).view(1, 1, 20, 20)
    curve = replacement_curve(total, images, torch.zeros_like(images), torch.zeros(1, 20, 20), steps=2)
    half = float(curve[0, 1] / curve[0, 0])
    assert 0.4 < half < 0.6  # top to bottom it would be 0.75


def test_moved_maps_keep_their_values_and_none_of_their_places() -> None:
    maps = torch.arange(64.0).view(1, 8, 8)
    for seed in range(20):
        elsewhere = moved(maps, seed=seed)
        assert torch.equal(elsewhere.flatten().sort().values, maps.flatten())
        assert not (elsewhere == maps).any()


@pytest.mark.parametrize("side", [12, 13, 64])
def test_blurred_images_keep_their_mean_and_little_else(side: int) -> None:
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    smooth = blurred(images)
    assert smooth.shape == images.shape
    assert smooth.std() < 0.5 * images.std()
    torch.testing.assert_close(smooth.mean(), images.mean(), atol=0.05, rtol=0)


@pytest.mark.parametrize("make", [lambda: nn.ReLU(inplace=True), lambda: nn.ReLU(inplace=False)])
def test_one_copy_works_in_place_and_the_other_does_not(make: Callable[[], nn.ReLU]) -> None:
    module = nn.Sequential(nn.Linear(2, 2), make())
    was = module[1].inplace
    flags: list[Any] = [pair.get_submodule("1").inplace for pair in in_place_pair(module)]
    assert flags == [True, False]
    assert module[1].inplace == was
