"""The lesson on pooling: networks of equal budget, what moves and disturbs them, and the page's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page
from torch import Tensor

from ahekit.errors import SpecError, UsageError
from ahekit.inspection.summary import summarize
from ahekit.protocols import LessonInput
from ahekit.sample import write_sample
from ahekit.sections import Experiment
from ahekit.teaching import teach
from ahekit.validation import validate
from ahekit_plugins.lessons.pooling.lesson import Pooling
from ahekit_plugins.lessons.pooling.measures import (
    POOLINGS,
    effect_of,
    kept_of_maps,
    kept_share,
    window,
    with_wrong_pixels,
)
from ahekit_plugins.lessons.pooling.variants import VARIANTS, WAYS, multiply_adds, variant_params
from ahekit_plugins.models.cnn5 import Cnn5
from tests.browser import needs_browser

TINY: dict[str, Any] = {"image_size": 16, "width": 0.06, "epochs": 1, "seeds": 2, "pictures": 8}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    write_sample(root, train=80, test=30)
    return root


def ask(sample: Path, folder: Path | None = None, **params: Any) -> Experiment:
    lesson = Pooling()

    def none_is_needed(layers: Any) -> Any:
        raise AssertionError("the lesson trains its own networks")

    request = LessonInput(network=none_is_needed, data=str(sample), folder=folder, device="cpu")
    return lesson.teach(request, validate(lesson.Params, TINY | params))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lesson keeps what it trained."""
    return tmp_path_factory.mktemp("lesson") / "kept"


@pytest.fixture(scope="module")
def experiment(sample: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHEKIT_HOME", str(tmp_path_factory.getbasetemp() / "ahekit-home"))
        return ask(sample, folder)


def test_counted_products_are_those_of_the_network() -> None:
    for network in variant_params(width=0.1, image_size=32, num_classes=7).values():
        built = Cnn5().build(network, num_classes=7, image_size=32)
        assert multiply_adds(network, image_size=32, num_classes=7) == summarize(built).multiply_adds


@pytest.mark.parametrize(("width", "image_size"), [(0.25, 32), (0.5, 64)])
def test_networks_have_equal_parameters_or_equal_work(width: float, image_size: int) -> None:
    networks = variant_params(width=width, image_size=image_size, num_classes=10)
    works = {name: multiply_adds(each, image_size=image_size, num_classes=10) for name, each in networks.items()}
    assert len({(networks[name].channels, networks[name].hidden) for name in WAYS}) == 1
    for name in set(VARIANTS) - set(WAYS):
        assert works[name] == pytest.approx(works["max"], rel=0.1)
        assert networks[name].channels < networks["max"].channels


def test_a_window_moves_over_the_picture_s_own_pixels() -> None:
    wide = np.arange(20 * 20 * 3, dtype=np.int64).reshape(1, 20, 20, 3).astype(np.uint8)
    assert window(wide, 0, 0).shape == (1, 4, 4, 3)
    assert np.array_equal(window(wide, 1, -2)[0], wide[0, 9:13, 6:10])
    assert np.array_equal(window(wide, 8, 8)[0], wide[0, 16:20, 16:20])


def test_kept_variance_is_that_of_the_picture_less_the_error() -> None:
    # Columns of 0 and 2: variance 1; averages are all 1, so that nothing of it is left.
    columns = torch.tensor([0.0, 2.0]).repeat(8).expand(1, 1, 16, 16).double()
    assert kept_share(POOLINGS["average"], columns, 1) == pytest.approx(0)
    # Squares of 4x4: two poolings change nothing, a third leaves nothing.
    squares = columns.repeat_interleave(4, 2)[..., :16, :].repeat_interleave(4, 3)[..., :16]
    assert kept_share(POOLINGS["average"], squares, 2) == pytest.approx(1)
    assert kept_share(POOLINGS["average"], squares, 3) == pytest.approx(0)
    assert kept_share(POOLINGS["max"], columns, 1) == pytest.approx(1 - 2), "all 2, off by 2 at every second place"


def test_one_wrong_pixel_moves_a_maximum_by_four_times_an_average() -> None:
    pixels = np.full((2, 16, 16, 3), 55, dtype=np.uint8)
    effects = {name: effect_of(pooling, pixels, seed=0) for name, pooling in POOLINGS.items() if name != "blur"}
    assert (effects["max"].wrong, effects["max"].touched) == (200, 1)
    assert (effects["average"].wrong, effects["average"].touched) == (50, 1)
    # It lies on a pixel that is kept in one of four places.
    assert (effects["every second pixel"].wrong, effects["every second pixel"].touched) == (50, 0.25)
    # The largest of four normal numbers: mean 1.029, deviation 0.701. The mean of four: 0 and a half.
    assert effects["max"].bias == pytest.approx(1.029, abs=0.1)
    assert effects["max"].noise == pytest.approx(0.701, abs=0.07)
    assert effects["average"].noise == pytest.approx(0.5, abs=0.07)


def test_max_keeps_the_peak_and_average_the_level_of_a_map() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 3, 3] = 16.0
    assert kept_of_maps(maps, POOLINGS["max"]) == {"peak": 1.0, "level": 16.0}
    assert kept_of_maps(maps, POOLINGS["average"]) == {"peak": 1 / 16, "level": 1.0}


def test_wrong_pixels_are_white_and_the_others_are_left_alone() -> None:
    pixels = np.full((10, 40, 40, 3), 7, dtype=np.uint8)
    spoilt = with_wrong_pixels(pixels, 0)
    is_white = (spoilt == 255).all(axis=3)
    assert is_white.mean() == pytest.approx(0.02, abs=0.004)
    assert (spoilt[~is_white] == 7).all()


def test_every_network_is_trained_with_every_seed(experiment: Experiment) -> None:
    table = experiment.sections[0].tables[0]
    assert [row[0] for row in table.rows] == list(VARIANTS)
    figures = experiment.sections[0].values
    assert all(len(figures[name]["f1"]) == 2 for name in VARIANTS)
    assert len({figures[name]["parameters"] for name in WAYS}) == 1


def test_the_best_is_named_with_those_that_may_be_as_good(experiment: Experiment) -> None:
    section = experiment.sections[0]
    f1 = {name: np.array(section.values[name]["f1"]) for name in VARIANTS}
    best = max(VARIANTS, key=lambda name: f1[name].mean())
    # Two seeds: Student's t of one degree of freedom, 12.7, over the root of 2.
    gaps = {name: f1[best] - f1[name] for name in VARIANTS if name != best}
    alike = [name for name, gap in gaps.items() if gap.mean() <= 12.706 * gap.std(ddof=1) / np.sqrt(2)]
    assert section.verdict.startswith(f"Of six networks at equal budget: {best} has the largest mean macro-F1")
    assert section.verdict.endswith(f"worse: {'; '.join(alike)}." if alike else "the others are worse.")


def test_claims_are_read_off_the_numbers(experiment: Experiment) -> None:
    readings = {claim.text: claim for claim in experiment.claims}
    assert len(readings) == 11
    size = readings["Pooling reduces the size of the maps, and with it the work."]
    assert size.reading == "supported"
    features = readings["Max pooling keeps features, average pooling keeps the background."]
    assert "leave 100% of the peak with max" in features.because
    assert "and 0% with average" in features.because
    assert readings["Max pooling is used most often."].reading == "undecided"


def test_answers_stand_in_the_tables(experiment: Experiment) -> None:
    answers = {exercise.name: exercise.answer for exercise in experiment.exercises}
    assert answers["values_left"] == 1, "16 pixels, halved four times"
    moved = {row[0]: float(row[5] or 0) for row in experiment.sections[1].tables[0].rows if row[0] in WAYS}
    assert answers["moves_least"] == min(moved, key=lambda name: moved[name])
    wrong = {row[0]: float(row[3] or 0) for row in experiment.sections[3].tables[0].rows}
    assert answers["three_by_three"] == pytest.approx(wrong["average"] * 4 / 9)


def test_the_same_seed_gives_the_same_numbers_and_kept_ones_are_not_trained_again(
    experiment: Experiment, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = ask(sample, tmp_path)
    drop = {"Seconds"}
    for section, other in zip(experiment.sections, again.sections, strict=True):
        for table, same in zip(section.tables, other.tables, strict=True):
            kept = [place for place, column in enumerate(table.columns) if column.name not in drop]
            assert [[row[place] for place in kept] for row in table.rows] == [
                [row[place] for place in kept] for row in same.rows
            ]
    assert len(list(tmp_path.iterdir())) == 2 * len(VARIANTS)
    monkeypatch.setattr("ahekit.training.experiments.run_trial", None)
    assert ask(sample, tmp_path).exercises == again.exercises


def test_bad_input_is_one_line(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="image_size"):
        ask(sample, image_size=8)
    with pytest.raises(UsageError, match="--full is for real images"):
        teach("pooling", root=tmp_path, full=True)


def grid(page: Page, name: str) -> Tensor:
    """A table of numbers as the page has worked them out."""
    rows = page.locator(f'.widget table[data-grid="{name}"] tr').all()
    values = [[float(cell.get_attribute("data-value") or "nan") for cell in row.locator("td").all()] for row in rows]
    return torch.tensor(values, dtype=torch.float64)


@needs_browser
def test_pooled_numbers_of_the_page_are_torch_s(experiment: Experiment, open_lesson: Callable[..., Page]) -> None:
    page = open_lesson("pooling", experiment, is_dark=False)
    start = grid(page, "picture")
    slider = page.locator('.widget input[name="shift"]')
    for shift in (0, 1, 3):
        slider.evaluate("(each, value) => { each.value = value; each.dispatchEvent(new Event('input')); }", shift)
        moved = grid(page, "picture")
        assert torch.equal(moved[:, shift:], start[:, : 8 - shift])
        for name, pooling in POOLINGS.items():
            torch.testing.assert_close(grid(page, name), pooling(moved[None, None])[0, 0])
    page.locator('.widget table[data-grid="picture"] td').nth(20).press("Enter")
    spoilt = grid(page, "picture")
    assert spoilt[2, 4] == 9
    torch.testing.assert_close(grid(page, "blur"), POOLINGS["blur"](spoilt[None, None])[0, 0])
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.usefixtures("experiment")
def test_networks_without_a_spread_are_told_and_not_decided(sample: Path, folder: Path) -> None:
    single = ask(sample, folder, seeds=1)
    decided = {claim.text for claim in single.claims if claim.reading != "undecided"}
    assert decided == {"Pooling reduces the size of the maps, and with it the work.", "Pooling loses information."}
    assert single.claims[1].because.endswith("one seed tells nothing of others")
