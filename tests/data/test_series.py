"""Which images are of one visit, by each rule; and how many would cross a cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ahekit.data import series
from ahekit.data.folder import scan
from ahekit.data.series import (
    Named,
    decide_rule,
    expected_crossing,
    series_links,
    series_of,
    shared_with,
    survey_series,
)
from ahekit.errors import UsageError


def named(ids: Sequence[str], *, class_name: str = "apse", root: Path = Path("/d"), store: Path | None = None) -> Named:
    return Named(ids, [class_name] * len(ids), root, store)


def flickr(*numbers: int) -> list[str]:
    return [f"apse/{number}_0a1b2c3d4e_m.jpg" for number in numbers]


def test_flickr_numbers_within_100_000_of_each_other_are_a_series() -> None:
    ids = flickr(8_000_000_000, 8_000_100_000, 8_000_200_001, 9_000_000_000)
    assert series_of(named(ids), "flickr").tolist() == [0, 0, -1, -1]


def test_a_long_visit_is_a_chain_whose_ends_may_be_far_apart() -> None:
    ids = flickr(8_000_160_000, 8_000_000_000, 8_000_080_000, 8_000_240_000)
    assert series_of(named(ids), "flickr").tolist() == [0, 0, 0, 0]


def test_series_reach_across_classes_and_are_numbered_by_their_first_image() -> None:
    ids = ["vault/700000001_abcdef0123.jpg", "altar/600000001_abcdef0123.jpg", "apse/700000002_abcdef0123.jpg"]
    ids.append("dome/600000009_abcdef0123.jpg")
    assert series_of(named(ids), "flickr").tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "name",
    [
        "images (12).jpg",
        "stock-photo-123456789.jpg",
        "00947185-77b4-4ecf-85ed-bf139c7d5a1d.jpg",
        "123456789.jpg",
        "800px-Dom_12345.jpg",
        "20170412_143022.jpg",
        "20170412_143022123.jpg",
        "1234_abcdef0123.jpg",
        "IMG_0042.jpg",
    ],
)
def test_names_that_only_begin_like_flickrs_belong_to_no_series(name: str) -> None:
    ids = [f"apse/{name}", f"dome/{name}"]
    assert series_of(named(ids), "flickr").tolist() == [-1, -1]
    assert decide_rule("auto", ids) == "none"


def test_auto_is_flickr_where_numbers_are_near_each_other() -> None:
    assert decide_rule("auto", [*flickr(10**9, 10**9 + 5), "apse/a.jpg"]) == "flickr"
    assert decide_rule("auto", flickr(10**9, 2 * 10**9)) == "none"
    assert decide_rule("none", flickr(10**9, 10**9 + 5)) == "none"


def test_the_folder_below_the_class_is_a_series_across_classes_and_splits() -> None:
    ids = ["train/apse/Reims/1.jpg", "train/apse/Reims/2.jpg", "train/apse/3.jpg", "test/apse/Reims/north/4.jpg"]
    assert series_of(named(ids), "folder").tolist() == [0, 0, -1, 0]
    assert series_of(named(ids), "folder:2").tolist() == [0, 0, -1, -1]
    assert series_of(named(["Apse/Reims/1.jpg", "Apse/Reims/2.jpg"]), "folder").tolist() == [0, 0]


def test_a_pattern_tells_series_by_its_groups() -> None:
    ids = ["apse/reims_01.jpg", "apse/trier_01.jpg", "apse/reims_02.jpg", "apse/nobody.jpg"]
    assert series_of(named(ids), r"/([a-z]+)_\d+\.jpg$").tolist() == [0, -1, 0, -1]
    # An empty group tells as little as none.
    assert series_of(named(["apse/_1.jpg", "apse/_2.jpg", "apse/x_1.jpg"]), r"/(\w*?)_\d").tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("folders", "neither auto, none, flickr, date, folder nor folder:N"),
        ("folder:0", "neither auto"),
        ("([a-z]+", "no pattern"),
        ("", "neither auto"),
        ("a{99999999999}", "no pattern"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        decide_rule(rule, ["apse/1.jpg"])
    assert str(caught.value).startswith("data.group_by: ")
    assert "\n" not in str(caught.value)


def test_a_rule_that_tells_nothing_of_any_image_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the pattern (.*) tells nothing of these 2 images, e\.g\. apse/1\.jpg"):
        series_of(named(["apse/1.jpg", "apse/2.jpg"]), "(x+)")


def photo(path: Path, **taken: str) -> None:
    exif = Image.Exif()
    tags = {"original": 0x9003, "digitized": 0x9004}
    for name, value in taken.items():
        if name == "changed":
            exif[0x0132] = value
        else:
            exif.get_ifd(0x8769)[tags[name]] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, exif=exif)


def test_images_of_one_day_are_a_series(tmp_path: Path) -> None:
    photo(tmp_path / "apse" / "1.jpg", original="2024:05:17 10:00:00")
    photo(tmp_path / "apse" / "2.jpg", original="2024:05:17 23:59:59", digitized="2025:01:01 00:00:00")
    photo(tmp_path / "apse" / "3.jpg", digitized="2024:05:18 10:00:00")
    photo(tmp_path / "apse" / "4.jpg", changed="2024:05:18 10:00:00")
    photo(tmp_path / "apse" / "5.webp", original="0000:00:00 00:00:00")
    photo(tmp_path / "apse" / "6.webp", original="2024:05:18 00:00:00")
    (tmp_path / "apse" / "7.jpg").write_bytes(b"no image")
    ids = [f"apse/{path.name}" for path in sorted((tmp_path / "apse").iterdir())]
    assert series_of(named(ids, root=tmp_path), "date").tolist() == [0, 0, 1, -1, -1, 1, -1]


def test_days_are_read_once_and_kept_with_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "apse" / "1.jpg", original="2024:05:17 10:00:00")
    photo(tmp_path / "apse" / "2.jpg")
    images = named(["apse/1.jpg", "apse/2.jpg"], root=tmp_path, store=tmp_path)
    assert series.capture_days(images) == {"apse/1.jpg": "2024-05-17"}
    monkeypatch.setattr(series, "capture_day", lambda path: pytest.fail("opened again"))
    assert series.capture_days(images) == {"apse/1.jpg": "2024-05-17"}
    (tmp_path / "capture-days-1.json").write_text("[1, 2")
    monkeypatch.setattr(series, "capture_day", lambda path: "2020-01-01")
    assert set(series.capture_days(images)) == {"apse/1.jpg", "apse/2.jpg"}


def test_links_connect_each_series_and_nothing_else() -> None:
    first, second = series_links(np.array([1, -1, 0, 1, 0, 1]))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(2, 4), (0, 3), (3, 5)]
    assert [len(ends) for ends in series_links(np.array([-1, -1]))] == [0, 0]


def test_those_that_share_a_series_with_others() -> None:
    marks = np.array([0, 0, -1, -1, 1, 1])
    assert shared_with(marks, np.array([0, 2, 4]), np.array([1, 3])).tolist() == [0]


def test_the_share_that_would_cross_by_hand() -> None:
    # Two images of one series and two alone: one of the pair has no sibling in training when both are drawn.
    assert expected_crossing(np.array([0, 0, -1, -1]), 0.25) == pytest.approx(2 * (1 - 0.25) / 4)
    # A series of three: none of the three has one when both others are drawn.
    assert expected_crossing(np.array([0, 0, 0]), 0.5) == pytest.approx(1 - 0.25)
    assert expected_crossing(np.array([-1, -1]), 0.5) == 0
    assert expected_crossing(np.zeros(0, dtype=np.int64), 0.5) == 0


def test_a_survey_counts_the_siblings_that_cross_the_given_splits(tmp_path: Path) -> None:
    paths = ["train/apse/600000001_abcdef01.png", "train/apse/600000002_abcdef01.png", "train/dome/x.png"]
    paths += ["test/apse/600000003_abcdef01.png", "test/dome/900000000_abcdef01.png"]
    for path in paths:
        photo(tmp_path / path)
    siblings = survey_series(scan(tmp_path), "flickr")
    assert (siblings.series, siblings.images, siblings.training, siblings.crossing) == (1, 3, 2, {"test": 1})
    assert siblings.expected == pytest.approx(2 * 0.92 / 3)
    assert siblings.sentences()[1] == "1 of the 2 test images (50.0%) has a sibling in training."
    assert json.dumps(siblings.counts) == '{"train": 3, "test": 2}'
    assert survey_series(scan(tmp_path), "none").sentences() == []
