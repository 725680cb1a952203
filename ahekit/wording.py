"""Words in sentences: enumerations, counted nouns, and other people's names without what they could do."""

from __future__ import annotations

# Other people's file names may hold escape sequences, and marks that turn the direction of what follows: they are
# shown, not obeyed. A line break in a name would pass for a line of ours, and half a surrogate pair can't be written.
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_SEPARATORS = [0x2028, 0x2029]
_DIRECTIONS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SURROGATES = range(0xD800, 0xE000)
_SPELLED_OUT = {
    code: chr(code).encode("unicode_escape").decode() for code in (*_CONTROLS, *_SEPARATORS, *_DIRECTIONS, *_SURROGATES)
}


def plain(text: str) -> str:
    r"""Text on one line that changes nothing but the place it stands in.

    Example:
        >>> print(plain("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    return text.translate(_SPELLED_OUT)


def listed(words: list[str]) -> str:
    """Words as an enumeration: "altar, apse and vault"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it has to be: "1 image", "2 images"."""
    return f"{number:,d} {noun}{'' if number == 1 else 's'}"


def kind_of(value: object) -> str:
    """What kind of value it is, with its article: "a str", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"
