"""Series: images of one visit (a photographer at a place), which tell more of each other than a new image would.

A network that has trained on one picture of a church is measured too well on the next picture of the same church. So
the images of a series stay on one side of every split that is cut. Which images are a series is told by a rule:

- `flickr`: numbers at the start of file names (`8512345678_0a1b2c3d4e_m.jpg`), which Flickr gives out in the order of
  upload: images that were uploaded one after the other are within 100,000 of each other.
- `folder` or `folder:N`: the first N folders below the class folder.
- `date`: the day of capture, from EXIF.
- any pattern (a regular expression) with a group, looked for in the sample id: what the group matches.
- `auto`: flickr where file names carry such numbers, else none. `none`: no series.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.data.classes import normalize_class
from ahekit.data.decode import capture_day
from ahekit.data.folder import Folder
from ahekit.errors import UsageError
from ahekit.files import write_atomic
from ahekit.spec import DataSpec, check_group_by
from ahekit.wording import counted

Indices = NDArray[np.int64]

FLICKR_GAP = 100_000
"""Flickr numbers this near each other are one visit. A third of AHE's training images belong to a series then (24 %,
counting neighbours of their own class alone); at 300,000 it would be half of them (29 %), more and more of whose
neighbours are strangers that uploaded in the same minute."""

ALONE = -1
"""Marks an image that belongs to no series."""

# Number and secret. Phones name photos by date and time (20170412_143022.jpg), which are no upload numbers.
_FLICKR_NAME = re.compile(r"(?!(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d_)(\d{5,12})_[0-9a-f]{8,}")
_VERSION = 1


@dataclass(frozen=True)
class Named:
    """Images as a rule sees them.

    Attributes:
        ids: N sample ids.
        class_names: The class of each.
        root: What the ids are relative to.
        store: Folder of the pixel cache where capture dates may be kept; None: nowhere.
    """

    ids: Sequence[str]
    class_names: Sequence[str]
    root: Path
    store: Path | None = None

    def take(self, indices: Indices) -> Named:
        """Some of the images."""
        rows = indices.tolist()
        return Named([self.ids[row] for row in rows], [self.class_names[row] for row in rows], self.root, self.store)


def decide_rule(rule: str, ids: Sequence[str]) -> str:
    """The rule that "auto" stands for with these ids; any other rule as it is.

    Raises:
        UsageError: The rule is none.
    """
    try:
        check_group_by(rule)
    except ValueError as error:
        raise UsageError(f"data.group_by: {error}") from error
    if rule != "auto":
        return rule
    return "flickr" if (_flickr(ids) != ALONE).any() else "none"


def describe_rule(rule: str) -> str:
    """A rule in words, as in "by the folder below the class"."""
    if rule == "flickr":
        return f"Flickr numbers at the start of file names, within {FLICKR_GAP:,} of each other"
    if rule == "date":
        return "the day of capture, from EXIF"
    if rule.startswith("folder"):
        depth = _folder_depth(rule)
        return "the folder below the class" if depth == 1 else f"the first {depth} folders below the class"
    return f"the pattern {rule}"


def series_of(images: Named, rule: str) -> Indices:
    """The series of each image, `(N,)` from 0 on; `ALONE` for an image that shares one with no other.

    Args:
        rule: One that `decide_rule` returned.

    Raises:
        UsageError: The rule finds its mark in not one of the ids.
    """
    if rule == "none" or not images.ids:
        return np.full(len(images.ids), ALONE)
    if rule == "flickr":
        return _flickr(images.ids)
    marker = _marker(images, rule)
    marks = [marker(name, class_name) for name, class_name in zip(images.ids, images.class_names, strict=True)]
    if all(mark is None for mark in marks):
        raise UsageError(
            f"data.group_by: {describe_rule(rule)} tells nothing of these {counted(len(marks), 'image')}, "
            f"e.g. {images.ids[0]}"
        )
    number: dict[Hashable, int] = {}
    series = np.array([ALONE if mark is None else number.setdefault(mark, len(number)) for mark in marks])
    return _without_singles(series)


@dataclass(frozen=True)
class Siblings:
    """What series a dataset holds, and where they cross its splits.

    Attributes:
        rule: What tells them, "auto" decided.
        series: How many there are, of two images or more.
        images: Images that belong to one.
        training: Training images that belong to a series with another training image.
        crossing: By each split of the dataset's own beside train: images of a series that training has images of.
        counts: Images of each split in all.
        val_fraction: Share of the training images that a run cuts as validation, unless told otherwise.
        expected: Share of validation images that would have a sibling in training if they were cut one by one.
    """

    rule: str
    series: int
    images: int
    training: int
    crossing: dict[str, int]
    counts: dict[str, int]
    val_fraction: float
    expected: float

    def sentences(self) -> list[str]:
        """For people; none without series."""
        if self.rule == "none":
            return []
        told = [
            f"Series by {describe_rule(self.rule)}: {self.images:,} of {sum(self.counts.values()):,} images belong to "
            f"{self.series:,}."
        ]
        told += [
            f"{self.crossing[split]:,} of the {self.counts[split]:,} {split} images "
            f"({self.crossing[split] / self.counts[split]:.1%}) {'has' if self.crossing[split] == 1 else 'have'} a "
            "sibling in training."
            for split in self.crossing
        ]
        if "val" not in self.crossing:
            told.append(
                f"Training keeps series on one side of its cut; cut image by image, {self.expected:.0%} of the "
                "validation images would have a sibling in training."
            )
        return told


def survey_series(folder: Folder, rule: str) -> Siblings:
    """What series a dataset holds and where they cross its splits; nothing is decoded.

    Raises:
        UsageError: The rule finds its mark in not one of the ids.
    """
    images = Named(
        [sample.id for sample in folder.samples], [sample.class_name for sample in folder.samples], folder.root
    )
    series = series_of(images, rule)
    splits = np.array([sample.split for sample in folder.samples])
    training = np.flatnonzero(splits == "train")
    own = [split for split in ("val", "test") if (splits == split).any()]
    within = series_of(images.take(training), rule)
    fraction = DataSpec().val_fraction
    return Siblings(
        rule=rule,
        series=len(np.unique(series[series != ALONE])),
        images=int((series != ALONE).sum()),
        training=int((within != ALONE).sum()),
        crossing={split: len(shared_with(series, np.flatnonzero(splits == split), training)) for split in own},
        counts={split: int((splits == split).sum()) for split in ("train", *own)},
        val_fraction=fraction,
        expected=expected_crossing(within, fraction),
    )


def series_links(series: Indices) -> tuple[Indices, Indices]:
    """Pairs of images, first and second, that connect each series: every image with the next of its series."""
    order = np.argsort(series, kind="stable")
    order = order[series[order] != ALONE]
    linked = series[order[1:]] == series[order[:-1]]
    return order[:-1][linked], order[1:][linked]


def shared_with(series: Indices, members: Indices, others: Indices) -> Indices:
    """Those of `members` that belong to a series of which `others` hold an image."""
    there = np.unique(series[others])
    return members[np.isin(series[members], there[there != ALONE])]


def expected_crossing(series: Indices, fraction: float) -> float:
    """Share of validation images that would have a sibling in training if images were drawn one by one.

    An image of a series of n has none when the other n - 1 are drawn too, which has probability `fraction ** (n - 1)`.

    Args:
        series: Of the images that validation is cut from.
    """
    if not len(series):
        return 0.0
    sizes = np.bincount(series[series != ALONE])
    return float((sizes * (1 - fraction ** np.maximum(sizes - 1, 0))).sum() / len(series))


def _marker(images: Named, rule: str) -> Callable[[str, str], Hashable | None]:
    """What tells an image's series, from its id and class; None where it tells of none."""
    if rule == "date":
        days = capture_days(images)
        return lambda name, class_name: days.get(name)
    if rule.startswith("folder"):
        depth = _folder_depth(rule)
        return lambda name, class_name: _folders(name, class_name)[:depth] or None
    pattern = re.compile(rule)

    def matched(name: str, class_name: str) -> Hashable | None:
        match = pattern.search(name)
        return match.groups() if match is not None and any(match.groups()) else None

    return matched


def _folder_depth(rule: str) -> int:
    return int(rule.partition(":")[2] or 1)


def _folders(name: str, class_name: str) -> tuple[str, ...]:
    """The folders between an image and its class's folder."""
    folders = name.split("/")[:-1]
    # The first folder of an id is the split's, unless it is the class's itself.
    return tuple(folders[1:] if normalize_class(folders[0]) == class_name else folders[2:])


def _flickr(ids: Sequence[str]) -> Indices:
    """Series by the numbers at the start of file names."""
    names = (name.rpartition("/")[2] for name in ids)
    matches = [_FLICKR_NAME.match(name) for name in names]
    rows = np.array([row for row, match in enumerate(matches) if match is not None], dtype=np.int64)
    series = np.full(len(ids), ALONE)
    if not len(rows):
        return series
    numbers = np.array([int(match[1]) for match in matches if match is not None])
    order = np.argsort(numbers, kind="stable")
    # In the order of the numbers a series ends where the next number is too far off: a long visit is a chain of
    # neighbours, its first and last image may be further from each other.
    starts = np.concatenate([[0], np.cumsum(np.diff(numbers[order]) > FLICKR_GAP)])
    series[rows[order]] = starts
    return _without_singles(series)


def _without_singles(series: Indices) -> Indices:
    """Series of one image are none; the others are numbered anew, in the order of their first images."""
    present = series != ALONE
    _, first, inverse, counts = np.unique(series[present], return_index=True, return_inverse=True, return_counts=True)
    marks = np.where(counts[inverse] > 1, first[inverse], ALONE)
    values = np.unique(marks[marks != ALONE])
    result = np.full(len(series), ALONE)
    result[present] = np.where(marks == ALONE, ALONE, np.searchsorted(values, marks))
    return result


def capture_days(images: Named) -> dict[str, str]:
    """The day of capture of each image whose EXIF tells one, by id; kept with the pixels for the next start."""
    file = None if images.store is None else images.store / f"capture-days-{_VERSION}.json"
    stored: dict[str, str] = {}
    if file is not None:
        with suppress(OSError, ValueError):
            stored = dict(json.loads(file.read_text(encoding="utf-8")))
    absent = [name for name in images.ids if name not in stored]
    # An empty text stands for an image that tells no day, so that it isn't opened again either.
    days = stored | {name: capture_day(images.root / name) or "" for name in absent}
    if file is not None and absent:
        with suppress(OSError):  # a store that is read-only, full or gone costs the next start some seconds, no more
            write_atomic(file, json.dumps(days).encode())
    return {name: days[name] for name in images.ids if days[name]}
