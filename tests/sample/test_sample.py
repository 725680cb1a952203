"""The embedded sample dataset: reproducible, imbalanced like AHE, each picture on its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ahekit.data.classes import AHE_CLASSES
from ahekit.sample import draw, write_sample
from ahekit.sample.drawings import DRAWINGS


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.png"))
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    write_sample(root, train=30, test=20)
    return root


def test_every_class_has_a_drawing() -> None:
    assert tuple(DRAWINGS) == AHE_CLASSES


def test_two_generations_are_identical_bytes(small: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, train=30, test=20)
    assert digests(tmp_path) == digests(small)


def test_another_process_draws_the_same_pictures(small: Path, tmp_path: Path) -> None:
    # String hashing differs between processes; nothing may depend on it.
    code = (
        "import sys, pathlib; from ahekit.sample import write_sample; "
        "write_sample(pathlib.Path(sys.argv[1]), train=10, test=10)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    mine = digests(small)
    theirs = digests(tmp_path)
    assert len(theirs) == 20
    assert theirs.items() <= mine.items()


def test_a_picture_does_not_depend_on_how_many_there_are(small: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, train=45, test=10)
    larger = digests(tmp_path)
    smaller = digests(small)
    assert {name for name in smaller if name.startswith("train/")} < larger.keys()
    assert all(smaller[name] == larger[name] for name in smaller.keys() & larger.keys())


def test_another_seed_draws_other_pictures(small: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, seed=1, train=10, test=10)
    assert not set(digests(tmp_path).values()) & set(digests(small).values())


def test_no_two_pictures_are_equal(small: Path) -> None:
    contents = list(digests(small).values())
    assert len(contents) == 50
    assert len(set(contents)) == len(contents)


def test_counts_are_those_of_the_files(tmp_path: Path) -> None:
    counts = write_sample(tmp_path, train=24, test=12)
    for folder, count in counts.items():
        assert len(list((tmp_path / folder).glob("*.png"))) == count
    assert sum(count for folder, count in counts.items() if folder.startswith("train/")) == 24
    assert sum(count for folder, count in counts.items() if folder.startswith("test/")) == 12


def test_classes_are_as_imbalanced_as_ahe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 1200 of AHE's 10,235: 1919 columns are 225, 407 flying buttresses 48. Blank pictures keep it quick.
    monkeypatch.setattr("ahekit.sample.draw", lambda *_: Image.new("RGB", (1, 1)))
    counts = write_sample(tmp_path)
    assert counts["train/column"] == 225
    assert counts["train/flying_buttress"] == 48
    assert counts["test/column"] == 75
    assert counts["test/flying_buttress"] == 16
    assert sum(counts.values()) == 1600


def test_the_smallest_sample_has_one_picture_of_each_class(tmp_path: Path) -> None:
    assert set(write_sample(tmp_path, train=10, test=10).values()) == {1}


def test_fewer_pictures_than_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 10 pictures \(got 9\)"):
        write_sample(tmp_path, train=9)


@pytest.mark.parametrize("class_name", AHE_CLASSES)
@pytest.mark.parametrize("size", [32, 64])
def test_pictures_are_rgb_squares_with_something_on_them(class_name: str, size: int) -> None:
    for seed in range(4):
        picture = draw(class_name, np.random.default_rng(seed), size=size)
        assert (picture.mode, picture.size) == ("RGB", (size, size))
        # A blank or lost picture has no contrast at all; the faintest drawn in haze or at night has some.
        assert np.asarray(picture.convert("L"), dtype=np.float64).std() > 3


def test_an_unknown_class_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="window"):
        draw("window", np.random.default_rng(0))


def test_drawing_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, json, numpy as np; from ahekit.sample import draw; "
        "draw('apse', np.random.default_rng(0)); "
        "print(json.dumps([name for name in ('torch', 'matplotlib') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == []
