"""The section that looks inside: maps of a given look, and files that `ahekit viz` would have left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ahekit.errors import RunError
from ahekit.evaluation.record import Look, MissingRecord, RunRecord
from ahekit.registry import REPORTERS
from ahekit.reporting.style import DARK, render_figure
from ahekit.sections import Section
from ahekit.spec import RunSpec
from ahekit.validation import validate
from ahekit_plugins.reporters.inside.reporter import beside, half_share

NAMES = ["altar", "dome_inner", "vault"]
asked: list[tuple[str, Mapping[str, Any]]] = []


def look(name: str, params: Mapping[str, Any]) -> Look:
    """Two images, the second of which is misclassified; the first one's map is a quarter of the image, even."""
    asked.append((name, params))
    maps = np.zeros((2, 8, 8), dtype=np.float32)
    maps[0, :4, :4] = 1
    arrays = {
        "enlarged": maps,
        "logits": np.array([[4.0, 0, 0], [4, 0, 0]], dtype=np.float32),
        "labels": np.array([0, 2]),
        "image_ids": np.array(["test/altar/1.jpg", "test/vault/2.jpg"]),
        "pixels": np.full((2, 8, 8, 3), 100, dtype=np.uint8),
    }
    title = "Grad-CAM of conv5: each image's score of its predicted class, 2 images"
    return Look(title, ("1 of 2 maps are zero everywhere",), arrays)


def lack(name: str, params: Mapping[str, Any]) -> Look:
    raise RunError("run-1 has no checkpoint yet")


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    (tmp_path / "figures").mkdir()
    manifest = {"class_names": NAMES}
    return RunRecord.of(
        name="run-1", path=tmp_path, spec=RunSpec(), manifest=manifest, predictions={}, state="finished", look=look
    )


def inside(record: RunRecord, **params: Any) -> Section:
    reporter: Any = REPORTERS.get("inside")
    section: Section = reporter.report(record, validate(reporter.Params, params))
    for figure in section.figures:
        assert figure.alt
        assert render_figure(figure, form="svg") != render_figure(figure, theme=DARK, form="svg")
    return section


def keep(record: RunRecord, file: str, **arrays: Any) -> None:
    np.savez(record.path / "figures" / file, class_names=np.array(NAMES), **arrays)


IMAGES = {"images": np.full((3, 8, 8, 3), 90, dtype=np.uint8), "targets": np.array([0, 1, 2])}
UNITS = {
    "layers": np.array(["conv1", "conv2"]),
    "split": np.array("test"),
    "conv1.selectivity": np.array([0.1, 0.3, np.nan]),
    "conv1.dead": np.array([False, False, True]),
    "conv1.selectivity_permuted": np.array([0.1, 0.1, np.nan]),
    "conv2.selectivity": np.array([0.5, 0.7]),
    "conv2.selectivity_permuted": np.array([0.2, 0.2]),
    "conv2.majority_share": np.array([0.75, 0.25]),
}


def test_an_image_of_each_class_is_shown_with_the_map_of_its_own_class(record: RunRecord) -> None:
    asked.clear()

    section = inside(record, method="layercam")

    assert asked == [("layercam", {"target": "true"})]
    assert section.figures[0].title == "Grad-CAM of conv5, a test image of each class"
    assert section.figures[0].data["lines"] == [
        ["true: altar", "pred: altar 96%"],
        ["true: vault", "pred: altar 96%"],
    ]
    assert section.reading.startswith("1 of 2 example images, one of each class drawn by lot, are predicted correctly.")
    assert "1 of 2 maps are zero everywhere." in section.reading
    assert section.values["activation_maps"]["half_share"] == [8 / 64, None]


def test_what_was_never_made_is_said_with_the_command_that_makes_it(record: RunRecord) -> None:
    reading = inside(record).reading

    assert "`ahekit viz class-image` makes them" in reading
    assert "`ahekit viz units` measures it" in reading


def test_class_images_are_those_made_last_with_the_judges_opinion(record: RunRecord) -> None:
    keep(record, "class-image.npz", **IMAGES, probability=np.array([0.9, 0.8, 1.0]), judge_right=np.array([1, 0, 1]))

    section = inside(record, images=2)
    figure = section.figures[1]

    assert figure.data["lines"] == [["altar", "p 0.90", "judge right"], ["inner dome", "p 0.80", "judge wrong"]]
    assert "1 more are in class-image.npz." in figure.caption
    assert (
        "3 class images, to which the network gives the wanted class a probability of 0.90 on average"
        in section.reading
    )
    assert "predicts 2 of them correctly" in section.reading


def test_class_images_without_scores_are_told_as_such_and_those_of_units_are_another_subject(record: RunRecord) -> None:
    keep(record, "class-image.npz", **IMAGES)
    keep(record, "class-image-conv3.npz", **{**IMAGES, "targets": np.array([-1, -1, -1])})

    assert "There are 3 class images; no second network was asked" in inside(record).reading


def test_selectivity_of_units_is_read_by_layer(record: RunRecord) -> None:
    best = {"class": [2], "unit": [1], "f1": [0.8], "f1_silenced": [0.5]}
    best_arrays = {f"best_{name}": np.array(values) for name, values in best.items()}
    keep(record, "units.npz", **UNITS, **best_arrays, best_layer=np.array(["conv2"]))

    section = inside(record)
    layers, units = section.tables

    assert layers.rows[0] == ("conv1", 3, 1, 0.2, 0.1, None, None)
    assert layers.rows[1] == ("conv2", 2, None, 0.6, 0.2, 0.5, None)
    assert units.rows[0][:5] == ("vault", "conv2", 1, 0.8, 0.5)
    assert units.rows[0][5] == pytest.approx(-0.3)
    assert "more selective for one class in conv2 (median 0.60, where 0.20 would be chance)" in section.reading
    assert section.figures[-1].data["median"] == [0.2, 0.6]


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04 no archive"])
def test_files_that_cannot_be_read_are_named_and_cost_nothing_else(record: RunRecord, content: bytes) -> None:
    for name in ("class-image.npz", "units.npz"):
        (record.path / "figures" / name).write_bytes(content)

    section = inside(record)

    assert len(section.figures) == 1
    assert "The class images in class-image.npz can't be read." in section.reading
    assert "The selectivity of units in units.npz can't be read." in section.reading


def test_without_checkpoint_there_is_what_was_kept(record: RunRecord) -> None:
    keep(record, "class-image.npz", **IMAGES)

    section = inside(replace(record, look=lack))

    assert [figure.name for figure in section.figures] == ["class-images"]
    assert section.reading.startswith("No class activation maps: run-1 has no checkpoint yet.")


@pytest.mark.parametrize("looking", [None, lack])
def test_a_run_of_which_nothing_can_be_seen_is_missing_the_section(record: RunRecord, looking: Any) -> None:
    with pytest.raises(MissingRecord, match=r"No class activation maps: .*; nor were class images made"):
        inside(replace(record, look=looking))


def test_map_stands_beside_its_picture_in_colours_that_reach_their_ends() -> None:
    map = np.zeros((300, 300), dtype=np.float32)
    map[:, 150:] = 5

    shown = beside(np.zeros((300, 300, 3), dtype=np.uint8), map)

    assert shown.shape == (96, 2 * 96 + 4, 4)
    assert shown[0, 96:100].max() == 0, "the gap is clear"
    # The ends of viridis, (68, 1, 84) and (253, 231, 37), at 55 % over black.
    assert shown[50, 105, :3].tolist() == pytest.approx([37, 1, 46], abs=2)
    assert shown[50, 190, :3].tolist() == pytest.approx([139, 127, 20], abs=2)


def test_half_of_an_even_map_lies_on_half_of_the_image() -> None:
    assert half_share(np.ones((10, 10), dtype=np.float32)) == 0.5
    assert half_share(np.eye(10, dtype=np.float32)) == 5 / 100
    assert half_share(np.zeros((4, 4), dtype=np.float32)) is None
