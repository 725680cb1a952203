"""Where text goes, and how other people's text is kept from steering the terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from ahekit.wording import plain

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


def as_markup(text: str) -> str:
    """Text that help pages, which read markup, show as it is."""
    return escape(plain(text))
