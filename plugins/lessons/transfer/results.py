"""What the lesson measured, by method and share of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ahekit.training.experiments import Outcome

from .trials import METHODS, SCRATCH, Plan, least_share, name_of, seconds_of


@dataclass(frozen=True)
class Results:
    """What was trained and measured.

    Attributes:
        outcomes: Of each method and share, in the order of the seeds.
        has_met_the_images: Whether the backbone's weights were trained on these very images.
    """

    plan: Plan
    outcomes: Mapping[tuple[str, float], Sequence[Outcome]]
    has_met_the_images: bool = False

    @classmethod
    def of(cls, plan: Plan, outcomes: Sequence[Outcome], *, has_met_the_images: bool = False) -> Results:
        """Outcomes by method and share."""
        names = {name_of(method, share): (method, share) for method in METHODS for share in plan.shares}
        groups: dict[tuple[str, float], list[Outcome]] = {key: [] for key in names.values()}
        for outcome in outcomes:
            groups[names[outcome.name]].append(outcome)
        return cls(plan, groups, has_met_the_images)

    @property
    def obstacle(self) -> str:
        """Why these numbers can't tell anything of transfer; empty where they can."""
        if self.plan.weights == "none":
            return "the backbone's weights are random, nothing is transferred"
        return "the backbone was trained on these very images" if self.has_met_the_images else ""

    def f1(self, method: str, share: float) -> list[float]:
        """Macro-F1 on test, by seed."""
        return [outcome.final.test["f1"] for outcome in self.outcomes[method, share]]

    def gaps(self, method: str, share: float) -> list[float]:
        """Accuracy on training images less that on test images, by seed."""
        return [outcome.gap for outcome in self.outcomes[method, share]]

    def images(self, share: float) -> int:
        """Training images of a share."""
        return self.outcomes[SCRATCH, share][0].images

    def seconds(self, method: str, share: float) -> list[float]:
        """Of training, by seed."""
        return [seconds_of(outcome) for outcome in self.outcomes[method, share]]

    def mean(self, method: str, share: float) -> float:
        """Mean macro-F1 over seeds."""
        return float(np.mean(self.f1(method, share)))

    def share_for(self, method: str, target: float) -> float | None:
        """The smallest share whose mean macro-F1 reaches a target."""
        return least_share([(share, self.mean(method, share)) for share in self.plan.shares], target)

    def seconds_for(self, method: str, target: float) -> float | None:
        """Mean seconds of the shortest training whose mean macro-F1 reaches a target."""
        times = [
            float(np.mean(self.seconds(method, share)))
            for share in self.plan.shares
            if self.mean(method, share) >= target
        ]
        return min(times, default=None)
