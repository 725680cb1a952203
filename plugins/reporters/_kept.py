"""What `ahekit viz` kept in a run's figures folder: class images and the selectivity of units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ahekit.reporting.sections import Figure, Table

from ._common import counted, shown
from ._thumbnails import Shown, pictures

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Part:
    """One of several subjects of a section; `reading` says why where there is nothing to show."""

    reading: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


def class_images(folder: Path, most: int) -> Part:
    """The class images made last, `most` of them, with what the network and a judge make of each."""
    file, arrays = _newest(folder, "class-image*.npz", ("images", "targets", "class_names"))
    if file is None:
        return Part("No class images were made yet; `ahekit viz class-image` makes them.")
    if not arrays:
        return Part(f"The class images in {file.name} can't be read.")
    of_class = np.flatnonzero(arrays["targets"] >= 0)
    if not len(of_class):
        return Part(f"The images in {file.name} are of units, not of classes.")
    taken = of_class[:most]
    images, targets = arrays["images"][taken], arrays["targets"][taken]
    names = [shown(str(arrays["class_names"][target])) for target in targets]
    figure = pictures(
        [Shown(name, (name, *_scores(arrays, index))) for name, index in zip(names, taken.tolist(), strict=True)],
        list(images),
        name="class-images",
        title="Class images",
        caption="Pictures made, from nothing, to be taken for each class; below each, the network's own probability of "
        f"the class{', and what a second network makes of it' if 'judge_right' in arrays else ''}."
        + (f" {len(of_class) - len(taken)} more are in {file.name}." if len(of_class) > len(taken) else ""),
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
        sentence += (
            f", to which the network gives its class a probability of {arrays['probability'][of_class].mean():.2f}"
        )
        sentence += " on average"
    if "judge_right" in arrays:
        right = int(arrays["judge_right"][of_class].sum())
        return f"{sentence}; a second network, which had no part in making them, names {right} of them rightly."
    return f"{sentence}; no second network was asked what it sees in them (`--judge`)."


def _values(arrays: Arrays, of_class: NDArray[np.int64], file: Path) -> dict[str, Any]:
    scores = {name: arrays[name][of_class].tolist() for name in ("probability", "judge_right") if name in arrays}
    classes = [str(arrays["class_names"][target]) for target in arrays["targets"][of_class]]
    return {"file": file.name, "classes": classes, **scores}


def unit_selectivity(folder: Path) -> Part:
    """How selective the units of each layer were found to be, by the measurement made last."""
    return Part("")


def _newest(folder: Path, pattern: str, needs: tuple[str, ...]) -> tuple[Path | None, Arrays]:
    """The newest file of that name in a run's figures, and its arrays: none where it can't be read or lacks one."""
    files = sorted((folder / "figures").glob(pattern), key=lambda file: (file.stat().st_mtime_ns, file.name))
    if not files:
        return None, {}
    try:
        with np.load(files[-1], allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile):
        return files[-1], {}
    return files[-1], arrays if set(needs) <= arrays.keys() else {}
