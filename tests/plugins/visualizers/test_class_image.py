"""`class-image`: what it makes, and which requests it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ahekit.errors import DataError, RunError, SpecError, UnknownNameError, UsageError
from ahekit.inspection.synthesis import as_pixels, objectives
from ahekit.inspection.synthesis.parameterizations import noise
from ahekit.protocols import SplitImages, VisualizerInput
from ahekit_plugins.visualizers.class_image.visualizer import ascend

Make = Callable[..., Any]


def with_training_images(looked_at: VisualizerInput, count: int = 12) -> VisualizerInput:
    """Noisy training images, class by class in turn."""
    pixels = np.random.default_rng(1).integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)
    ids = tuple(f"train/{number}.png" for number in range(count))
    images = SplitImages("train", pixels, np.arange(count), ids, np.arange(count) % 3)
    return replace(looked_at, split={"train": images}.__getitem__)


def test_all_classes_at_once_are_each_class_alone(toy: Make) -> None:
    module, starts = toy().double().eval(), noise([0, 1, 2], 12).double()
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


def test_picture_is_the_outcome_times_255_clipped(make_request: Make, visualize: Make, tmp_path: Path) -> None:
    path = tmp_path / "start.png"
    Image.fromarray(np.full((12, 12, 3), 250, dtype=np.uint8)).save(path)
    # One step of Adam moves every pixel by the learning rate, up or down, whatever the gradient.
    seen = visualize("class-image", make_request(), method="ascent", steps=1, lr=0.1, init=path)
    assert seen.arrays["images"].shape == (3, 12, 12, 3)
    # 250 / 255 / 5 = 0.1961 becomes 0.0961 or 0.2961, times 255 and rounded down.
    assert (seen.arrays["images"].min(), seen.arrays["images"].max()) == (24, 75)


def test_one_class_alone_is_its_image_among_all(make_request: Make, visualize: Make) -> None:
    every = visualize("class-image", make_request(), method="ascent", steps=5).arrays["images"]
    one = visualize("class-image", make_request(), method="ascent", steps=5, target="vault").arrays["images"]
    np.testing.assert_array_equal(every[2:], one)


@pytest.mark.parametrize("method", ["ascent", "robust"])
def test_images_gain_the_class_they_are_made_for(make_request: Make, visualize: Make, method: str) -> None:
    looked_at = make_request()
    more = {"bn": 0} if method == "robust" else {}
    few = visualize("class-image", looked_at, method=method, steps=1, **more).arrays["probability"]
    many = visualize("class-image", looked_at, method=method, steps=60, **more).arrays["probability"]
    assert many.mean() > few.mean()


def test_diverse_images_differ_and_repeat_by_their_seed(make_request: Make, visualize: Make) -> None:
    seen = visualize("class-image", make_request(), steps=2, images_per_class=2)
    again = visualize("class-image", make_request(), steps=2, images_per_class=2)
    assert seen.arrays["targets"].tolist() == [0, 0, 1, 1, 2, 2]
    assert not np.array_equal(seen.arrays["images"][0], seen.arrays["images"][1])
    np.testing.assert_array_equal(seen.arrays["images"], again.arrays["images"])


@pytest.mark.parametrize("objective", ["odds", "logit"])
def test_objective_is_raised(make_request: Make, visualize: Make, objective: str) -> None:
    looked_at = replace(make_request(), split=None)

    def reached(steps: int) -> float:
        seen = visualize("class-image", looked_at, objective=objective, steps=steps, bn=0, target="vault")
        images = torch.from_numpy(seen.arrays["images"]).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            logits = looked_at.model.module.eval()((images - 0.5) / 0.25)[0]
        return float(logits[2] if objective == "logit" else logits[2] - logits[:2].logsumexp(0))

    assert reached(40) > reached(1)


def test_embeddings_of_a_class_are_approached(make_request: Make, visualize: Make) -> None:
    looked_at = with_training_images(make_request())
    near = [
        visualize("class-image", looked_at, objective="embedding", steps=steps, bn=0).arrays["nearest_cosine"]
        for steps in (1, 40)
    ]
    assert near[1].mean() > near[0].mean()
    with pytest.raises(RunError, match="comes without a dataset"):
        visualize("class-image", replace(make_request(), split=None), objective="embedding", steps=1)


def test_images_of_a_class_are_less_alike_when_likeness_is_taken_off(make_request: Make, visualize: Make) -> None:
    def likeness(diversity: float) -> float:
        images = visualize(
            "class-image",
            make_request(),
            steps=30,
            images_per_class=3,
            target="altar",
            diversity=diversity,
            bn=0,
            lr=0.2,
        ).arrays["images"]
        module = make_request().model.module.eval()
        with torch.no_grad():
            maps = module[:3]((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
            maps = module[3][0](maps).flatten(2)
        products = torch.nn.functional.normalize((maps @ maps.transpose(1, 2)).flatten(1), dim=1)
        return float((products @ products.T).triu(1).sum() / 3)

    assert likeness(50.0) < likeness(0.0)


def test_unit_can_be_the_objective_and_is_scored_by_its_output(make_request: Make, visualize: Make) -> None:
    looked_at = make_request(layers=["conv2"])
    module = looked_at.model.module.eval()

    def mean_output(steps: int) -> float:
        seen = visualize("class-image", looked_at, unit=3, steps=steps, bn=0)
        images = torch.from_numpy(seen.arrays["images"]).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            output = float(module[3][0](module[:3]((images - 0.5) / 0.25))[0, 3].mean())
        assert seen.arrays["activation"].tolist() == [pytest.approx(output, abs=1e-4)]
        assert seen.arrays["targets"].tolist() == [-1]
        assert "probability" not in seen.arrays
        return output

    assert mean_output(60) > mean_output(1)


def test_requests_that_cannot_be_are_one_clear_line(make_request: Make, visualize: Make, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no class named 'tower'"):
        visualize("class-image", make_request(), target="tower")
    with pytest.raises(UsageError, match="layer conv2 has 5 units, 0 to 4; there is no unit 5"):
        visualize("class-image", make_request(layers=["conv2"]), unit=5)
    with pytest.raises(UsageError, match="a unit needs its layer"):
        visualize("class-image", make_request(), unit=5)
    with pytest.raises(UsageError, match="a layer goes with a unit"):
        visualize("class-image", make_request(layers=["conv2"]))
    with pytest.raises(SpecError, match="goes with --method ascent only"):
        visualize("class-image", make_request(), init=tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: can't be read"):
        visualize("class-image", make_request(), method="ascent", init=tmp_path / "x.png")
    with pytest.raises(SpecError, match=r"class-image\.every: must be greater than or equal to 1 \(got 0\)"):
        visualize("class-image", make_request(), every=0)


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"method": "ascent", "blur": 0.1}, "blur: goes with --method robust only"),
        ({"method": "ascent", "objective": "logit"}, "objective: goes with --method robust only"),
        ({"method": "ascent", "init": "x.png", "images_per_class": 2}, "from one picture ascent makes one image"),
        ({"unit": 3, "target": "altar"}, "target: goes with classes, not with a unit"),
        ({"unit": 3, "objective": "logit"}, "objective: goes with classes, not with a unit"),
        ({"diversity": 3}, "diversity: goes with several images of a class; set images_per_class too"),
        ({"animation": "webp"}, "animation: goes with --every"),
    ],
)
def test_a_setting_without_effect_is_refused(
    make_request: Make, visualize: Make, params: dict[str, Any], line: str
) -> None:
    with pytest.raises(SpecError, match=line):
        visualize("class-image", make_request(), **params)


def test_frames_lead_from_the_start_to_the_image(make_request: Make, visualize: Make) -> None:
    seen = visualize("class-image", make_request(), method="ascent", steps=5, every=2)
    assert seen.arrays["frame_steps"].tolist() == [0, 2, 4, 5]
    assert seen.arrays["frames"].shape == (4, 3, 12, 12, 3)
    np.testing.assert_array_equal(seen.arrays["frames"][0], as_pixels(noise(seeds_of(3), 12) / 5))
    np.testing.assert_array_equal(seen.arrays["frames"][-1], seen.arrays["images"])
    (animation,) = seen.animations
    assert (animation.name, animation.form) == ("ascent", "gif")
    assert animation.frames.dtype == np.uint8
    assert animation.frames.shape[0] == 4
    # Tiles of 12 pixels are enlarged to whole multiples, at least 128.
    assert animation.frames.shape[2] == 3 * (132 + 6) + 6
    assert not visualize("class-image", make_request(), steps=2).animations


def seeds_of(classes: int) -> list[int]:
    return list(range(classes))  # of the run's seed 0


def test_ascents_own_score_is_told_beside_that_of_the_picture(make_request: Make, visualize: Make) -> None:
    looked_at = make_request()
    seen = visualize("class-image", looked_at, method="ascent", steps=40, target="altar", init=None)
    start = noise([0], 12)
    looked_at.model.module.eval()
    found = ascend(looked_at.model.module, start, objectives.class_logit(torch.tensor([0])), steps=40, lr=1e-2)
    with torch.no_grad():
        expected = looked_at.model.module.eval()(found).softmax(1)[0, 0].item()
    assert seen.arrays["input_probability"].tolist() == [pytest.approx(expected, abs=1e-6)]
    assert seen.notes[1].startswith("as the network was given them")
