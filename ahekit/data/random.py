"""Random numbers keyed by sample: the same draw whichever worker, process or micro-batch asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def sample_keys(ids: Iterable[str]) -> NDArray[np.uint64]:
    """A 64-bit key for each sample id, `(N,)`; equal on every machine."""
    digests = [hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in ids]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def uniforms(
    keys: NDArray[np.uint64], count: int, *, seed: int, epoch: int | NDArray[np.int64], stream: str
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), `(N, count)`, a function of key, seed, epoch and stream alone.

    The counter-based SplitMix64 generator of "Fast splittable pseudorandom number generators" (Steele, Lea and
    Flood 2014, https://doi.org/10.1145/2660193.2660195): the state is the key plus a salt, the counter the
    column.

    Args:
        keys: `(N,)`, from `sample_keys`.
        epoch: Of all, or `(N,)`, of each.
        stream: Names the use, so that two uses of one key are independent.
    """
    epochs, place = np.unique(np.atleast_1d(epoch), return_inverse=True)
    salts = np.array([_salt(f"{seed}/{own}/{stream}") for own in epochs.tolist()], dtype=np.uint64)
    steps = np.array([_GOLDEN * (column + 1) & _MASK for column in range(count)], dtype=np.uint64)
    # The key is scrambled before the counter is added: two ids whose keys differ by a multiple of the golden
    # constant would otherwise share a sequence.
    bits: NDArray[np.uint64] = _scramble(_scramble(keys)[:, None] + (salts[place][:, None] + steps)) >> np.uint64(11)
    # The upper 53 bits fill a double's mantissa exactly; the product is below 1 for all of them.
    return bits.astype(np.float64) * 2.0**-53


def _salt(words: str) -> int:
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")


def generator(*words: int | str) -> np.random.Generator:
    """A NumPy generator seeded by the words; for draws that belong to an epoch or window, not to a sample."""
    digest = hashlib.blake2b("/".join(map(str, words)).encode(), digest_size=16).digest()
    # Philox is counter-based: seeds that are near each other still give streams without relation.
    return np.random.Generator(np.random.Philox(int.from_bytes(digest, "little")))


def _scramble(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # SplitMix64's finalizer, a bijection of 64 bits; products are meant modulo 2^64.
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
