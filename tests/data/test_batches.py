"""Windows: every image once, partners over the window, weights by class, and nothing depends on the cut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from ahekit.data.batches import (
    MicroBatch,
    TrainingBatches,
    Window,
    class_weights,
    drawn_ahead,
    epoch_order,
    pad,
)
from ahekit.errors import UsageError
from ahekit.preprocessing import Preprocessing
from ahekit.spec import RunSpec

SIZE = 16


def batches(
    count: int = 22, *, classes: int = 3, rank: int = 0, world: int = 1, **fields: dict[str, Any]
) -> TrainingBatches:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % classes
    whole = {"progressive": {"sizes": ()}, "optim": {"batch_size": 4, "accumulation_steps": 2}}
    spec = RunSpec.model_validate({**whole, **fields})
    ids = tuple(f"class{label}/{number}.png" for number, label in enumerate(labels))
    return TrainingBatches(
        images,
        labels,
        ids,
        np.arange(count),
        spec,
        Preprocessing(size=SIZE),
        num_classes=classes,
        rank=rank,
        world=world,
    )


def whole_epoch(given: TrainingBatches, epoch: int = 1) -> list[list[MicroBatch]]:
    return [list(window.micro_batches) for window in given.epoch(epoch)]


def real_images(micro_batches: list[MicroBatch]) -> torch.Tensor:
    return torch.cat([batch.images[batch.labels >= 0] for batch in micro_batches])


def test_windows_and_micro_batches_have_the_asked_sizes_and_a_shorter_tail() -> None:
    sizes = [[len(batch.images) for batch in window] for window in whole_epoch(batches())]
    assert sizes == [[4, 4], [4, 4], [4, 2]]
    assert batches().steps_per_epoch == 3


def test_windows_drawn_ahead_are_the_same() -> None:
    plain = list(batches(mix={"probability": 0.7}).epoch(2, start=1))
    ahead = list(drawn_ahead(batches(mix={"probability": 0.7}).epoch(2, start=1), torch.device("cpu")))
    assert [(window.index, window.weight, window.count) for window in ahead] == [(1, 8, 8), (2, 6, 6)]
    for own, other in zip(plain, ahead, strict=True):
        for first, second in zip(own.micro_batches, other.micro_batches, strict=True):
            assert torch.equal(first.images, second.images)
            assert torch.equal(first.targets, second.targets)


def test_what_goes_wrong_ahead_is_told_where_the_window_is_asked_for() -> None:
    def broken() -> Iterator[Window]:
        yield from batches().epoch(1, start=2)
        raise UsageError("no more")

    windows = drawn_ahead(broken(), torch.device("cpu"))
    assert next(windows).index == 2
    with pytest.raises(UsageError, match="no more"):
        next(windows)
    left = drawn_ahead(batches().epoch(1), torch.device("cpu"))
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("views")]


def test_every_image_is_seen_once_an_epoch() -> None:
    labels = torch.cat([batch.labels for window in whole_epoch(batches(mix={"probability": 0})) for batch in window])
    assert torch.bincount(labels).tolist() == [8, 7, 7]


def test_the_order_follows_seed_and_epoch() -> None:
    indices = np.arange(50)
    labels = np.zeros(50, dtype=np.int64)
    first = epoch_order(indices, labels, seed=1, epoch=1)
    assert first.tolist() == epoch_order(indices, labels, seed=1, epoch=1).tolist()
    assert first.tolist() != epoch_order(indices, labels, seed=1, epoch=2).tolist()
    assert first.tolist() != epoch_order(indices, labels, seed=2, epoch=1).tolist()


def test_balanced_sampling_draws_a_rare_class_as_often() -> None:
    labels = np.array([0] * 900 + [1] * 100)
    drawn = labels[epoch_order(np.arange(1000), labels, seed=0, epoch=1, balanced=True)]
    assert len(drawn) == 1000
    assert 430 < drawn.sum() < 570


def test_a_window_starts_where_an_interrupted_epoch_stopped() -> None:
    whole = whole_epoch(batches())
    rest = [list(window.micro_batches) for window in batches().epoch(1, start=1)]
    torch.testing.assert_close(real_images(rest[0]), real_images(whole[1]), rtol=0, atol=0)


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_a_sample_looks_the_same_whatever_the_micro_batch(mix: float) -> None:
    one = batches(optim={"batch_size": 8, "accumulation_steps": 1}, mix={"probability": mix, "clean_share": 0})
    many = batches(optim={"batch_size": 2, "accumulation_steps": 4}, mix={"probability": mix, "clean_share": 0})
    for whole, cut in zip(whole_epoch(one), whole_epoch(many), strict=True):
        torch.testing.assert_close(real_images(whole), real_images(cut))
        torch.testing.assert_close(torch.cat([b.targets for b in whole]), torch.cat([b.targets for b in cut]))


def test_two_processes_share_a_window_between_them() -> None:
    fields: dict[str, Any] = {"mix": {"probability": 1.0, "clean_share": 0}}
    alone = whole_epoch(batches(optim={"batch_size": 8, "accumulation_steps": 1}, **fields))
    ranks = [
        whole_epoch(batches(optim={"batch_size": 4, "accumulation_steps": 1}, rank=r, world=2, **fields))
        for r in range(2)
    ]
    for number, window in enumerate(alone):
        whole = real_images(window)
        for rank in range(2):
            torch.testing.assert_close(real_images(ranks[rank][number]), whole[rank::2])


def test_a_process_without_samples_takes_part_and_weighs_nothing() -> None:
    windows = list(batches(9, rank=1, world=2, optim={"batch_size": 4, "accumulation_steps": 1}).epoch(1))
    idle = list(windows[-1].micro_batches)
    assert len(idle) == 1
    assert idle[0].weights.sum() == 0
    assert (idle[0].labels == -1).all()
    assert windows[-1].weight == pytest.approx(1.0)


def test_a_lone_last_image_is_padded_not_dropped() -> None:
    last = whole_epoch(batches(9))[-1]
    assert [len(batch.images) for batch in last] == [2]
    assert last[0].weights.tolist() == [1.0, 0.0]
    assert last[0].labels.tolist()[1] == -1


def test_padding_by_hand() -> None:
    assert pad(np.array([7]))[0].tolist() == [7, 7]
    assert pad(np.array([7]))[1].tolist() == [True, False]
    assert pad(np.array([], dtype=np.int64))[1].tolist() == [False, False]
    assert pad(np.array([3, 5]))[0].tolist() == [3, 5]


def test_window_weight_is_the_sum_of_its_samples_weights() -> None:
    given = batches(loss={"class_weights": "balanced"}, mix={"probability": 0.7, "clean_share": 0})
    for window in given.epoch(1):
        total = sum(float(batch.weights.sum()) for batch in window.micro_batches)
        assert window.weight == pytest.approx(total, rel=1e-6)


def test_a_mixed_sample_weighs_the_target_weighted_mean_of_its_classes() -> None:
    given = batches(loss={"class_weights": "balanced"}, mix={"probability": 1.0, "clean_share": 0})
    for window in whole_epoch(given):
        for batch in window:
            torch.testing.assert_close(batch.weights, batch.targets @ given.class_weights)


def test_balanced_class_weights_by_hand() -> None:
    # Six images of class 0, two of class 1, none of class 2: N / (classes present x count).
    weights = class_weights(np.array([0] * 6 + [1] * 2), 3, "balanced")
    assert weights.tolist() == pytest.approx([8 / 12, 8 / 4, 0.0])


def test_targets_are_distributions_and_mixing_ends_with_the_clean_epochs() -> None:
    given = batches(mix={"probability": 1.0, "clean_share": 0.5}, train={"epochs": 4})
    mixed = torch.cat([batch.targets for window in whole_epoch(given, 2) for batch in window])
    clean = torch.cat([batch.targets for window in whole_epoch(given, 3) for batch in window])
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(len(mixed)))
    assert (mixed.amax(dim=1) < 1).any()
    assert (clean.amax(dim=1) == 1).all()


@pytest.mark.parametrize(("sizes", "side"), [([], SIZE), ([9], 9), ([0.75], 12)])
def test_cutmix_target_is_the_share_of_pixels_left(sizes: list[float], side: int) -> None:
    plain = {"flip": 0, "crop_scale": 1, "rotation": 0, "brightness": 0, "contrast": 0, "saturation": 0, "erase": 0}
    rng = np.random.default_rng(0)
    labels = np.arange(8, dtype=np.int64) % 2
    # Class 0 is black and class 1 white, so the share of white pixels is the target of class 1.
    images = np.repeat(labels[:, None] * 255, SIZE * SIZE * 3, axis=1).reshape(8, SIZE, SIZE, 3).astype(np.uint8)
    spec = RunSpec.model_validate(
        {
            "augment": plain,
            "mix": {"probability": 1, "cutmix_share": 1, "clean_share": 0},
            "progressive": {"sizes": sizes},
            "optim": {"batch_size": 8, "accumulation_steps": 1},
            "seed": int(rng.integers(100)),
        }
    )
    given = TrainingBatches(
        images, labels, tuple("abcdefgh"), np.arange(8), spec, Preprocessing(size=SIZE), num_classes=2
    )
    batch = whole_epoch(given)[0][0]
    assert batch.images.shape[2] == side
    white = (batch.images > 0).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(white, batch.targets[:, 1])


def test_accumulation_longer_than_an_epoch_is_an_error_that_says_so() -> None:
    with pytest.raises(UsageError, match=r"7 is longer than an epoch, which has 6 micro-batches of 4 \(22 training"):
        batches(optim={"batch_size": 4, "accumulation_steps": 7})
    assert batches(optim={"batch_size": 4, "accumulation_steps": 6}).steps_per_epoch == 1
