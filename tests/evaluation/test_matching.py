"""Verification and identification, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ahekit.evaluation import matching
from ahekit.evaluation.matching import (
    Pairs,
    Retrieval,
    Roc,
    all_pairs,
    identification_figures,
    intervals,
    open_searches,
    pair_weights,
    rank_identities,
    retrieve,
    similarities,
    split_identities,
    verification_figures,
)


def made(scores: list[float], same: list[int]) -> Pairs:
    zeros = np.zeros(len(scores), dtype=np.int64)
    return Pairs(np.array(scores), np.array(same, dtype=bool), zeros, zeros + ~np.array(same, dtype=bool))


def angles(*degrees: float) -> np.ndarray:
    """Embeddings that point in these directions."""
    radians = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_similarity_is_the_cosine_and_of_nothing_is_nothing() -> None:
    assert_allclose(similarities(angles(0), angles(60, 90, 180)), [[0.5, 0, -1]], atol=1e-6)
    assert_allclose(similarities(np.zeros((1, 2)), angles(60)), [[0]])
    assert_allclose(similarities(3 * angles(10), 0.1 * angles(10)), [[1]], atol=1e-6)


def test_rates_rise_as_the_threshold_falls() -> None:
    roc = Roc.of(made([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]))
    assert_allclose(roc.true_accepts, [0.5, 0.5, 1, 1])
    assert_allclose(roc.false_accepts, [0, 0.5, 0.5, 1])
    assert roc.at(0.4) == (0.5, 0.9)
    assert roc.at(0.5) == (1.0, 0.7)


def test_pairs_of_one_similarity_are_accepted_together() -> None:
    roc = Roc.of(made([0.9, 0.9, 0.1], [1, 0, 0]))
    assert_allclose(roc.thresholds, [0.9, 0.1])
    assert_allclose(roc.false_accepts, [0.5, 1])
    assert roc.at(0.01) is None


@pytest.mark.parametrize(
    ("same", "rate"),
    [([1, 1, 0, 0], 0.0), ([0, 0, 1, 1], 1.0), ([1, 0, 1, 0], 0.5), ([1, 1, 0, 1, 0, 0], 1 / 3)],
)
def test_equal_error_lies_where_the_rates_cross(same: list[int], rate: float) -> None:
    assert Roc.of(made(np.linspace(1, 0, len(same)).tolist(), same)).equal_error[0] == pytest.approx(rate)


def test_equal_error_threshold_parts_what_can_be_parted() -> None:
    roc = Roc.of(made([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0]))
    assert roc.equal_error == (0.0, 0.8)


def test_verification_needs_pairs_of_both_kinds() -> None:
    for same in ([1, 1], [0, 0], []):
        with pytest.raises(ValueError, match="pairs of one identity"):
            Roc.of(made([0.5] * len(same), same))


def test_pairs_of_one_group_are_left_out() -> None:
    identities = np.array([0, 0, 0, 1])
    pairs = all_pairs(angles(0, 1, 10, 90), identities, np.array([0, 0, 1, 2]))
    assert (pairs.genuine, pairs.impostors) == (2, 3)
    assert all_pairs(angles(0, 1, 10, 90), identities).genuine == 3


def test_a_rate_that_the_pairs_can_not_tell_is_not_told() -> None:
    identities = np.repeat(np.arange(8), 2)
    rng = np.random.default_rng(0)
    figures = verification_figures(all_pairs(rng.normal(size=(16, 4)), identities))
    assert "tar_at_far_0.01" in figures
    assert "tar_at_far_0.001" not in figures


def test_rank_is_that_of_the_identity_not_of_the_picture() -> None:
    # From 0 degrees: two pictures of identity 1 are nearer than the other one of identity 0.
    found = retrieve(angles(0, 30, 5, 6, 170), np.array([0, 0, 1, 1, 2]))
    assert found.ranks.tolist() == [2, 2, 1, 1]
    assert found.identities.tolist() == [0, 0, 1, 1], "who has a single picture is no probe"
    assert_allclose(found.precision, [1 / 3, 1 / 3, 1, 1])
    figures = identification_figures(found)
    assert figures == pytest.approx({"rank_1": 0.5, "rank_5": 1.0, "map": (1 / 3 + 1 / 3 + 1 + 1) / 4})


def test_search_passes_over_the_probe_s_own_group() -> None:
    found = retrieve(angles(0, 1, 40, 20), np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2]))
    assert found.ranks.tolist() == [2, 2, 2]


def test_intervals_draw_identities_and_hold_the_figure() -> None:
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(30), 3)
    centres = rng.normal(size=(30, 8))
    embeddings = centres[identities] + rng.normal(size=(90, 8)) * 0.9
    pairs = all_pairs(embeddings, identities)
    figures = verification_figures(pairs)
    spans = intervals(lambda counts: verification_figures(pairs, pair_weights(pairs, counts)), 30)
    assert spans["eer"].low < figures["eer"] < spans["eer"].high
    # Every identity once is the table itself.
    assert verification_figures(pairs, pair_weights(pairs, np.ones(30))) == pytest.approx(figures)


def test_halves_share_no_identity_and_both_hold_pairs() -> None:
    identities = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    one, two = split_identities(identities)
    assert not set(identities[one]) & set(identities[two])
    assert sorted([*one, *two]) == list(range(8))
    for half in (one, two):
        assert len(half) > len(set(identities[half]))


def test_identities_are_ranked_by_their_best_picture() -> None:
    ranked = rank_identities(np.array([[0.2, 0.9, 0.5]]), ["a", "b", "a"])
    assert ranked == [[("b", 0.9, 1), ("a", 0.5, 2)]]


def test_stranger_meets_the_most_similar_of_all() -> None:
    # By their angles: 0 and 10 of one identity, 30 of another, 90 of a third in two pictures of one visit.
    searches = open_searches(angles(0, 10, 30, 90, 91), np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 3, 3]))
    assert searches.genuine == 2, "who has no other picture of another visit isn't found"
    assert searches.impostors == 5
    assert_allclose(searches.scores[searches.is_same], np.cos(np.deg2rad([10, 10])), atol=1e-6)
    assert_allclose(searches.scores[~searches.is_same], np.cos(np.deg2rad([20, 20, 30, 60, 61])), atol=1e-6)
    assert searches.first.tolist() == [0, 0, 0, 1, 0, 2, 2]


def test_pictures_that_are_not_to_be_compared_are_passed_over() -> None:
    ranked = rank_identities(np.array([[np.nan, 0.3, 0.5], [np.nan, np.nan, np.nan]]), ["a", "b", "a"], top=1)
    assert ranked == [[("a", 0.5, 2)], []]


def test_rank_among_fewer_identities_is_the_mean_over_all_galleries() -> None:
    # Two others come before the second probe; of three others one is drawn, and in one of three cases neither of them.
    found = Retrieval(np.array([1, 3]), np.ones(2), np.array([0, 1]))
    assert found.match_rate_among(4, 2) == pytest.approx((1 + 1 / 3) / 2)
    assert found.match_rate_among(4, 4) == found.match_rate(1) == 0.5
    assert found.match_rate_among(4, 1) == 1


def test_many_pictures_give_the_same_pairs_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    identities = rng.permutation(np.repeat(np.arange(6), [1, 2, 3, 4, 5, 5]))
    groups = rng.integers(0, 12, 20)
    embeddings = rng.normal(size=(20, 4))
    whole = all_pairs(embeddings, identities, groups)
    monkeypatch.setattr(matching, "WHOLE", 0)
    monkeypatch.setattr(matching, "MOST_PAIRS", 20_000)
    monkeypatch.setattr(matching, "BLOCK", 7)
    monkeypatch.setattr(matching, "PROBES", 3)
    # So many draws leave out none of 200 pairs.
    drawn = all_pairs(embeddings, identities, groups)
    assert (drawn.genuine, drawn.impostors) == (whole.genuine, whole.impostors)
    assert_allclose(drawn.scores, whole.scores, atol=1e-6)
    assert drawn.is_same.tolist() == whole.is_same.tolist()
    found = retrieve(embeddings, identities, groups)
    monkeypatch.undo()
    assert found.ranks.tolist() == retrieve(embeddings, identities, groups).ranks.tolist()


def test_too_many_pairs_of_one_identity_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "WHOLE", 0)
    monkeypatch.setattr(matching, "MOST_PAIRS", 50)
    pairs = all_pairs(np.random.default_rng(0).normal(size=(60, 4)), np.repeat([0, 1], 30))
    assert pairs.genuine == 50
    assert 0 < pairs.impostors <= 50
