"""The lesson on accumulation: what it measures on a small network, what it reads off, and its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from torch import nn

from ahekit.errors import AhekitError, UsageError
from ahekit.protocols import LessonInput, NoParams, VisualizerInput
from ahekit.registry import MODELS
from ahekit.sections import Experiment
from ahekit.testing import check_lesson
from ahekit.training.memory import Memory
from ahekit.validation import validate
from ahekit_plugins.lessons.accumulation import trial
from ahekit_plugins.lessons.accumulation.lesson import Accumulation
from ahekit_plugins.lessons.accumulation.measuring import Mistake
from ahekit_plugins.lessons.accumulation.readings import claims
from ahekit_plugins.lessons.accumulation.trial import Distances, Measured, Plan
from tests.browser import needs_browser

SMALL: dict[str, Any] = {"model": "small-net", "image_size": 16, "window": 16, "accumulation": [1, 2, 4], "steps": 2}


class SmallNet:
    """A convolution, BatchNorm unless told otherwise, and dropout."""

    Params = NoParams
    image_size = 16
    norm: type[nn.Module] = nn.BatchNorm2d

    def build(self, params: NoParams, *, num_classes: int, image_size: int) -> nn.Module:
        norm = self.norm(4)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3),
            norm,
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(16, num_classes),
        )


class NormlessNet(SmallNet):
    """Without BatchNorm."""

    norm = nn.Identity


@pytest.fixture(autouse=True)
def _network(no_plugin_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    MODELS.register("small-net")(SmallNet)
    MODELS.register("normless-net")(NormlessNet)
    sizes = {1: 90, 2: 60, 4: 45}

    def memory(spec: Any, *, num_classes: int) -> Memory:
        return Memory(100, 100 + sizes[spec.optim.accumulation_steps] * 10**6)

    monkeypatch.setattr(trial, "training_memory", memory)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that differ in colour and in number; 40 of 50 images are trained on."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for name, channel, count in (("altar", 0, 25), ("apse", 1, 15), ("vault", 2, 10)):
        (root / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 140, (16, 16, 3)).astype(np.uint8)
            pixels[:, :, channel] += 80
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def teach(dataset: Path, *, seed: int = 0, full: bool = False, **params: Any) -> Experiment:
    def nobody(layers: object) -> VisualizerInput:
        raise AssertionError("it asks for no run")

    lesson = Accumulation()
    request = LessonInput(network=nobody, seed=seed, full=full, data=str(dataset), device="cpu")
    return lesson.teach(request, validate(lesson.Params, {**SMALL, **params}))


@pytest.fixture(scope="module")
def kept() -> dict[str, Experiment]:
    return {}


@pytest.fixture
def experiment(dataset: Path, kept: dict[str, Experiment]) -> Experiment:
    """The same for all tests that only look at it."""
    if "own" not in kept:
        kept["own"] = teach(dataset)
    return kept["own"]


def section(experiment: Experiment, words: str) -> Any:
    return next(each for each in experiment.sections if words in each.title)


def test_gradient_in_pieces_is_that_of_one_batch_but_for_batch_norm(experiment: Experiment) -> None:
    exact = section(experiment, "The gradient").values
    assert max(exact["double"].values()) < 1e-12
    assert max(max(values) for values in exact["single"].values()) < 1e-4
    assert (
        min(min(values) for count, values in section(experiment, "drifts").values["gradient"].items() if count != "1")
        > 0.01
    )
    readings = {claim.text: claim.reading for claim in experiment.claims}
    assert readings["The gradients of K micro-batches add up to the gradient of one large batch."] == "supported"
    assert readings["It is a large batch to a network with BatchNorm too."] == "not supported"
    assert readings["To divide each micro-batch's loss by K is all that it takes."] == "not supported"


def test_fixed_divisor_shortens_the_step_by_what_is_missing(experiment: Experiment) -> None:
    fixed = section(experiment, "mistakes").values["fixed divisor, last window short"]
    assert fixed["length"] == pytest.approx(3 / 4)
    assert fixed["error"] == pytest.approx(1 / 4)
    assert fixed["cosine"] == pytest.approx(1)
    means = section(experiment, "mistakes").values["mean of means, last one short"]
    assert means["error"] > 0.01
    assert means["cosine"] < 1


def test_memory_is_told_with_its_line(experiment: Experiment) -> None:
    # 90, 60 and 45 MB for 16, 8 and 4 images: 30 MB and 3.75 MB for each.
    memory = section(experiment, "Memory")
    assert "about 30 MB whatever the micro-batch" in memory.reading
    assert "3.75 MB for each of its images" in memory.reading
    assert memory.figures[0].data["megabytes"] == [90, 60, 45]


def test_exercises_are_about_this_very_data(experiment: Experiment) -> None:
    answers = {exercise.name: exercise.answer for exercise in experiment.exercises}
    images = int(experiment.subtitle.split(" on ")[1].split()[0])
    assert 30 <= images <= 42
    assert answers["last_window"] == images % 16
    assert answers["fixed_divisor"] == -(-(images % 16) // 4) / 4
    drift = section(experiment, "drifts").values["gradient"]
    assert answers["farthest"] == max((2.0, 4.0), key=lambda count: np.mean(drift[str(int(count))]))


def test_network_without_batch_norm_leaves_that_claim_open(dataset: Path) -> None:
    experiment = teach(dataset, model="normless-net", seeds=1)
    assert not [each for each in experiment.sections if "drifts" in each.title]
    claim = next(claim for claim in experiment.claims if "BatchNorm too" in claim.text)
    assert (claim.reading, claim.because.split(":")[0]) == ("undecided", "out of reach of this experiment")
    assert [exercise.name for exercise in experiment.exercises] == ["last_window", "fixed_divisor", "heavier"]


@pytest.mark.parametrize(
    ("sizes", "weights", "seconds", "readings"),
    [
        ([90, 60, 45], [0.001, 0.002], [1.25, 1.26], ["supported", "supported", "supported"]),
        ([90, 60, 89], [0.1, 0.11], [1.0, 1.001], ["not supported", "not supported", "not supported"]),
        ([90, 105, 45], [0.001, 0.2], [0.9, 1.4], ["undecided", "not supported", "undecided"]),
        ([], [0.001], [1.25], ["undecided", "undecided", "undecided"]),
    ],
)
def test_claims_follow_the_numbers(
    sizes: list[int], weights: list[float], seconds: list[float], readings: list[str]
) -> None:
    plan = Plan(16, (1, 2, 4), 2, tuple(range(len(weights))))
    whole = Distances((0.0,) * len(weights), (0.0,) * len(weights), (0.0,) * len(weights), (1.0,) * len(seconds))
    pieces = replace(whole, weights=tuple(weights), seconds=tuple(seconds))
    measured = Measured(
        memory={count: Memory(0, size * 10**6) for count, size in zip(plan.counts, sizes, strict=False)},
        double={1: 0.0, 2: 1e-16, 4: 1e-16},
        stored={1: whole, 2: pieces, 4: pieces},
        batch={},
        mistakes=(Mistake("a", (4, 4), 0.2, 0.8, 1.0),),
        losses=(),
        tiles=b"",
    )
    found = list(claims(plan, measured))
    assert found[0].reading == "supported"
    # In the order of the claims: the weights, memory, time.
    assert [found[1].reading, found[2].reading, found[3].reading] == readings


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window": 18}, "18 images can't be cut into 4 micro-batches"),
        ({"window": 16, "accumulation": [1, 16]}, "two images at least"),
        ({"accumulation": [2, 4]}, "has to rise from 1"),
        ({"accumulation": [1, 4, 2]}, "has to rise from 1"),
        ({"window": 64}, "images are more than the"),
        ({"model": "no-net"}, "no-net"),
        ({"model_params": {"depth": 3}}, "depth"),
    ],
)
def test_what_can_not_be_measured_is_one_line(dataset: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(AhekitError, match=message) as caught:
        teach(dataset, **params)
    assert "\n" not in str(caught.value)


def test_data_that_is_not_there_is_one_line() -> None:
    with pytest.raises(AhekitError, match="no such folder"):
        teach(Path("/nowhere/at/all"))


def test_lesson_keeps_what_its_protocol_promises(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ahekit_plugins.lessons.accumulation.lesson.data_of", lambda request: str(dataset))
    checked = check_lesson(Accumulation, params={**SMALL, "seeds": 1, "steps": 1})
    assert len(checked.exercises) == 3


def test_run_that_is_named_is_refused() -> None:
    from ahekit.teaching import teach as by_name

    with pytest.raises(UsageError, match="leave out --run"):
        by_name("accumulation", root=Path("runs"), run="some")


@needs_browser
def test_page_divides_as_the_gradients_are_divided(experiment: Experiment, open_lesson: Callable[..., Page]) -> None:
    page = open_lesson("accumulation", experiment)
    losses = np.array(section(experiment, "window in").values["losses"])
    result = page.locator(".widget .result")

    def shown(name: str) -> float:
        return float(result.get_attribute(f"data-{name}") or "nan")

    def sizes() -> list[int]:
        return [int(piece.get_attribute("data-images") or -1) for piece in page.locator(".widget .piece").all()]

    assert sizes() == [4, 4, 4, 4], "K starts at the third number"
    assert shown("right") == shown("means") == shown("fixed") == pytest.approx(losses.mean())
    assert shown("memory") == 45
    # By keyboard: two micro-batches, and two images less.
    page.locator('input[name="accumulation"]').press("ArrowLeft")
    for _ in range(2):
        page.locator('input[name="images"]').press("ArrowLeft")
    assert sizes() == [8, 6]
    assert shown("memory") == 60
    assert shown("gradient") == pytest.approx(section(experiment, "The gradient").values["double"]["2"])
    assert shown("right") == pytest.approx(losses[:14].mean())
    assert shown("means") == shown("fixed") == pytest.approx((losses[:8].mean() + losses[8:14].mean()) / 2)
    # A window of one micro-batch out of four: the fixed divisor takes a quarter.
    for _ in range(2):
        page.locator('input[name="accumulation"]').press("ArrowRight")
    page.locator('input[name="images"]').press("Home")
    for _ in range(3):
        page.locator('input[name="images"]').press("ArrowRight")
    assert sizes() == [4, 0, 0, 0]
    assert shown("fixed") == pytest.approx(losses[:4].mean() / 4)
    assert shown("means") == pytest.approx(losses[:4].mean())
    assert page.locator(".widget .tile").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
