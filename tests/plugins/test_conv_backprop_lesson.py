"""The lesson on backpropagation through a convolution: what it lays out, and the page's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page
from torch import nn
from torch.nn.functional import conv2d

from ahekit.errors import AhekitError, UsageError
from ahekit.protocols import LessonInput, VisualizerInput
from ahekit.sections import Experiment
from ahekit.testing import check_lesson, small_input, small_pictures
from ahekit.validation import validate
from ahekit_plugins.lessons.conv_backprop.backward import conv2d_backward
from ahekit_plugins.lessons.conv_backprop.lesson import ConvBackprop
from tests.browser import needs_browser


def network(**settings: Any) -> VisualizerInput:
    """A small network whose first layer has these settings, and three pictures."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, **settings)
    module = nn.Sequential(first, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    return small_input(module, aliases={"conv1": "0"}, pixels=small_pictures(3, 12))


def chain_of(view: VisualizerInput) -> nn.Sequential:
    assert isinstance(view.model.module, nn.Sequential)
    return view.model.module


def first_of(view: VisualizerInput) -> nn.Conv2d:
    first = chain_of(view)[0]
    assert isinstance(first, nn.Conv2d)
    return first


def teach(view: VisualizerInput, **params: Any) -> Experiment:
    lesson = ConvBackprop()
    return lesson.teach(LessonInput(network=lambda layers: view), validate(lesson.Params, params))


SETTINGS: tuple[dict[str, Any], ...] = (
    {"padding": 1},
    {"stride": 2, "bias": False},
    {"stride": 3, "padding": 2, "dilation": 2},
    {"padding": "same", "dilation": 2},
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_written_out_pass_is_autograd_s(settings: dict[str, Any]) -> None:
    experiment = teach(network(**settings))
    errors = experiment.sections[1].values["relative_errors"]
    assert max(errors.values()) < 1e-12
    assert [claim.reading for claim in experiment.claims] == ["supported"] * 3


def test_bias_gradient_is_the_answer_of_its_exercise() -> None:
    view = network(padding=1)
    answers = {exercise.name: exercise.answer for exercise in teach(view).exercises}
    module = view.model.module
    module.zero_grad()
    nn.functional.cross_entropy(module(view.images[:1]), torch.tensor([view.labels[0]])).backward()
    bias = first_of(view).bias
    assert bias is not None
    assert bias.grad is not None
    gradient = bias.grad
    assert answers["bias_gradient"] == pytest.approx(float(gradient[gradient.abs().argmax()]), rel=1e-4)
    assert answers["zeros_around"] == 1
    assert answers["products"] == 144


def test_what_can_not_be_looked_at_is_one_line() -> None:
    with pytest.raises(UsageError, match="a ReLU, no convolution; choose one of conv1"):
        teach(network(), layer="1")
    with pytest.raises(UsageError, match="pads by reflect"):
        teach(network(padding=1, padding_mode="reflect"))
    with pytest.raises(UsageError, match="there are 3, counted from 0"):
        teach(network(), picture=3)
    with pytest.raises(AhekitError, match="no convolution"):
        teach(small_input(nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), aliases={}))


def test_lesson_keeps_what_its_protocol_promises() -> None:
    assert len(check_lesson(ConvBackprop).sections) == 4


def test_page_shows_as_many_units_as_it_can_hold() -> None:
    view = network(padding=1)
    section = teach(view, units=2).sections[2]
    assert len(section.values["units"]) == 2
    assert section.values["units"] == sorted(section.values["units"])


def grid(page: Page, name: str, *, widget: int = 0) -> list[list[float]]:
    """A table of numbers as the page has worked them out."""
    rows = page.locator(".widget").nth(widget).locator(f'table[data-grid="{name}"] tr')
    return [
        [float(cell.get_attribute("data-value") or "nan") for cell in row.locator("td").all()] for row in rows.all()
    ]


def result(page: Page) -> tuple[float, float]:
    """The sum that the page worked out, and the value that stands beside it."""
    place = page.locator(".widget .result").first
    return float(place.get_attribute("data-own") or "nan"), float(place.get_attribute("data-autograd") or "nan")


@needs_browser
@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2, "padding": 2, "dilation": 2}])
def test_every_sum_of_the_page_is_autograd_s(
    settings: dict[str, Any], open_lesson: Callable[..., Page], tmp_path: Path
) -> None:
    view = network(**settings)
    page = open_lesson("conv-backprop", teach(view, units=4), is_dark=False)
    assert (tmp_path / "page.html").stat().st_size < 2_000_000
    layer = first_of(view)
    image = view.images[:1].clone().requires_grad_()
    output = layer(image)
    output.retain_grad()
    rest = chain_of(view)[1:]
    nn.functional.cross_entropy(rest(output.clone()), torch.tensor([view.labels[0]])).backward()
    # The middle of the maps is what the page shows at first; then one step down and to the right.
    for step in (0, 1):
        if step:
            page.locator('canvas[data-map="output"]').press("ArrowDown")
            page.locator('canvas[data-map="output"]').press("ArrowRight")
        y, x = (side // 2 + step for side in output.shape[2:])
        own, shown = result(page)
        assert own == pytest.approx(float(output.detach()[0, 0, y, x]), rel=1e-4, abs=1e-6)
        assert shown == pytest.approx(own, rel=1e-4, abs=1e-6)
    weights = layer.weight.detach()[0, 0]
    assert torch.allclose(torch.tensor(grid(page, "kernel")), weights, rtol=1e-5)

    assert layer.weight.grad is not None
    page.click('button[data-mode="weight"]')
    page.locator('table[data-grid="kernel"] td').nth(5).press("Enter")
    own, shown = result(page)
    assert own == pytest.approx(float(layer.weight.grad[0, 0, 1, 2]), rel=1e-3, abs=1e-6)
    assert shown == pytest.approx(own, rel=1e-3, abs=1e-6)

    page.click('button[data-mode="input"]')
    turned = torch.tensor(grid(page, "turned"))
    assert torch.allclose(turned, weights.flip(0, 1), rtol=1e-5)
    parts = []
    for unit in range(4):
        page.locator(".widget select").first.select_option(str(unit))
        own, shown = result(page)
        parts.append(own)
        assert torch.tensor(grid(page, "products")).sum().item() == pytest.approx(own, rel=1e-4, abs=1e-7)
    assert image.grad is not None
    assert sum(parts) == pytest.approx(float(image.grad[0, 0, 6, 6]), rel=1e-3, abs=1e-6)
    assert shown == pytest.approx(float(image.grad[0, 0, 6, 6]), rel=1e-3, abs=1e-6)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@needs_browser
def test_small_example_follows_its_sliders(open_lesson: Callable[..., Page], tmp_path: Path) -> None:
    page = open_lesson("conv-backprop", teach(network()), is_dark=False)
    assert (tmp_path / "page.html").stat().st_size < 2_000_000
    for stride, padding, dilation in ((1, 0, 1), (2, 1, 1), (3, 0, 1), (1, 3, 1), (2, 2, 2)):
        for name, value in (("stride", stride), ("padding", padding), ("dilation", dilation)):
            slider = page.locator(f'input[name="{name}"]')
            slider.evaluate("(each, value) => { each.value = value; each.dispatchEvent(new Event('input')); }", value)
        image, kernel, grad_output = (
            torch.tensor(grid(page, name, widget=1)).double()[None, None] for name in ("X", "K", "dY")
        )
        how: Any = {"stride": (stride,) * 2, "padding": (padding,) * 2, "dilation": (dilation,) * 2}
        gradients = conv2d_backward(grad_output, image, kernel, **how)
        assert grid(page, "Y", widget=1) == conv2d(image, kernel, **how)[0, 0].tolist()
        assert grid(page, "dK", widget=1) == gradients.weight[0, 0].tolist()
        assert grid(page, "dX", widget=1) == gradients.input[0, 0].tolist()
