"""The published editions of Architectural Heritage Elements (AHE), and which of them a dataset is part of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ahekit.data.classes import AHE_CLASSES, DISPLAY_NAMES, normalize_class

if TYPE_CHECKING:
    from pathlib import Path

    from ahekit.data.folder import Folder, Sample


def _by_class(*counts: int) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(AHE_CLASSES, counts, strict=True)))


@dataclass(frozen=True)
class Edition:
    """A published edition of AHE.

    Attributes:
        side: Width and height of its training images in pixels; None: as they came.
        folders: Its class folders as published.
        train: Training images by class.
        test: Test images by class, None where only their total is known.
        test_total: Test images in all, None where it has no test images of its own.
    """

    name: str
    side: int | None
    folders: frozenset[str]
    train: Mapping[str, int]
    test: Mapping[str, int] | None
    test_total: int | None

    @property
    def train_total(self) -> int:
        """Training images in all."""
        return sum(self.train.values())

    def could_hold(self, train: Mapping[str, int], test: Mapping[str, int]) -> bool:
        """Whether so many images by class can be part of this edition."""
        if self.test_total is not None and sum(test.values()) > self.test_total:
            return False
        parts = [(train, self.train)] + ([(test, self.test)] if self.test else [])
        return all(part.get(name, 0) <= whole[name] for part, whole in parts for name in whole)


AHE_COUNTS = _by_class(829, 514, 1059, 1919, 616, 1177, 407, 1571, 1033, 1110)
"""Training images by class as first published, 10,235 in all; the 128-px edition has them all."""


EDITION_64 = Edition(
    name="64-px edition",
    side=64,
    folders=frozenset(name.replace("_inner", "(inner)").replace("_outer", "(outer)") for name in AHE_CLASSES),
    train=_by_class(828, 505, 1057, 1914, 589, 1175, 405, 1562, 998, 1097),
    test=_by_class(140, 50, 170, 210, 69, 142, 70, 240, 150, 163),
    test_total=1404,
)


EDITION_128 = Edition(
    name="128-px edition",
    side=128,
    folders=frozenset(
        {"alter", "apse", "bell-tower", "column", "dome_inner", "dome_outer"}
        | {"flying-buttress", "gargoyle", "stained-glass", "vault"}
    ),
    train=AHE_COUNTS,
    test=None,
    test_total=1475,
)


EDITION_ORIGINAL = Edition(
    name="original edition", side=None, folders=frozenset(), train=AHE_COUNTS, test=None, test_total=None
)


EDITIONS = (EDITION_64, EDITION_128, EDITION_ORIGINAL)


@dataclass(frozen=True)
class Recognized:
    """An edition that a dataset is, or is part of.

    Attributes:
        train: Images the dataset has of those the edition trains on, validation images included.
        test: Test images it has of the edition's.
    """

    edition: Edition
    train: int
    test: int

    def __str__(self) -> str:
        train = _share(self.train, self.edition.train_total, "training")
        test = "" if self.edition.test_total is None else f", {_share(self.test, self.edition.test_total, 'test')}"
        return f"{self.edition.name} of AHE, {train}{test}"


def recognize_edition(folder: Folder) -> Recognized | None:
    """The published edition that a dataset is or is part of; None when it is none of them.

    A dataset with an edition's very training counts is that edition. One with fewer images is taken for a part of it
    when its class folders are spelt as in that edition and its training images have that edition's size.
    """
    if folder.class_names != AHE_CLASSES:
        return None
    counts = folder.counts
    train = {name: sum(counts.get(split, {}).get(name, 0) for split in ("train", "val")) for name in AHE_CLASSES}
    test = counts.get("test", {})
    side = _common_side([sample.path for sample in _first_of_each_class(folder)])
    for edition in EDITIONS:
        exact = train == edition.train and edition.side in (side, None)
        if (exact or (_spelt(folder) == edition.folders and edition.side == side)) and edition.could_hold(train, test):
            return Recognized(edition, sum(train.values()), sum(test.values()))
    return None


def _share(have: int, all_of_them: int, kind: str) -> str:
    if have == 0:
        return f"no {kind} images"
    number = f"all {have:,d}" if have == all_of_them else f"{have:,d} of {all_of_them:,d}"
    return f"{number} {kind} images"


def _spelt(folder: Folder) -> set[str]:
    """The class folders' names as they are on disk."""
    parts = (sample.id.split("/")[:-1] for sample in folder.samples)
    # The first folder of an id is the split's, unless it is a class's itself.
    return {names[0] if normalize_class(names[0]) in DISPLAY_NAMES else names[1] for names in parts}


def _first_of_each_class(folder: Folder) -> list[Sample]:
    firsts: dict[str, Sample] = {}
    for sample in folder.samples:
        if sample.split == "train":
            firsts.setdefault(sample.class_name, sample)
    return list(firsts.values())


def _common_side(paths: list[Path]) -> int | None:
    """Width and height that most of the images share, from their headers; None when most aren't square and alike."""
    import PIL
    from PIL import Image

    from ahekit.data.decode import quiet_pillow

    sizes: Counter[tuple[int, int]] = Counter()
    with quiet_pillow():
        for path in paths:
            try:
                with Image.open(path) as image:
                    sizes[image.size] += 1
            except (OSError, PIL.UnidentifiedImageError, Image.DecompressionBombError):
                continue  # what can't be read is refused by name when images are decoded
    if not sizes:
        return None
    (width, height), count = sizes.most_common(1)[0]
    return width if width == height and 2 * count > len(paths) else None
