"""Words in sentences: enumerations and counted nouns."""

from __future__ import annotations


def listed(words: list[str]) -> str:
    """Words as an enumeration: "altar, apse and vault"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it has to be: "1 image", "2 images"."""
    return f"{number:,d} {noun}{'' if number == 1 else 's'}"
