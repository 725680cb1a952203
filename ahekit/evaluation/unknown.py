"""Pictures of none of the classes: how far they are from what the network has learned from.

The distance to the nearest training images is what tells them, in a form of its own: what of a picture's embedding
lies outside the few directions in which training embeddings differ counts more than what lies inside. Energy, the
largest probability, ViM and plain distance were compared with it (`tests/benchmarks/unknown.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Labels = NDArray[np.int64]

UnknownName = Literal["knn"]

MOST_COMPONENTS = 128
FEWEST_COMPONENTS = 32
"""Principal components of the embeddings that are kept: a quarter of their width, within these bounds. With all of them
nothing would lie outside."""
NEIGHBOURS = 5
"""The distance to the fifth nearest training image counts."""
OUTSIDE = 5.0
"""How much more a squared distance counts outside the components than inside. A picture of a class that the network
has not learned differs inside, too; one of no class at all differs outside."""

LENGTH_POWER = 0.25
"""Squared distances are multiplied by this power of the embedding's length: of two pictures as far off in direction the
one with the longer embedding shows more of what the network has no class for."""

_LEVELS = 255
_BLOCK_CELLS = 8_000_000  # distances held at once: 32 MB


@dataclass(frozen=True)
class Neighbours:
    """Training embeddings in a small form: directions, their principal components, in 8 bits each.

    Directions are compared: an embedding's length says how sure the network is rather than what it sees. What the
    components leave out of a direction is kept as one number, its squared length.

    Attributes:
        mean: `(D,)`, of the directions.
        components: `(K, D)`, orthonormal rows.
        codes: `(N, K)` uint8; component k of an image is `low[k] + codes[:, k] * step[k]`.
        low: `(K,)`.
        step: `(K,)`.
        remainders: `(N,)`, squared length of what the components leave out.
        labels: `(N,)`, class indices.
        length_power: By which an embedding's length counts; 0 in what was stored before it did.
    """

    mean: Floats32
    components: Floats32
    codes: NDArray[np.uint8]
    low: Floats32
    step: Floats32
    remainders: Floats32
    labels: NDArray[np.int64]
    length_power: float = 0.0

    @classmethod
    def fit(cls, embeddings: NDArray[np.floating], labels: Labels, *, components: int | None = None) -> Neighbours:
        """Compress embeddings `(N, D)` of training images.

        Args:
            components: How many are kept; None: a quarter of D, 32 to 128.
        """
        if components is None:
            components = min(max(embeddings.shape[1] // 4, FEWEST_COMPONENTS), MOST_COMPONENTS)
        directions = unit(embeddings)
        mean = directions.mean(axis=0)
        centred = directions - mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        kept = vectors[:, ::-1][:, : min(components, *centred.shape)].T
        # The sign of an eigenvector is the library's whim.
        signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])
        axes = (kept * signs[:, None]).astype(np.float16).astype(np.float32)
        places = centred @ axes.T
        low = places.min(axis=0)
        step = np.maximum(places.max(axis=0) - low, 1e-6) / _LEVELS
        codes = np.rint((places - low) / step).astype(np.uint8)
        remainders = np.maximum((centred**2).sum(axis=1) - (places**2).sum(axis=1), 0)
        kept_remainders = remainders.astype(np.float16).astype(np.float32)
        return cls(mean, axes, codes, low, step, kept_remainders, labels, LENGTH_POWER)

    @cached_property
    def places(self) -> Floats32:
        """The training images' components, `(N, K)`."""
        return np.asarray(self.low + self.codes * self.step, dtype=np.float32)

    @cached_property
    def _squares(self) -> Floats32:
        """Squared lengths of `places`, `(N,)`."""
        return np.asarray((self.places**2).sum(axis=1))

    def distances(self, embeddings: NDArray[np.floating]) -> Floats:
        """To the fifth nearest training image, `(M,)`: the higher, the stranger.

        The squared distance within the components, and five times the squared length of what these leave out; times
        the fourth root of the embedding's length.

        Args:
            embeddings: `(M, D)`.

        Sources: Y. Sun, Y. Ming, X. Zhu, Y. Li, Out-of-Distribution Detection with Deep Nearest Neighbors (2022),
        https://arxiv.org/abs/2204.06507, for the distance of directions; H. Wang, Z. Li, L. Feng, W. Zhang, ViM:
        Out-Of-Distribution with Virtual-logit Matching (2022), https://arxiv.org/abs/2203.10807, for what lies outside
        the principal components (there with the energy instead of a distance).
        """
        places = self.places
        nearest = min(NEIGHBOURS, len(places)) - 1
        result = np.empty(len(embeddings))
        block = max(1, _BLOCK_CELLS // max(len(places), 1))
        for start in range(0, len(embeddings), block):
            some = embeddings[start : start + block].astype(np.float32)
            weight = np.maximum(np.linalg.norm(some, axis=1), 1e-12) ** self.length_power
            centred = unit(some) - self.mean
            inside = centred @ self.components.T
            squares = (inside**2).sum(axis=1)
            outside = np.maximum((centred**2).sum(axis=1) - squares, 0)
            away = squares[:, None] + self._squares - 2 * inside @ places.T
            closest = np.maximum(np.partition(away, nearest, axis=1)[:, nearest], 0)
            result[start : start + block] = np.sqrt((closest + OUTSIDE * outside) * weight)
        return result

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As they are written to a file; `from_arrays` reads them."""
        return {
            "mean": self.mean,
            "components": self.components.astype(np.float16),
            "codes": self.codes,
            "low": self.low,
            "step": self.step,
            "remainders": self.remainders.astype(np.float16),
            "labels": self.labels.astype(np.int32),
            "length_power": np.array([self.length_power], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Neighbours:
        """What `arrays` returned.

        Raises:
            ValueError: One is missing, or they don't fit together.
        """
        names = ("mean", "components", "codes", "low", "step", "remainders", "labels")
        if absent := [name for name in names if name not in arrays]:
            raise ValueError(f"no {', '.join(absent)}")
        floats = {
            name: np.asarray(arrays[name]).astype(np.float32) for name in names if name not in ("codes", "labels")
        }
        codes = np.asarray(arrays["codes"])
        labels = np.asarray(arrays["labels"]).astype(np.int64)
        count, kept = codes.shape if codes.ndim == 2 else (0, 0)
        shapes = {
            "mean": (floats["components"].shape[-1],),
            "components": (kept, floats["mean"].size),
            "low": (kept,),
            "step": (kept,),
            "remainders": (count,),
        }
        if not count or labels.shape != (count,) or codes.dtype != np.uint8:
            raise ValueError(f"codes {codes.shape} of {codes.dtype} and labels {labels.shape}")
        for name, shape in shapes.items():
            if floats[name].shape != shape or not np.isfinite(floats[name]).all():
                raise ValueError(f"{name} {floats[name].shape} where {shape} finite numbers should be")
        power = np.asarray(arrays.get("length_power", [0.0])).astype(np.float64).ravel()
        if power.shape != (1,) or not 0 <= power[0] <= 1:
            raise ValueError("length_power: not a number from 0 to 1")
        return cls(codes=codes, labels=labels, length_power=float(power[0]), **floats)


def unit(embeddings: NDArray[np.floating]) -> Floats32:
    """Embeddings `(N, D)` at length 1; one of nothing but zeros stays so."""
    values = embeddings.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), dtype=np.float32)


def auroc(scores: Floats, is_unknown: NDArray[np.bool_]) -> float:
    """Probability that an unknown picture scores higher than a known one, equal scores counting half; NaN without both.

    Example:
        >>> auroc(np.array([1.0, 2.0, 2.0]), np.array([False, False, True]))
        0.75
    """
    unknown = int(is_unknown.sum())
    known = len(scores) - unknown
    if not unknown or not known:
        return float("nan")
    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2
    return float((ranks[place][is_unknown].sum() - unknown * (unknown + 1) / 2) / (unknown * known))


def kept_threshold(scores: Floats, share: float) -> float:
    """The score up to which a new image of the known classes lies with at least this probability.

    The (n + 1) * share-th smallest of n scores, counted up, as split conformal prediction takes it: V. Vovk,
    A. Gammerman, G. Shafer, Algorithmic Learning in a Random World (2005). Infinite where n are too few for the share.

    Example:
        >>> kept_threshold(np.arange(1.0, 20.0), 0.95), kept_threshold(np.arange(1.0, 19.0), 0.95)
        (19.0, inf)
    """
    place = int(np.ceil((len(scores) + 1) * share - 1e-9))
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else float("inf")
