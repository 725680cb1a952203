"""Pictures of identities: visits to one building where a dataset tells them, else changed views of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.data.augment import augment
from ahekit.data.dataset import Dataset
from ahekit.data.random import generator, sample_keys
from ahekit.data.series import ALONE, decide_rule, describe_rule, series_of
from ahekit.errors import UsageError
from ahekit.spec import AugmentSpec

Indices = NDArray[np.int64]

VIEWS = AugmentSpec(crop_scale=0.35, rotation=12.0, erase=0.0)
"""Of a picture that passes for several of one identity: another crop, angle and light."""

LEAST = 8
"""Identities that training and measuring each take, or the visits are too few to tell anything."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with their identities.

    Attributes:
        pixels: `(N, S, S, 3)` uint8.
        identities: `(N,)`, from 0 on.
    """

    pixels: NDArray[np.uint8]
    identities: Indices

    @property
    def count(self) -> int:
        """Identities."""
        return int(self.identities.max()) + 1


@dataclass(frozen=True)
class Identities:
    """What is learned from and measured on; no identity of the last is in the first two.

    Attributes:
        few: Several pictures each of few identities.
        many: As many pictures, one of each identity.
        held_out: Two or more of each.
        words: What an identity is.
        are_made_up: Whether they are views of one picture.
    """

    few: Pictures
    many: Pictures
    held_out: Pictures
    words: str
    are_made_up: bool


def find_identities(
    dataset: Dataset, *, few: int, pictures: int, held_out: int, seed: int, group_by: str = "auto"
) -> Identities:
    """Identities among a dataset's training images.

    Args:
        few: Identities to learn from by several pictures.
        pictures: Of each of them.
        held_out: Identities to measure on at most.

    Raises:
        UsageError: There are too few images.
    """
    training = np.flatnonzero(dataset.split_names == "train")
    rule = decide_rule(group_by, dataset.ids)
    if rule != "none":
        visits = _visits(dataset, training, rule, few, pictures, held_out, seed)
        if visits is not None:
            return visits
    return _views(dataset, training, few, pictures, held_out, seed)


def _visits(
    dataset: Dataset, training: Indices, rule: str, few: int, pictures: int, held_out: int, seed: int
) -> Identities | None:
    """Pictures of one series and one class are one identity; None where there are too few."""
    series = series_of(dataset.named().take(training), rule)
    keys = series * len(dataset.class_names) + dataset.labels[training]
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(series != ALONE).tolist():
        members.setdefault(int(keys[place]), []).append(int(training[place]))
    rng = generator("identities", seed)
    several = [places for places in members.values() if len(places) >= pictures]
    several = [several[place] for place in rng.permutation(len(several)).tolist()]
    # A quarter of those with enough pictures stays out, so that big identities are among those measured on.
    learned = several[: min(few, len(several) * 3 // 4)]
    used = {places[0] for places in learned}
    others = [places for places in members.values() if len(places) >= 2 and places[0] not in used]
    others = [others[place] for place in rng.permutation(len(others)).tolist()][:held_out]
    alone = rng.permutation(training[series == ALONE]).tolist()
    total = len(learned) * pictures
    if len(learned) < LEAST or len(others) < LEAST or len(alone) < total:
        return None
    return Identities(
        few=_gathered(dataset, [rng.permutation(places)[:pictures].tolist() for places in learned]),
        many=_gathered(dataset, [[place] for place in alone[:total]]),
        held_out=_gathered(dataset, others),
        words=f"pictures of one class taken on one visit ({describe_rule(rule)})",
        are_made_up=False,
    )


def _gathered(dataset: Dataset, members: Sequence[Sequence[int]]) -> Pictures:
    places = np.array([place for own in members for place in own])
    identities = np.repeat(np.arange(len(members)), [len(own) for own in members])
    return Pictures(np.asarray(dataset.images[places]), identities)


def _views(dataset: Dataset, training: Indices, few: int, pictures: int, held_out: int, seed: int) -> Identities:
    order = generator("identities", seed).permutation(training)
    held_out = min(held_out, len(order) // 3)
    total = few * pictures
    if held_out < LEAST or total > len(order) - held_out:
        raise UsageError(
            f"{total} pictures of {total} identities to learn from, and {held_out} identities to measure on, are more "
            f"than the {len(order)} training images of {dataset.name}; ask for fewer with --identities"
        )
    apart = order[:held_out]
    rest = order[held_out:]
    return Identities(
        few=_viewed(dataset, rest[:few], pictures, seed),
        many=_viewed(dataset, rest[:total], 1, seed),
        held_out=_viewed(dataset, apart, pictures, seed),
        words="changed views (another crop, angle and light) of one picture, for lack of several of one building",
        are_made_up=True,
    )


def _viewed(dataset: Dataset, places: Indices, views: int, seed: int) -> Pictures:
    keys = sample_keys(dataset.ids[place] for place in places.tolist())
    pixels = np.asarray(dataset.images[places])
    own = dataset.preprocessing
    mean = np.array(own.mean)
    std = np.array(own.std)
    made = []
    for view in range(views):
        images = augment(pixels, keys, VIEWS, own, seed=seed, epoch=view).permute(0, 2, 3, 1).numpy()
        made.append(np.clip(np.rint((images * std + mean) * 255), 0, 255).astype(np.uint8))
    return Pictures(np.concatenate(made), np.tile(np.arange(len(places)), views))
