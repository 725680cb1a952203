"""Rich tables, status lines and progress; the only module that prints.

Text for people goes to stdout, warnings and errors to stderr. With `configure(json=True)` stdout carries JSON
alone, one object a line, and text for people goes to stderr; with `configure(quiet=True)` only warnings, errors
and JSON are left.
"""

from __future__ import annotations

import json as jsonlib
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from ahekit.errors import UsageError
from ahekit.sections import Table, format_cell

PLAIN_INTERVAL = 30.0
"""Seconds between lines about progress where there is no terminal to draw on."""

_REFRESH_PER_SECOND = 2.0  # the drawing thread takes its time from the training
_PACE_STEPS = 50  # optimizer steps that the shown rate is averaged over
_CELL_GAP = 2  # between two cells
_FOLD_WORDS_PAST = 24  # longer words of a text column (paths, mostly) may be broken
# Other people's file names may hold escape sequences; shown, not obeyed. Tab and newline stay.
_CONTROLS = {code: f"\\x{code:02x}" for code in [*range(32), 127] if chr(code) not in "\t\n"}


@dataclass
class _Settings:
    quiet: bool = False
    json: bool = False


_settings = _Settings()
# No markup, emoji or highlighting: brackets and colons in a user's text are text.
_out = Console(markup=False, emoji=False, highlight=False)
_err = Console(markup=False, emoji=False, highlight=False, stderr=True)


def configure(*, quiet: bool = False, json: bool = False) -> None:
    """Choose what is shown, for the rest of the process.

    Args:
        quiet: Only warnings and errors (and JSON, when asked for).
        json: One JSON object a line on stdout; everything for people goes to stderr.
    """
    _settings.quiet, _settings.json = quiet, json


def say(text: str) -> None:
    """A plain line; never wrapped, so that a path can be copied."""
    if not _settings.quiet:
        _people().print(_plain(text), soft_wrap=True)


def warn(text: str) -> None:
    """A line on stderr about something the user should know, but that stops nothing."""
    _err.print(_plain(f"warning: {text}"), style="yellow", soft_wrap=True)


def error(text: str) -> None:
    """An error's line or lines on stderr, each with the tool's name before it."""
    for line in text.splitlines() or [""]:
        _err.print(_plain(f"ahekit: {line}"), style="red", soft_wrap=True)


def show_json(values: Any) -> None:
    """Values as JSON on one line of stdout; a number that isn't finite becomes null."""
    line = jsonlib.dumps(_finite(values), ensure_ascii=False)
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
    return _err.input(Text(_plain(f"{question} [y/N] "))).strip().lower() in ("y", "yes")


def show_table(table: Table) -> None:
    """Title, table and note. Numbers are never cut: headers wrap, and a table still too wide goes on below."""
    if _settings.quiet:
        return
    console = _people()
    if table.title:
        console.print(Text(_plain(table.title), style="bold"), soft_wrap=True)
    cells = [
        [_plain(format_cell(cell, column)) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    for number, block in enumerate(_blocks(table, cells, console.width)):
        if number:
            console.print()
        console.print(_rich_table(table, cells, block))
    if table.note:
        console.print(Text(_plain(table.note), style="dim"))
    console.print()


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Progress over `total` things (None: not known yet); yields `advance(n=1, total=None)`, which may tell it later.

    A bar that vanishes at the end on a terminal, else a line every `PLAIN_INTERVAL` seconds.
    """
    if _settings.quiet or not _people().is_terminal:
        yield _plain_progress(description, total)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _live(*columns, transient=True) as bar:
        task = bar.add_task(_plain(description), total=total)

        def advance(n: int = 1, total: int | None = None) -> None:
            bar.update(task, advance=n, total=total)

        yield advance


@contextmanager
def training_display(*, total_steps: int, epochs: int) -> Iterator[TrainingDisplay]:
    """Follow a training: `.step(record)` after each optimizer step, `.epoch(row)` after each epoch.

    A bar with rate, time left, loss and validation macro-F1 on a terminal, else a line every `PLAIN_INTERVAL`
    seconds; a line for each epoch either way, and with JSON the epoch's row on stdout.

    Args:
        total_steps: Optimizer steps of the whole run, those of an earlier, interrupted process included.
        epochs: Epochs of the whole run.
    """
    if _settings.quiet or not _people().is_terminal:
        yield TrainingDisplay(total_steps=total_steps, epochs=epochs)
        return
    percent = TextColumn("{task.percentage:>3.0f}%")
    numbers = [TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "left", "loss", "f1")]
    with _live(TextColumn("{task.description}"), BarColumn(bar_width=None), percent, *numbers, expand=True) as bar:
        bar.add_task("starting", total=total_steps, rate="", left="", loss="", f1="")
        yield TrainingDisplay(total_steps=total_steps, epochs=epochs, bar=bar)


class TrainingDisplay:
    """What `training_display` yields.

    Keys read from a step record: `step`, `epoch`, `loss`, `lr`, `images`, `seconds`; from an epoch row: `epoch`,
    `seconds` and the blocks `train_online`, `train`, `val` and `test` with `loss` and `f1`. Steps and epochs count
    from 1; a step's `images` and `seconds` are its own, an epoch's `seconds` count from the run's start.
    """

    def __init__(self, *, total_steps: int, epochs: int, bar: Progress | None = None) -> None:
        self._total_steps = total_steps
        self._epochs = epochs
        self._bar = bar
        self._recent: deque[tuple[int, float]] = deque(maxlen=_PACE_STEPS)
        self._begun = self._spoken = monotonic()
        self._first_step: int | None = None
        self._val_f1: float | None = None

    def prefix(self, done: int, total: int) -> None:
        """Take in how far the frozen part of the network was computed, before the first step."""
        now = monotonic()
        rate = f"{done / max(now - self._begun, 1e-9):.0f} views/s"
        if self._bar is not None:
            task, more = self._bar.task_ids[0], done < total
            self._bar.update(task, total=total if more else self._total_steps, completed=done if more else 0)
            self._bar.update(task, description="frozen part" if more else "starting", rate=rate if more else "")
        elif now - self._spoken >= PLAIN_INTERVAL:
            self._spoken = now
            say(f"computing the frozen part: {done:,d} of {total:,d} views, {rate}")
        if done == total:
            self._begun = now

    def step(self, record: Mapping[str, Any]) -> None:
        """Take in one optimizer step."""
        self._recent.append((int(record["images"]), float(record["seconds"])))
        if self._first_step is None:
            self._first_step = int(record["step"])
        if self._bar is not None:
            self._draw(self._bar, record)
        elif monotonic() - self._spoken >= PLAIN_INTERVAL:
            self._spoken = monotonic()
            say(
                f"epoch {record['epoch']}/{self._epochs}, step {record['step']}/{self._total_steps}: "
                f"loss {_number(record.get('loss'))}, lr {record['lr']:.2g}, {self._rate()}, "
                f"{self._left(record)}"
            )

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Take in one epoch's measurements."""
        self._spoken = monotonic()
        blocks = {name: row.get(name) or {} for name in ("train_online", "train", "val", "test")}
        self._val_f1 = blocks["val"].get("f1")
        if _settings.json:
            show_json(row)
        say(
            f"epoch {row['epoch']}/{self._epochs}: loss {_number(blocks['train_online'].get('loss'))}, "
            f"val {_number(blocks['val'].get('loss'))}; "
            + "F1 "
            + ", ".join(f"{name} {_number(blocks[name].get('f1'))}" for name in ("train", "val", "test"))
            + f"; after {_duration(row.get('seconds'))}"
        )

    def _draw(self, bar: Progress, record: Mapping[str, Any]) -> None:
        bar.update(
            bar.task_ids[0],
            completed=record["step"],
            description=f"epoch {record['epoch']}/{self._epochs}",
            rate=self._rate(),
            left=self._left(record),
            loss=f"loss {_number(record.get('loss'))}",
            f1=f"val F1 {_number(self._val_f1)}",
        )

    def _rate(self) -> str:
        seconds = sum(taken for _, taken in self._recent)
        return f"{sum(images for images, _ in self._recent) / seconds:.0f} images/s" if seconds > 0 else "– images/s"

    def _left(self, record: Mapping[str, Any]) -> str:
        # Over the whole time of this process, so that measuring and checkpoints between the steps count too.
        done = int(record["step"]) - (self._first_step or 0) + 1
        each = (monotonic() - self._begun) / max(done, 1)
        return f"{_duration(each * max(self._total_steps - int(record['step']), 0))} left"


def _people() -> Console:
    return _err if _settings.json else _out


def _live(*columns: Any, **options: Any) -> Progress:
    # Redirecting stdout would carry JSON lines into the display's own stream.
    return Progress(
        *columns,
        console=_people(),
        refresh_per_second=_REFRESH_PER_SECOND,
        redirect_stdout=not _settings.json,
        **options,
    )


def _plain_progress(description: str, total: int | None) -> Callable[..., None]:
    done, begun, known = 0, monotonic(), total
    spoken = begun

    def advance(n: int = 1, total: int | None = None) -> None:
        nonlocal done, spoken, known
        done, known = done + n, known if total is None else total
        if monotonic() - spoken >= PLAIN_INTERVAL:
            spoken = monotonic()
            each = (spoken - begun) / max(done, 1)
            left = "" if known is None else f" of {known:,d}, {_duration(each * (known - done))} left"
            say(f"{description}: {done:,d}{left}")

    return advance


def _blocks(table: Table, cells: Sequence[Sequence[str]], width: int) -> list[list[tuple[int, int]]]:
    """Columns that stand side by side, each with its width; the first one is repeated in every block."""
    needs = [_needs(table, cells, place) for place in range(len(table.columns))]
    blocks: list[list[int]] = [[]]
    for place, (least, _) in enumerate(needs):
        taken = sum(needs[used][0] + _CELL_GAP for used in blocks[-1])
        if len(blocks[-1]) > 1 and taken + least > width:
            blocks.append([0])
        blocks[-1].append(place)
    return [list(zip(block, _shares([needs[place] for place in block], width), strict=True)) for block in blocks]


def _needs(table: Table, cells: Sequence[Sequence[str]], place: int) -> tuple[int, int]:
    """The narrowest a column can be without cutting a number or a word, and the width that wraps nothing."""
    column = table.columns[place]
    lines = [line for row in cells for line in row[place].split("\n")]
    longest = max(map(cell_len, lines), default=1)
    known = [row[place] for row in table.rows if row[place] is not None]
    numbers = column.align == "right" or all(isinstance(cell, int | float) for cell in known)
    words = max((cell_len(word) for line in lines for word in line.split()), default=1)
    header = max(map(cell_len, column.name.split()), default=1)
    least = max(header, longest if numbers else min(words, _FOLD_WORDS_PAST))
    return least, max(longest, cell_len(column.name))


def _shares(needs: Sequence[tuple[int, int]], width: int) -> list[int]:
    """Every column gets what it needs; of what is left the first, the rows' names, is served before the others."""
    spare = max(width - sum(least + _CELL_GAP for least, _ in needs) + _CELL_GAP, 0)
    wishes = [full - least for least, full in needs]
    first = min(wishes[0], spare // 2 if wishes[1:] else spare)
    share = min((spare - first) / max(sum(wishes[1:]), 1), 1.0)
    extras = [first, *(int(wish * share) for wish in wishes[1:])]
    return [least + extra for (least, _), extra in zip(needs, extras, strict=True)]


def _rich_table(table: Table, cells: Sequence[Sequence[str]], block: Sequence[tuple[int, int]]) -> RichTable:
    named = any(table.columns[place].name for place, _ in block)
    shown = RichTable(box=box.SIMPLE_HEAD, show_header=named, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, width in block:
        column = table.columns[place]
        shown.add_column(Text(_plain(column.name)), justify=column.align, width=width, overflow="fold")
    for row in cells:
        shown.add_row(*(Text(row[place]) for place, _ in block))
    return shown


def _plain(text: str) -> str:
    return text.translate(_CONTROLS)


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
