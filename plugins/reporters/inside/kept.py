"""What `ahekit viz` kept in a run's figures folder: class images and the selectivity of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ahekit.data.classes import display_name
from ahekit.figures.thumbnails import Thumbnail, pictures, small
from ahekit.sections import Column, Figure, Table
from ahekit.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

Arrays = Mapping[str, NDArray[Any]]

_LAYER_KEYS = ("layer", "units", "dead", "selectivity", "selectivity_chance", "share", "share_chance")
_LAYER_COLUMNS = (
    Column("Layer"),
    Column("Units", ",d", "right"),
    Column("Dead", ",d", "right"),
    Column("Selectivity", ".2f", "right"),
    Column("By chance", ".2f", "right"),
    Column("Majority share", ".2f", "right"),
    Column("By chance", ".2f", "right"),
)
_BEST_COLUMNS = (
    Column("Class"),
    Column("Layer"),
    Column("Unit", "d", "right"),
    Column("F1 of the class", ".3f", "right"),
    Column("Without the unit", ".3f", "right"),
    Column("Difference", "+z.3f", "right"),
)
_BEST_NOTE = "The unit whose strongest images are most often of the class; without it: its activity held still."


@dataclass(frozen=True)
class Part:
    """One of several subjects of a section; `reading` says why where there is nothing to show."""

    reading: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def class_images(folder: Path, most: int) -> Part:
    """The class images made last, `most` of them, with what the network and a judge make of each."""
    file, arrays = _newest(folder, "class-image.npz", ("images", "targets", "class_names"))
    if file is None:
        return Part("No class images were made yet; `ahekit viz class-image` makes them.")
    of_class = np.flatnonzero(arrays.get("targets", np.array([])) >= 0)
    if not len(of_class):
        return Part(f"The class images in {file.name} can't be read.")
    indices = of_class[:most]
    images = arrays["images"][indices]
    targets = arrays["targets"][indices]
    names = [display_name(str(arrays["class_names"][target])) for target in targets]
    figure = pictures(
        [Thumbnail(name, (name, *_scores(arrays, index))) for name, index in zip(names, indices.tolist(), strict=True)],
        [small(image) for image in images],
        name="class-images",
        title="Class images",
        caption="Pictures made from noise to be predicted as each class; below each, the network's own probability of "
        f"the class{', and whether a second network agrees' if 'judge_right' in arrays else ''}."
        + (f" {len(of_class) - len(indices)} more are in {file.name}." if len(of_class) > len(indices) else ""),
        columns=10,
    )
    return Part(_reading(arrays, of_class), (figure,), (), _values(arrays, of_class, file))


def _scores(arrays: Arrays, index: int) -> tuple[str, ...]:
    lines = []
    if "probability" in arrays:
        lines.append(f"p {arrays['probability'][index]:.2f}")
    if "judge_right" in arrays:
        lines.append(f"judge {'right' if arrays['judge_right'][index] else 'wrong'}")
    return tuple(lines)


def _reading(arrays: Arrays, of_class: NDArray[np.int64]) -> str:
    sentence = f"There {'is' if len(of_class) == 1 else 'are'} {counted(len(of_class), 'class image')}"
    if "probability" in arrays:
        mean = arrays["probability"][of_class].mean()
        sentence += f", to which the network gives the wanted class a probability of {mean:.2f} on average"
    if "judge_right" in arrays:
        right = int(arrays["judge_right"][of_class].sum())
        return f"{sentence}; a second network, which had no part in making them, predicts {right} of them correctly."
    return f"{sentence}; no second network was asked what it sees in them (`--judge`)."


def _values(arrays: Arrays, of_class: NDArray[np.int64], file: Path) -> dict[str, Any]:
    scores = {name: arrays[name][of_class].tolist() for name in ("probability", "judge_right") if name in arrays}
    classes = [str(arrays["class_names"][target]) for target in arrays["targets"][of_class]]
    return {"file": file.name, "classes": classes, **scores}


def unit_selectivity(folder: Path) -> Part:
    """How selective the units of each layer were found to be, by the measurement made last."""
    file, arrays = _newest(folder, "units*.npz", ("layers", "class_names"))
    if file is None:
        return Part("The selectivity of units wasn't measured yet; `ahekit viz units` measures it.")
    layers = [str(name) for name in arrays.get("layers", ())]
    rows = [_layer_row(arrays, name) for name in layers if f"{name}.selectivity" in arrays]
    if not rows:
        return Part(f"The selectivity of units in {file.name} can't be read.")
    split = f", {arrays['split']} images" if "split" in arrays else ""
    chance = "by chance is what the same measurement gives with the labels permuted."
    tables = [Table(f"Selectivity of units by layer{split}", _LAYER_COLUMNS, tuple(rows), f"Medians; {chance}")]
    tables += _best_units(arrays)
    alive = [row for row in rows if row[3] is not None]
    figure = Figure(
        name="selectivity",
        title=f"Selectivity of units against depth{split}",
        alt="Median selectivity by layer: " + ", ".join(f"{row[0]} {row[3]:.2f}" for row in alive) + ".",
        draw=partial(_draw_selectivity, rows=alive),
        size=(max(4.6, 1.0 + 0.55 * len(alive)), 3.2),
        data={
            "layer": [row[0] for row in rows],
            "median": [row[3] for row in rows],
            "chance": [row[4] for row in rows],
        },
        caption=f"Dots are medians of the layer's units; {chance}",
    )
    values = {"file": file.name, "layers": [dict(zip(_LAYER_KEYS, row, strict=True)) for row in rows]}
    return Part(_units_reading(alive), (figure,) if alive else (), tuple(tables), values)


def _layer_row(arrays: Arrays, layer: str) -> tuple[Any, ...]:
    """Name, units, dead ones, and medians of the living: selectivity, majority share, each with that by chance."""

    def median(name: str) -> float | None:
        values = arrays.get(f"{layer}.{name}", np.array([]))
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else None

    units = len(arrays[f"{layer}.selectivity"])
    dead = arrays.get(f"{layer}.dead")
    medians = map(median, ("selectivity", "selectivity_permuted", "majority_share", "share_permuted"))
    return layer, units, None if dead is None else int(dead.sum()), *medians


def _best_units(arrays: Arrays) -> list[Table]:
    """The best unit of each class, and its class's F1 with the unit and without."""
    needs = ("best_class", "best_layer", "best_unit", "best_f1", "best_f1_silenced")
    if not set(needs) <= arrays.keys() or not len(arrays["best_class"]):
        return []
    classes, *others = (arrays[name].tolist() for name in needs)
    rows = [
        (display_name(str(arrays["class_names"][label])), layer, unit, whole, silenced, silenced - whole)
        for label, layer, unit, whole, silenced in zip(classes, *others, strict=True)
    ]
    return [Table("The best unit of each class", _BEST_COLUMNS, tuple(rows), _BEST_NOTE)]


def _units_reading(alive: Sequence[tuple[Any, ...]]) -> str:
    if not alive:
        return "All units are dead."
    first = alive[0]
    last = alive[-1]
    word = "more" if last[3] > first[3] else "less"
    by_chance = f", where {last[4]:.2f} would be chance" if last[4] is not None else ""
    if len(alive) == 1:
        return f"The median selectivity of {last[0]}'s units for one class is {last[3]:.2f}{by_chance}."
    return (
        f"Units are {word} selective for one class in {last[0]} (median {last[3]:.2f}{by_chance}) than in {first[0]} "
        f"({first[3]:.2f})."
    )


def _draw_selectivity(figure: MplFigure, *, rows: Sequence[tuple[Any, ...]]) -> None:
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    medians = [row[3] for row in rows]
    by_chance = [np.nan if row[4] is None else row[4] for row in rows]
    axes.plot(places, medians, marker="o", label="measured")
    axes.plot(places, by_chance, linestyle=(0, (4, 2)), label="by chance")
    axes.set_xticks(places, [row[0] for row in rows], rotation=0 if len(rows) <= 8 else 60)
    axes.set(ylabel="selectivity index")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)


def _newest(folder: Path, pattern: str, needs: tuple[str, ...]) -> tuple[Path | None, Arrays]:
    """The newest file of that name in a run's figures, and its arrays: none where it can't be read or lacks one."""
    files = sorted((folder / "figures").glob(pattern), key=lambda file: (file.stat().st_mtime_ns, file.name))
    if not files:
        return None, {}
    try:
        # A file of its own: np.load leaves the one it opens open when it is no archive.
        with files[-1].open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile):
        return files[-1], {}
    return files[-1], arrays if set(needs) <= arrays.keys() else {}
