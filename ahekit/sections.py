"""A report as data: sections of a reading, tables, figures and values, before any rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as MplFigure

Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes:
        format: Python format spec for numbers (`.3f`, `,d`, `.1%`); None shows `str(cell)`.
        align: Numbers read best to the right.
    """

    name: str
    format: str | None = None
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Table:
    """Rows of cells; None and NaN are empty cells, rendered as a dash.

    Attributes:
        totals: How many of the last rows sum up the others, such as averages: they stay last when the page is sorted.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    totals: int = 0


@dataclass(frozen=True)
class Figure:
    """A figure that draws itself onto a given matplotlib figure; the renderer chooses style, theme, format and place.

    Attributes:
        name: File stem, unique within the report or visualization.
        title: What is shown, and of what.
        alt: What a reader who can't see it should know.
        draw: Draws on the empty figure it is given, without a title, which the renderer adds where it is needed. Must
            not set colours of text, axes or background, which belong to the renderer's style: lines take the cycle's
            "C0", "C1" …, images the default colour map.
        size: Width and height in inches.
        data: The numbers shown, by name (JSON-serialisable), for machine-readable renderings.
        caption: One or two sentences that read it, shown below.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[MplFigure], None]
    size: tuple[float, float] = (6.4, 4.0)
    data: Mapping[str, Any] = field(default_factory=dict)
    caption: str = ""


@dataclass(frozen=True)
class Widget:
    """A part of the page that answers to the reader; other renderings have its text in its place.

    Attributes:
        name: Unique within the report.
        script: JavaScript, the body of a function of `root`, an empty element to fill, and `data`. It can't reach the
            network; whatever it shows of `data` it sets as text.
        data: JSON-serialisable.
        text: What it lets the reader do, and how, in a sentence or two.
        style: CSS of what it makes, each rule below `.widget`.
    """

    name: str
    script: str
    data: Any
    text: str
    style: str = ""


@dataclass(frozen=True)
class Section:
    """One subject of the report.

    Attributes:
        reading: One paragraph in plain words that says what the numbers mean.
        values: Machine-readable values (JSON-serialisable).
        verdict: A sentence for the head of the report, where the section holds what everybody wants to know first.
        name: The reporter's registered name. Whoever asks the reporter fills it in; a reporter leaves it out.
        widgets: Parts of the page that answer to the reader, below the figures.
    """

    title: str
    reading: str
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""
    name: str = ""
    widgets: tuple[Widget, ...] = ()


def format_cell(cell: Cell, column: Column) -> str:
    """A cell as text, the same in every rendering; None and NaN are a dash."""
    if cell is None or cell != cell:  # NaN alone differs from itself
        return "–"
    if column.format is not None and not isinstance(cell, str):
        return format(cell, column.format)
    return str(cell)


@dataclass(frozen=True)
class Animation:
    """Pictures that follow each other.

    Attributes:
        name: File stem, unique within the visualization.
        frames: `(T, H, W, 3)` uint8.
        form: File format.
        milliseconds: That a frame is shown; the last one stays five times as long.
    """

    name: str
    frames: np.ndarray
    form: Literal["gif", "webp"] = "gif"
    milliseconds: int = 300


@dataclass(frozen=True)
class Visualization:
    """What a visualizer returns: arrays by name, figures that show them, lines to say of them, tables, animations."""

    arrays: Mapping[str, np.ndarray]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    animations: tuple[Animation, ...] = ()


ClaimReading = Literal["supported", "not supported", "undecided"]


@dataclass(frozen=True)
class Claim:
    """What the course's text says, and what the experiment makes of it.

    Attributes:
        text: The claim in a sentence.
        reading: "undecided" also where this experiment can't tell.
        because: The numbers that it is read off, or why they can't tell.
    """

    text: str
    reading: ClaimReading
    because: str


@dataclass(frozen=True)
class Exercise:
    """A question whose answer can be checked.

    Attributes:
        name: Its key in the file of answers.
        answer: A number, or a word or list of numbers as text; letter case and spaces don't count.
        tolerance: Largest deviation of a number, as a share of the answer.
        hint: Told with a wrong answer.
    """

    name: str
    question: str
    answer: float | str
    tolerance: float = 0.01
    hint: str = ""


@dataclass(frozen=True)
class Experiment:
    """What a lesson found out.

    Attributes:
        sections: In the order in which they are read.
        subtitle: What it was made on: the run, the layer, the picture.
        notes: What the user should know of how it was made.
    """

    sections: tuple[Section, ...]
    claims: tuple[Claim, ...]
    exercises: tuple[Exercise, ...]
    subtitle: str = ""
    notes: tuple[str, ...] = ()
