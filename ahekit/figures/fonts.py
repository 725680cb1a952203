"""Which installed fonts have the letters that DejaVu Sans, matplotlib's own font, lacks.

matplotlib takes a letter from the next font of a list when the first lacks it; that list is made here, for any script,
from what the installed fonts really hold. Scripts that need shaping (Arabic, Devanagari) come letter by letter.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"


def families_for(text: str) -> tuple[tuple[str, ...], str]:
    """Font families in the order in which to look for a letter, and the letters that no installed font has.

    Args:
        text: All words of a figure.
    """
    missing = {letter for letter in text if _is_drawn(letter)} - _letters(_base_file())
    families = [BASE]
    while missing:
        # The font that has the most of what is left: one of a script rather than several of its parts.
        entry = max(_candidates(), key=lambda entry: len(missing & _letters(entry.fname)), default=None)
        if entry is None or not missing & _letters(entry.fname):
            break
        families.append(entry.name)
        missing -= _letters(entry.fname)
    return tuple(families), "".join(sorted(missing))


def font_file(text: str) -> str:
    """The one font file that has the most of a text's letters, for drawing without matplotlib."""
    letters = {letter for letter in text if _is_drawn(letter)}
    if letters <= _letters(_base_file()):
        return _base_file()
    return max(
        (_base_file(), *(entry.fname for entry in _candidates())), key=lambda file: len(letters & _letters(file))
    )


def _is_drawn(letter: str) -> bool:
    return not letter.isspace() and unicodedata.category(letter) not in ("Cc", "Cf", "Mn")


def _base_file() -> str:
    return str(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")


@cache
def _candidates() -> tuple[FontEntry, ...]:
    """Upright fonts of regular weight, sans serif ones first, which of two that have as much are taken."""
    upright = [entry for entry in fontManager.ttflist if entry.style == "normal" and entry.weight in (400, "normal")]
    return tuple(sorted(upright, key=lambda entry: ("Sans" not in entry.name, entry.name, entry.fname)))


@cache
def _letters(file: str) -> frozenset[str]:
    """The letters that a font file can draw; none of one that can't be read, or holds pictures (colour emoji)."""
    try:
        font = FT2Font(file)
        glyphs = font.get_charmap()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    # A font of last resort, one of which comes with matplotlib, "has" every letter: as one box for a whole script.
    is_placeholder = len(set(glyphs.values())) < len(glyphs) / 8
    return frozenset() if is_placeholder or not font.scalable else frozenset(map(chr, glyphs))
