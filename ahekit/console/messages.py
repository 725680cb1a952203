"""Lines, warnings, errors, questions and JSON."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from ahekit.console.output import OUTPUT
from ahekit.errors import UsageError
from ahekit.wording import plain

_LONGEST_LINE = 4000  # characters of an error


def say(*lines: str) -> None:
    """Plain lines; never wrapped, so that a path can be copied."""
    if not OUTPUT.quiet:
        for line in lines:
            OUTPUT.people.print(plain(line), soft_wrap=True)


def warn(text: str) -> None:
    """A line on stderr about something the user should know, but that stops nothing."""
    OUTPUT.err.print(plain(f"warning: {text}"), style="yellow", soft_wrap=True)


def error(*lines: str) -> None:
    """An error's line or lines on stderr, each with the tool's name before it."""
    for line in lines:
        OUTPUT.err.print(plain(f"ahekit: {_shortened(line)}"), style="red", soft_wrap=True)


def show_json(values: Any) -> None:
    """Values as JSON on one line of stdout; a number that isn't finite becomes null."""
    _write(jsonlib.dumps(_finite(values), ensure_ascii=False))


def show_path(path: Path) -> None:
    """A path as it is, alone on a line of stdout, for a shell to take up."""
    _write(str(path))


def _write(line: str) -> None:
    # Past rich, which would wrap or style it, and past a live display's hold on sys.stdout.
    stream = getattr(sys.stdout, "rich_proxied_file", sys.stdout)
    stream.write(line + "\n")
    stream.flush()


def confirm(question: str, *, option: str) -> bool:
    """Ask a yes-or-no question; no is the default.

    `option` is the one that answers yes beforehand (`--yes`).

    Raises:
        UsageError: There is nobody to answer.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to answer; say {option} to agree beforehand")
    try:
        answer = OUTPUT.err.input(Text(plain(f"{question} [y/N] ")))
    except EOFError:  # Ctrl-D
        say("")
        return False
    return answer.strip().lower() in ("y", "yes")


def _shortened(line: str) -> str:
    """A line without the middle of somebody's megabyte; what to do stands at its end."""
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 4 :]}"


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
