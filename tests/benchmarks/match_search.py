"""From what size on a gallery would gain by an index: exact search beside an approximate one.

    python tests/benchmarks/match_search.py [--dimensions 1280] [--index]

A made-up gallery of identities with five pictures each is searched as `ahekit match identify` does: similarities by one
matrix product, then the best picture of each identity. With `--index`, the same by a graph of neighbours (HNSW, of the
package faiss-cpu, which isn't one of ahekit's): how long it takes to make, to search, and how often it finds the
picture that exact search does. Seconds are the processor's, of one thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy is first imported

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.unknown import unit
from ahekit.prediction.matching import Gallery, find_identities

PER_IDENTITY = 5
PROBES = 64


def made(count: int, dimensions: int, rng: np.random.Generator) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """A gallery's embeddings, as a survey keeps them, and those of probes of some of its identities."""
    centres = rng.normal(size=(count // PER_IDENTITY, dimensions)).astype(np.float32)
    gallery = np.repeat(centres, PER_IDENTITY, axis=0)
    gallery += rng.standard_normal(gallery.shape, dtype=np.float32)
    probes = centres[rng.integers(len(centres), size=PROBES)]
    probes = probes + rng.standard_normal(probes.shape, dtype=np.float32)
    return gallery.astype(np.float16), probes.astype(np.float16)


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def indexed(gallery: NDArray[np.float16], probes: NDArray[np.float16]) -> str:
    import faiss  # type: ignore[import-not-found,unused-ignore]

    faiss.omp_set_num_threads(1)
    vectors = unit(gallery)
    asked = unit(probes)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    making = seconds(lambda: index.add(vectors))
    index.hnsw.efSearch = 64
    searching = seconds(lambda: index.search(asked, 5))
    nearest = index.search(asked, 1)[1][:, 0]
    right = (nearest == (asked @ vectors.T).argmax(axis=1)).mean()
    return f"{making:>11.1f} {1000 * searching / len(asked):>10.2f} {right:>8.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=1280)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--index", action="store_true")
    asked = parser.parse_args()
    print(
        f"{'pictures':>9} {'first probe, ms':>16} {'each further':>13}" + "   index, s  probe, ms  same" * asked.index
    )
    for count in asked.pictures:
        embeddings, probes = made(count, asked.dimensions, np.random.default_rng(0))
        names = tuple(f"identity {number // PER_IDENTITY}" for number in range(count))
        gallery = Gallery(tuple(map(Path, map(str, range(count)))), names, embeddings, np.arange(count))
        search(gallery, probes[:1])
        first = min(seconds(partial(search, gallery, probes[:1])) for _ in range(3))
        rest = min(seconds(partial(search, gallery, probes)) for _ in range(3)) - first
        line = f"{count:>9,d} {1000 * first:>16.1f} {1000 * rest / (PROBES - 1):>13.2f}"
        print(line + (indexed(embeddings, probes) if asked.index else ""), flush=True)


def search(gallery: Gallery, probes: NDArray[np.float16]) -> None:
    paths = [Path(f"probe {number}") for number in range(len(probes))]
    assert all(found for found in find_identities(paths, probes, gallery, top=5))


if __name__ == "__main__":
    main()
