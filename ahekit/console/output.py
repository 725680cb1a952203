"""Where text goes, and how other people's text is kept from steering the terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

_NARROWEST = 20  # columns that anything can be read in

# rich and Typer draw nothing at all, or a letter a line, on a terminal that claims to have no columns.
if not (os.environ.get("COLUMNS", "80").isdigit() and int(os.environ.get("COLUMNS", "80")) >= _NARROWEST):
    del os.environ["COLUMNS"]


def _console(*, stderr: bool) -> Console:
    # No markup, emoji or highlighting: brackets and colons in a user's text are text.
    return Console(markup=False, emoji=False, highlight=False, stderr=stderr)


@dataclass
class Output:
    """The streams of this process, and what is shown on them.

    Attributes:
        quiet: Only warnings and errors, and JSON.
        json: stdout carries JSON alone; text for people goes to stderr.
    """

    quiet: bool = False
    json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    @property
    def people(self) -> Console:
        """Where text for people goes."""
        return self.err if self.json else self.out


OUTPUT = Output()


def configure(*, quiet: bool = False, json: bool = False) -> None:
    """Choose what is shown, for the rest of the process.

    Args:
        quiet: Only warnings and errors (and JSON, when asked for).
        json: One JSON object a line on stdout; everything for people goes to stderr.
    """
    OUTPUT.quiet = quiet
    OUTPUT.json = json


# Other people's file names may hold escape sequences, and marks that turn the direction of what follows: they are
# shown, not obeyed. A line break in a name would pass for a line of ours.
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_SEPARATORS = [0x2028, 0x2029]
_DIRECTIONS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SHOWN = {code: chr(code).encode("unicode_escape").decode() for code in _CONTROLS + _SEPARATORS + _DIRECTIONS}


def plain(text: str) -> str:
    r"""Text on one line that changes nothing but the place it stands in.

    Example:
        >>> print(plain("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    return text.translate(_SHOWN)


def as_markup(text: str) -> str:
    """Text that help pages, which read markup, show as it is."""
    return escape(plain(text))
