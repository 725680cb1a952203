"""Train, validation and test: the dataset's own where it has them, cut from the training images where it hasn't.

A cut is stratified by class, keeps near-copies on one side, and depends on the seed and the sample ids alone: not on
the order of files, and an image that is added or removed moves few others. scikit-learn's StratifiedGroupKFold was
tried first: it cuts 1/n only (0.143 for 0.15, 0.5 for 0.4), leaves a class of three images without validation,
refuses six images a class at 0.1, and takes seconds for ten thousand groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahekit.data.dataset import Dataset
from ahekit.data.near_copies import Pairs, cached_near_copies, groups, number_groups
from ahekit.data.random import sample_keys, uniforms
from ahekit.data.series import ALONE, decide_rule, describe_rule, series_links, series_of, shared_with
from ahekit.errors import DataError, UsageError
from ahekit.wording import counted, listed

Indices = NDArray[np.int64]
Links = tuple[Indices, Indices]
"""Pairs of images: the one of each, and the other."""

SPLITS = ("train", "val", "test")
UNUSED = "unused"
"""Training images that a run's share leaves out, beside its splits."""


@dataclass(frozen=True)
class Splits:
    """Which images are for what.

    Attributes:
        train: Indices into the dataset, sorted; `val` and `test` likewise.
        groups: `(N,)`, the leak group of each image: near-copies and images of one series share one.
        notes: What the user should know: images that were moved, series, classes that a split lacks.
        grouped_by: The rule that told series.
        unused: Indices of training images that `take_share` left out, sorted.
    """

    train: Indices
    val: Indices
    test: Indices
    groups: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    grouped_by: str = "none"
    unused: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


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
    group_by: str = "auto",
    seed: int = 0,
) -> Splits:
    """Split a dataset.

    A test or validation split found on disk is used as it is, with one addition: training images that are near-copies
    of the dataset's own validation images join them there. Near-copies between the dataset's own test split and the
    rest stay where they are, since published figures rest on them; they are to be reported.

    What is missing is cut from the training images, test first: `round(fraction * count)` images of each class, at
    least one, as near as whole leak groups allow. A leak group is what near-copies and series link, directly or by way
    of others. A class whose training images are one image or one leak group can't be cut and stays in training;
    `notes` names it.

    With `group_by="auto"` a class whose series are too large for its share is cut as if it had none, and `notes` says
    so; a rule that was asked for is kept to, and `notes` tells what share came of it.

    Args:
        val_fraction: Share of the training images (left after test was cut) that become validation.
        test_fraction: Share of the training images that become test when the dataset has none.
        near_copy_threshold: Thumbnail correlation from which two images are near-copies.
        group_by: What tells an image's series (see `series`).

    Raises:
        UsageError: A fraction, the threshold or the rule is none.
        DataError: No training image is there or would be left, or nothing can be cut.
    """
    rule = decide_rule(group_by, dataset.ids)
    pairs = near_copies(dataset, threshold=near_copy_threshold)
    split_of = dataset.split_names.copy()
    # Two training images that are alike only by way of a test image are no leak between train and validation.
    own_test = split_of == "test"
    copies = pairs[own_test[pairs["first"]] == own_test[pairs["second"]]]
    copy_links = (copies["first"], copies["second"])
    notes = _join_copies(dataset, split_of, groups(len(dataset.ids), *copy_links))
    links = [copy_links, *(_series_links(dataset, split_of == split, rule) for split in SPLITS)]
    notes += _series_notes(dataset, split_of, rule)
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if split in dataset.split_names:
            continue
        members = np.flatnonzero(split_of == "train")
        cut = partial(_cut, dataset, members, split=split, fraction=fraction, seed=seed)
        choice = cut(_joined(dataset, links))
        uneven = _uneven(dataset, members, choice, cut(_joined(dataset, links[:1])), fraction)
        if len(uneven) and group_by == "auto":
            links = [copy_links, *(_without_classes(dataset, series, uneven) for series in links[1:])]
            choice = cut(_joined(dataset, links))
        notes += _uneven_notes(dataset, members, choice, uneven, split, kept=group_by != "auto")
        if not len(choice):
            raise DataError(
                f"{dataset.root}: no {split} split can be cut from {len(members):,} training images, since every "
                "class is one image, near-copies of one or one series; add images"
                + ("" if rule == "none" else ", or set data.group_by to none")
            )
        split_of[choice] = split
    if not (split_of == "train").any():
        raise DataError(
            f"{dataset.root}: no training images are left; near-copies of validation are no use for training"
        )
    notes += _lacking(dataset, split_of)
    train, val, test = (np.flatnonzero(split_of == split) for split in SPLITS)
    return Splits(train, val, test, _joined(dataset, links), tuple(notes), rule)


def take_share(splits: Splits, dataset: Dataset, share: float, *, seed: int) -> Splits:
    """The splits with a share of each class's training images, at least one; the others are of no use to the run.

    Which ones depends on the seed and their ids alone: a smaller share is a part of a larger one.

    Raises:
        UsageError: The share isn't above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"data.train_share: must be above 0 and at most 1 (got {share})")
    if share == 1:
        return splits
    keys = sample_keys(dataset.ids[index] for index in splits.train.tolist())
    draws = uniforms(keys, 1, seed=seed, epoch=0, stream="train share")[:, 0]
    labels = dataset.labels[splits.train]
    is_taken = np.zeros(len(splits.train), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(share * len(members)))
        is_taken[members[np.argsort(draws[members], kind="stable")[:count]]] = True
    return replace(splits, train=splits.train[is_taken], unused=splits.train[~is_taken])


def splits_as_ids(splits: Splits, dataset: Dataset) -> dict[str, Any]:
    """The splits as a run stores them.

    Returns:
        Sample ids under "train", "val" and "test"; under "leak_groups" the groups of more than one image, each a
        list of ids; under "grouped_by" the rule that told series; under "unused" the training images left out, if any.
    """
    parts = (*SPLITS, UNUSED) if len(splits.unused) else SPLITS
    ids: dict[str, Any] = {split: [dataset.ids[index] for index in getattr(splits, split).tolist()] for split in parts}
    members: dict[int, list[str]] = {}
    for name, group in zip(dataset.ids, splits.groups.tolist(), strict=True):
        members.setdefault(group, []).append(name)
    leak_groups = [names for names in members.values() if len(names) > 1]
    return ids | {"leak_groups": leak_groups, "grouped_by": splits.grouped_by}


def splits_from_ids(stored: Mapping[str, Any], dataset: Dataset) -> Splits:
    """The splits that `splits_as_ids` stored, on the dataset as it is now.

    Raises:
        DataError: The dataset has lost or gained images since.
    """
    index = {name: position for position, name in enumerate(dataset.ids)}
    ids = {split: list(stored.get(split, ())) for split in (*SPLITS, UNUSED)}
    assigned = {name for names in ids.values() for name in names}
    absent = sorted(assigned - index.keys())
    extra = sorted(index.keys() - assigned)
    if absent or extra:
        changes = [
            f"{len(names):,} {what} ({_some(names)})"
            for names, what in ((absent, "are gone"), (extra, "are new"))
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
    parts = {split: np.array(sorted(index[name] for name in names), dtype=np.int64) for split, names in ids.items()}
    # What was split before series were known is "none".
    grouped_by = str(stored.get("grouped_by", "none"))
    train, val, test, unused = (parts[name] for name in (*SPLITS, UNUSED))
    return Splits(train, val, test, number_groups(marks), grouped_by=grouped_by, unused=unused)


def _join_copies(dataset: Dataset, split_of: NDArray[np.str_], leak_groups: Indices) -> list[str]:
    """Move training images that share a leak group with the dataset's own validation images to these."""
    leaking = np.isin(leak_groups, leak_groups[split_of == "val"])
    joining = np.flatnonzero((split_of == "train") & leaking)
    split_of[joining] = "val"
    if not len(joining):
        return []
    names = [dataset.ids[index] for index in joining]
    return [
        f"{len(joining):,} training images are near-copies of validation images and were moved there ({_some(names)})"
    ]


def _series_links(dataset: Dataset, members: NDArray[np.bool_], rule: str) -> Links:
    """Pairs that connect the series among some of the images."""
    # Among these alone: images of other splits would otherwise join what lies on both sides of their numbers.
    indices = np.flatnonzero(members)
    first, second = series_links(series_of(dataset.named().take(indices), rule))
    return indices[first], indices[second]


def _without_classes(dataset: Dataset, pairs: Links, classes: NDArray[np.int64]) -> Links:
    """Those pairs that hold no image of some classes."""
    first, second = pairs
    others = ~np.isin(dataset.labels[first], classes) & ~np.isin(dataset.labels[second], classes)
    return first[others], second[others]


def _joined(dataset: Dataset, pairs: Sequence[Links]) -> Indices:
    """Leak groups of all images, linked by all of these pairs."""
    return groups(len(dataset.ids), *(np.concatenate(ends) for ends in zip(*pairs, strict=True)))


def _uneven(dataset: Dataset, members: Indices, choice: Indices, plain: Indices, fraction: float) -> Indices:
    """Classes whose share series make far larger or smaller than was asked for.

    Args:
        choice: The images that were chosen, whole series.
        plain: Those that would have been chosen without any.
    """
    num_classes = len(dataset.class_names)
    target = fraction * np.bincount(dataset.labels[members], minlength=num_classes)
    # An image more or less is no more than rounding; half the share again, or half of it, is no longer what was asked.
    off = np.abs(np.bincount(dataset.labels[choice], minlength=num_classes) - target)
    plain_off = np.abs(np.bincount(dataset.labels[plain], minlength=num_classes) - target)
    return np.flatnonzero((off > np.maximum(target / 2, 1)) & (off > plain_off))


def _uneven_notes(
    dataset: Dataset, members: Indices, choice: Indices, classes: Indices, split: str, *, kept: bool
) -> list[str]:
    """What came of classes whose series are too large for their share."""
    if not len(classes):
        return []
    names = [dataset.class_names[label] for label in classes.tolist()]
    if not kept:
        return [
            f"series of {listed(names)} are too large for a {split} split and were not kept on one side; it may look "
            "easier than new images"
        ]
    return [
        f"{split} got {np.sum(dataset.labels[choice] == label):,} of {np.sum(dataset.labels[members] == label):,} "
        f"images of {name}, since its series are that large"
        for label, name in zip(classes.tolist(), names, strict=True)
    ]


def _series_notes(dataset: Dataset, split_of: NDArray[np.str_], rule: str) -> list[str]:
    """What series there are, and how many validation images of the dataset's own have a sibling in training."""
    if rule == "none":
        return []
    series = series_of(dataset.named(), rule)
    members = np.flatnonzero((split_of == "train") & (series != ALONE))
    notes = []
    if len(members) and not {"test", "val"} <= {*dataset.split_names}:
        notes.append(
            f"{len(members):,} training images belong to {counted(len(np.unique(series[members])), 'visit')} "
            f"(series by {describe_rule(rule)}); a visit stays on one side of the cut (data.group_by: none lets them "
            "cross)"
        )
    own_val = np.flatnonzero(split_of == "val")
    siblings = shared_with(series, own_val, np.flatnonzero(split_of == "train"))
    if len(siblings):
        notes.append(
            f"{len(siblings):,} of the dataset's own {len(own_val):,} validation images come from a series that "
            "training has images of: validation will look easier than new images"
        )
    return notes


def _lacking(dataset: Dataset, split_of: NDArray[np.str_]) -> list[str]:
    notes = []
    for split, word in zip(SPLITS, ("training", "validation", "test"), strict=True):
        counts = np.bincount(dataset.labels[split_of == split], minlength=len(dataset.class_names))
        lacking = [name for name, count in zip(dataset.class_names, counts, strict=True) if not count]
        if lacking:
            notes.append(f"no {word} image of {', '.join(lacking)}")
    return notes


def _cut(
    dataset: Dataset, members: Indices, leak_groups: Indices, *, split: str, fraction: float, seed: int
) -> Indices:
    """Choose whole leak groups among `members`, about `fraction` of each class; none where every class is one group."""
    if not 0 < fraction < 1:
        raise UsageError(f"{split} fraction: must be between 0 and 1 (got {fraction})")
    # A group's place in the draw is that of its first image by id, whatever else the dataset holds: an image that is
    # added or removed moves none of the others.
    keys = sample_keys(dataset.ids[index] for index in members)
    draws = uniforms(keys, 1, seed=seed, epoch=0, stream="split")[:, 0].tolist()
    images_of: dict[int, list[int]] = {}
    rank: dict[int, float] = {}
    for index, group, draw in zip(members.tolist(), leak_groups[members].tolist(), draws, strict=True):
        images_of.setdefault(group, []).append(index)
        rank.setdefault(group, draw)
    ranked = [images_of[group] for group in sorted(images_of, key=rank.__getitem__)]
    counts = [Counter(dataset.labels[group].tolist()) for group in ranked]
    choice = [index for number in _choose(counts, fraction) for index in ranked[number]]
    return np.array(sorted(choice), dtype=np.int64)


def _choose(counts: Sequence[Counter[int]], fraction: float) -> list[int]:
    """Which groups to take, given each one's images per class, in the order they're drawn.

    A group is taken when it brings the classes it holds nearer to their share. A class that got nothing gets its
    smallest group. No class is taken whole.
    """
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    taken: Counter[int] = Counter()
    choice = []

    # Greedy in the drawn order, not the best of all subsets: that would be a knapsack, and its solution would jump
    # with every image that is added.
    def leaves_some(count: Counter[int]) -> bool:
        return all(taken[label] + size < total[label] for label, size in count.items())

    def nearer(count: Counter[int]) -> bool:
        # |after - target| - |before - target|, summed over the group's classes.
        shortfall = {label: fraction * total[label] - taken[label] for label in count}
        return sum(abs(shortfall[label] - size) - abs(shortfall[label]) for label, size in count.items()) < 0

    for number, count in enumerate(counts):
        if leaves_some(count) and nearer(count):
            choice.append(number)
            taken.update(count)
    # A class of few images may have no group that brings it nearer to its share; nothing could be told of it on a
    # split that holds none of it, so it gets its smallest, before the share is met.
    for label in sorted(total):
        holding = [number for number, count in enumerate(counts) if label in count and leaves_some(count)]
        if not taken[label] and holding:
            smallest = min(holding, key=lambda number: counts[number].total())
            choice.append(smallest)
            taken.update(counts[smallest])
    return choice


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
