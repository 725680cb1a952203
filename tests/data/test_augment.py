"""Augmentation: keyed by sample, and each part does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ahekit.data.augment import affine_grid, augment, normalize, rectangles
from ahekit.data.random import sample_keys, uniforms
from ahekit.preprocessing import Preprocessing
from ahekit.spec import AugmentSpec

OFF: dict[str, Any] = {
    "flip": 0,
    "crop_scale": 1,
    "crop_ratio": 1,
    "rotation": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "erase": 0,
}
PREPROCESSING = Preprocessing(size=24, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def pictures(count: int = 6, size: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def run(
    pixels: NDArray[np.uint8], *, epoch: int = 1, ids: list[str] | None = None, size: int | None = None, **fields: Any
) -> torch.Tensor:
    keys = sample_keys(ids or [f"image-{number}" for number in range(len(pixels))])
    spec = AugmentSpec.model_validate({**OFF, **fields})
    return augment(pixels, keys, spec, PREPROCESSING, seed=0, epoch=epoch, size=size)


def test_without_any_change_it_is_the_plain_view() -> None:
    torch.testing.assert_close(run(pictures()), normalize(pictures(), PREPROCESSING))


def test_the_plain_view_by_hand() -> None:
    pixels = np.full((1, 1, 1, 3), 255, dtype=np.uint8)
    values = normalize(pixels, PREPROCESSING).flatten().tolist()
    assert values == pytest.approx([0.6 / 0.2, 0.5 / 0.3, 0.4 / 0.4])


def test_a_sample_is_changed_the_same_alone_or_in_a_batch() -> None:
    everything = AugmentSpec().model_dump()
    pixels = pictures()
    ids = [f"image-{number}" for number in range(6)]
    batch = run(pixels, ids=ids, **everything)
    alone = torch.cat([run(pixels[i : i + 1], ids=ids[i : i + 1], **everything) for i in range(6)])
    torch.testing.assert_close(batch, alone)


def test_epochs_and_samples_differ() -> None:
    same = np.repeat(pictures(1), 2, axis=0)
    views = run(same, **AugmentSpec().model_dump())
    assert (views[0] - views[1]).abs().max() > 0.1
    assert (views - run(same, epoch=2, **AugmentSpec().model_dump())).abs().max() > 0.1


def test_a_certain_flip_mirrors_left_and_right() -> None:
    torch.testing.assert_close(run(pictures(), flip=1), normalize(pictures()[:, :, ::-1].copy(), PREPROCESSING))


def test_half_of_many_images_are_flipped() -> None:
    pixels = np.repeat(pictures(1), 400, axis=0)
    changed = (run(pixels, flip=0.5) - normalize(pixels, PREPROCESSING)).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 160 < int(changed.sum()) < 240


def test_a_crop_shows_only_pixels_of_the_image() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.uint8)[None, None, :, None] * 10, (40, 24, 24, 3)).copy()
    view = run(ramp, crop_scale=0.3)
    full = normalize(ramp, PREPROCESSING)
    assert view.min() >= full.min() - 1e-4
    assert view.max() <= full.max() + 1e-4
    spans = view[:, 0, 0].amax(dim=1) - view[:, 0, 0].amin(dim=1)
    assert spans.min() < 0.8 * (full.max() - full.min())


def test_brightness_scales_and_stays_in_its_range() -> None:
    gray = np.full((200, 8, 8, 3), 100, dtype=np.uint8)
    levels = run(gray, brightness=0.3).mean(dim=(2, 3)) * torch.tensor(PREPROCESSING.std) + torch.tensor(
        PREPROCESSING.mean
    )
    factors = levels[:, 0] / (100 / 255)
    assert 0.69 < factors.min() < 0.75
    assert 1.25 < factors.max() < 1.31


def test_saturation_keeps_gray_pixels_and_contrast_keeps_the_mean() -> None:
    gray = np.repeat(pictures()[..., :1], 3, axis=3)
    torch.testing.assert_close(run(gray, saturation=0.9), normalize(gray, PREPROCESSING), atol=2e-5, rtol=0)
    means = run(gray, contrast=0.9).mean(dim=(2, 3))
    torch.testing.assert_close(means, normalize(gray, PREPROCESSING).mean(dim=(2, 3)), atol=2e-5, rtol=0)


def test_erasing_fills_one_rectangle_with_the_mean_colour() -> None:
    white = np.full((100, 24, 24, 3), 255, dtype=np.uint8)
    erased = (run(white, erase=1.0, erase_area=0.25) == 0).all(dim=1)
    shares = erased.float().mean(dim=(1, 2))
    assert shares.max() < 0.30
    assert (shares > 0).all()
    rows = erased.any(dim=2).sum(dim=1)
    columns = erased.any(dim=1).sum(dim=1)
    assert torch.equal(rows * columns, erased.sum(dim=(1, 2)))


def test_rectangles_by_hand() -> None:
    places = torch.tensor([[0.0, 0.999, 0.5, 0.25]])
    mask = rectangles(places, 4, 4)[0]
    assert mask.nonzero().tolist() == [[0, 3], [1, 3]]


def test_random_numbers_are_uniform_and_keyed() -> None:
    keys = sample_keys([f"{number}" for number in range(20000)])
    draws = uniforms(keys, 3, seed=0, epoch=1, stream="x")
    assert draws.min() >= 0
    assert draws.max() < 1
    assert draws.mean(axis=0) == pytest.approx(0.5, abs=0.01)
    assert np.var(draws, axis=0) == pytest.approx(1 / 12, abs=0.002)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1]).item(1)) < 0.03
    assert not np.allclose(draws, uniforms(keys, 3, seed=0, epoch=1, stream="y"))


def test_samples_may_have_epochs_of_their_own() -> None:
    keys = sample_keys(f"{number}" for number in range(6))
    epochs = np.array([3, 1, 3, 2, 2, 7])
    alone = [
        uniforms(key, 4, seed=5, epoch=int(own), stream="x") for key, own in zip(keys[:, None], epochs, strict=True)
    ]
    assert np.array_equal(uniforms(keys, 4, seed=5, epoch=epochs, stream="x"), np.concatenate(alone))
    spec = AugmentSpec(alternating_flip=True)
    together = augment(pictures(), keys, spec, PREPROCESSING, seed=0, epoch=epochs)
    for row, epoch in enumerate(epochs.tolist()):
        part = slice(row, row + 1)
        own = augment(pictures()[part], keys[part], spec, PREPROCESSING, seed=0, epoch=epoch)
        torch.testing.assert_close(together[part], own)


def test_random_numbers_never_change() -> None:
    # Stored runs are repeated by these numbers; a change of the generator is a change of every run.
    draws = uniforms(sample_keys(["train/altar/a.jpg"]), 2, seed=7, epoch=3, stream="augment")
    assert draws[0].tolist() == pytest.approx([0.9914781567860959, 0.3660803214774845], abs=1e-15)


def test_affine_grid_is_torchs() -> None:
    maps = torch.randn(5, 2, 3)
    theirs = torch.nn.functional.affine_grid(maps, [5, 3, 6, 9], align_corners=False)
    torch.testing.assert_close(affine_grid(maps, 6, 9), theirs)


@pytest.mark.parametrize("fields", [{}, {"rotation": 20, "crop_scale": 0.3, "erase": 0.0}])
def test_a_smaller_view_shows_the_same(fields: dict[str, Any]) -> None:
    # A horizontal and a vertical ramp, whose averages are exact whatever the scale.
    ramp = np.arange(32, dtype=np.uint8) * 8
    pixels = np.zeros((6, 32, 32, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = ramp, ramp[:, None]
    for size in (16, 8):
        large = run(pixels, **fields)
        small = run(pixels, size=size, **fields)
        assert small.shape == (6, 3, size, size)
        reduced = torch.nn.functional.avg_pool2d(large, 32 // size)
        inner = slice(1, -1)  # borders are repeated, and there the ramp isn't straight
        torch.testing.assert_close(small[..., inner, inner], reduced[..., inner, inner], atol=0.05, rtol=0)


def test_a_view_of_a_quarter_of_the_side_leaves_no_pixel_out() -> None:
    # One bright pixel in 4 x 4: interpolation alone would see it or not, by where it lies.
    pixels = np.zeros((16, 16, 16, 3), dtype=np.uint8)
    for place in range(16):
        pixels[place, place // 4 :: 4, place % 4 :: 4] = 160
    small = run(pixels, size=4)
    expected = normalize(np.full((1, 4, 4, 3), 10, dtype=np.uint8), PREPROCESSING)
    torch.testing.assert_close(small, expected.expand_as(small), atol=1e-5, rtol=0)


def test_alternating_flip_shows_image_and_mirror_in_turn() -> None:
    pixels = pictures(200)
    plain = normalize(pixels, PREPROCESSING)
    mirrored = []
    for epoch in (1, 2, 3):
        views = run(pixels, epoch=epoch, alternating_flip=True, flip=0.5)
        is_plain = (views - plain).abs().amax(dim=(1, 2, 3)) < 1e-4
        is_mirror = (views - plain.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
        assert (is_plain ^ is_mirror).all()
        mirrored.append(is_mirror)
    assert torch.equal(mirrored[1], ~mirrored[0])
    assert torch.equal(mirrored[2], mirrored[0])
    assert 70 < mirrored[0].sum() < 130
    # Flip is the probability that the mirror image comes first.
    torch.testing.assert_close(run(pixels, epoch=1, alternating_flip=True), plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(run(pixels, epoch=2, alternating_flip=True), plain.flip(3), atol=1e-4, rtol=0)
