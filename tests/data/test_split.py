"""Splits have the asked-for shares of every class, hold near-copies together, and come back from their ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ahekit.data.dataset import Dataset
from ahekit.data.split import Splits, make_splits, near_copies, splits_as_ids, splits_from_ids, take_share
from ahekit.errors import DataError, UsageError
from ahekit.preprocessing import Preprocessing


def dataset(
    counts: Sequence[int],
    *,
    copies: Sequence[Sequence[int]] = (),
    splits: dict[int, str] | None = None,
    keep: Sequence[int] | None = None,
    visits: Sequence[Sequence[int]] = (),
) -> Dataset:
    """Noise images, `counts[c]` of class c; those listed together in `copies` are alike.

    Args:
        splits: The split of single images; the others are "train".
        keep: The images that are left of all this.
        visits: Images whose names carry Flickr numbers near each other.
    """
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 16, 16, 3), dtype=np.uint8)
    for alike in copies:
        images[list(alike)] = images[alike[0]]
    names = np.array(["train"] * len(labels))
    for index, split in (splits or {}).items():
        names[index] = split
    stems = [f"{index:05d}" for index in range(len(labels))]
    for number, visit in enumerate(visits):
        for index in visit:
            stems[index] = f"{10**9 * (number + 1) + index}_0a1b2c3d4e"
    kept = np.arange(len(labels)) if keep is None else np.array(keep)
    return Dataset(
        name="d",
        root=Path("/data/d"),
        class_names=tuple(f"class{label}" for label in range(len(counts))),
        ids=tuple(f"{labels[index]}/{stems[index]}.png" for index in kept),
        images=images[kept],
        labels=labels[kept],
        split_names=names[kept],
        refused=(),
        fingerprint="f",
        preprocessing=Preprocessing(16),
    )


def per_class(data: Dataset, part: NDArray[np.int64]) -> list[int]:
    return [int(count) for count in np.bincount(data.labels[part], minlength=len(data.class_names))]


def everything(splits: Splits) -> list[int]:
    return sorted(np.concatenate([splits.train, splits.val, splits.test]).tolist())


def crossing(splits: Splits, *parts: str) -> int:
    """Leak groups that lie in more than one of the parts."""
    held = [set(splits.groups[getattr(splits, part)].tolist()) for part in parts]
    return sum(len(set.intersection(first, second)) for i, first in enumerate(held) for second in held[:i])


def test_shares_are_those_asked_for_in_every_class() -> None:
    data = dataset([200, 60, 40])
    splits = make_splits(data, val_fraction=0.25, test_fraction=0.1)
    assert per_class(data, splits.test) == [20, 6, 4]
    assert per_class(data, splits.val) == [45, 13, 9]  # a quarter of 180, 54 and 36; 13.5 goes down
    assert everything(splits) == list(range(300))
    assert splits.notes == ()
    assert splits.train.dtype == splits.val.dtype == splits.test.dtype == np.int64


@pytest.mark.parametrize("fraction", [0.03, 0.15, 0.4, 0.7])
def test_shares_that_are_no_one_nth_come_out_right(fraction: float) -> None:
    data = dataset([300, 100], splits={0: "test", 300: "test"})
    splits = make_splits(data, val_fraction=fraction)
    assert per_class(data, splits.val) == [round(fraction * 299), round(fraction * 99)]


def test_the_datasets_own_splits_are_used_as_they_are() -> None:
    own = {0: "test", 1: "val", 2: "val", 10: "test", 12: "val"}
    data = dataset([10, 10], splits=own)
    splits = make_splits(data)
    assert splits.test.tolist() == [0, 10]
    assert splits.val.tolist() == [1, 2, 12]
    assert len(splits.train) == 15


def test_validation_alone_is_cut_when_test_is_there() -> None:
    data = dataset([20, 20], splits={0: "test", 39: "test"})
    splits = make_splits(data)
    assert splits.test.tolist() == [0, 39]
    assert per_class(data, splits.val) == [2, 2]


def test_test_alone_is_cut_when_validation_is_there() -> None:
    data = dataset([20, 20], splits={0: "val", 39: "val"})
    splits = make_splits(data, test_fraction=0.2)
    assert splits.val.tolist() == [0, 39]
    assert per_class(data, splits.test) == [4, 4]


def test_near_copies_stay_on_one_side_of_every_cut(copied_in: Callable[..., Any]) -> None:
    copies = [[i, i + 1, i + 2] for i in range(0, 90, 3)] + [[i, i + 1] for i in range(100, 140, 2)]
    data = dataset([100, 60], copies=copies)
    splits = make_splits(data, val_fraction=0.2, test_fraction=0.2)
    assert crossing(splits, "train", "val", "test") == 0
    pairs = near_copies(data, threshold=0.98)
    assert len(pairs) == 30 * 3 + 20
    assert len(copied_in(pairs, splits.val, splits.train)) == 0
    np.testing.assert_allclose(per_class(data, splits.test), [20, 12], atol=1)
    np.testing.assert_allclose(per_class(data, splits.val), [16, 9.6], atol=1)


def test_copied_images_are_no_likelier_to_be_cut_than_others() -> None:
    data = dataset([600], copies=[[i, i + 1] for i in range(0, 200, 2)])
    parts = [make_splits(data, val_fraction=0.3, test_fraction=0.3, seed=seed) for seed in range(20)]
    for shares in ([(part.val < 200).mean() for part in parts], [(part.test < 200).mean() for part in parts]):
        assert np.mean(shares) == pytest.approx(1 / 3, abs=0.04)


def test_a_near_copy_of_another_class_keeps_both_together() -> None:
    data = dataset([30, 30], copies=[[0, 30], [1, 31], [2, 32]])
    for seed in range(5):
        splits = make_splits(data, val_fraction=0.3, seed=seed)
        assert crossing(splits, "train", "val", "test") == 0


def test_training_images_like_the_datasets_own_validation_join_it_and_are_named() -> None:
    data = dataset([12, 12], copies=[[0, 5], [12, 13, 14]], splits={0: "val", 12: "val", 23: "test"})
    splits = make_splits(data)
    assert splits.val.tolist() == [0, 5, 12, 13, 14]
    assert splits.test.tolist() == [23]
    (note,) = [note for note in splits.notes if "near-copies" in note]
    assert note.startswith("3 training images are near-copies of validation images and were moved there (0/00005.png")


def test_a_test_split_that_is_cut_takes_no_copy_of_the_datasets_validation() -> None:
    copies = [[i, i + 20] for i in range(20)]
    data = dataset([40, 20], copies=copies, splits=dict.fromkeys(range(20), "val"))
    splits = make_splits(data, test_fraction=0.5)
    assert splits.val.tolist() == list(range(40))
    assert per_class(data, splits.test) == [0, 10]


def test_copies_between_the_datasets_own_test_and_training_stay_where_they_are() -> None:
    data = dataset([20, 20], copies=[[0, 1, 2]], splits={0: "test", 39: "test"})
    splits = make_splits(data)
    assert splits.test.tolist() == [0, 39]
    assert {1, 2} <= {*splits.train.tolist()} or {1, 2} <= {*splits.val.tolist()}
    assert splits.groups[0] != splits.groups[1] == splits.groups[2]


def test_two_images_alike_only_through_a_test_image_may_part() -> None:
    data = dataset([3, 20], splits={2: "test", 22: "test"})
    first, second = data.images[:2].astype(np.float64)
    images = data.images.copy()
    images[2] = (first + second) / 2
    bridged = Dataset(**{**vars(data), "images": images})
    assert len(near_copies(bridged, threshold=0.6)) == 2
    assert make_splits(bridged, near_copy_threshold=0.6).groups[:3].tolist() == [0, 1, 2]


def test_every_class_gets_validation_and_keeps_training_however_small() -> None:
    data = dataset([100, 2, 3, 5], splits={0: "test"})
    splits = make_splits(data, val_fraction=0.1)
    assert per_class(data, splits.val) == [10, 1, 1, 1]
    assert per_class(data, splits.train) == [89, 1, 2, 4]


def test_a_class_of_a_single_image_or_leak_group_stays_in_training_and_is_named() -> None:
    data = dataset([40, 1, 4], copies=[[41, 42, 43, 44]])
    splits = make_splits(data)
    assert per_class(data, splits.train)[1:] == [1, 4]
    assert splits.notes == ("no validation image of class1, class2", "no test image of class1, class2")


def test_a_class_of_pairs_gives_one_pair_rather_than_nothing() -> None:
    data = dataset([40, 10], copies=[[i, i + 1] for i in range(40, 50, 2)], splits={0: "test"})
    assert per_class(data, make_splits(data, val_fraction=0.05).val) == [2, 2]


def test_one_group_serves_both_classes_that_got_nothing() -> None:
    data = dataset([40, 2, 3], copies=[[40, 42], [41, 43]], splits={0: "test"})
    assert per_class(data, make_splits(data).val) == [4, 1, 1]


def test_a_giant_leak_group_is_not_what_a_small_share_is_made_of() -> None:
    data = dataset([100], copies=[list(range(60))])
    for seed in range(5):
        splits = make_splits(data, test_fraction=0.1, val_fraction=0.1, seed=seed)
        assert len(splits.test) == 10
        assert len(splits.val) == 9


def test_nothing_to_cut_is_an_error_that_says_why() -> None:
    with pytest.raises(DataError, match=r"no test split can be cut from 2 training images.*add images"):
        make_splits(dataset([1, 1]))
    with pytest.raises(DataError, match=r"no val split can be cut from 4 training images"):
        make_splits(dataset([5], copies=[[1, 2, 3, 4]], splits={0: "test"}))


def test_no_training_images_are_an_error() -> None:
    with pytest.raises(DataError, match=r"/data/d: no training images are left"):
        make_splits(dataset([4], copies=[[0, 1, 2]], splits={0: "val", 3: "test"}))


def test_fractions_out_of_range_are_refused() -> None:
    for fraction in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match=r"val fraction: must be between 0 and 1 \(got "):
            make_splits(dataset([9, 9]), val_fraction=fraction)


def test_one_seed_gives_one_split_and_another_seed_another() -> None:
    data = dataset([100, 100])
    first, again, other = (make_splits(data, seed=seed) for seed in (0, 0, 1))
    assert first.val.tolist() == again.val.tolist()
    assert first.val.tolist() != other.val.tolist()
    assert first.test.tolist() != other.test.tolist()


def test_an_image_less_moves_hardly_another() -> None:
    whole = dataset([200, 200])
    fewer = dataset([200, 200], keep=[index for index in range(400) if index != 7])

    def val(data: Dataset) -> set[str]:
        return set(splits_as_ids(make_splits(data, val_fraction=0.25), data)["val"])

    assert len(val(whole) ^ val(fewer)) <= 6


def test_the_models_preprocessing_does_not_move_an_image() -> None:
    data = dataset([50, 50], copies=[[i, i + 1] for i in range(0, 20, 2)])
    blurred = np.full_like(data.images, 7)  # whose near-copies would be others
    other = Dataset(**{**vars(data), "images": blurred, "thumbnails": data.images})
    for part in ("train", "val", "test"):
        assert getattr(make_splits(data), part).tolist() == getattr(make_splits(other), part).tolist()


def test_splits_come_back_from_the_ids_a_run_stored() -> None:
    data = dataset([30, 30], copies=[[0, 1, 2], [31, 35]])
    splits = make_splits(data)
    stored = json.loads(json.dumps(splits_as_ids(splits, data)))
    assert set(stored) == {"train", "val", "test", "leak_groups", "grouped_by"}
    assert stored["leak_groups"] == [["0/00000.png", "0/00001.png", "0/00002.png"], ["1/00031.png", "1/00035.png"]]
    restored = splits_from_ids(stored, data)
    for part in ("train", "val", "test", "groups"):
        np.testing.assert_array_equal(getattr(restored, part), getattr(splits, part))


def test_a_dataset_that_lost_and_gained_images_is_named_with_examples() -> None:
    whole = dataset([10, 10])
    stored = splits_as_ids(make_splits(dataset([10, 10], keep=range(18))), dataset([10, 10], keep=range(18)))
    with pytest.raises(DataError, match=r"on: 2 are new \(1/00018\.png, 1/00019\.png\); bring"):
        splits_from_ids(stored, whole)
    shrunk = dataset([10, 10], keep=[*range(4, 18), 19])
    with pytest.raises(DataError) as caught:
        splits_from_ids(stored, shrunk)
    assert "4 are gone (0/00000.png, 0/00001.png, 0/00002.png, …) and 1 are new (1/00019.png)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_visit_stays_on_one_side_and_shares_stay_as_asked_for() -> None:
    data = dataset([60, 60], visits=[range(3), range(10, 16), range(58, 64), range(100, 120)], copies=[[0, 30]])
    for seed in range(5):
        splits = make_splits(data, val_fraction=0.2, test_fraction=0.2, seed=seed)
        assert crossing(splits, "train", "val", "test") == 0
        assert len(set(splits.groups[[0, 1, 2, 30]].tolist())) == 1, "near-copies and visits are one group"
        for part, target in ((splits.test, 12), (splits.val, 9.6)):
            assert all(abs(count - target) <= target / 2 for count in per_class(data, part))
    assert splits.grouped_by == "flickr"
    assert splits.notes[0].startswith("35 training images belong to 4 visits (series by Flickr numbers")


def test_without_grouping_visits_cross() -> None:
    data = dataset([60, 60], visits=[range(0, 60), range(60, 120)])
    splits = make_splits(data, val_fraction=0.2, test_fraction=0.2, group_by="none")
    assert splits.groups.tolist() == list(range(120))
    assert (splits.notes, splits.grouped_by) == ((), "none")


def test_by_default_a_class_of_one_visit_is_cut_all_the_same_and_that_is_told() -> None:
    data = dataset([50, 50], visits=[range(50), range(60, 64)])
    splits = make_splits(data, val_fraction=0.1, test_fraction=0.2)
    assert per_class(data, splits.test) == [10, 10]
    assert per_class(data, splits.val) == [4, 4]
    assert len(set(splits.groups[60:64].tolist())) == 1
    assert any(note.startswith("series of class0 are too large for a test split") for note in splits.notes)
    plain = make_splits(data, val_fraction=0.1, test_fraction=0.2, group_by="none")
    assert set(splits.val[splits.val < 50].tolist()) == set(plain.val[plain.val < 50].tolist())


def test_a_rule_that_was_asked_for_is_kept_to_and_its_shares_told() -> None:
    data = dataset([50, 50], visits=[range(25), range(25, 50), range(60, 64)])
    splits = make_splits(data, val_fraction=0.1, test_fraction=0.1, group_by="flickr")
    assert per_class(data, splits.test)[0] == 25
    assert "test got 25 of 50 images of class0, since its series are that large" in splits.notes
    whole = dataset([6, 6], visits=[range(6), range(6, 12)])
    with pytest.raises(DataError, match=r"near-copies of one or one series; add images, or set data\.group_by to none"):
        make_splits(whole, group_by="flickr")


def test_images_of_given_splits_link_no_series_among_training_images() -> None:
    # Images 0 and 1 are within reach of the test image between them, not of each other.
    data = dataset([20, 20], splits={2: "test"})
    names = list(data.ids)
    for index, number in ((0, 10**9), (2, 10**9 + 90_000), (1, 10**9 + 180_000)):
        names[index] = f"0/{number}_0a1b2c3d4e.png"
    splits = make_splits(replace(data, ids=tuple(names)))
    assert splits.groups[:3].tolist() == [0, 1, 2]


def test_siblings_of_the_datasets_own_validation_stay_where_they_are_and_are_told() -> None:
    data = dataset([20, 20], visits=[range(4)], splits={0: "val", 20: "val"}, copies=[[0, 5]])
    splits = make_splits(data)
    assert splits.val.tolist() == [0, 5, 20]
    assert any(
        note.startswith("1 of the dataset's own 3 validation images come from a series") for note in splits.notes
    )


def test_splits_stored_before_series_were_known_come_back() -> None:
    data = dataset([30, 30])
    stored = splits_as_ids(make_splits(data), data)
    del stored["grouped_by"]
    assert splits_from_ids(stored, data).grouped_by == "none"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_cut_is_a_partition_that_breaks_no_group_and_empties_no_class(data: Any) -> None:
    counts = data.draw(st.lists(st.integers(1, 25), min_size=1, max_size=4))
    total = sum(counts)
    copies = data.draw(st.lists(st.lists(st.integers(0, total - 1), min_size=1, max_size=6, unique=True), max_size=5))
    visits = data.draw(st.lists(st.lists(st.integers(0, total - 1), min_size=1, max_size=9, unique=True), max_size=3))
    made = dataset(counts, copies=copies, visits=visits)
    try:
        splits = make_splits(
            made,
            val_fraction=data.draw(st.floats(0.01, 0.89)),
            test_fraction=data.draw(st.floats(0.01, 0.89)),
            seed=data.draw(st.integers(0, 9)),
            group_by=data.draw(st.sampled_from(["auto", "flickr", "none"])),
        )
    except DataError:
        return
    assert everything(splits) == list(range(total))
    assert crossing(splits, "train", "val", "test") == 0
    assert min(per_class(made, splits.train)) > 0
    assert len(splits.val) > 0
    assert len(splits.test) > 0


def test_a_share_takes_each_class_and_a_smaller_one_is_a_part_of_a_larger() -> None:
    data = dataset([100, 40, 8])
    splits = make_splits(data, val_fraction=0.25, test_fraction=0.25)
    before = splits.train
    sizes = []
    for share in (1.0, 0.5, 0.1):
        taken = take_share(splits, data, share, seed=3)
        assert set(taken.train) <= set(before)
        before = taken.train
        assert set(data.labels[taken.train]) == set(data.labels[splits.train])
        assert np.array_equal(np.sort(np.concatenate([taken.train, taken.unused])), splits.train)
        assert np.array_equal(taken.val, splits.val)
        sizes.append(per_class(data, taken.train))
    whole = per_class(data, splits.train)
    assert sizes == [whole, [round(0.5 * count) for count in whole], [max(1, round(0.1 * count)) for count in whole]]
    assert not np.array_equal(take_share(splits, data, 0.5, seed=4).train, take_share(splits, data, 0.5, seed=3).train)
    stored = splits_as_ids(taken, data)
    again = splits_from_ids(stored, data)
    assert np.array_equal(again.train, taken.train)
    assert np.array_equal(again.unused, taken.unused)
    with pytest.raises(UsageError, match="train_share"):
        take_share(splits, data, 0.0, seed=0)
