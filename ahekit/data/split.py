"""Train, validation and test: the dataset's own where it has them, cut from the training images where it hasn't.

A cut is stratified by class, keeps near-copies on one side, and depends on the seed and the sample ids alone: not on
the order of files, and an image that is added or removed moves few others. scikit-learn's StratifiedGroupKFold was
tried first: it cuts 1/n only (0.143 for 0.15, 0.5 for 0.4), leaves a class of three images without validation,
refuses six images a class at 0.1, and takes seconds for ten thousand groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahekit.data.dataset import Dataset
from ahekit.data.near_copies import Pairs, cached_near_copies, groups, number_groups
from ahekit.data.random import sample_keys, uniforms
from ahekit.errors import DataError, UsageError

Indices = NDArray[np.int64]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """Which images are for what.

    Attributes:
        train: Indices into the dataset, sorted; `val` and `test` likewise.
        groups: `(N,)`, the leak group of each image: near-copies and near-copies of near-copies share one.
        notes: What the user should know: images that were moved, classes that a split lacks.
    """

    train: Indices
    val: Indices
    test: Indices
    groups: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def near_copies(dataset: Dataset, *, threshold: float) -> Pairs:
    """The near-copies among all images of a dataset, from its cache when they were found before."""
    images = dataset.images if dataset.thumbnails is None else dataset.thumbnails
    return cached_near_copies(images, threshold=threshold, folder=dataset.store)


def make_splits(
    dataset: Dataset,
    *,
    val_fraction: float = 0.1,
    test_fraction: float = 0.15,
    near_copy_threshold: float = 0.98,
    seed: int = 0,
) -> Splits:
    """Split a dataset.

    A test or validation split found on disk is used as it is, with two additions. Training images that are
    near-copies of the dataset's own validation images join them there. Near-copies between the dataset's own test
    split and the rest stay where they are, since published figures rest on them; they are to be reported.

    What is missing is cut from the training images, test first: `round(fraction * count)` images of each class, at
    least one, as near as whole leak groups allow. A class whose training images are one image or one leak group
    can't be cut and stays in training; `notes` names it.

    Args:
        val_fraction: Share of the training images (left after test was cut) that become validation.
        test_fraction: Share of the training images that become test when the dataset has none.
        near_copy_threshold: Thumbnail correlation from which two images are near-copies.

    Raises:
        UsageError: A fraction or the threshold is out of range.
        DataError: No training image is there or would be left, or nothing can be cut.
    """
    pairs = near_copies(dataset, threshold=near_copy_threshold)
    part = dataset.split_names.copy()
    leak_groups = groups(len(dataset.ids), _without_bridges(pairs, part == "test"))
    notes = _join_copies(dataset, part, leak_groups)
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if split not in dataset.split_names:
            part[_cut(dataset, np.flatnonzero(part == "train"), leak_groups, split, fraction, seed)] = split
    if not (part == "train").any():
        raise DataError(
            f"{dataset.root}: no training images are left; near-copies of validation are no use for training"
        )
    notes += _lacking(dataset, part)
    train, val, test = (np.flatnonzero(part == split) for split in SPLITS)
    return Splits(train, val, test, leak_groups, tuple(notes))


def splits_as_ids(splits: Splits, dataset: Dataset) -> dict[str, Any]:
    """The splits as a run stores them.

    Returns:
        Sample ids under "train", "val" and "test"; under "leak_groups" the groups of more than one image, each a
        list of ids.
    """
    named: dict[str, Any] = {
        split: [dataset.ids[index] for index in getattr(splits, split).tolist()] for split in SPLITS
    }
    gathered: dict[int, list[str]] = {}
    for name, group in zip(dataset.ids, splits.groups.tolist(), strict=True):
        gathered.setdefault(group, []).append(name)
    return named | {"leak_groups": [names for names in gathered.values() if len(names) > 1]}


def splits_from_ids(stored: Mapping[str, Any], dataset: Dataset) -> Splits:
    """The splits that `splits_as_ids` stored, on the dataset as it is now.

    Raises:
        DataError: The dataset has lost or gained images since.
    """
    index = {name: position for position, name in enumerate(dataset.ids)}
    named = {split: list(stored.get(split, ())) for split in SPLITS}
    known = {name for names in named.values() for name in names}
    lost, gained = sorted(known - index.keys()), sorted(index.keys() - known)
    if lost or gained:
        changes = [
            f"{len(names):,} {what} ({_some(names)})"
            for names, what in ((lost, "are gone"), (gained, "are new"))
            if names
        ]
        raise DataError(
            f"{dataset.root}: not the images that the run was split on: {' and '.join(changes)}; "
            "bring the folder back to what it was, or start a new run"
        )
    marks = np.arange(len(dataset.ids))
    for names in stored.get("leak_groups", ()):
        members = [index[name] for name in names]
        marks[members] = min(members)
    train, val, test = (np.array(sorted(index[name] for name in named[split]), dtype=np.int64) for split in SPLITS)
    return Splits(train, val, test, number_groups(marks))


def _without_bridges(pairs: Pairs, own_test: NDArray[np.bool_]) -> Pairs:
    # Two training images that are alike only by way of a test image are no leak between train and validation.
    kept: Pairs = pairs[own_test[pairs["first"]] == own_test[pairs["second"]]]
    return kept


def _join_copies(dataset: Dataset, part: NDArray[np.str_], leak_groups: Indices) -> list[str]:
    """Move training images that share a leak group with the dataset's own validation images to these."""
    leaking = np.isin(leak_groups, leak_groups[part == "val"])
    moved = np.flatnonzero((part == "train") & leaking)
    part[moved] = "val"
    if not len(moved):
        return []
    names = [dataset.ids[index] for index in moved]
    return [
        f"{len(moved):,} training images are near-copies of validation images and were moved there ({_some(names)})"
    ]


def _lacking(dataset: Dataset, part: NDArray[np.str_]) -> list[str]:
    notes = []
    for split, word in zip(SPLITS, ("training", "validation", "test"), strict=True):
        counts = np.bincount(dataset.labels[part == split], minlength=len(dataset.class_names))
        lacking = [name for name, count in zip(dataset.class_names, counts, strict=True) if not count]
        if lacking:
            notes.append(f"no {word} image of {', '.join(lacking)}")
    return notes


def _cut(dataset: Dataset, members: Indices, leak_groups: Indices, split: str, fraction: float, seed: int) -> Indices:
    """Choose whole leak groups among `members`, about `fraction` of each class."""
    if not 0 < fraction < 1:
        raise UsageError(f"{split} fraction: must be between 0 and 1 (got {fraction})")
    keys = sample_keys(dataset.ids[index] for index in members)
    draws = uniforms(keys, 1, seed=seed, epoch=0, stream="split")[:, 0].tolist()
    gathered: dict[int, list[int]] = {}
    rank: dict[int, float] = {}
    for index, group, draw in zip(members.tolist(), leak_groups[members].tolist(), draws, strict=True):
        gathered.setdefault(group, []).append(index)
        rank.setdefault(group, draw)
    ranked = [gathered[group] for group in sorted(gathered, key=rank.__getitem__)]
    counts = [Counter(dataset.labels[group].tolist()) for group in ranked]
    chosen = [index for number in _choose(counts, fraction) for index in ranked[number]]
    if not chosen:
        raise DataError(
            f"{dataset.root}: no {split} split can be cut from {len(members):,} training images, since every class "
            "is one image or near-copies of one; add images"
        )
    return np.array(sorted(chosen), dtype=np.int64)


def _choose(counts: Sequence[Counter[int]], fraction: float) -> list[int]:
    """Which groups to take, given each one's images per class, in the order they're drawn.

    A group is taken when it brings the classes it holds nearer to their share. A class that got nothing gets its
    smallest group. No class is taken whole.
    """
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    taken: Counter[int] = Counter()
    chosen = []

    def fits(count: Counter[int]) -> bool:
        return all(taken[label] + size < total[label] for label, size in count.items())

    def nearer(count: Counter[int]) -> bool:
        # |after - target| - |before - target|, summed over the group's classes.
        missing = {label: fraction * total[label] - taken[label] for label in count}
        return sum(abs(missing[label] - size) - abs(missing[label]) for label, size in count.items()) < 0

    for number, count in enumerate(counts):
        if fits(count) and nearer(count):
            chosen.append(number)
            taken.update(count)
    for label in sorted(total):
        holding = [number for number, count in enumerate(counts) if label in count and fits(count)]
        if not taken[label] and holding:
            smallest = min(holding, key=lambda number: counts[number].total())
            chosen.append(smallest)
            taken.update(counts[smallest])
    return chosen


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
