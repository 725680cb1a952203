"""The lesson on matching: where identities come from, what it reads off, and its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from torch import nn

from ahekit.data.dataset import Dataset
from ahekit.errors import AhekitError, RunError, UnknownNameError, UsageError
from ahekit.evaluation.matching import Pairs, Retrieval
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import LessonInput, NoParams, VisualizerInput
from ahekit.registry import MODELS
from ahekit.sections import Experiment
from ahekit.testing import check_lesson, small_input
from ahekit.validation import validate
from ahekit_plugins.lessons.matching.identities import Identities, Pictures, find_identities
from ahekit_plugins.lessons.matching.learning import Matched
from ahekit_plugins.lessons.matching.lesson import Matching
from ahekit_plugins.lessons.matching.readings import FEW, MANY, UNTRAINED, Facts, claims, exercises
from tests.browser import needs_browser

SMALL: dict[str, Any] = {
    "model": "small-net",
    "image_size": 16,
    "identities": 4,
    "pictures": 3,
    "held_out": 10,
    "epochs": 1,
    "seeds": 2,
}


class SmallNet:
    """A convolution and a hidden layer."""

    Params = NoParams
    image_size = 16

    def build(self, params: NoParams, *, num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, num_classes)
        )


@pytest.fixture(autouse=True)
def _network(no_plugin_files: None) -> None:
    MODELS.register("small-net")(SmallNet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of two classes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("altar", "vault"):
        (root / name).mkdir()
        for number in range(20):
            small = Image.fromarray(rng.integers(0, 255, (4, 4, 3)).astype(np.uint8))
            small.resize((16, 16), Image.Resampling.BICUBIC).save(root / name / f"{number}.png")
    return root


def no_run(layers: object) -> VisualizerInput:
    raise RunError("no run in runs; `ahekit train` makes one")


def teach(folder: Path, *, network: Callable[..., VisualizerInput] = no_run, **params: Any) -> Experiment:
    lesson = Matching()
    request = LessonInput(network=network, data=str(folder), device="cpu")
    return lesson.teach(request, validate(lesson.Params, {**SMALL, **params}))


@pytest.fixture(scope="module")
def kept() -> dict[str, Experiment]:
    return {}


@pytest.fixture
def experiment(folder: Path, kept: dict[str, Experiment]) -> Experiment:
    """The same for all tests that only look at it."""
    if "own" not in kept:
        kept["own"] = teach(folder)
    return kept["own"]


def dataset(ids: list[str], labels: list[int]) -> Dataset:
    """Pictures whose pixels are their number."""
    count = len(ids)
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 3))
    names = np.array(["train"] * count)
    return Dataset(
        "named", Path(), ("a", "b"), tuple(ids), images, np.array(labels), names, (), "f", Preprocessing(size=8)
    )


def visits(count: int, *, pictures: int, alone: int) -> Dataset:
    """So many visits of as many pictures each, and pictures of no visit; every other visit is of the second class."""
    numbers = [10_000_000 * (visit + 1) + 10 * place for visit in range(count) for place in range(pictures)]
    labels = [visit % 2 for visit in range(count) for _ in range(pictures)]
    numbers += [5_000_000_000 + 10_000_000 * place for place in range(alone)]
    labels += [0] * alone
    return dataset([f"train/a/{number}_0123456789_m.jpg" for number in numbers], labels)


def test_visits_are_identities_and_those_measured_on_are_apart() -> None:
    known = visits(24, pictures=3, alone=60)
    identities = find_identities(known, few=12, pictures=3, held_out=100, seed=0)
    assert not identities.are_made_up
    assert (identities.few.count, len(identities.few.identities)) == (12, 36)
    assert (identities.many.count, len(identities.many.identities)) == (36, 36)
    assert identities.held_out.count == 12

    def numbers(pictures: Pictures) -> np.ndarray:
        return pictures.pixels[:, 0, 0, 0]

    # The pixels tell which picture it is: the first 72 are of visits, three each.
    assert not set(numbers(identities.few) // 3) & set(numbers(identities.held_out) // 3)
    assert set(numbers(identities.many)) <= set(range(72, 132))
    for pictures in (identities.few, identities.held_out):
        for own in range(pictures.count):
            assert len(set(numbers(pictures)[pictures.identities == own] // 3)) == 1


def test_too_few_visits_leave_views_of_one_picture() -> None:
    for known in (visits(6, pictures=3, alone=60), visits(24, pictures=3, alone=5)):
        identities = find_identities(known, few=8, pictures=3, held_out=10, seed=0)
        assert identities.are_made_up
        assert (identities.few.count, len(identities.few.identities)) == (8, 24)
        assert (identities.many.count, identities.held_out.count) == (24, 10)
    with pytest.raises(UsageError, match="ask for fewer with --identities"):
        find_identities(visits(6, pictures=3, alone=10), few=30, pictures=3, held_out=10, seed=0)


def test_pictures_of_one_visit_and_two_classes_are_two_identities() -> None:
    ids = [
        f"train/a/{10_000_000 * (visit + 1) + 10 * place}_0123456789_m.jpg" for visit in range(20) for place in range(4)
    ]
    singles = [f"train/a/{5_000_000_000 + 10_000_000 * place}_0123456789_m.jpg" for place in range(40)]
    known = dataset(ids + singles, [place // 2 for _ in range(20) for place in range(4)] + [0] * 40)
    identities = find_identities(known, few=15, pictures=2, held_out=100, seed=0)
    assert identities.few.count + identities.held_out.count == 40


def test_both_tasks_are_measured_on_identities_that_nobody_trained_on(experiment: Experiment) -> None:
    both = experiment.sections[1].values
    assert set(both) == {UNTRAINED, MANY, FEW}
    for found in both.values():
        assert len(found) == 2
        assert all(0 <= figures["eer"] <= 1 and 0 <= figures["rank_1"] <= 1 for figures in found)
    answers = {exercise.name: exercise.answer for exercise in experiment.exercises}
    assert answers["pairs"] == 10 * 3
    assert answers["false_accepts"] == pytest.approx(1 - 0.99**10)
    means = {kind: np.mean([figures["eer"] for figures in found]) for kind, found in both.items()}
    assert answers["better"] == ("few" if means[FEW] < means[MANY] else "many")
    assert "no network of your own stands beside them: no run in runs" in experiment.notes[1]
    gallery = experiment.sections[3].values
    assert gallery[FEW][-1] == pytest.approx(np.mean([figures["rank_1"] for figures in both[FEW]]))
    assert gallery[FEW][0] >= gallery[FEW][-1]


def test_own_network_stands_beside_them(folder: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    view = small_input(module.eval(), aliases={"conv1": "0"})
    experiment = teach(folder, network=lambda layers: view, seeds=1)
    assert len(experiment.sections[1].values["your own network"]) == 1
    assert experiment.sections[1].tables[0].columns[-1].name == "your own network"


def facts(rates: dict[str, list[float]], ranks: list[int]) -> Facts:
    """Equal error rates by kind and seed; the ranks of the probes are the same for all."""
    pairs = Pairs(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 0]), np.array([0, 1]))
    found = Retrieval(np.array(ranks), np.ones(len(ranks)), np.arange(len(ranks)))
    rank_one = found.match_rate(1)
    measured = {
        kind: [Matched(pairs, found, {"eer": rate, "rank_1": rank_one + 0.001 * seed}) for seed, rate in enumerate(own)]
        for kind, own in rates.items()
    }
    apart = Pictures(np.zeros((8, 1, 1, 3), np.uint8), np.repeat(np.arange(4), 2))
    return Facts(Identities(apart, apart, apart, "", False), measured, (0, 1, 2))


@pytest.mark.parametrize(
    ("untrained", "many", "few", "readings"),
    [
        ([0.5, 0.51, 0.52], [0.3, 0.31, 0.33], [0.1, 0.11, 0.12], ["supported", "not supported"]),
        ([0.1, 0.11, 0.12], [0.3, 0.31, 0.33], [0.5, 0.51, 0.52], ["not supported", "supported"]),
        ([0.3, 0.4, 0.2], [0.3, 0.2, 0.4], [0.25, 0.3, 0.4], ["undecided", "undecided"]),
    ],
)
def test_claims_follow_the_numbers(
    untrained: list[float], many: list[float], few: list[float], readings: list[str]
) -> None:
    known = facts({UNTRAINED: untrained, MANY: many, FEW: few}, [1, 2, 3, 1])
    assert [claim.reading for claim in claims(known)][:2] == readings
    assert exercises(known)[2].answer == ("few" if np.mean(few) < np.mean(many) else "many")


def test_what_can_not_be_learned_is_one_line(folder: Path, tmp_path: Path) -> None:
    for params, message in (
        ({"identities": 30}, "ask for fewer with --identities"),
        ({"model": "no-net"}, "no-net"),
        ({"group_by": "("}, "group_by"),
    ):
        with pytest.raises(AhekitError, match=message) as caught:
            teach(folder, **params)
        assert "\n" not in str(caught.value)
    with pytest.raises(AhekitError, match="no such folder"):
        teach(tmp_path / "nowhere")

    def not_there(layers: object) -> VisualizerInput:
        raise UnknownNameError("run", "mine", ["yours"])

    with pytest.raises(UnknownNameError, match="no run named 'mine'"):
        teach(folder, network=not_there)


def test_lesson_keeps_what_its_protocol_promises(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ahekit_plugins.lessons.matching.lesson.data_of", lambda request: str(folder))
    assert len(check_lesson(Matching, params={**SMALL, "seeds": 1}).sections) == 5


@needs_browser
def test_threshold_of_the_page_trades_the_errors(experiment: Experiment, open_lesson: Callable[..., Page]) -> None:
    page = open_lesson("matching", experiment)
    data = experiment.sections[2].values
    genuine, impostors = (np.array(data[name]) for name in ("genuine", "impostors"))
    assert (genuine.sum(), impostors.sum()) == (30, 405)
    result = page.locator(".widget .result")

    def shown(name: str) -> float:
        return float(result.get_attribute(f"data-{name}") or "nan")

    def expected(place: int, size: int) -> tuple[float, float, float]:
        accepted = impostors[place:].sum() / impostors.sum()
        return accepted, genuine[:place].sum() / genuine.sum(), 1 - (1 - accepted) ** size

    slider = page.locator('input[name="threshold"]')
    assert int(slider.input_value()) == data["start"]
    for key in (None, "ArrowRight", "Home", "End"):
        if key:
            slider.press(key)
        place = int(slider.input_value())
        assert (shown("accepted"), shown("rejected"), shown("any")) == pytest.approx(expected(place, 10))
    slider.press("Home")
    assert shown("accepted") == 1
    slider.press("End")
    assert shown("rejected") == 1
    slider.press("ArrowLeft")
    page.locator('input[name="gallery"]').press("ArrowRight")
    assert shown("any") == pytest.approx(expected(int(slider.input_value()), 11)[2])
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
