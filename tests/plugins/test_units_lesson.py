"""The lesson on hidden units: what it counts, what it reads off, and its slider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page
from torch import nn

from ahekit.errors import AhekitError
from ahekit.protocols import LessonInput, VisualizerInput
from ahekit.sections import Column, Experiment, Table, Visualization
from ahekit.testing import check_lesson, small_input
from ahekit.validation import validate
from ahekit_plugins.lessons.units.lesson import HiddenUnits, renew_statistics, shuffle
from ahekit_plugins.lessons.units.readings import Facts, claims, exercises, rank_sums, signed_ranks
from tests.browser import needs_browser


def teach(view: VisualizerInput, **params: Any) -> Experiment:
    lesson = HiddenUnits()
    return lesson.teach(LessonInput(network=lambda layers: view), validate(lesson.Params, params))


def network() -> VisualizerInput:
    """Two convolutions with BatchNorm."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()
    return small_input(module, aliases={"conv1": "0", "conv2": "3"})


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return teach(network(), top=3, permutations=20)


def test_both_layers_are_counted_and_the_control_stands_beside_them(experiment: Experiment) -> None:
    layers = experiment.sections[1].values
    assert {name: values["units"] for name, values in layers.items()} == {"conv1": 4, "conv2": 6}
    slider = experiment.sections[2].values
    for layer in slider["layers"]:
        assert sum(layer["counts"]) == sum(layer["shuffled"]) == layers[layer["name"]]["units"]
        # Of three images, more than half are two.
        assert sum(layer["counts"][2:]) == layers[layer["name"]]["mostly"]
    answers = {exercise.name: exercise.answer for exercise in experiment.exercises}
    assert answers == {"mostly": layers["conv2"]["mostly"], "least": 1, "field": 5}
    assert len(experiment.claims) == 4


def test_shuffled_weights_are_the_same_numbers() -> None:
    convolution = nn.Conv2d(3, 8, 3)
    norm = nn.BatchNorm2d(8)
    module = nn.Sequential(convolution, norm, nn.ReLU())
    before = convolution.weight.detach().clone()
    shuffle(module, seed=1)
    after = convolution.weight.detach()
    assert not torch.equal(after, before)
    assert torch.equal(after.flatten().sort().values, before.flatten().sort().values)
    images = torch.rand(6, 3, 8, 8)
    renew_statistics(module, [images[:3], images[3:]])
    assert not module.training
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, convolution(images).mean(dim=(0, 2, 3)), atol=1e-5)


def facts(early: list[float], late: list[float], *, shuffled: list[float], drops: list[float]) -> Facts:
    """Shares of two layers' units; the indices are the same numbers."""
    arrays: dict[str, Any] = {
        "best_f1": np.array(drops),
        "best_f1_silenced": np.zeros(len(drops)),
        "best_others_drop": np.zeros(len(drops)),
    }
    for name, shares in (("conv1", early), ("conv4", late)):
        arrays |= {
            f"{name}.majority_share": np.array(shares),
            f"{name}.selectivity": np.array(shares),
            f"{name}.dead": np.zeros(len(shares), dtype=bool),
        }
    rows = (("conv1", 1, 0, "3"), ("conv4", 1, 0, "46"))
    table = Table("Units", tuple(map(Column, ("layer", "units", "dead", "field"))), rows)
    seen = Visualization(arrays, (), tables=(table,))
    return Facts(("conv1", "conv4"), "conv1", "conv4", 9, ("a", "b"), seen, {"conv4": np.array(shuffled)})


@pytest.mark.parametrize(
    ("early", "late", "shuffled", "drops", "readings"),
    [
        ([0.2] * 10, [0.9] * 10, [0.2] * 10, [0.1, 0.2, 0.3, 0.4, 0.5], ["supported"] * 4),
        ([0.9] * 10, [0.2] * 10, [0.9] * 10, [-0.1, -0.2, -0.3, -0.4, -0.5], ["not supported"] * 4),
        ([0.2, 0.9], [0.9, 0.2], [0.2, 0.9], [0.1, -0.2], ["undecided"] * 4),
        ([0.2] * 5, [0.2] * 5, [0.2] * 5, [0.0, 0.0], ["undecided"] * 4),
    ],
)
def test_claims_follow_the_numbers(
    early: list[float], late: list[float], shuffled: list[float], drops: list[float], readings: list[str]
) -> None:
    known = facts(early, late, shuffled=shuffled, drops=drops)
    assert [claim.reading for claim in claims(known)] == readings
    answers = {exercise.name: exercise.answer for exercise in exercises(known)}
    assert answers == {"mostly": sum(share > 0.5 for share in late), "least": 5, "field": 46}


def test_nothing_to_tell_apart_is_no_evidence() -> None:
    assert rank_sums(np.array([]), np.array([1.0])) == (1, 1)
    assert rank_sums(np.ones(4), np.ones(3)) == (1, 1)
    assert signed_ranks(np.zeros(3)) == (1, 1)


def test_what_can_not_be_asked_is_one_line() -> None:
    view = network()
    for params, message in (
        ({"late": "5"}, "layer 5 is no convolution; choose one of conv1, conv2"),
        ({"early": "conv2"}, "isn't deeper"),
        ({"late": "conv9"}, "no layer named 'conv9'"),
    ):
        with pytest.raises(AhekitError, match=message):
            teach(view, **params)
    with pytest.raises(AhekitError, match="comes without one"):
        teach(replace(view, split=None))
    single = small_input(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 3)), aliases={"conv1": "0"})
    with pytest.raises(AhekitError, match="a single convolution"):
        teach(single)
    with pytest.raises(AhekitError, match="no convolution"):
        teach(small_input(nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), aliases={}))


def test_lesson_keeps_what_its_protocol_promises() -> None:
    assert len(check_lesson(HiddenUnits, params={"permutations": 20}).sections) == 5


@needs_browser
def test_slider_counts_what_mostly_is(experiment: Experiment, open_lesson: Callable[..., Page]) -> None:
    page = open_lesson("units", experiment)
    layers = experiment.sections[2].values["layers"]

    def counted() -> list[tuple[int, int]]:
        rows = page.locator(".widget .row").all()
        return [
            (int(row.get_attribute("data-count") or -1), int(row.get_attribute("data-shuffled") or -1)) for row in rows
        ]

    for least, key in ((2, None), (3, "ArrowRight"), (1, "Home")):
        if key:
            page.locator('input[name="least"]').press(key)
        assert counted() == [(sum(each["counts"][least:]), sum(each["shuffled"][least:])) for each in layers]
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
