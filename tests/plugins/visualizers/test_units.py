"""`units`: what it finds of a network whose units are known, what it draws and says, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ahekit.errors import SpecError, UsageError
from ahekit.inspection.selectivity import class_selectivity
from ahekit.inspection.synthesis import ForwardPass, objectives
from ahekit.protocols import VisualizerInput
from ahekit.reporting.style import render_figure
from ahekit.sections import Visualization
from ahekit_plugins.visualizers.units.visualizer import one_each

Make = Callable[..., Any]

LABELS = [0, 1, 2, 0, 1, 2, 0, 1]


def colour_net() -> nn.Sequential:
    """Unit k of the first layer is colour k and speaks for class k; the second layer's five units mix them."""
    net = nn.Sequential(
        nn.Conv2d(3, 3, 1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 5, 1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )
    net[0].weight.data = torch.eye(3).view(3, 3, 1, 1)
    # Two copies of the colours' mean, and each colour handed on; the first two are never looked at again.
    net[2].weight.data = torch.cat([torch.full((2, 3), 1 / 3), torch.eye(3)])[:, :, None, None].contiguous()
    net[2].bias.data = torch.zeros(5)
    net[6].weight.data = torch.cat([torch.zeros(3, 2), torch.eye(3)], 1)
    net[6].bias.data = torch.tensor([0.0, 0.1, 0.2])
    return net


def coloured_pixels() -> np.ndarray[Any, Any]:
    """Gray, which is 0 to the network, but for a bright spot in the colour of the class."""
    pixels = np.full((len(LABELS), 8, 8, 3), 127, dtype=np.uint8)
    for number, label in enumerate(LABELS):
        pixels[number, number % 8, 2, label] = 255
    return pixels


def coloured(make_request: Make, split: Make) -> VisualizerInput:
    looked_at: VisualizerInput = make_request(
        colour_net(), aliases={"conv1": "0", "conv2": "2"}, pixels=coloured_pixels(), labels=LABELS
    )
    return replace(looked_at, split=split(coloured_pixels(), LABELS))


def test_each_class_s_own_unit_is_found_silenced_and_drawn(make_request: Make, split: Make, visualize: Make) -> None:
    seen: Visualization = visualize("units", coloured(make_request, split), top=2, steps=3)

    arrays = seen.arrays
    assert arrays["layers"].tolist() == ["conv1", "conv2"]
    assert arrays["image_ids"].tolist() == [f"{number}.png" for number in range(8)]
    assert arrays["labels"].tolist() == LABELS
    np.testing.assert_array_equal(arrays["conv1.selectivity"], [1.0, 1.0, 1.0])
    assert arrays["conv1.best_class"].tolist() == arrays["conv1.majority_class"].tolist() == [0, 1, 2]
    assert arrays["conv1.majority_share"].tolist() == [1.0, 1.0, 1.0]
    assert not arrays["conv1.dead"].any()
    # The spot of image 3 is in row 3, column 2, and a 1x1 convolution sees one pixel.
    assert arrays["conv1.top_images"][0].tolist() == [0, 3]
    assert arrays["conv1.top_boxes"][0].tolist() == [[0, 1, 2, 3], [3, 4, 2, 3]]
    # The mixing units see every class alike.
    np.testing.assert_allclose(arrays["conv2.selectivity"], [0, 0, 1, 1, 1], atol=1e-6)
    assert arrays["best_class"].tolist() == [0, 1, 2]
    assert arrays["best_layer"].tolist() == ["conv1"] * 3
    assert arrays["best_unit"].tolist() == [0, 1, 2]
    assert arrays["best_synthesized"].shape == (3, 8, 8, 3)
    for name in ("selectivity_permuted", "selectivity_permuted_95", "share_permuted", "share_permuted_95"):
        assert arrays[f"conv2.{name}"].shape == (5,)


def bright(make_request: Make, split: Make) -> VisualizerInput:
    """Each image is bright all over in the colour of its class, which the network names."""
    pixels = np.full((len(LABELS), 8, 8, 3), 127, dtype=np.uint8)
    for number, label in enumerate(LABELS):
        pixels[number, :, :, label] = 255
    return replace(coloured(make_request, split), split=split(pixels, LABELS))


def test_silencing_changes_the_f1_that_is_told(make_request: Make, split: Make, visualize: Make) -> None:
    arrays = visualize("units", bright(make_request, split), steps=0).arrays

    assert arrays["best_f1"].tolist() == [1.0, 1.0, 1.0]
    # Of 3, 3 and 2 images. Without unit 0 or 1 the bias of class 2 wins and it gets 3 too many: its F1 is 4 / 7.
    # Without unit 2 that bias is enough for its own images.
    np.testing.assert_allclose(arrays["best_f1_silenced"], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(arrays["best_others_drop"], [(1 - 4 / 7) / 2, (1 - 4 / 7) / 2, 0.0])
    assert "best_synthesized" not in arrays


def test_unit_held_at_its_mean_still_speaks_for_its_class(make_request: Make, split: Make, visualize: Make) -> None:
    arrays = visualize("units", bright(make_request, split), steps=0, silence="mean").arrays
    # Bright is 2 to the network: held at 2 x 3 / 8 = 0.75 units 0 and 1 win over the biases, and lose against 2.
    assert arrays["best_f1_silenced"].tolist() == [1.0, 1.0, 1.0]


def test_arrays_hold_the_index_of_the_class_means_and_the_baseline(make_request: Make, visualize: Make) -> None:
    arrays = visualize("units", make_request(), steps=0, top=4, batch_size=2).arrays
    for layer, units in (("conv1", 4), ("conv2", 5)):
        index, best = class_selectivity(arrays[f"{layer}.class_means"])
        np.testing.assert_array_equal(arrays[f"{layer}.selectivity"], index)
        np.testing.assert_array_equal(arrays[f"{layer}.best_class"], best)
        assert arrays[f"{layer}.top_images"].shape == (units, 4)
        assert arrays[f"{layer}.top_boxes"].shape == (units, 4, 4)
        live = ~arrays[f"{layer}.dead"]
        assert (arrays[f"{layer}.selectivity_permuted"] <= arrays[f"{layer}.selectivity_permuted_95"])[live].all()


def test_size_of_the_batches_changes_nothing_that_is_told(make_request: Make, visualize: Make) -> None:
    whole, parts = (visualize("units", make_request(), steps=0, batch_size=size) for size in (64, 2))
    assert whole.arrays.keys() == parts.arrays.keys()
    for name, values in whole.arrays.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(parts.arrays[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(parts.arrays[name], values, err_msg=name)
    assert parts.notes == whole.notes
    for row, expected in zip(parts.tables[0].rows, whole.tables[0].rows, strict=True):
        assert row[:5] == expected[:5]
        assert row[5:] == pytest.approx(expected[5:], abs=1e-6)


def test_counts_by_layer_answer_whether_depth_makes_units_selective(
    make_request: Make, split: Make, visualize: Make
) -> None:
    seen = visualize("units", coloured(make_request, split), top=2, steps=0)

    (table,) = seen.tables
    assert [row[:5] for row in table.rows] == [("conv1", 3, 0, "1", 3), ("conv2", 5, 0, "1", 3)]
    counts, answer = seen.notes
    assert "conv1 3 of 3 (100%), conv2 3 of 5 (60%)" in counts
    # One-sided Fisher of 3 of 5 against 3 of 3: at least as many in conv2 in all drawings, so p = 1.
    assert answer.startswith(
        "such a unit is not shown to be likelier in conv2 than in conv1 (Fisher's exact test, one-sided p = 1)"
    )
    assert "in conv1 they are for 3 classes, 1 of 3 for altar" in answer


def test_named_layers_alone_are_measured_vectors_too(make_request: Make, visualize: Make) -> None:
    seen = visualize("units", make_request(layers=["6"]), steps=0)
    assert seen.arrays["layers"].tolist() == ["6"]
    assert seen.arrays["6.selectivity"].shape == (3,)
    assert len(seen.notes) == 1


@pytest.mark.parametrize("units", [1, 3])
def test_figures_are_drawn_and_name_split_and_units(make_request: Make, visualize: Make, units: int) -> None:
    seen = visualize("units", make_request(), steps=1, show_units=units, split="val")
    assert [figure.name for figure in seen.figures] == ["depth", "best"]
    for figure in seen.figures:
        assert "val split, 9 images" in figure.title
        assert render_figure(figure)[:4] == b"\x89PNG"
    layer, unit = seen.arrays["best_layer"][0], seen.arrays["best_unit"][0]
    assert f"{layer} unit {unit}" in seen.figures[1].alt
    assert len(seen.arrays["best_unit"]) >= units


def test_network_without_a_live_unit_is_told_as_such(make_request: Make, visualize: Make) -> None:
    looked_at = make_request()
    looked_at.model.module[0].weight.data.zero_()
    looked_at.model.module[0].bias.data.fill_(-1.0)
    seen = visualize("units", replace(looked_at, layers={"conv1": "0"}), steps=1)
    assert seen.arrays["conv1.dead"].all()
    assert np.isnan(seen.arrays["conv1.selectivity"]).all()
    assert len(seen.arrays["best_unit"]) == 0
    assert seen.tables[0].rows[0][:3] == ("conv1", 4, 4)
    for figure in seen.figures:
        assert render_figure(figure)[:4] == b"\x89PNG"


def test_progress_ends_at_what_it_announced(make_request: Make, visualize: Make) -> None:
    told: list[tuple[int, int]] = []
    visualize(
        "units", replace(make_request(), progress=lambda done, total: told.append((done, total))), steps=2, batch_size=4
    )
    # 9 images in batches of 4, twice, and 2 steps.
    assert told == [(number, 8) for number in range(1, 9)]


def test_each_image_is_made_for_its_own_unit() -> None:
    outputs = {"a": torch.arange(12.0).view(2, 3, 2), "b": torch.ones(2, 3, 1) * 7}
    forward = ForwardPass(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(2, 3), {}, outputs)
    objective = one_each([objectives.unit("a", 2), objectives.unit("b", 0)])
    assert objective.outputs == ("a", "b")
    # Unit 2 of "a" on the first image is 4 and 5.
    assert objective.value(forward).tolist() == [4.5, 7.0]


def test_without_images_to_measure_on_one_line_says_so(make_request: Make, split: Make, visualize: Make) -> None:
    looked_at = make_request()
    with pytest.raises(UsageError, match="the network comes without one"):
        visualize("units", replace(looked_at, split=None))
    with pytest.raises(UsageError, match=r"the val split has 1 image\(s\) and at least 2 are needed; choose another"):
        visualize("units", replace(looked_at, split=split(looked_at.pixels[:1])), split="val")
    with pytest.raises(UsageError, match="all images of the test split are of one class"):
        visualize("units", replace(looked_at, split=split(looked_at.pixels, [1, 1, 1])))


@pytest.mark.parametrize(("name", "value"), [("top", 0), ("permutations", 3), ("silence", "loud"), ("split", "all")])
def test_parameters_out_of_range_are_named(make_request: Make, visualize: Make, name: str, value: Any) -> None:
    with pytest.raises(SpecError, match=f"units.{name}"):
        visualize("units", make_request(), **{name: value})


def test_network_without_convolutions_is_refused(make_request: Make, visualize: Make) -> None:
    dense = nn.Sequential(nn.Flatten(), nn.Linear(432, 4), nn.Linear(4, 3))
    with pytest.raises(UsageError, match="no convolution to look at"):
        visualize("units", make_request(dense, aliases={}))
