"""AHE's class names, counts and editions."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ahekit.data.classes import AHE_CLASSES, display_name, normalize_class
from ahekit.data.editions import AHE_COUNTS, EDITION_64, EDITION_128, Edition, recognize_edition
from ahekit.data.folder import Folder, Sample

SPELT_64 = ["altar", "apse", "bell_tower", "column", "dome(inner)", "dome(outer)"]
SPELT_64 += ["flying_buttress", "gargoyle", "stained_glass", "vault"]
SPELT_128 = ["alter", "apse", "bell-tower", "column", "dome_inner", "dome_outer"]
SPELT_128 += ["flying-buttress", "gargoyle", "stained-glass", "vault"]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("alter", "altar"),
        ("Altar", "altar"),
        ("bell-tower", "bell_tower"),
        ("Bell tower", "bell_tower"),
        ("BellTower", "bell_tower"),
        ("dome_inner", "dome_inner"),
        ("dome(inner)", "dome_inner"),
        ("Dome (inner)", "dome_inner"),
        ("inner dome", "dome_inner"),
        ("Dome (outer)", "dome_outer"),
        ("flying buttress", "flying_buttress"),
        ("Gargoyle (and Chimera)", "gargoyle"),
        ("stained-glass", "stained_glass"),
    ],
)
def test_known_spellings_become_ahe_names(spelling: str, name: str) -> None:
    assert normalize_class(spelling) == name


@pytest.mark.parametrize("name", ["Window", "vault2", "dome", "01_altar", "tower bell", "拱顶", "(...)"])
def test_any_other_class_name_stays_as_it_is(name: str) -> None:
    assert normalize_class(name) == name


def test_a_name_in_two_unicode_forms_is_one_class() -> None:
    decomposed = "vou\u0302te"
    composed = "vo\u00fbte"
    assert decomposed != composed
    assert normalize_class(decomposed) == normalize_class(composed) == composed


def test_names_for_people() -> None:
    assert display_name("dome_inner") == "inner dome"
    assert display_name("Window_2") == "Window_2"


def test_the_published_totals() -> None:
    assert sum(AHE_COUNTS.values()) == EDITION_128.train_total == 10_235
    assert EDITION_64.train_total == 10_130
    assert EDITION_64.test is not None
    assert sum(EDITION_64.test.values()) == EDITION_64.test_total == 1_404
    assert EDITION_128.test_total == 1_475


@pytest.mark.parametrize(("edition", "spelt"), [(EDITION_64, SPELT_64), (EDITION_128, SPELT_128)])
def test_the_published_folders_normalize_to_the_ten_classes(edition: Edition, spelt: list[str]) -> None:
    assert edition.folders == set(spelt)
    assert tuple(map(normalize_class, spelt)) == AHE_CLASSES


def dataset(root: Path, *, side: int, train: list[int], test: list[int], spelt: list[str] = SPELT_64) -> Folder:
    """A folder of so many images of each class, all of them one file."""
    image = root / "image.png"
    Image.new("L", (side, side)).save(image)
    samples = [
        Sample(f"{split}/{folder}/{number}.png", image, normalize_class(folder), split)
        for split, counts in (("train", train), ("test", test))
        for folder, count in zip(spelt, counts, strict=True)
        for number in range(count)
    ]
    return Folder("given", root, tuple(samples), AHE_CLASSES)


def test_the_whole_64_px_edition_is_recognized(tmp_path: Path) -> None:
    assert EDITION_64.test is not None
    train = list(EDITION_64.train.values())
    test = list(EDITION_64.test.values())
    found = recognize_edition(dataset(tmp_path, side=64, train=train, test=test))
    assert str(found) == "64-px edition of AHE, all 10,130 training images, all 1,404 test images"


def test_its_training_counts_are_enough_whatever_the_folders_are_called(tmp_path: Path) -> None:
    train = list(EDITION_64.train.values())
    found = recognize_edition(dataset(tmp_path, side=64, train=train, test=[0] * 10, spelt=list(AHE_CLASSES)))
    assert str(found) == "64-px edition of AHE, all 10,130 training images, no test images"


def test_a_part_of_an_edition_is_recognized_by_spelling_and_size(tmp_path: Path) -> None:
    found = recognize_edition(dataset(tmp_path, side=128, train=[40] * 10, test=[7] * 10, spelt=SPELT_128))
    assert str(found) == "128-px edition of AHE, 400 of 10,235 training images, 70 of 1,475 test images"


@pytest.mark.parametrize(
    ("side", "spelt", "test"),
    [(128, SPELT_64, [1] * 10), (64, list(AHE_CLASSES), [1] * 10), (64, SPELT_64, [51] * 10)],
    ids=["another size", "other folder names", "51 test apses where 50 are published"],
)
def test_a_part_that_could_be_anything_is_not_recognized(
    tmp_path: Path, side: int, spelt: list[str], test: list[int]
) -> None:
    assert recognize_edition(dataset(tmp_path, side=side, train=[40] * 10, test=test, spelt=spelt)) is None


def test_the_full_counts_at_another_size_are_the_original_edition(tmp_path: Path) -> None:
    found = recognize_edition(dataset(tmp_path, side=200, train=list(AHE_COUNTS.values()), test=[0] * 10))
    assert str(found) == "original edition of AHE, all 10,235 training images"


def test_other_classes_are_no_edition(tmp_path: Path) -> None:
    given = dataset(tmp_path, side=64, train=[1] * 10, test=[1] * 10)
    assert recognize_edition(Folder("given", tmp_path, given.samples, (*AHE_CLASSES, "window"))) is None


def test_unreadable_images_leave_the_size_unknown(tmp_path: Path) -> None:
    given = dataset(tmp_path, side=64, train=[4] * 10, test=[1] * 10)
    (tmp_path / "image.png").write_bytes(b"not an image")
    assert recognize_edition(given) is None
