"""The reporters a reviewer asks for, on runs small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahekit.data.dataset import load_dataset
from ahekit.data.editions import EDITION_64
from ahekit.data.folder import scan
from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.notes import History, Manifest
from ahekit.preprocessing import Preprocessing
from ahekit.registry import REPORTERS
from ahekit.reporting.style import DARK, render_figure
from ahekit.sections import Section, Table
from ahekit.spec import RunSpec
from ahekit.validation import validate
from ahekit_plugins.reporters.mistakes import doubtful_labels

NAMES = ("altar", "apse", "gargoyle", "vault")


def predictions_of(ids: tuple[str, ...], labels: list[int], named: list[int], *, height: float = 3.0) -> Predictions:
    logits = np.zeros((len(ids), len(NAMES)), dtype=np.float32)
    logits[np.arange(len(ids)), named] = height + np.arange(len(ids)) / 10
    return Predictions(ids, np.array(labels), logits, NAMES)


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """Eight test images, of which six are right; test image 0 was trained on."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    ids: dict[str, list[str]] = {"train": [], "test": []}
    first = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
    for split in ids:
        for number in range(8):
            name = f"{split}/{NAMES[number % 4]}/{number}.png"
            pixels = first if number == 0 else rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name)
            ids[split].append(name)
    dataset = load_dataset(scan(root), Preprocessing(size=16))
    test = predictions_of(tuple(ids["test"]), [0, 1, 2, 3] * 2, [0, 1, 2, 3, 0, 1, 3, 2])
    val = predictions_of(tuple(ids["train"]), [0, 1, 2, 3] * 2, [0, 1, 2, 3, 1, 1, 2, 3])
    return RunRecord.of(
        name="run-1",
        path=tmp_path / "run-1",
        spec=validate(RunSpec, {"seed": 7, "data": {"image_size": 16}}),
        manifest={
            "ahekit": "0.1.0",
            "data": {
                "name": "mine",
                "root": str(root),
                "fingerprint": dataset.fingerprint,
                "counts": {"train": {"altar": 2}, "test": {"altar": 2}},
                "refused": [],
            },
            "class_names": list(NAMES),
            "splits": {"train": ids["train"], "val": [], "test": ids["test"]},
        },
        history=[{"type": "step", "images": 30}, {"type": "step", "images": 12}, {"type": "epoch", "epoch": 1}],
        predictions={"test": test, "val": val},
        state="finished",
        data_root=root,
        status={"seconds": 120.0},
    )


def report(name: str, record: RunRecord, **params: Any) -> Section:
    reporter: Any = REPORTERS.get(name)
    section: Section = reporter.report(record, validate(reporter.Params, params))
    return section


def column(table: Table, name: str) -> list[Any]:
    return [row[[found.name for found in table.columns].index(name)] for row in table.rows]


def table_of(section: Section, title: str) -> Table:
    return next(table for table in section.tables if table.title.startswith(title))


ALL = ("intervals", "leaks", "mistakes", "calibration", "protocol")


@pytest.mark.parametrize("name", ALL)
def test_section_reads_and_draws(name: str, record: RunRecord) -> None:
    section = report(name, record)

    assert section.reading.endswith(".")
    assert section.tables
    for figure in section.figures:
        assert figure.alt
        assert render_figure(figure, theme=DARK, form="svg").startswith(b"<?xml")


@pytest.mark.parametrize("name", ALL)
def test_run_that_left_nothing_is_missing_the_section(name: str, record: RunRecord) -> None:
    with pytest.raises(MissingRecord):
        report(name, replace(record, predictions={}, history=History(), manifest=Manifest()))


def test_every_figure_stands_beside_its_interval_and_method(record: RunRecord) -> None:
    table = report("intervals", record, resamples=500).tables[0]

    assert column(table, "Figure") == [
        "accuracy",
        "balanced accuracy",
        "top-3 accuracy",
        "macro-F1",
        "Cohen's kappa",
        "ROC-AUC",
        "average precision",
        "log loss",
    ]
    for value, low, high in zip(column(table, "Value"), column(table, "From"), column(table, "To"), strict=True):
        assert low <= value <= high
    methods = dict(zip(column(table, "Figure"), column(table, "Interval by"), strict=True))
    assert methods["Cohen's kappa"] == "smoothed bootstrap, 500 resamples"
    assert methods["ROC-AUC"] == "DeLong, widened for perfect classes"


def test_headline_and_class_figures_rest_on_one_resampling(record: RunRecord) -> None:
    verdict = report("metrics", record).values["verdict"]
    figures = report("intervals", record).values["figures"]

    assert verdict["macro_f1_interval"] == [figures["macro_f1"]["low"], figures["macro_f1"]["high"]]


def test_figures_stand_on_all_images_and_on_the_leak_free_ones(record: RunRecord) -> None:
    section = report("leaks", record)
    figures = section.values["figures"]

    assert section.values["near_copies"] == [["test/altar/0.png", "train/altar/0.png", pytest.approx(1.0)]]
    assert figures["all test images"]["accuracy"][0] == 6 / 8
    assert figures["without near-copies"]["accuracy"][0] == 5 / 7
    assert figures["near-copies alone"]["accuracy"][0] == 1
    assert table_of(section, "Headline").rows[0] == ("images", "8", None, "7", None, "1", None)
    assert table_of(section, "Test images").rows[0][3:] == ("yes", "correctly")
    assert "1 of 8 test images (12.5%)" in section.reading
    assert section.figures[0].data["ids"] == ["test/altar/0.png", "train/altar/0.png"]


def test_run_without_leaks_says_so(record: RunRecord) -> None:
    splits = record.manifest.splits.model_copy(update={"train": record.manifest.splits.train[1:]})

    section = report("leaks", replace(record, manifest=record.manifest.model_copy(update={"splits": splits})))

    assert section.reading.startswith("None of 8 test images has a near-copy")
    assert len(section.tables) == 1


def test_errors_are_listed_with_the_highest_loss_first(record: RunRecord) -> None:
    section = report("mistakes", record)
    table = section.tables[0]
    test = record.predictions["test"]
    losses = log_losses(test.logits, test.labels)

    assert column(table, "File") == [test.ids[7], test.ids[6]]
    assert column(table, "Loss") == pytest.approx([losses[7], losses[6]])
    assert column(table, "Predicted") == ["gargoyle", "vault"]
    assert section.figures[0].data["ids"] == [test.ids[7], test.ids[6]]


def test_images_that_are_gone_or_others_cost_the_thumbnails_alone(record: RunRecord) -> None:
    assert record.data_root is not None
    gone = report("mistakes", replace(record, data_root=None))
    image = record.data_root / "test/vault/7.png"
    content = image.read_bytes()
    Image.new("RGB", (16, 16)).save(image)
    changed = report("mistakes", replace(record))
    image.unlink()
    missing = report("mistakes", replace(record))
    image.write_bytes(content)
    whole = report("mistakes", replace(record))

    assert (gone.figures, changed.figures, missing.figures) == ((), (), ())
    assert gone.tables == changed.tables == missing.tables == whole.tables
    assert whole.figures


def test_a_received_run_shows_no_picture_of_another_folder_that_it_names(record: RunRecord, tmp_path: Path) -> None:
    private = tmp_path / "private"
    for name in (*record.manifest.splits.train, *record.manifest.splits.test):
        (private / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(private / name)

    assert report("mistakes", replace(record, data_root=private)).figures == ()


def test_label_is_doubted_when_another_class_is_as_sure_as_its_own_images() -> None:
    logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.2, 0.8]])).astype(np.float32)
    # Mean own confidence: 0.56 for class 0 (0.8, 0.6, 0.3), 0.45 for class 1 (0.1, 0.8).
    given = Predictions(tuple("abcde"), np.array([0, 0, 0, 1, 1]), logits, ("x", "y"))

    assert doubtful_labels(given).tolist() == [2, 3]


def test_pairs_confused_are_shown_by_example(record: RunRecord) -> None:
    figure = report("confusion", record, examples=1).figures[1]

    assert sorted(figure.data["ids"]) == ["test/gargoyle/6.png", "test/vault/7.png"]


def test_thresholds_are_chosen_on_validation_and_told_for_test(record: RunRecord) -> None:
    section = report("calibration", record)

    assert section.values["temperature"] is not None
    for row in section.values["thresholds"]:
        assert row["target"] in (0.95, 0.98)
        assert row["by_hand"] + round(row["answered"] * 8) == 8
    assert "15 bins of equal width" in section.tables[0].note


def test_each_score_has_its_curve_and_its_area(record: RunRecord) -> None:
    section = report("calibration", record)
    table = table_of(section, "Scores that rank the answers")
    curves = section.figures[1].data["curves"]

    assert column(table, "Score") == list(curves)
    assert column(table, "Area, test") == [curve["area"] for curve in curves.values()]
    for area, low, high in zip(*(column(table, name) for name in ("Area, test", "From", "To")), strict=True):
        assert low <= area <= high
    assert column(table, "Area, validation") == sorted(column(table, "Area, validation"))
    assert section.figures[1].data["chosen"] == column(table, "Score")[0]


def test_what_validation_cannot_promise_tells_how_many_images_it_would_take(record: RunRecord) -> None:
    guarantees = report("calibration", record).values["guarantees"]

    assert [row["max_error"] for row in guarantees] == [0.01, 0.02, 0.05]
    for row in guarantees:
        assert row["threshold"] is None
        assert row["needed"] is None or row["needed"] >= 59


def test_a_promise_stands_beside_what_test_gave(record: RunRecord) -> None:
    rng = np.random.default_rng(0)
    names = record.predictions["test"].class_names
    parts = {}
    for split in ("val", "test"):
        labels = rng.integers(0, len(names), 1_000)
        logits = rng.normal(size=(1_000, len(names))).astype(np.float32)
        logits[np.arange(1_000), labels] += 6
        parts[split] = Predictions(tuple(map(str, range(1_000))), labels, logits, names)
    section = report("calibration", replace(record, predictions=parts))

    row = section.values["guarantees"][1]
    assert row["threshold"] is not None
    assert row["answered"] + row["by_hand"] / 1_000 == pytest.approx(1)
    assert row["error"] == pytest.approx(row["wrong"] / (1_000 - row["by_hand"]))
    assert "promised with a surety of 95%" in section.reading


def test_without_validation_nothing_is_fitted(record: RunRecord) -> None:
    section = report("calibration", replace(record, predictions={"test": record.predictions["test"]}))

    assert section.values["temperature"] is None
    assert section.values["thresholds"] == []
    assert [table.title for table in section.tables] == ["Calibration, test", "Scores that rank the answers"]


def test_protocol_tells_what_the_figures_rest_on(record: RunRecord) -> None:
    section = report("protocol", record)
    facts = {row[0]: row[1] for row in section.tables[0].rows}

    assert facts["training cost"] == "42 image passes"
    assert facts["time"] == "2.0 minutes"
    assert facts["seed"] == "7"
    assert facts["fingerprint"] == f"{record.manifest.data.fingerprint} (SHA-256 of ids and files)"
    assert "the dataset's own test images" in str(facts["split"])
    assert ("seed", "0", "7") in section.tables[1].rows
    assert section.tables[2].rows == (("data.image_size", "none", "16"),)
    assert len(section.tables) == 3


def test_protocol_parts_what_was_set_from_what_was_resolved(record: RunRecord) -> None:
    spec = validate(RunSpec, {"train": {"max_minutes": 5}, "model": {"params": {"pool": "avg", "norm": "batch"}}})
    asked = record.manifest.model_copy(update={"asked": ("train.max_minutes", "model.params.pool")})

    section = report("protocol", replace(record, spec=spec, manifest=asked))

    assert section.values["spec_changes"] == {
        "train.max_minutes": {"recipe": None, "run": 5.0},
        "model.params.pool": {"recipe": None, "run": "avg"},
    }
    assert section.values["resolved"] == {"model.params.norm": "batch"}


def test_published_results_stand_beside_a_run_on_ahe64_with_their_caveats(record: RunRecord) -> None:
    counts = {"train": dict(EDITION_64.train), "val": {}, "test": {"altar": 8}}
    names = list(EDITION_64.train)
    data = record.manifest.data.model_copy(update={"counts": counts})
    changes = {"data": data, "class_names": tuple(names)}

    section = report("protocol", replace(record, manifest=record.manifest.model_copy(update=changes)))

    table = table_of(section, "Published accuracy on the 1,404 test images")
    assert table.rows[0][:2] == ("this run", "0.750")
    assert ("larger fine-tuned networks", "0.944–0.949") in {row[:2] for row in table.rows}
    assert "8 of the 1,404 test images" in table.note


def test_doubts_of_a_weak_network_are_told_as_its_own_faults(record: RunRecord) -> None:
    assert "With an accuracy of 75%, most are its own errors." in report("mistakes", record).reading
