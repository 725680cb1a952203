"""A folder becomes arrays whose rows belong together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahekit.data.dataset import load_dataset
from ahekit.data.decode import decode
from ahekit.data.folder import Refusal, scan
from ahekit.data.series import series_of, shared_with
from ahekit.data.split import make_splits, near_copies
from ahekit.errors import DataError
from ahekit.preprocessing import Preprocessing

SMALL = Preprocessing(8)


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    places = ["train/vault/ä.png", "train/vault/b.png", "train/apse/c.png", "test/vault/d.png", "val/apse/e.png"]
    for seed, place in enumerate(places):
        write(tmp_path / "data" / place, seed)
    return tmp_path / "data"


def test_rows_belong_together(root: Path, tmp_path: Path) -> None:
    dataset = load_dataset(scan(root, name="d"), SMALL, cache=tmp_path / "cache")
    assert dataset.name == "d"
    assert dataset.class_names == ("apse", "vault")
    assert dataset.ids == tuple(sorted(dataset.ids))
    assert dataset.labels.dtype == np.int64
    for name, image, label, split in zip(dataset.ids, dataset.images, dataset.labels, dataset.split_names, strict=True):
        folder, class_name, _ = name.split("/")
        assert (folder, class_name) == (split, dataset.class_names[label])
        np.testing.assert_array_equal(image, decode(root / name, SMALL))


def test_refusals_of_listing_and_of_decoding_are_listed_together(root: Path, tmp_path: Path) -> None:
    (root / "train/vault/notes.txt").write_text("no picture")
    (root / "train/apse/a.png").touch()
    (root / "test/vault/z.jpg").write_bytes(b"no picture")
    dataset = load_dataset(scan(root), SMALL, cache=tmp_path / "cache")
    assert [refusal.id for refusal in dataset.refused] == [
        "test/vault/z.jpg",
        "train/apse/a.png",
        "train/vault/notes.txt",
    ]
    assert dataset.refused[1] == Refusal("train/apse/a.png", "empty file (0 bytes)")
    assert len(dataset.ids) == len(dataset.images) == len(dataset.labels) == len(dataset.split_names) == 5


def test_a_class_whose_images_are_all_refused_keeps_its_place(root: Path, tmp_path: Path) -> None:
    (root / "train/apse/c.png").write_bytes(b"no picture")
    dataset = load_dataset(scan(root), SMALL, cache=tmp_path / "cache")
    assert dataset.class_names == ("apse", "vault")
    assert "no training image of apse" in make_splits(dataset).notes


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    for place in ("apse/a.png", "vault/b.png"):
        (tmp_path / "data" / place).parent.mkdir(parents=True)
        (tmp_path / "data" / place).write_bytes(b"no picture")
    with pytest.raises(DataError, match="not one image can be used"):
        load_dataset(scan(tmp_path / "data"), SMALL, cache=tmp_path / "cache")


def test_the_fingerprint_is_of_contents_and_names_alone(root: Path, tmp_path: Path) -> None:
    def mark(preprocessing: Preprocessing = SMALL) -> str:
        return load_dataset(scan(root), preprocessing, cache=tmp_path / "cache").fingerprint

    first = mark()
    assert mark(Preprocessing(9, fit="pad")) == first
    os.rename(root / "train/vault/b.png", root / "train/vault/renamed.png")
    renamed = mark()
    write(root / "train/vault/renamed.png", 77)
    assert len({first, renamed, mark()}) == 3


def test_data_loads_without_torch_and_its_package_without_numpy() -> None:
    script = (
        "import sys, ahekit.data; assert 'numpy' not in sys.modules; "
        "import ahekit.data.dataset, ahekit.data.split; "
        "assert not {'torch', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif("AHE64" not in os.environ, reason="AHE64 names no folder with AHE-64 and half of its test images")
def test_ahe64s_leaks_are_found_and_its_validation_is_free_of_them(
    tmp_path: Path, copied_in: Callable[..., Any]
) -> None:
    dataset = load_dataset(scan(Path(os.environ["AHE64"])), Preprocessing(64), cache=tmp_path)
    pairs = near_copies(dataset, threshold=0.98)
    train, test = (np.flatnonzero(dataset.split_names == split) for split in ("train", "test"))
    assert len(copied_in(pairs, test, train)) == 37
    series = series_of(dataset.named(), "flickr")
    for group_by, sizes, siblings in (("none", (9118, 1012, 727), 305), ("auto", (9114, 1016, 727), 0)):
        splits = make_splits(dataset, group_by=group_by)
        assert (len(splits.train), len(splits.val), len(splits.test)) == sizes
        assert len(copied_in(pairs, splits.val, splits.train)) == 0
        assert len(shared_with(series, splits.val, splits.train)) == siblings
