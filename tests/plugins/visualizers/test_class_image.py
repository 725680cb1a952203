"""`class-image` and the parts it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ahekit_plugins.visualizers import objectives
from ahekit_plugins.visualizers.class_image import ascend, noise
from ahekit_plugins.visualizers.parameterisations import as_it_is, colour_matrix, fourier
from ahekit_plugins.visualizers.synthesis import Objective, View, synthesise
from ahekit_plugins.visualizers.transforms import normalised, random_affine
from PIL import Image
from torch import nn

from ahekit.errors import DataError, SpecError, UnknownNameError, UsageError
from ahekit.protocols import Preprocessing
from ahekit.reporting.style import render_figure

Make = Callable[..., Any]


def test_all_classes_at_once_are_each_class_alone(toy: Make) -> None:
    module, starts = toy().double(), noise([0, 1, 2], 12).double()
    targets = torch.arange(3)

    together = ascend(module, starts, objectives.class_logit(targets), steps=20, lr=1e-2)

    for number in range(3):
        alone = ascend(
            module, starts[number : number + 1], objectives.class_logit(targets[number : number + 1]), steps=20, lr=1e-2
        )
        torch.testing.assert_close(together[number : number + 1], alone, rtol=0, atol=1e-12)


def test_ascent_is_the_usual_loop_with_the_start_divided_once(toy: Make) -> None:
    module, starts = toy().double().eval(), noise([5], 12).double()
    image = ((starts - 0) / 5).clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        (-module(image)[0, 1]).backward()
        optimizer.step()
    module.zero_grad(set_to_none=True)

    ours = ascend(module, starts, objectives.class_logit(torch.tensor([1])), steps=20, lr=1e-2)

    torch.testing.assert_close(ours, image.detach(), rtol=0, atol=1e-12)


def test_picture_is_the_outcome_times_255_clipped(given: Make, visualize: Make, tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    Image.fromarray(np.full((12, 12, 3), 250, dtype=np.uint8)).save(path)
    # One step of Adam moves every pixel by the learning rate, up or down, whatever the gradient.
    seen = visualize("class-image", given(), method="ascent", steps=1, lr=0.1, init=path)
    assert seen.arrays["images"].shape == (3, 12, 12, 3)
    # 250 / 255 / 5 = 0.1961 becomes 0.0961 or 0.2961, times 255 and rounded down.
    assert (seen.arrays["images"].min(), seen.arrays["images"].max()) == (24, 75)


def test_starts_depend_on_each_images_own_seed() -> None:
    both = noise([3, 7], 4)
    assert torch.equal(both[1:], noise([7], 4))
    assert not torch.equal(both[0], both[1])
    assert float(both.min()) >= 0
    assert float(both.max()) < 1


def test_one_class_alone_is_its_image_among_all(given: Make, visualize: Make) -> None:
    every = visualize("class-image", given(), method="ascent", steps=5).arrays["images"]
    one = visualize("class-image", given(), method="ascent", steps=5, target="vault").arrays["images"]
    np.testing.assert_array_equal(every[2:], one)


@pytest.mark.parametrize("method", ["ascent", "robust"])
def test_images_gain_the_class_they_are_made_for(given: Make, visualize: Make, method: str) -> None:
    looked_at = given()
    few = visualize("class-image", looked_at, method=method, steps=1).arrays["probability"]
    many = visualize("class-image", looked_at, method=method, steps=60, statistics=0).arrays["probability"]
    assert many.mean() > few.mean()


def test_diverse_images_differ_and_repeat_by_their_seed(given: Make, visualize: Make) -> None:
    seen = visualize("class-image", given(), steps=2, diversity=2)
    again = visualize("class-image", given(), steps=2, diversity=2)
    assert seen.arrays["targets"].tolist() == [0, 0, 1, 1, 2, 2]
    assert not np.array_equal(seen.arrays["images"][0], seen.arrays["images"][1])
    np.testing.assert_array_equal(seen.arrays["images"], again.arrays["images"])


def test_unit_can_be_the_objective(given: Make, visualize: Make) -> None:
    looked_at = given(layers=["conv2"])
    module = looked_at.model.module.eval()

    def mean_output(steps: int) -> float:
        seen = visualize("class-image", looked_at, unit=3, steps=steps, statistics=0)
        images = torch.from_numpy(seen.arrays["images"]).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            return float(module[3][0](module[:3]((images - 0.5) / 0.25))[0, 3].mean())

    assert mean_output(60) > mean_output(1)


def test_requests_that_cannot_be_are_one_clear_line(given: Make, visualize: Make, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no class named 'tower'"):
        visualize("class-image", given(), target="tower")
    with pytest.raises(UsageError, match="layer conv2 has 5 units, 0 to 4; there is no unit 5"):
        visualize("class-image", given(layers=["conv2"]), unit=5)
    with pytest.raises(UsageError, match="a unit needs its layer"):
        visualize("class-image", given(), unit=5)
    with pytest.raises(UsageError, match="a layer goes with a unit"):
        visualize("class-image", given(layers=["conv2"]))
    with pytest.raises(SpecError, match="goes with --method ascent only"):
        visualize("class-image", given(), init=tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: can't be read"):
        visualize("class-image", given(), method="ascent", init=tmp_path / "x.png")


def test_ascents_own_score_is_told_beside_that_of_the_picture(given: Make, visualize: Make) -> None:
    looked_at = given()
    seen = visualize("class-image", looked_at, method="ascent", steps=40, target="altar", init=None)
    start = noise([0], 12)
    found = ascend(looked_at.model.module, start, objectives.class_logit(torch.tensor([0])), steps=40, lr=1e-2)
    with torch.no_grad():
        expected = looked_at.model.module.eval()(found).softmax(1)[0, 0].item()
    assert seen.arrays["input_probability"].tolist() == [pytest.approx(expected, abs=1e-6)]
    assert seen.notes[1].startswith("as the network was given them")


def test_judge_is_asked_about_the_pictures_and_has_no_part_in_them(given: Make, visualize: Make) -> None:
    asked: list[Any] = []

    def judge(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.append(pictures)
        return np.tile(np.array([[0.2, 0.7, 0.1]], np.float32), (len(pictures), 1))

    alone = visualize("class-image", given(), steps=2)
    judged = visualize("class-image", replace(given(), judge=judge), steps=2)

    np.testing.assert_array_equal(alone.arrays["images"], judged.arrays["images"])
    np.testing.assert_array_equal(asked[0], judged.arrays["images"])
    assert judged.arrays["judge_right"].tolist() == [False, True, False]
    np.testing.assert_allclose(judged.arrays["judge_probability"], [0.2, 0.7, 0.1])
    assert judged.notes[0].endswith("the judge names 1 of 3 images rightly")
    assert render_figure(judged.figures[0]).startswith(b"\x89PNG")


def test_progress_is_told_step_by_step(toy: Make) -> None:
    told: list[tuple[int, int]] = []
    ascend(
        toy(), noise([0], 12), objectives.class_logit(torch.tensor([0])), steps=3, lr=0.1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_objectives_add_and_scale() -> None:
    view = View(torch.full((1, 3, 2, 2), 0.75), torch.tensor([[1.0, 2.0, 4.0]]))
    targets = torch.tensor([2])
    combined = objectives.class_logit(targets) - 8.0 * objectives.distance_from_gray()
    assert combined.value(view).tolist() == [4.0 - 8 * 0.0625]
    both = objectives.unit("a", 0) + objectives.unit("b", 1)
    assert both.modules == ("a", "b")


def test_log_odds_by_hand() -> None:
    view = View(torch.zeros(1, 3, 2, 2), torch.tensor([[2.0, 0.0, 0.0]]))
    assert objectives.class_odds(torch.tensor([0])).value(view).item() == pytest.approx(2 - np.log(2))


def test_total_variation_by_hand() -> None:
    images = torch.zeros(1, 1, 2, 2)
    images[0, 0] = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    # Down: 0 and 2, across: 1 and 3.
    assert objectives.total_variation().value(View(images, torch.zeros(1, 1))).item() == pytest.approx(1 + 2)


def test_statistics_gap_is_zero_for_images_with_the_stored_statistics() -> None:
    net: Any = nn.Sequential(nn.BatchNorm2d(1, eps=0.0))
    net[0].running_mean.fill_(1.0)
    net[0].running_var.fill_(4.0)
    gap = objectives.statistics_gap(net)
    assert gap.modules == ("0",)
    fitting = torch.tensor([-1.0, 3.0]).view(2, 1, 1, 1)
    off = torch.tensor([1.0, 5.0]).view(2, 1, 1, 1)  # the mean is one standard deviation too high
    values = [
        gap.value(View(torch.zeros(2, 3, 1, 1), torch.zeros(2, 1), inputs={"0": inputs})).tolist()
        for inputs in (fitting, off)
    ]
    assert values == [pytest.approx([0.0, 0.0], abs=1e-9), pytest.approx([0.5, 0.5], abs=1e-5)]


def test_network_without_batchnorm_has_no_statistics_gap() -> None:
    gap = objectives.statistics_gap(nn.Sequential(nn.ReLU()))
    assert gap.value(View(torch.zeros(2, 3, 1, 1), torch.zeros(2, 1))).tolist() == [0.0, 0.0]


def test_brought_parts_are_used_as_they_are() -> None:
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False))
    bright = Objective(lambda view: view.images.mean((1, 2, 3)))
    found = synthesise(net, torch.zeros(1, 3, 1, 1), as_it_is, bright, steps=3, lr=0.5, transforms=[lambda x, _: 2 * x])
    torch.testing.assert_close(found, torch.full((1, 3, 1, 1), 1.5))


def test_fourier_images_lie_within_the_range_of_pixels_and_repeat() -> None:
    parameters, render = fourier(2, 9, random=torch.Generator().manual_seed(1))
    again, _ = fourier(2, 9, random=torch.Generator().manual_seed(1))
    images = render(parameters)
    assert images.shape == (2, 3, 9, 9)
    assert 0 < float(images.min()) < float(images.max()) < 1
    assert torch.equal(parameters, again)


def test_colours_start_from_brightness() -> None:
    matrix = colour_matrix()
    # The first plane changes all three colours alike; the planes are independent.
    assert matrix[:, 0].std().item() == pytest.approx(0, abs=1e-6)
    product = matrix.T @ matrix
    torch.testing.assert_close(product, torch.diag(product.diag()), atol=1e-6, rtol=0)


def test_transform_of_nothing_leaves_images_alone_and_flips_mirror() -> None:
    images = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    still = random_affine(rotation=0, scale=(1, 1), shift=0, flip=False)(images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, images, atol=1e-5, rtol=0)
    flipped = random_affine(rotation=0, scale=(1, 1), shift=0)(images, torch.Generator().manual_seed(0))
    kinds = {
        "same" if torch.allclose(one, image, atol=1e-5) else "mirrored" if torch.allclose(one, image.flip(2), atol=1e-5)
        else "other" for one, image in zip(flipped, images, strict=True)
    }  # fmt: skip
    assert kinds == {"same", "mirrored"}


def test_last_transform_is_the_networks_preprocessing() -> None:
    transform = normalised(Preprocessing(size=1, mean=(0.5, 0.0, 0.25), std=(0.25, 1.0, 0.5)))
    assert transform(torch.ones(1, 3, 1, 1), torch.Generator()).flatten().tolist() == [2.0, 1.0, 1.5]


@pytest.mark.parametrize("params", [{"method": "ascent"}, {"method": "robust"}, {"diversity": 3}])
def test_every_image_is_drawn_with_its_scores(given: Make, visualize: Make, params: dict[str, Any]) -> None:
    seen = visualize("class-image", given(), steps=1, **params)
    assert "3 classes" in seen.figures[0].title
    assert len(seen.arrays["probability"]) == len(seen.arrays["images"])
    assert render_figure(seen.figures[0]).startswith(b"\x89PNG")
