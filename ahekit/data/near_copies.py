"""Near-copies: images whose thumbnails are almost one, and the leak groups that they form."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.errors import DataError, UsageError
from ahekit.files import write_atomic

PAIR = np.dtype([("first", "<i8"), ("second", "<i8"), ("correlation", "<f4")])
"""Two images by index, `first < second`, and the correlation of their thumbnails."""

MAX_PAIRS = 5_000_000
"""More near-copies than this (100 MB of pairs) mean that the threshold doesn't tell the images apart."""

_VERSION = 1
_SIDE = 16
_BLOCK = 1024
# Of the float32 dot product of two unit vectors of 256 values; identical images have to reach a threshold of 1.
_ROUNDING = 2e-6
# Below half a gray level of standard deviation a thumbnail is rounding noise, and correlating it would be chance.
_FLAT = 0.5
_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Pairs = NDArray[np.void]


def find_near_copies(images: NDArray[np.uint8], *, threshold: float = 0.98) -> Pairs:
    """All pairs of images whose 16 x 16 gray thumbnails have a Pearson correlation of at least `threshold`.

    Brightness and contrast don't matter to it; a shift, a crop or a mirror image does. An image without any structure
    has no correlation; two of these are near-copies (1.0) when their gray is the same. Takes N^2 x 256
    multiplications in single precision and memory in proportion to N.

    Args:
        images: `(N, S, S, 3)` uint8 RGB of any size S; `(N, 16, 16, 3)` thumbnails are used as they are.
        threshold: In (0, 1].

    Returns:
        `(P,)` of dtype `PAIR`, sorted by `first`, then `second`.

    Raises:
        UsageError: The threshold is outside (0, 1].
        DataError: There are more than `MAX_PAIRS`.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"near-copy threshold: must be greater than 0 and at most 1 (got {threshold})")
    gray = _gray_thumbnails(images)
    units, flat = _directions(gray)
    blocks = [_pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 1)]
    count = 0
    for block in chain(_correlated(units, threshold), _same_gray(gray.mean(axis=1), np.flatnonzero(flat))):
        blocks.append(block)
        count += len(block)
        if count > MAX_PAIRS:
            raise DataError(
                f"more than {MAX_PAIRS:,} near-copies among {len(images):,} images at a thumbnail correlation of "
                f"{threshold}: the images are too much alike for it; raise data.near_copy_threshold"
            )
    pairs = np.concatenate(blocks)
    return pairs[np.lexsort((pairs["second"], pairs["first"]))]


def thumbnail_directions(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors `(N, 256)` whose products are the correlations that near-copies are told by.

    An image without any structure has none: its vector is zero.

    Args:
        images: `(N, S, S, 3)` uint8 RGB of any size S.
    """
    return _directions(_gray_thumbnails(images))[0]


def cached_near_copies(images: NDArray[np.uint8], *, threshold: float, folder: Path | None) -> Pairs:
    """`find_near_copies`, kept in the folder of the images' pixel store for the next start."""
    if folder is None:
        return find_near_copies(images, threshold=threshold)
    file = folder / f"near-copies-{_VERSION}-{threshold!r}.npy"
    pairs = _read(file)
    if pairs is None:
        pairs = find_near_copies(images, threshold=threshold)
        content = io.BytesIO()
        np.save(content, pairs)
        with suppress(OSError):  # a store that is read-only, full or gone costs the next start a second, no more
            write_atomic(file, content.getvalue())
    return pairs


def groups(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group of each of `count` images, `(count,)`: images linked by pairs, directly or by way of others, share one.

    Groups are numbered from 0 in the order of their first image; an image without links is alone in its group.

    Args:
        first: One image of each pair, `(P,)`.
        second: The other.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = (np.ones(len(first), dtype=bool), (first, second))
    _, labels = connected_components(coo_array(links, shape=(count, count)), directed=False)
    # scipy numbers components as it likes; their first images give the same numbers on every version.
    _, leaders, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return number_groups(leaders[inverse])


def number_groups(marks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups numbered from 0 in the order of their first image, from each image's group as its first image."""
    return np.unique(marks, return_inverse=True)[1].astype(np.int64)


def _gray_thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Area averages of the gray images, `(N, 256)`, not rounded."""
    # Averaging is linear and separable: two small matrix products shrink a whole block.
    average = _area_average(images.shape[1])
    blocks = [np.zeros((0, _SIDE * _SIDE), dtype=np.float32)]
    for start in range(0, len(images), _BLOCK):
        gray = np.asarray(images[start : start + _BLOCK], dtype=np.float32) @ _GRAY
        blocks.append((average @ gray @ average.T).reshape(len(gray), -1))
    return np.concatenate(blocks)


def _directions(gray: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Centred thumbnails of unit length, and which of them have no structure."""
    # Pearson's correlation is the cosine of centred vectors: with unit vectors all of them are one matrix product.
    centred = gray - gray.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    # A length is the standard deviation times the square root of 256 values.
    flat = lengths < _FLAT * _SIDE
    # Zero rows correlate with nothing, and no division makes a NaN.
    return np.where(flat[:, None], 0, centred / np.where(flat, 1, lengths)[:, None]).astype(np.float32), flat


def _area_average(size: int) -> NDArray[np.float32]:
    """`(16, size)`: row i averages the pixels that the i-th sixteenth of a line covers."""
    # Sixteenths needn't end between pixels: a pixel counts by the part of it that lies within.
    edges = np.arange(_SIDE + 1) * (size / _SIDE)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    average: NDArray[np.float32] = (np.clip(overlap, 0, None) * (_SIDE / size)).astype(np.float32)
    return average


def _correlated(units: NDArray[np.float32], threshold: float) -> Iterator[Pairs]:
    # Blocks of rows against all later columns: the whole N x N matrix would not fit into memory (400 MB for 10,000
    # images), and a block of at most 64 MiB does whatever N is.
    rows = max(1, min(_BLOCK, _BLOCK**2 * 16 // max(1, len(units))))
    for start in range(0, len(units), rows):
        correlations = units[start : start + rows] @ units[start:].T
        # No rounded product may fall below a threshold that the exact one meets.
        first, second = np.nonzero(correlations >= threshold - _ROUNDING)
        # The block's own square on the diagonal holds each pair twice and each image with itself.
        upper = second > first
        first = first[upper]
        second = second[upper]
        # Rounding may also end above 1, which no correlation is.
        yield _pairs(first + start, second + start, np.minimum(correlations[first, second], 1))


def _same_gray(means: NDArray[np.float32], flat: NDArray[np.int64]) -> Iterator[Pairs]:
    # Nothing but its mean tells two images without structure apart, and that to a gray level.
    shades = np.rint(means[flat])
    for shade in np.unique(shades):
        alike = flat[shades == shade]
        for row, image in enumerate(alike):
            others = alike[row + 1 :]
            yield _pairs(np.full_like(others, image), others, 1)


def _pairs(first: NDArray[np.int64], second: NDArray[np.int64], correlation: NDArray[np.float32] | float) -> Pairs:
    pairs = np.empty(len(first), dtype=PAIR)
    pairs["first"] = first
    pairs["second"] = second
    pairs["correlation"] = correlation
    return pairs


def _read(file: Path) -> Pairs | None:
    try:
        pairs = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return pairs if isinstance(pairs, np.ndarray) and pairs.dtype == PAIR else None
