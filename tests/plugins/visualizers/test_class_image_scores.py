"""What is said of each class image: by the network, by a judge, by the training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ahekit.errors import RunError
from ahekit.protocols import SplitImages, VisualizerInput
from ahekit.reporting.style import render_figure
from ahekit_plugins.visualizers.class_image.nearest import BATCH, PER_CLASS, class_moments, find_nearest, sample

Make = Callable[..., Any]
Pixels = NDArray[np.uint8]


def noisy(count: int, seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)


def as_split(pixels: Pixels) -> SplitImages:
    """Training images of three classes in turn; they lie in reverse order in a dataset."""
    count = len(pixels)
    ids = tuple(f"train/{number}.png" for number in range(count))
    return SplitImages("train", pixels[::-1], np.arange(count)[::-1], ids, np.arange(count) % 3)


def embeddings(looked_at: VisualizerInput, pixels: Pixels) -> NDArray[np.float32]:
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        found: NDArray[np.float32] = looked_at.model.embed(images).numpy()
    return found


def test_nearest_is_that_of_all_batches(make_request: Make) -> None:
    looked_at, pixels, pictures = make_request(), noisy(2 * BATCH + 3), noisy(2, seed=2)
    looked_at.model.module.eval()
    told: list[None] = []

    nearest = find_nearest(looked_at, as_split(pixels), pictures, tick=lambda: told.append(None))

    wanted, all_of_them = embeddings(looked_at, pictures), embeddings(looked_at, pixels)
    lengths = np.linalg.norm(wanted, axis=1)[:, None] * np.linalg.norm(all_of_them, axis=1)[None]
    cosines = wanted @ all_of_them.T / lengths
    best = cosines.argmax(1)
    assert nearest.ids == tuple(f"train/{number}.png" for number in best)
    np.testing.assert_array_equal(nearest.labels, best % 3)
    np.testing.assert_allclose(nearest.cosine, cosines.max(1), atol=1e-5)
    np.testing.assert_array_equal(nearest.pixels, pixels[best])
    assert len(told) == 3


@pytest.mark.parametrize("change", ["as it is", "mirrored", "brighter"])
def test_a_memorised_image_is_found_by_its_pixels(make_request: Make, change: str) -> None:
    pixels = (noisy(30) // 2).astype(np.uint8)
    copy = {"as it is": pixels[20], "mirrored": pixels[20][:, ::-1], "brighter": pixels[20] * 2}[change]
    nearest = find_nearest(make_request(), as_split(pixels), np.ascontiguousarray(copy[None]))
    assert nearest.copy_ids == ("train/20.png",)
    assert nearest.copy_correlation[0] > 0.99


def test_class_moments_are_those_of_all_images(make_request: Make) -> None:
    looked_at, pixels = make_request(), noisy(BATCH + 10)
    looked_at.model.module.eval()
    told: list[None] = []

    means, variances = class_moments(looked_at, as_split(pixels), tick=lambda: told.append(None))

    of_class = embeddings(looked_at, pixels)[1::3]
    np.testing.assert_allclose(means[1], of_class.mean(0), atol=1e-5)
    np.testing.assert_allclose(variances[1], of_class.var(0), atol=1e-5)
    assert len(told) == 2


def test_class_without_images_has_no_moments(make_request: Make) -> None:
    images = replace(as_split(noisy(4)), labels=np.array([0, 0, 2, 2]))
    means, variances = class_moments(make_request(), images)
    assert not means[1].any()
    assert not variances[1].any()
    assert means[2].any()


def test_sample_is_spread_over_each_class_and_bounded() -> None:
    labels = np.array([1] * (3 * PER_CLASS) + [0] * 2)
    images = SplitImages(
        "train", np.zeros((0, 1, 1, 3), np.uint8), np.arange(len(labels)), ("x",) * len(labels), labels
    )
    chosen = sample(images)
    assert chosen[:2].tolist() == [3 * PER_CLASS, 3 * PER_CLASS + 1]
    assert len(chosen) == 2 + PER_CLASS
    assert (chosen[2], chosen[-1]) == (0, 3 * PER_CLASS - 1)
    assert np.diff(chosen[2:]).min() >= 2


def test_nearest_training_images_are_stored_told_and_shown(make_request: Make, visualize: Make) -> None:
    images = as_split(noisy(9))
    seen = visualize("class-image", replace(make_request(), split={"train": images}.__getitem__), steps=1)
    names = ("nearest_id", "nearest_class", "nearest_cosine", "copy_id", "copy_correlation")
    assert {name: len(seen.arrays[name]) for name in names} == dict.fromkeys(names, 3)
    assert seen.arrays["nearest_class"].tolist() == [
        images.labels[images.ids.index(name)] for name in seen.arrays["nearest_id"]
    ]
    hits = int((seen.arrays["nearest_class"] == [0, 1, 2]).sum())
    assert f"is of the target class for {hits} of 3" in seen.notes[1]
    assert "no near-copies of a training image" in seen.notes[1]
    assert (
        seen.figures[0].size[1]
        > visualize("class-image", replace(make_request(), split=None), steps=1).figures[0].size[1]
    )


def test_near_copies_are_counted(make_request: Make, visualize: Make) -> None:
    made = visualize("class-image", make_request(), steps=1).arrays["images"]
    images = as_split(np.concatenate([noisy(5), made[1:2]]))
    seen = visualize("class-image", replace(make_request(), split={"train": images}.__getitem__), steps=1)
    assert seen.arrays["copy_id"][1] == "train/5.png"
    assert ": 1 near-copy of a training image" in seen.notes[1]


def test_without_the_dataset_a_note_says_so_and_the_rest_goes_on(make_request: Make, visualize: Make) -> None:
    def gone(name: str) -> SplitImages:
        raise RunError(f"20260101-cnn5: its {name} images can't be found")

    seen = visualize("class-image", replace(make_request(), split=gone), steps=1)
    assert seen.notes[-1] == (
        "the nearest training images are not looked for: 20260101-cnn5: its train images can't be found"
    )
    assert "nearest_id" not in seen.arrays
    assert len(seen.arrays["probability"]) == 3


def test_nobody_looks_for_the_nearest_when_told_not_to(make_request: Make, visualize: Make) -> None:
    def opened(name: str) -> SplitImages:
        raise AssertionError

    seen = visualize("class-image", replace(make_request(), split=opened), steps=1, nearest=False)
    assert "nearest" not in " ".join(seen.notes)
    assert "nearest_id" not in seen.arrays


def test_progress_counts_the_pass_over_the_training_images(make_request: Make, visualize: Make) -> None:
    told: list[tuple[int, int]] = []
    looked_at = replace(
        make_request(),
        split={"train": as_split(noisy(BATCH + 1))}.__getitem__,
        progress=lambda done, total: told.append((done, total)),
    )
    visualize("class-image", looked_at, steps=3, objective="embedding")
    assert told == [(done, 3 + 2 + 2) for done in range(1, 8)]


def test_judge_is_asked_about_the_pictures_and_has_no_part_in_them(make_request: Make, visualize: Make) -> None:
    asked: list[Pixels] = []

    def judge(pictures: Pixels) -> NDArray[np.float32]:
        asked.append(pictures)
        return np.tile(np.array([[0.2, 0.7, 0.1]], np.float32), (len(pictures), 1))

    alone = visualize("class-image", make_request(), steps=2)
    judged = visualize("class-image", replace(make_request(), judge=judge), steps=2)

    np.testing.assert_array_equal(alone.arrays["images"], judged.arrays["images"])
    np.testing.assert_array_equal(asked[0], judged.arrays["images"])
    assert judged.arrays["judge_right"].tolist() == [False, True, False]
    assert judged.arrays["judge_class"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(judged.arrays["judge_confidence"], [0.7, 0.7, 0.7])
    np.testing.assert_allclose(judged.arrays["judge_probability"], [0.2, 0.7, 0.1])
    assert judged.notes[0].endswith("the judge predicts the target class for 1 of 3 images")


def test_judge_says_what_it_sees_in_a_units_image(make_request: Make, visualize: Make) -> None:
    looked_at = replace(
        make_request(layers=["conv2"]), judge=lambda pictures: np.array([[0.2, 0.7, 0.1]] * len(pictures), np.float32)
    )
    seen = visualize("class-image", looked_at, unit=1, steps=1, images_per_class=2)
    assert seen.arrays["judge_class"].tolist() == [1, 1]
    assert "judge_right" not in seen.arrays


@pytest.mark.parametrize(
    "params",
    [{"method": "ascent"}, {"method": "robust"}, {"images_per_class": 3}, {"images_per_class": 9, "target": "altar"}],
)
@pytest.mark.parametrize("trained_on", [0, 6])
def test_every_image_is_drawn_with_its_scores(
    make_request: Make, visualize: Make, params: dict[str, Any], trained_on: int
) -> None:
    looked_at = make_request()
    if trained_on:
        looked_at = replace(looked_at, split={"train": as_split(noisy(trained_on))}.__getitem__)
    seen = visualize("class-image", looked_at, steps=1, **params)
    assert ("altar" if "target" in params else "3 classes") in seen.figures[0].title
    assert len(seen.arrays["probability"]) == len(seen.arrays["images"])
    assert render_figure(seen.figures[0]).startswith(b"\x89PNG")


def test_images_that_reach_another_class_are_marked(make_request: Make, visualize: Make) -> None:
    seen = visualize("class-image", make_request(), steps=1, nearest=False)
    predicted = seen.arrays["predicted_class"]
    np.testing.assert_array_equal(seen.arrays["reached"], predicted == np.arange(3))
    failed = int((predicted != np.arange(3)).sum())
    assert 0 < failed < 3
    assert seen.notes[-1].startswith(f"FAILED A CHECK: {failed} of 3 images didn't reach what they are made for")


def test_images_of_a_unit_reach_more_than_gray_does(make_request: Make, visualize: Make) -> None:
    seen = visualize("class-image", make_request(layers=["conv2"]), unit=3, steps=60, bn=0, nearest=False)
    assert seen.arrays["reached"].tolist() == [True]
    assert "predicted_class" not in seen.arrays
