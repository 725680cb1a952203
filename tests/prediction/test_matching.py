"""Galleries of identities: what counts as one, thresholds from their pairs, and the evaluation's section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahekit.errors import DataError, UsageError
from ahekit.prediction.matching import Gallery, choose_threshold, embed, evaluate, open_gallery
from ahekit.prediction.predictor import Predictor
from ahekit.preprocessing import Preprocessing


def colours(pixels: Any) -> Any:
    """Nothing but a picture's mean colour."""
    return np.zeros((len(pixels), 2), np.float32), (pixels.mean(axis=(1, 2)) - 128).astype(np.float16)


PREDICTOR = Predictor(("a", "b"), Preprocessing(8), "0" * 64, "colours", None, "", "numpy", colours)  # type: ignore[arg-type]


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two identities with three pictures each, one of a single picture, and a file that is none."""
    root = tmp_path / "people"
    for number in range(3):
        paint(root / "ann" / f"{number}.png", (250, 10 + 20 * number, 10))
        paint(root / "bob" / f"{number}.png", (10, 10 + 20 * number, 250))
    paint(root / "cleo.png", (10, 250, 10))
    (root / "bob" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return root


def test_folders_and_single_pictures_are_identities(folder: Path) -> None:
    gallery = open_gallery(folder, PREDICTOR)
    assert gallery.names == ["ann", "bob", "cleo"]
    assert len(gallery.files) == 7
    assert len(gallery.refused) == 1
    assert "broken.png" in gallery.refused[0]
    assert gallery.warning == "", "one of three has a single picture"


def test_gallery_of_single_pictures_is_warned_of(tmp_path: Path) -> None:
    for name, colour in (("a", (9, 9, 9)), ("b", (250, 0, 0))):
        paint(tmp_path / f"{name}.png", colour)
    gallery = open_gallery(tmp_path, PREDICTOR)
    assert gallery.warning.startswith("2 of 2 identities have a single picture")
    with pytest.raises(UsageError, match="no threshold can be chosen from 0 pairs of one identity and 1 of two"):
        choose_threshold(gallery)


def test_threshold_parts_the_pairs(folder: Path) -> None:
    gallery = open_gallery(folder, PREDICTOR)
    threshold = choose_threshold(gallery)
    assert "equal error (0.0%) over 6 pairs of one identity and 15 of two" in threshold.words
    with pytest.raises(UsageError, match="takes 1,000 pairs of two identities; there are 15"):
        choose_threshold(gallery, false_accept_rate=0.001)


def test_pairs_of_one_visit_choose_nothing(folder: Path) -> None:
    gallery = open_gallery(folder, PREDICTOR, group_by=r"^(\w+)/")
    with pytest.raises(UsageError, match="no threshold can be chosen from 0 pairs"):
        choose_threshold(gallery)
    with pytest.raises(UsageError, match="of one visit"):
        evaluate(gallery)


def test_evaluation_of_what_is_apart_is_perfect(folder: Path) -> None:
    section = evaluate(open_gallery(folder, PREDICTOR))
    figures = section.values["figures"]
    assert figures["eer"] == 0
    assert figures["rank_1"] == figures["map"] == 1
    assert figures["open_eer"] == 0
    # Three identities of three are no certainty (Wilson's interval of 3 of 3).
    spans = {row[0]: row[2] for row in section.tables[0].rows}
    assert spans["right identity among the first 1"] == "0.439–1.000"
    assert spans["equal error rate"] == "0.000–0.561"
    assert "7 pictures of 3 identities: 6 pairs of one identity, 15 of two" in section.reading


def test_evaluation_of_noise_is_near_chance() -> None:
    rng = np.random.default_rng(0)
    identities = tuple(f"n{number % 40}" for number in range(120))
    gallery = Gallery(
        tuple(Path(str(number)) for number in range(120)), identities, rng.normal(size=(120, 16)), np.arange(120)
    )
    section = evaluate(gallery)
    assert section.values["figures"]["eer"] == pytest.approx(0.5, abs=0.08)
    assert [table.title for table in section.tables][1].startswith("A threshold chosen on one half")


def test_evaluation_needs_two_identities_with_two_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "1.png", (9, 9, 9))
    paint(tmp_path / "a" / "2.png", (9, 9, 9))
    paint(tmp_path / "b" / "1.png", (250, 9, 9))
    with pytest.raises(UsageError, match="identities with two pictures or more: 1"):
        evaluate(open_gallery(tmp_path, PREDICTOR))


def test_folder_without_a_readable_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no picture in it can be read"):
        open_gallery(tmp_path, PREDICTOR)


def test_embeddings_keep_the_order_of_the_files(folder: Path) -> None:
    files = [folder / "cleo.png", folder / "bob" / "broken.png", folder / "ann" / "0.png"]
    vectors, kept, refused = embed(files, PREDICTOR)
    assert kept == [0, 2]
    assert vectors.shape == (2, 3)
    assert vectors[0][1] > 0 > vectors[1][1]
    assert len(refused) == 1
