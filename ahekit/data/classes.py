"""The ten classes of Architectural Heritage Elements (AHE): their spellings, published counts and known editions.

AHE: Classification of Architectural Heritage Images Using Deep Learning Techniques,
https://doi.org/10.3390/app7100992.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

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


def normalize_class(name: str) -> str:
    """A class's name: AHE's own for its known spellings, any other as it is (composed to NFC).

    Example:
        >>> [normalize_class(name) for name in ("alter", "Dome (inner)", "bell-tower", "Window 2")]
        ['altar', 'dome_inner', 'bell_tower', 'Window 2']
    """
    # macOS writes file names decomposed: one name in two encodings must not become two classes.
    composed = unicodedata.normalize("NFC", name)
    return _SPELLINGS.get(re.sub(r"[\W_]+", "", composed.casefold()), composed)


def display_name(class_name: str) -> str:
    """A class's name for people: `dome_inner` is "inner dome"; other datasets' names stay as they are."""
    return DISPLAY_NAMES.get(class_name, class_name)
