"""Distances to compressed training embeddings, AUROC and the threshold that keeps the known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ahekit.evaluation.unknown import NEIGHBOURS, OUTSIDE, Neighbours, auroc, kept_threshold, unit

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 48))
LABELS = np.repeat(np.arange(4), 50)
TRAINING = CENTRES[LABELS] + 0.3 * RNG.normal(size=(200, 48))


def plain_distances(embeddings: np.ndarray, training: np.ndarray) -> np.ndarray:
    differences = unit(embeddings)[:, None] - unit(training)[None]
    return np.sort(np.linalg.norm(differences, axis=2), axis=1)[:, NEIGHBOURS - 1]


def test_with_all_components_distances_are_plain_ones_but_for_eight_bits() -> None:
    neighbours = replace(Neighbours.fit(TRAINING, LABELS, components=48), length_power=0.0)
    pictures = CENTRES[[0, 1, 3]] + 0.3 * RNG.normal(size=(3, 48))

    assert neighbours.distances(pictures) == pytest.approx(plain_distances(pictures, TRAINING), abs=0.01)


def test_with_few_components_a_strange_picture_stays_far() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS, components=4)
    known = CENTRES[LABELS[::10]] + 0.3 * RNG.normal(size=(20, 48))
    strange = RNG.normal(size=(20, 48))

    assert neighbours.distances(known).max() < neighbours.distances(strange).min()


def test_what_lies_outside_the_components_counts_more() -> None:
    # Along the first axis training differs; a picture may be off along it, or along an axis that training knows not.
    training = np.stack([np.ones(50), np.linspace(-0.2, 0.2, 50), np.zeros(50)], axis=1)
    neighbours = Neighbours.fit(training, np.zeros(50, dtype=np.int64), components=1)
    inside, outside = neighbours.distances(np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.3]]))

    assert outside == pytest.approx(
        np.linalg.norm([1.0, 0.3]) ** (1 / 8) * np.sqrt(OUTSIDE) * unit(np.array([[1.0, 0.0, 0.3]]))[0, 2], rel=0.05
    )
    assert outside > inside


def test_arrays_give_back_the_same_distances() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS, components=10)
    again = Neighbours.from_arrays(neighbours.arrays())

    assert neighbours.codes.dtype == np.uint8
    assert (again.distances(CENTRES) == neighbours.distances(CENTRES)).all()
    assert (again.labels == LABELS).all()


@pytest.mark.parametrize("name", ["codes", "labels", "components", "low", "mean", "remainders"])
def test_arrays_that_do_not_fit_are_refused(name: str) -> None:
    arrays = Neighbours.fit(TRAINING, LABELS, components=10).arrays()

    with pytest.raises(ValueError, match=name):
        Neighbours.from_arrays({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(ValueError, match=r"codes|should be"):
        Neighbours.from_arrays(arrays | {name: arrays[name][..., :-1]})


def test_a_longer_embedding_is_a_little_stranger() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS)

    assert neighbours.distances(16 * CENTRES) == pytest.approx(16 ** (1 / 8) * neighbours.distances(CENTRES), rel=1e-3)


def test_what_was_stored_before_lengths_counted_gives_the_distances_it_did() -> None:
    arrays = Neighbours.fit(TRAINING, LABELS).arrays()
    before = Neighbours.from_arrays({name: array for name, array in arrays.items() if name != "length_power"})

    assert before.distances(7 * CENTRES) == pytest.approx(before.distances(CENTRES), abs=1e-3)


def test_auroc_counts_pairs() -> None:
    is_unknown = np.array([True, False, True, False])

    # Of four pairs two are in order, one is equal.
    assert auroc(np.array([3.0, 2.0, 1.0, 1.0]), is_unknown) == pytest.approx(2.5 / 4)
    assert np.isnan(auroc(np.zeros(3), np.zeros(3, dtype=bool)))


def test_a_new_image_is_kept_as_often_as_asked() -> None:
    rng = np.random.default_rng(1)
    kept = [(rng.random(1) <= kept_threshold(rng.random(39), 0.95)).item() for _ in range(4_000)]

    assert np.mean(kept) == pytest.approx(0.95, abs=0.011)
