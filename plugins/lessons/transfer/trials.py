"""The trainings that the lesson compares: four ways of learning, from little data to all of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ahekit.backbones.weights import PACKAGE, PACKAGE_MODEL
from ahekit.data.augment import normalize
from ahekit.hooks import evaluating
from ahekit.spec import RunSpec
from ahekit.training.experiments import LITTLE_AUGMENTATION, Trial
from ahekit.training.session import Session
from ahekit.training.setup import Setup

from ...models.cnn5 import Cnn5Params
from ...pretrained.ahe import Ahe
from ..pooling.variants import HIDDEN, scaled

SCRATCH = "cnn5 from scratch"
HEAD = "head only"
EARLY = "early stages frozen"
TUNED = "fully tuned"
METHODS = (SCRATCH, HEAD, EARLY, TUNED)

SCRATCH_PASSES = 3
"""Epochs of cnn5 for each of the tuned backbone's, which take about as long."""

HEAD_PASSES = 5
"""Epochs of the head alone for each of the tuned backbone's: they take next to nothing."""

TIMED = 64
"""Images by which the frozen part is timed."""

# Of one image in one epoch, beside cnn5's, as measured at 64 px on two cores.
_WORK = {SCRATCH: 1.0, HEAD: 0.05, EARLY: 2.8, TUNED: 4.0}


OWN_MODEL = "tf_efficientnet_lite2"
"""The network of the model that comes with ahekit."""


def own_weights() -> str:
    """The file of the model that comes with ahekit, which was trained on AHE."""
    return str(Ahe().folder() / "model.safetensors")


def first_network(backbone: str | None, weights: str) -> tuple[str, str]:
    """The backbone and where its weights come from: what was asked for, else what is at hand without a network.

    That is EfficientNet-Lite0 with ImageNet's weights where its package is installed, else the network of the model
    that comes with ahekit; for another backbone, random weights ("none").
    """
    if weights != "auto":
        return backbone or PACKAGE_MODEL, weights
    is_installed = find_spec(PACKAGE.replace("-", "_")) is not None
    if backbone in (None, PACKAGE_MODEL) and is_installed:
        return PACKAGE_MODEL, f"package:{PACKAGE}"
    if backbone in (None, OWN_MODEL):
        return OWN_MODEL, own_weights()
    return str(backbone), "none"


@dataclass(frozen=True)
class Plan:
    """What is trained, with all that was left open decided.

    Attributes:
        weights: The backbone's, "none" for random ones.
        width: Share of cnn5's own channels, and of 512 hidden units.
        epochs: Of the tuned backbone on all data.
        least_steps: Optimizer steps that it takes at least, however little data there is.
        batch_size: Images of a step.
        measured: Training images that are measured at the end.
    """

    backbone: str
    weights: str
    image_size: int
    width: float
    epochs: int
    least_steps: int
    batch_size: int
    measured: int
    shares: tuple[float, ...]
    seeds: int
    seed: int

    def trials(self, source: str, images: int, *, device: str) -> list[Trial]:
        """One for each seed, share and method.

        Args:
            images: Training images in all.
        """
        return [
            self._trial(source, method, share, number, images=images, device=device)
            for number in range(self.seeds)
            for share in sorted(self.shares, reverse=True)
            for method in METHODS
        ]

    def epochs_of(self, method: str, images: int) -> int:
        """Epochs on so many training images."""
        steps = math.ceil(images / self.batch_size)
        passes = {SCRATCH: SCRATCH_PASSES, HEAD: HEAD_PASSES}.get(method, 1)
        return passes * max(self.epochs, math.ceil(self.least_steps / steps))

    def _trial(self, source: str, method: str, share: float, number: int, *, images: int, device: str) -> Trial:
        taken = max(1, round(share * images))
        epochs = self.epochs_of(method, taken)
        spec = self.spec(source, method, share, seed=self.seed + number, epochs=epochs, device=device)
        return Trial(name_of(method, share), spec, work=_WORK[method] * epochs * taken)

    def spec(self, source: str, method: str, share: float, *, seed: int, epochs: int, device: str) -> RunSpec:
        """A training's spec."""
        shared = {
            "seed": seed,
            "data": {"source": source, "image_size": self.image_size, "train_share": share},
            "augment": LITTLE_AUGMENTATION,
            "progressive": {"sizes": []},
            "mix": {"probability": 0.0},
            "loss": {"label_smoothing": 0.0},
            "train": {"epochs": epochs, "average_decay": 0.0},
            "evaluation": {"flip_average": False, "train_subset": self.measured},
            "runtime": {"device": device},
        }
        own = self._from_scratch() if method == SCRATCH else self._pretrained(method)
        return RunSpec.model_validate({**shared, **own})

    def _from_scratch(self) -> dict[str, Any]:
        channels = scaled(Cnn5Params().channels, self.width)
        hidden = scaled((HIDDEN,), self.width)
        return {
            "model": {"name": "cnn5", "params": {"channels": channels, "hidden": hidden, "dropout": 0.0}},
            "optim": {"lr": 2e-3, "weight_decay": 0.05, "batch_size": self.batch_size, "accumulation_steps": 1},
        }

    def _pretrained(self, method: str) -> dict[str, Any]:
        freeze = {HEAD: "backbone", EARLY: "early", TUNED: "none"}[method]
        return {
            "recipe": "finetune",
            "model": {"name": self.backbone, "params": {"weights": self.weights}},
            "optim": {"lr": 3e-3, "weight_decay": 0.02, "batch_size": self.batch_size, "accumulation_steps": 1},
            # The plain view alone: one pass through the backbone serves all epochs, seeds and shares.
            "transfer": {"freeze": freeze, "views": 1 if method == HEAD else 0}
            | ({} if method == HEAD else {"backbone_lr": 6e-4}),
        }


def weights_words(weights: str) -> str:
    """Where weights come from, in words."""
    if weights == "none":
        return "RANDOM WEIGHTS"
    return "weights of the model that comes with ahekit" if weights == own_weights() else weights


def name_of(method: str, share: float) -> str:
    """A trial's name."""
    return f"{method}, {share_words(share)}"


def share_words(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:g} %"


def examine(setup: Setup, session: Session) -> Mapping[str, Any]:
    """How long the frozen part takes for one image, where it is computed once and kept."""
    if setup.prefix is None or session.part.prefix is None:
        return {}
    chosen = np.resize(setup.splits.train, TIMED)
    images = setup.compute.prepare(normalize(setup.dataset.images[chosen], setup.dataset.preprocessing))
    times = []
    with evaluating(session.part.prefix), torch.no_grad(), setup.compute.autocast():
        for _ in range(3):
            begun = perf_counter()
            session.part.prefix(images)
            times.append(perf_counter() - begun)
    # The first pass warms up; of the others, the one that nothing else disturbed.
    return {"prefix_seconds_per_image": min(times[1:]) / TIMED}


def seconds_of(outcome: Any) -> float:
    """Of training, with one pass of each training image through a frozen part whose outputs are kept."""
    per_image = outcome.facts.get("prefix_seconds_per_image", 0.0)
    return float(outcome.final.seconds + per_image * outcome.images)


def least_share(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """The smallest share whose figure reaches a target, of pairs of share and figure; None: none does."""
    return min((share for share, figure in curve if figure >= target), default=None)
