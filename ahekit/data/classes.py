"""The ten classes of Architectural Heritage Elements (AHE): their spellings, published counts and known editions.

AHE: Classification of Architectural Heritage Images Using Deep Learning Techniques,
https://doi.org/10.3390/app7100992.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ahekit.data.folder import Folder

DISPLAY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "altar": "altar",
        "apse": "apse",
        "bell_tower": "bell tower",
        "column": "column",
        "dome_inner": "inner dome",
        "dome_outer": "outer dome",
        "flying_buttress": "flying buttress",
        "gargoyle": "gargoyle",
        "stained_glass": "stained glass",
        "vault": "vault",
    }
)
"""AHE's class names as people write them."""

AHE_CLASSES: tuple[str, ...] = tuple(DISPLAY_NAMES)

# Letters and digits only: case, spaces, underscores, hyphens and brackets never tell two AHE classes apart.
_SPELLINGS = {
    **{re.sub(r"[\W_]+", "", name): name for name in AHE_CLASSES},
    "alter": "altar",
    "innerdome": "dome_inner",
    "outerdome": "dome_outer",
    "gargoyleandchimera": "gargoyle",
    "gargoylechimera": "gargoyle",
}


def _by_class(*counts: int) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(AHE_CLASSES, counts, strict=True)))


@dataclass(frozen=True)
class Edition:
    """A published edition of AHE.

    Attributes:
        side: Width and height of its training images in pixels.
        folders: Its class folders as published.
        train: Training images by class.
        test: Test images by class, None where only their total is known.
        test_total: Test images in all.
    """

    name: str
    side: int
    folders: frozenset[str]
    train: Mapping[str, int]
    test: Mapping[str, int] | None
    test_total: int


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
EDITIONS = (EDITION_64, EDITION_128)


def normalise_class(name: str) -> str:
    """A class's name: AHE's own for its known spellings, any other as it is (composed to NFC).

    Example:
        >>> [normalise_class(name) for name in ("alter", "Dome (inner)", "bell-tower", "Window 2")]
        ['altar', 'dome_inner', 'bell_tower', 'Window 2']
    """
    # macOS writes file names decomposed: one name in two encodings must not become two classes.
    composed = unicodedata.normalize("NFC", name)
    return _SPELLINGS.get(re.sub(r"[\W_]+", "", composed.casefold()), composed)


def display_name(class_name: str) -> str:
    """A class's name for people: `dome_inner` is "inner dome"; other datasets' names stay as they are."""
    return DISPLAY_NAMES.get(class_name, class_name)
