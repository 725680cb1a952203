"""Words in figures: how wide they are, about, and how they break into lines that fit.

A figure's size has to be known before anything of it is drawn, so widths are estimated rather than measured.
"""

from __future__ import annotations

import re
import unicodedata

WIDTH = 0.58
"""Of the mean character, as a share of the type's size; DejaVu Sans in mixed text."""
WIDE = 1.0
"""Of an East Asian character."""


def text_width(text: str, points: float) -> float:
    """Inches of a line of text in type of that size, about."""
    widths = (WIDE if unicodedata.east_asian_width(letter) in "WF" else WIDTH for letter in text)
    return sum(widths) * points / 72


def wrapped(text: str, width: float, points: float) -> str:
    r"""The text in lines of at most so many inches in type of that size.

    Lines break at spaces, else behind the dots, slashes and dashes of names (`blocks.5.3.conv_dw`), else anywhere.

    Example:
        >>> wrapped("backbone.blocks.5.3.conv_dw", 1.0, 8).split("\n")
        ['backbone.', 'blocks.5.3.', 'conv_dw']
    """
    return "\n".join(line for paragraph in text.split("\n") for line in _lines(paragraph, width, points))


def _lines(text: str, width: float, points: float) -> list[str]:
    lines = [""]
    # Each piece with what it may be broken behind at its end.
    for piece in re.findall(r"[^\s./_\-]*[\s./_\-]+|[^\s./_\-]+", text):
        if text_width((lines[-1] + piece).rstrip(), points) <= width:
            lines[-1] += piece
            continue
        if lines[-1].strip():
            lines.append("")
        for letter in piece:
            if text_width((lines[-1] + letter).rstrip(), points) > width and lines[-1]:
                lines.append("")
            lines[-1] += letter
    return [line.rstrip() for line in lines]
