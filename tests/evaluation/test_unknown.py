"""Distances to compressed training embeddings, AUROC and the threshold that keeps the known."""

from __future__ import annotations

import numpy as np
import pytest

from ahekit.evaluation.unknown import NEIGHBOURS, Neighbours, auroc, energy, improbability, kept_threshold, unit

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 48))
LABELS = np.repeat(np.arange(4), 50)
TRAINING = CENTRES[LABELS] + 0.3 * RNG.normal(size=(200, 48))


def plain_distances(embeddings: np.ndarray, training: np.ndarray) -> np.ndarray:
    differences = unit(embeddings)[:, None] - unit(training)[None]
    return np.sort(np.linalg.norm(differences, axis=2), axis=1)[:, NEIGHBOURS - 1]


def test_with_all_components_distances_are_plain_ones_but_for_eight_bits() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS, components=48)
    pictures = CENTRES[[0, 1, 3]] + 0.3 * RNG.normal(size=(3, 48))

    assert neighbours.distances(pictures) == pytest.approx(plain_distances(pictures, TRAINING), abs=0.01)


def test_with_few_components_a_strange_picture_stays_far() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS, components=4)
    known = CENTRES[LABELS[::10]] + 0.3 * RNG.normal(size=(20, 48))
    strange = RNG.normal(size=(20, 48))

    assert neighbours.distances(known).max() < neighbours.distances(strange).min()


def test_a_class_left_out_is_far_and_the_others_are_as_near_as_before() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS)
    pictures = CENTRES + 0.1 * RNG.normal(size=(4, 48))

    whole = neighbours.distances(pictures)
    without = neighbours.distances(pictures, without=2)

    assert without[[0, 1, 3]] == pytest.approx(whole[[0, 1, 3]])
    assert without[2] > 2 * whole[2]


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


def test_length_of_an_embedding_does_not_count() -> None:
    neighbours = Neighbours.fit(TRAINING, LABELS)

    assert neighbours.distances(7 * CENTRES) == pytest.approx(neighbours.distances(CENTRES), abs=1e-3)


def test_scores_of_logits_by_hand() -> None:
    logits = np.array([[2.0, 0.0], [0.0, -np.inf]])

    assert energy(logits)[0] == pytest.approx(-np.log(np.exp(2) + 1))
    assert improbability(logits)[0] == pytest.approx(-2.0)
    assert np.isfinite(improbability(logits)).all()


def test_auroc_counts_pairs() -> None:
    is_unknown = np.array([True, False, True, False])

    # Of four pairs two are in order, one is equal.
    assert auroc(np.array([3.0, 2.0, 1.0, 1.0]), is_unknown) == pytest.approx(2.5 / 4)
    assert np.isnan(auroc(np.zeros(3), np.zeros(3, dtype=bool)))


def test_a_new_image_is_kept_as_often_as_asked() -> None:
    rng = np.random.default_rng(1)
    kept = [(rng.random(1) <= kept_threshold(rng.random(39), 0.95)).item() for _ in range(4_000)]

    assert np.mean(kept) == pytest.approx(0.95, abs=0.011)
