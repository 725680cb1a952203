"""What the lesson trains, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ahekit.spec import RunSpec
from ahekit.training.experiments import LITTLE_AUGMENTATION, Outcome
from ahekit.training.setup import Setup

from ...models.cnn5 import Cnn5Params
from .measures import POOLINGS, SHIFTS, Effect, effect_of, some_test_images
from .variants import multiply_adds

_SHORT = {"image_size": 32, "width": 0.25, "epochs": 2, "seeds": 3, "pictures": 48}
_FULL = {"image_size": 64, "width": 0.5, "epochs": 5, "seeds": 3, "pictures": 200}


@dataclass(frozen=True)
class Plan:
    """The parameters, with those that were left open decided."""

    image_size: int
    width: float
    epochs: int
    seeds: int
    pictures: int
    share: float
    seed: int

    @classmethod
    def of(cls, params: Mapping[str, Any], *, full: bool, seed: int) -> Plan:
        """What was asked for, and where that is None the short or the long way's own."""
        asked = {name: value for name, value in params.items() if value is not None}
        return cls(**{**(_FULL if full else _SHORT), **asked}, seed=seed)

    def spec(self, source: str, network: Cnn5Params, seed: int, *, device: str) -> RunSpec:
        """A training's spec: one recipe for all networks."""
        return RunSpec.model_validate(
            {
                "seed": seed,
                "model": {"name": "cnn5", "params": network.model_dump(mode="json")},
                "data": {"source": source, "image_size": self.image_size, "train_share": self.share},
                "augment": LITTLE_AUGMENTATION,
                "progressive": {"sizes": []},
                "mix": {"probability": 0.0},
                "optim": {"lr": 2e-3, "weight_decay": 0.05, "batch_size": 32, "accumulation_steps": 1},
                "loss": {"label_smoothing": 0.0},
                "train": {"epochs": self.epochs, "average_decay": 0.0},
                "evaluation": {"flip_average": False},
                "runtime": {"device": device},
            }
        )


def grouped(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes by name, each in the order of the seeds."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.name, []).append(outcome)
    return groups


@dataclass(frozen=True)
class Results:
    """What was trained and measured.

    Attributes:
        networks: Each variant's parameters of cnn5.
        outcomes: Of each variant, in the order of the seeds.
    """

    plan: Plan
    networks: Mapping[str, Cnn5Params]
    num_classes: int
    outcomes: Mapping[str, Sequence[Outcome]]

    def work(self, network: Cnn5Params) -> int:
        """Multiply-adds of one image."""
        return multiply_adds(network, image_size=self.plan.image_size, num_classes=self.num_classes)

    def test(self, name: str, figure: str) -> list[float]:
        """A figure on the test images, by seed."""
        return [outcome.final.test[figure] for outcome in self.outcomes[name]]

    def gaps(self, name: str) -> list[float]:
        """Accuracy on training images less that on test images, by seed."""
        return [outcome.gap for outcome in self.outcomes[name]]

    def moved(self, name: str, what: str, shift: int) -> list[float]:
        """What a shift does, by seed; `what` is "changed" or "distance"."""
        return [outcome.facts["moved"][what][SHIFTS.index(shift)] for outcome in self.outcomes[name]]

    def lost(self, name: str, disturbance: str) -> list[float]:
        """Accuracy that a disturbance costs, by seed."""
        accuracies = [outcome.facts["accuracy"] for outcome in self.outcomes[name]]
        return [each["plain"] - each[disturbance] for each in accuracies]

    def minutes(self, name: str) -> float:
        """Of a training, mean over seeds."""
        return float(np.mean([outcome.final.seconds for outcome in self.outcomes[name]])) / 60


def measured_effects(setup: Setup, plan: Plan) -> dict[str, Effect]:
    """What each pooling by itself does to test pictures."""
    pixels = setup.dataset.images[some_test_images(setup, plan.pictures, seed=plan.seed)]
    return {name: effect_of(pooling, pixels, seed=plan.seed) for name, pooling in POOLINGS.items()}
