"""The parts that synthesized images are made of: objectives, parameterizations, transforms, and what joins them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ahekit.inspection.synthesis import ForwardPass, Objective, Step, annealed, objectives, synthesize
from ahekit.inspection.synthesis.parameterizations import as_it_is, colour_matrix, fourier, noise
from ahekit.inspection.synthesis.transforms import fading_blur, gaussian_blur, normalized, random_affine
from ahekit.preprocessing import Preprocessing

Make = Callable[..., Any]


def forward_pass(
    images: Tensor | None = None, logits: Tensor | None = None, network_input: Tensor | None = None, **more: Any
) -> ForwardPass:
    """Of which a test tells only what it needs."""
    nothing = torch.zeros(1, 3, 2, 2)
    images = nothing if images is None else images
    logits = torch.zeros(len(images), 1) if logits is None else logits
    return ForwardPass(images, images if network_input is None else network_input, logits, **more)


def at(share: float = 1.0) -> Step:
    return Step(torch.Generator().manual_seed(0), share)


def test_steps_are_told_and_images_watched_from_the_start_to_the_end() -> None:
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False))
    told: list[tuple[int, int]] = []
    watched: dict[int, float] = {}
    bright = Objective(lambda forward: forward.images.mean((1, 2, 3)))
    synthesize(
        *(net, torch.zeros(1, 3, 1, 1), as_it_is, bright),
        steps=3,
        lr=0.5,
        progress=lambda done, total: told.append((done, total)),
        watch=lambda done, images: watched.update({done: float(images.mean())}),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    # Adam's first steps with a constant gradient are the learning rate each.
    assert watched == {done: pytest.approx(0.5 * done, abs=1e-5) for done in range(4)}


def test_strangers_objective_parameterization_and_transform_are_used_as_they_are(toy: Make) -> None:
    """One number a picture, its brightness; a transform that darkens with time; an objective that reads a layer."""
    shares: list[float] = []

    def flat(parameters: Tensor) -> Tensor:
        images: Tensor = parameters.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
        return images

    def darken(images: Tensor, step: Step) -> Tensor:
        shares.append(step.share)
        darker: Tensor = images * (1 - step.share / 2)
        return darker

    first_channel = Objective(lambda forward: forward.outputs["0"][:, 0].mean((1, 2)), outputs=("0",))
    module = toy()
    found = synthesize(module, torch.zeros(2), flat, first_channel, steps=4, lr=0.1, transforms=[darken])

    assert shares == [0, 0.25, 0.5, 0.75]
    weight = module[0].weight[0].sum()
    # A single number has no other way to go than along the sign of the filter's sum.
    torch.testing.assert_close(found, weight.sign().expand(2) * 0.4, atol=0.02, rtol=0)


def test_learning_rate_may_fall() -> None:
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False))
    bright = Objective(lambda forward: forward.images.mean((1, 2, 3)))
    found = synthesize(net, torch.zeros(1, 3, 1, 1), as_it_is, bright, steps=2, lr=lambda share: 1 - share)
    torch.testing.assert_close(found, torch.full((1, 3, 1, 1), 1.0 + 0.5))
    rate = annealed(0.5)
    assert [rate(share) for share in (0, 0.5, 1)] == pytest.approx([0.5, 0.275, 0.05])


def test_views_are_averaged() -> None:
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False))
    signs = iter([1.0, -3.0] * 2)
    bright = Objective(lambda forward: forward.network_input.mean((1, 2, 3)))
    found = synthesize(
        *(net, torch.zeros(1, 3, 1, 1), as_it_is, bright),
        steps=2,
        lr=0.5,
        views=2,
        transforms=[lambda images, _: images * next(signs)],
    )
    # The mean of 1 and -3 is negative, where the first view alone would have brightened the image.
    torch.testing.assert_close(found, torch.full((1, 3, 1, 1), -1.0))


def test_objectives_add_and_scale() -> None:
    forward = forward_pass(torch.full((1, 3, 2, 2), 0.75), torch.tensor([[1.0, 2.0, 4.0]]))
    combined = objectives.class_logit(torch.tensor([2])) - 8.0 * objectives.distance_from_gray()
    assert combined.value(forward).tolist() == [4.0 - 8 * 0.0625]
    both = objectives.unit("a", 0) + objectives.unit("b", 1)
    assert (both.inputs, both.outputs) == ((), ("a", "b"))


def test_log_odds_by_hand() -> None:
    forward = forward_pass(logits=torch.tensor([[2.0, 0.0, 0.0]]))
    assert objectives.class_odds(torch.tensor([0])).value(forward).item() == pytest.approx(2 - np.log(2))


def test_class_distance_by_hand() -> None:
    means = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    variances = torch.tensor([[1.0, 1.0], [3.0, 0.0]])
    distance = objectives.class_distance(
        lambda forward: forward.network_input.mean((2, 3)), means, variances, torch.tensor([1, 1])
    )
    shown = torch.tensor([[1.0, 3.0], [6.0, 0.0]]).view(2, 2, 1, 1)
    # The second image is off by 5 and 3; variances of class 1 are 3 and 0, those of both classes 2 and 1/2 on average.
    assert distance.value(forward_pass(shown)).tolist() == pytest.approx([0.0, (25 / 5 + 9 / 0.5) / 2])


def test_likeness_is_of_one_group_alone() -> None:
    maps = torch.zeros(4, 2, 2, 2)
    maps[0, 0] = maps[1, 0] = maps[3, 1] = 1.0  # 0 and 1 alike; 2 has both channels; 3 the other one
    maps[2] = 1.0
    likeness = objectives.likeness("layer", torch.tensor([0, 0, 0, 1]))
    assert likeness.outputs == ("layer",)
    values = likeness.value(forward_pass(torch.zeros(4, 3, 2, 2), outputs={"layer": maps}))
    # Gram matrices: one entry, and four equal ones, whose cosine is 1/2.
    assert values.tolist() == pytest.approx([0.75, 0.75, 0.5, 0.0])


def test_total_variation_by_hand() -> None:
    images = torch.zeros(1, 1, 2, 2)
    images[0, 0] = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    # Down: 0 and 2, across: 1 and 3.
    assert objectives.total_variation().value(forward_pass(images)).item() == pytest.approx(1 + 2)


def test_statistics_gap_is_zero_for_images_with_the_stored_statistics() -> None:
    net: Any = nn.Sequential(nn.BatchNorm2d(1, eps=0.0))
    net[0].running_mean.fill_(1.0)
    net[0].running_var.fill_(4.0)
    gap = objectives.statistics_gap(net)
    assert gap.inputs == ("0",)
    fitting = torch.tensor([-1.0, 3.0]).view(2, 1, 1, 1)
    off = torch.tensor([1.0, 5.0]).view(2, 1, 1, 1)  # the mean is one standard deviation too high
    values = [
        gap.value(forward_pass(torch.zeros(2, 3, 1, 1), inputs={"0": inputs})).tolist() for inputs in (fitting, off)
    ]
    assert values == [pytest.approx([0.0, 0.0], abs=1e-9), pytest.approx([0.5, 0.5], abs=1e-5)]


def test_network_without_batchnorm_has_no_statistics_gap() -> None:
    gap = objectives.statistics_gap(nn.Sequential(nn.ReLU()))
    assert gap.value(forward_pass(torch.zeros(2, 3, 1, 1))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("make", [noise, lambda seeds, size: fourier(seeds, size)[0]])
def test_starts_depend_on_each_images_own_seed(make: Make) -> None:
    both = make([3, 7], 4)
    assert torch.equal(both[1:], make([7], 4))
    assert not torch.equal(both[0], both[1])


def test_noise_is_within_the_range_of_pixels() -> None:
    start = noise(range(20), 8)
    assert 0 <= float(start.min()) < 0.01
    assert 0.99 < float(start.max()) < 1


@pytest.mark.parametrize("size", [8, 9])
def test_fourier_images_start_with_the_spread_asked_for(size: int) -> None:
    parameters, render = fourier(range(300), size, spread=0.2)
    images = render(parameters)
    assert images.shape == (300, 3, size, size)
    assert 0 < float(images.min()) < float(images.max()) < 1
    planes = torch.einsum("cr,brhw->bchw", colour_matrix().inverse(), images.logit())
    assert float(planes.std()) == pytest.approx(0.2, rel=0.03)


def test_steeper_decay_makes_coarser_images() -> None:
    def roughness(decay: float) -> float:
        parameters, render = fourier(range(20), 16, decay=decay)
        return float(objectives.total_variation().value(forward_pass(render(parameters))).mean())

    assert roughness(2.0) < roughness(1.0) < roughness(0.0)


def test_colours_start_from_brightness() -> None:
    matrix = colour_matrix()
    # The first plane changes all three colours alike; the planes are independent.
    assert matrix[:, 0].std().item() == pytest.approx(0, abs=1e-6)
    product = matrix.T @ matrix
    torch.testing.assert_close(product, torch.diag(product.diag()), atol=1e-6, rtol=0)


def test_transform_of_nothing_leaves_images_alone_and_flips_mirror() -> None:
    images = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    still = random_affine(rotation=0, scale=(1, 1), shift=0, flip=False)(images, at())
    torch.testing.assert_close(still, images, atol=1e-5, rtol=0)
    flipped = random_affine(rotation=0, scale=(1, 1), shift=0)(images, at())
    kinds = {
        "same" if torch.allclose(one, image, atol=1e-5) else "mirrored" if torch.allclose(one, image.flip(2), atol=1e-5)
        else "other" for one, image in zip(flipped, images, strict=True)
    }  # fmt: skip
    assert kinds == {"same", "mirrored"}


def test_a_shift_is_a_share_of_the_images_side() -> None:
    for size in (10, 20):
        ramp = torch.arange(size).float().expand(64, 3, size, size)
        moved = random_affine(rotation=0, scale=(1, 1), shift=0.2, flip=False)(ramp, at())
        steps = (moved - ramp)[:, 0, size // 2, size // 2].abs()
        assert 0.15 * size < float(steps.max()) <= 0.2 * size + 1e-4


def test_blur_fades_out_with_the_steps() -> None:
    blur = fading_blur(0.1, until=0.5)
    images = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    spreads = [float(blur(images, at(share)).std()) for share in (0, 0.25, 0.5, 1)]
    assert spreads[0] < spreads[1] < spreads[2] == spreads[3] == float(images.std())
    torch.testing.assert_close(blur(images, at(0)), gaussian_blur(images, 2.0))


def test_gaussian_blur_spreads_a_point_by_its_sigma_and_keeps_its_sum() -> None:
    point = torch.zeros(1, 1, 31, 31)
    point[0, 0, 15, 15] = 1
    blurred = gaussian_blur(point, 2.0)[0, 0]
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    places = torch.arange(31) - 15.0
    for axis in (0, 1):
        variance = float((blurred.sum(axis) * places.square()).sum())
        assert variance == pytest.approx(4, rel=0.05)  # the tails beyond three sigmas are cut
    torch.testing.assert_close(gaussian_blur(torch.ones(1, 3, 5, 5), 9.0), torch.ones(1, 3, 5, 5))


def test_last_transform_is_the_networks_preprocessing() -> None:
    transform = normalized(Preprocessing(size=1, mean=(0.5, 0.0, 0.25), std=(0.25, 1.0, 0.5)))
    assert transform(torch.ones(1, 3, 1, 1), at()).flatten().tolist() == [2.0, 1.0, 1.5]
