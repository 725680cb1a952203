"""What tells pictures of none of the classes: distances, energy, largest probability and ViM compared.

    python tests/benchmarks/unknown.py OUTPUTS.npz [--others far near]      outputs from `outputs.py`

For each method: the AUROC of telling a class that is left out of the known ones from the others, on validation, mean
over the classes and the least; the AUROC of telling other pictures from the test pictures; how many of the other
pictures are set apart where 95 % of the test pictures are kept, with Wilson's 95 % interval; and what comes of the
threshold that keeps 95 % of validation. Then the same without the classes left out, for smaller and larger forms of the
training embeddings.

Left out is a class's part of everything that a method stores, and its logit; the network itself has learned the class,
so these AUROCs say how strange an unlearned class of buildings would be at best.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.confidence import Score
from ahekit.evaluation.intervals import wilson_interval
from ahekit.evaluation.unknown import NEIGHBOURS, Neighbours, auroc, kept_threshold, unit

Floats = NDArray[np.float64]
KEPT = 0.95
COMPONENTS = (32, 64, 128, 256)


@dataclass(frozen=True)
class Outputs:
    """Logits `(N, C)`, embeddings `(N, D)` and labels `(N,)` of pictures."""

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float16]
    labels: NDArray[np.int64]

    def without(self, label: int) -> Outputs:
        """All but a class, and all but its logit."""
        kept = self.labels != label
        return Outputs(np.delete(self.logits[kept], label, axis=1), self.embeddings[kept], self.labels[kept])


@dataclass(frozen=True)
class Head:
    """Weight `(C, D)` and bias `(C,)` of the last layer."""

    weight: Floats
    bias: Floats

    def without(self, label: int) -> Head:
        """All but a class."""
        return Head(np.delete(self.weight, label, axis=0), np.delete(self.bias, label))


Scorer = Callable[[NDArray[np.float32], NDArray[np.float16]], Floats]
Method = Callable[[Outputs, Head], Scorer]


def probability(train: Outputs, head: Head) -> Scorer:
    """D. Hendrycks, K. Gimpel (2017), https://arxiv.org/abs/1610.02136."""
    return lambda logits, embeddings: -Score("probability")(logits)


def energy(train: Outputs, head: Head) -> Scorer:
    """W. Liu et al. (2020), https://arxiv.org/abs/2010.03759."""
    return lambda logits, embeddings: -Score("energy")(logits)


def vim(train: Outputs, head: Head) -> Scorer:
    """H. Wang et al. (2022), https://arxiv.org/abs/2203.10807, with 512 dimensions of the space."""
    origin = -np.linalg.pinv(head.weight) @ head.bias
    centred = train.embeddings.astype(np.float64) - origin
    _, vectors = np.linalg.eigh(centred.T @ centred)
    beyond = vectors[:, ::-1][:, 512:]

    def outside(embeddings: NDArray[np.float16]) -> Floats:
        return np.asarray(np.linalg.norm((embeddings.astype(np.float64) - origin) @ beyond, axis=1))

    scale = train.logits.max(axis=1).mean() / outside(train.embeddings).mean()
    return lambda logits, embeddings: scale * outside(embeddings) - Score("energy")(logits)


def plain_neighbours(train: Outputs, head: Head) -> Scorer:
    """Y. Sun et al. (2022), https://arxiv.org/abs/2204.06507, uncompressed."""
    reference = unit(train.embeddings)

    def distances(logits: NDArray[np.float32], embeddings: NDArray[np.float16]) -> Floats:
        alike = unit(embeddings) @ reference.T
        return np.asarray(-np.partition(alike, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS].astype(np.float64))

    return distances


def outside_alone(train: Outputs, head: Head) -> Scorer:
    """What of a direction lies outside 128 principal components of training."""
    neighbours = Neighbours.fit(train.embeddings, train.labels)

    def outside(logits: NDArray[np.float32], embeddings: NDArray[np.float16]) -> Floats:
        centred = unit(embeddings) - neighbours.mean
        inside = centred @ neighbours.components.T
        return np.asarray((centred**2).sum(axis=1) - (inside**2).sum(axis=1), dtype=np.float64)

    return outside


def weighted(components: int) -> Method:
    """The distance that ahekit uses."""

    def method(train: Outputs, head: Head) -> Scorer:
        neighbours = Neighbours.fit(train.embeddings, train.labels, components=components)
        return lambda logits, embeddings: neighbours.distances(embeddings)

    return method


def uncompressed(train: Outputs, head: Head) -> Scorer:
    """The distance that ahekit uses, with components and places as they are instead of in 16 and 8 bits."""
    directions = unit(train.embeddings).astype(np.float64)
    mean = directions.mean(axis=0)
    _, vectors = np.linalg.eigh((directions - mean).T @ (directions - mean))
    axes = vectors[:, ::-1][:, :128].T
    places = (directions - mean) @ axes.T

    def distances(logits: NDArray[np.float32], embeddings: NDArray[np.float16]) -> Floats:
        centred = unit(embeddings) - mean
        inside = centred @ axes.T
        squares = (inside**2).sum(axis=1)
        away = squares[:, None] + (places**2).sum(axis=1) - 2 * inside @ places.T
        closest = np.partition(away, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
        weight = np.linalg.norm(embeddings.astype(np.float32), axis=1) ** 0.25
        return np.asarray((closest + 5.0 * ((centred**2).sum(axis=1) - squares)) * weight)

    return distances


METHODS: dict[str, Method] = {
    "largest probability": probability,
    "energy": energy,
    "ahekit's": weighted(128),
    "5 nearest, plain": plain_neighbours,
    "outside alone": outside_alone,
    "ViM": vim,
}
FORMS: dict[str, Method] = {
    "128, not rounded": uncompressed,
    **{f"{count}, 8 bits": weighted(count) for count in COMPONENTS},
}


def left_out(method: Method, train: Outputs, val: Outputs, head: Head) -> Floats:
    """AUROC of each class when it is left out, `(C,)`."""
    areas = []
    for label in range(len(head.bias)):
        scorer = method(train.without(label), head.without(label))
        areas.append(auroc(scorer(np.delete(val.logits, label, axis=1), val.embeddings), val.labels == label))
    return np.array(areas)


def line(
    name: str, method: Method, parts: Mapping[str, Outputs], head: Head, others: list[str], *, leave_out: bool
) -> None:
    """Print what a method does."""
    scorer = method(parts["train"], head)
    scores = {part: scorer(outputs.logits, outputs.embeddings) for part, outputs in parts.items() if part != "train"}
    of_test = float(np.quantile(scores["test"], KEPT))
    of_validation = kept_threshold(scores["val"], KEPT)
    told = []
    if leave_out:
        areas = left_out(method, parts["train"], parts["val"], head)
        told.append(f"class left out {areas.mean():.3f} (least {areas.min():.3f})")
    told.append(f"test kept by validation's threshold {np.mean(scores['test'] <= of_validation):.3f}")
    for other in others:
        is_other = np.repeat([False, True], [len(scores["test"]), len(scores[other])])
        apart = int((scores[other] > of_test).sum())
        interval = wilson_interval(apart, len(scores[other]))
        told.append(
            f"{other}: AUROC {auroc(np.concatenate([scores['test'], scores[other]]), is_other):.4f}, apart at "
            f"{KEPT:.0%} of test {apart / len(scores[other]):.3f} ({interval}), by validation's threshold "
            f"{np.mean(scores[other] > of_validation):.3f}"
        )
    print(f"{name:<20} " + "; ".join(told), flush=True)


def main() -> None:
    """Print a line for each method, then for each form of the training embeddings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--others", nargs="+", default=["far", "near"])
    options = parser.parse_args()
    with np.load(options.outputs) as file:
        parts = {
            part: Outputs(file[f"{part}_logits"], file[f"{part}_embeddings"], file[f"{part}_labels"])
            for part in ("train", "val", "test", *options.others)
        }
        head = Head(file["head_weight"].astype(np.float64), file["head_bias"].astype(np.float64))
    print(", ".join(f"{part} {len(outputs.labels)}" for part, outputs in parts.items()))
    for name, method in METHODS.items():
        line(name, method, parts, head, options.others, leave_out=True)
    for name, method in FORMS.items():
        line(name, method, parts, head, options.others, leave_out=False)


if __name__ == "__main__":
    main()
