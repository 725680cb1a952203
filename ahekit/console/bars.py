"""Bars on a terminal, and lines from time to time where there is none."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ahekit.console.messages import say, show_json
from ahekit.console.output import OUTPUT
from ahekit.wording import plain

PLAIN_INTERVAL = 30.0
"""Seconds between lines about progress where there is no terminal to draw on."""

_REFRESH_PER_SECOND = 2.0  # the drawing thread takes its time from the training
_PACE_STEPS = 50  # optimizer steps that the shown rate is averaged over


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "") -> Iterator[Callable[..., None]]:
    """Progress over `total` things (None: not known yet); yields `advance(n=1, total=None)`, which may tell it later.

    A bar that vanishes at the end on a terminal, else a line every `PLAIN_INTERVAL` seconds.

    Args:
        unit: What the things are; how many there are a second is told then, too.
    """
    if OUTPUT.quiet or not OUTPUT.people.is_terminal:
        yield _plain_progress(description, total, unit)
        return
    rate = [_RateColumn(unit)] if unit else []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), *rate)
    with _live(*columns, TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task(plain(description), total=total)

        def advance(n: int = 1, total: int | None = None) -> None:
            bar.update(task, advance=n, total=total)

        yield advance


class _RateColumn(ProgressColumn):
    """How many things a second."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__()

    def render(self, task: Task) -> Text:
        """As text; a dash before the first ones."""
        return Text(_rate(task.finished_speed or task.speed, self.unit))


@contextmanager
def training_display(*, total_steps: int, epochs: int) -> Iterator[TrainingDisplay]:
    """Follow a training: `.step(record)` after each optimizer step, `.epoch(row)` after each epoch.

    A bar with rate, time left, loss and validation macro-F1 on a terminal, else a line every `PLAIN_INTERVAL`
    seconds; a line for each epoch either way, and with JSON the epoch's row on stdout.

    Args:
        total_steps: Optimizer steps of the whole run, those of an earlier, interrupted process included.
        epochs: Epochs of the whole run.
    """
    if OUTPUT.quiet or not OUTPUT.people.is_terminal:
        yield TrainingDisplay(total_steps=total_steps, epochs=epochs)
        return
    percent = TextColumn("{task.percentage:>3.0f}%")
    numbers = [TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "left", "loss", "f1")]
    with _live(
        TextColumn("{task.description}"), BarColumn(bar_width=None), percent, *numbers, expand=True, transient=True
    ) as bar:
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
        self._views(done, total, bar="frozen part", line="computing the frozen part")

    def answers(self, done: int, total: int) -> None:
        """Take in how far the teacher was asked, before the first step."""
        self._views(done, total, bar="teacher", line="asking the teacher")

    def _views(self, done: int, total: int, *, bar: str, line: str) -> None:
        now = monotonic()
        seconds = max(now - self._begun, 1e-9)
        rate = f"{done / seconds:.0f} views/s"
        left = f"{_duration(seconds / max(done, 1) * (total - done))} left"
        if self._bar is not None:
            task = self._bar.task_ids[0]
            if done < total:
                self._bar.update(task, total=total, completed=done, description=bar, rate=rate, left=left)
            else:
                self._bar.update(task, total=self._total_steps, completed=0, description="starting", rate="", left="")
        elif now - self._spoken >= PLAIN_INTERVAL:
            self._spoken = now
            say(f"{line}: {done:,d} of {total:,d} views, {rate}, {left}")
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
        self._val_f1 = blocks["val"].get("f1", self._val_f1)
        if OUTPUT.json:
            show_json(row)
        # Not every part is measured after each epoch.
        val = f", val {_number(blocks['val'].get('loss'))}" if blocks["val"] else ""
        scores = [f"{name} {_number(blocks[name].get('f1'))}" for name in ("train", "val", "test") if blocks[name]]
        told = [
            f"epoch {row['epoch']}/{self._epochs}: loss {_number(blocks['train_online'].get('loss'))}{val}",
            *(["F1 " + ", ".join(scores)] if scores else []),
            f"after {_duration(row.get('seconds'))}",
        ]
        say("; ".join(told))

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


def _live(*columns: Any, **options: Any) -> Progress:
    # Redirecting stdout would carry JSON lines into the display's own stream.
    return Progress(
        *columns,
        console=OUTPUT.people,
        refresh_per_second=_REFRESH_PER_SECOND,
        redirect_stdout=not OUTPUT.json,
        **options,
    )


def _plain_progress(description: str, total: int | None, unit: str) -> Callable[..., None]:
    done, begun, known = 0, monotonic(), total
    spoken = begun

    def advance(n: int = 1, total: int | None = None) -> None:
        nonlocal done, spoken, known
        done, known = done + n, known if total is None else total
        if monotonic() - spoken >= PLAIN_INTERVAL:
            spoken = monotonic()
            each = (spoken - begun) / max(done, 1)
            rate = f", {_rate(1 / each, unit)}" if unit else ""
            left = "" if known is None else f", {_duration(each * (known - done))} left"
            say(f"{description}: {done:,d}{'' if known is None else f' of {known:,d}'}{rate}{left}")

    return advance


def _rate(each_second: float | None, unit: str) -> str:
    return f"{'–' if each_second is None else f'{each_second:.3g}'} {unit}/s"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
