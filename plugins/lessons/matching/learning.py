"""Learning to tell identities apart, and how well that serves for identities that were not learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahekit.compute import Compute
from ahekit.data.augment import normalize
from ahekit.data.batches import TrainingBatches
from ahekit.evaluation.matching import (
    Pairs,
    Retrieval,
    all_pairs,
    identification_figures,
    retrieve,
    verification_figures,
)
from ahekit.hooks import evaluating
from ahekit.models import build_component
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.spec import RunSpec
from ahekit.training.optim import build_optimizer, parameter_groups, rate_factor
from ahekit.training.steps import train_steps

from .identities import Pictures

BATCH = 128


@dataclass(frozen=True)
class Matched:
    """How well embeddings tell identities that were not learned.

    Attributes:
        figures: Equal error rate, true-accept rates, match rates at ranks, mean average precision.
    """

    pairs: Pairs
    retrieval: Retrieval
    figures: Mapping[str, float]

    @classmethod
    def of(cls, embeddings: NDArray[np.floating], identities: NDArray[np.int64], *, seed: int = 0) -> Matched:
        """Of all pairs of pictures, and of each picture searched among all others."""
        pairs = all_pairs(embeddings, identities, seed=seed)
        found = retrieve(embeddings, identities)
        return cls(pairs, found, {**verification_figures(pairs), **identification_figures(found)})


def build(spec: RunSpec, preprocessing: Preprocessing, count: int, seed: int) -> BuiltModel:
    """The network for so many identities, with a seed's weights."""
    torch.manual_seed(seed)
    return build_component(spec.model.name, spec.model.params, num_classes=count, image_size=preprocessing.size).built


def learn(
    built: BuiltModel,
    pictures: Pictures,
    spec: RunSpec,
    preprocessing: Preprocessing,
    compute: Compute,
    *,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Train a network to name each picture's identity, as a classifier.

    Args:
        step: Called after each epoch.
    """
    module = compute.place(built.module)
    module.train()
    optim = spec.optim
    optimizer = build_optimizer(
        parameter_groups(module, weight_decay=optim.weight_decay, decay_all=optim.decay_all), optim
    )
    count = len(pictures.identities)
    batches = TrainingBatches(
        pictures.pixels,
        pictures.identities,
        tuple(map(str, range(count))),
        np.arange(count),
        spec,
        preprocessing,
        num_classes=pictures.count,
    )
    total = spec.train.epochs * batches.steps_per_epoch
    done = 0
    for epoch in range(1, spec.train.epochs + 1):
        for record in train_steps(
            module,
            batches.epoch(epoch),
            optimizer,
            compute=compute,
            rate=lambda number: rate_factor(number, total, spec.schedule),
            first_step=done,
            clip_norm=optim.clip_norm,
        ):
            done = record.step
        step()


def embed(
    built: BuiltModel, pixels: NDArray[np.uint8], preprocessing: Preprocessing, device: torch.device
) -> NDArray[np.float32]:
    """The network's embeddings `(N, D)` of pictures `(N, S, S, 3)`."""
    blocks = []
    with evaluating(built.module), torch.no_grad():
        for start in range(0, len(pixels), BATCH):
            images: Tensor = normalize(pixels[start : start + BATCH], preprocessing).to(device)
            blocks.append(built.embed(images).float().cpu().numpy())
    return np.concatenate(blocks)
