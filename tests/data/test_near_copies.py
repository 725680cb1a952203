"""Near-copies are found whatever the image's size, brightness and contrast, and without N squared memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ahekit.data import near_copies
from ahekit.data.near_copies import PAIR, cached_near_copies, find_near_copies, groups
from ahekit.errors import DataError, UsageError

Images = NDArray[np.uint8]


def noise(count: int, size: int = 16, seed: int = 0) -> Images:
    """Images that resemble nothing but themselves, with room for more brightness and contrast."""
    gray = np.random.default_rng(seed).integers(60, 120, (count, size, size, 1), dtype=np.uint8)
    return gray.repeat(3, axis=3)


def found(images: Images, threshold: float = 0.98) -> list[tuple[int, int]]:
    return [(int(first), int(second)) for first, second, _ in find_near_copies(images, threshold=threshold)]


def pairs_of(*indices: tuple[int, int]) -> NDArray[np.void]:
    return np.array([(first, second, 1.0) for first, second in indices], dtype=PAIR)


def test_brighter_and_flatter_copies_are_found_and_strangers_are_not() -> None:
    images = noise(5)
    images[3] = images[0] + 50
    images[4] = images[1] // 2
    assert found(images) == [(0, 3), (1, 4)]


def test_a_mirror_image_is_no_near_copy() -> None:
    images = noise(2)
    images[1] = images[0, :, ::-1]
    assert found(images) == []


def test_the_correlation_is_pearsons_of_the_gray_thumbnails() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    images[1] = images[0] // 2 + images[1] // 2
    first, second = (images.astype(np.float64) @ [0.299, 0.587, 0.114]).reshape(2, -1)
    (pair,) = find_near_copies(images, threshold=0.5)
    assert pair["correlation"] == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-6)
    assert found(images, threshold=float(pair["correlation"]) + 1e-3) == []


def test_identical_images_reach_a_threshold_of_one() -> None:
    images = noise(40)
    assert found(np.concatenate([images, images]), threshold=1.0) == [(i, i + 40) for i in range(40)]


@pytest.mark.parametrize("size", [16, 64, 80])
def test_larger_images_are_averaged_to_the_same_thumbnail(size: int) -> None:
    small = noise(3)
    large = small.repeat(size // 16, axis=1).repeat(size // 16, axis=2)
    np.testing.assert_allclose(near_copies._gray_thumbnails(large), near_copies._gray_thumbnails(small), rtol=1e-5)


@pytest.mark.parametrize("size", [8, 12, 17, 100])
def test_sizes_that_sixteen_does_not_divide_are_averaged_by_area(size: int) -> None:
    average = near_copies._area_average(size)
    np.testing.assert_allclose(average.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(average.sum(axis=0), 16 / size, rtol=1e-5)
    images = noise(3, size)
    images[2] = images[0] + 9
    assert found(images) == [(0, 2)]


def test_twelve_pixels_average_to_sixteen_by_hand() -> None:
    # A sixteenth of a line of 12 is 0.75 pixels: the second one covers the last quarter of pixel 0, half of pixel 1.
    np.testing.assert_allclose(near_copies._area_average(12)[1, :3], [1 / 3, 2 / 3, 0], atol=1e-6)


def test_images_without_structure_correlate_with_nothing_but_their_equals() -> None:
    images = noise(5)
    images[1] = 30
    images[2] = 200
    images[4] = 30
    with np.errstate(all="raise"):
        assert found(images, threshold=0.01)[-1] != (1, 2)
        assert found(images) == [(1, 4)]


def test_blocks_find_what_one_large_product_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([noise(11), noise(11)[::-1] + 3, noise(8, seed=1)])
    whole = find_near_copies(images, threshold=0.1)
    monkeypatch.setattr(near_copies, "_BLOCK", 4)
    parts = find_near_copies(images, threshold=0.1)
    assert len(parts) > 11
    np.testing.assert_array_equal(parts["first"], whole["first"])
    np.testing.assert_array_equal(parts["second"], whole["second"])
    np.testing.assert_allclose(parts["correlation"], whole["correlation"], atol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_no_image_or_a_single_one_has_no_near_copies(count: int) -> None:
    assert found(noise(count)) == []


def test_images_that_are_all_alike_are_an_error_instead_of_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "MAX_PAIRS", 10)
    with pytest.raises(DataError, match=r"more than 10 near-copies among 6 images .* raise data\.near_copy_threshold"):
        find_near_copies(noise(1).repeat(6, axis=0))
    with pytest.raises(DataError, match="more than 10 near-copies"):
        find_near_copies(np.zeros((6, 16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01])
def test_a_threshold_that_is_no_correlation_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="near-copy threshold: must be"):
        find_near_copies(noise(2), threshold=threshold)


def test_groups_join_near_copies_of_near_copies() -> None:
    assert groups(6, np.array([1, 4, 0]), np.array([4, 5, 2])).tolist() == [0, 1, 0, 2, 1, 1]
    assert groups(3, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)).tolist() == [0, 1, 2]


def test_copied_in_names_the_members_with_a_copy_among_the_others(copied_in: Callable[..., Any]) -> None:
    pairs = pairs_of((0, 7), (2, 6), (6, 8), (1, 3))
    test = np.array([6, 7, 8, 9])
    train = np.array([0, 1, 2, 3])
    assert copied_in(pairs, test, train).tolist() == [6, 7]
    assert copied_in(pairs, train, test).tolist() == [0, 2]


def test_what_was_found_is_kept_for_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([noise(4), noise(2)])
    first = cached_near_copies(images, threshold=0.98, folder=tmp_path)
    monkeypatch.setattr(near_copies, "find_near_copies", lambda *args, **options: pytest.fail("computed again"))
    np.testing.assert_array_equal(cached_near_copies(images, threshold=0.98, folder=tmp_path), first)
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        cached_near_copies(images, threshold=0.97, folder=tmp_path)


def test_a_torn_or_unwritable_keepsake_is_computed_anew(tmp_path: Path) -> None:
    images = np.concatenate([noise(4), noise(2)])
    first = cached_near_copies(images, threshold=0.98, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    np.testing.assert_array_equal(cached_near_copies(images, threshold=0.98, folder=tmp_path), first)
    np.testing.assert_array_equal(cached_near_copies(images, threshold=0.98, folder=tmp_path / "gone"), first)
    np.testing.assert_array_equal(cached_near_copies(images, threshold=0.98, folder=None), first)
