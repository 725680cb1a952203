"""Pooling: what it buys and what it costs, on cnn5 trained with each way of it, at equal budget."""

from __future__ import annotations

from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.claims import RULE
from ahekit.protocols import LessonInput
from ahekit.sections import Experiment
from ahekit.training.experiments import Trial, data_of, run_trials
from ahekit.training.setup import prepare
from ahekit.wording import counted

from ...models.cnn5 import Cnn5Params
from .measures import Looks
from .page import by_hand, disturbed, kept, moved, trained
from .readings import claims, exercises
from .results import Plan, Results, grouped, measured_effects
from .variants import variant_params


class Pooling:
    """Train cnn5 with max, average, strided, blur and no pooling, and see what each buys and costs."""

    title = "Pooling"
    seconds = 45.0
    full_minutes = 40.0
    uses_run = False

    class Params(protocols.Params):
        """Parameters of `Pooling`."""

        image_size: int | None = Field(
            None, ge=16, le=512, description="pixels a side that networks see; none: 32, with --full 64"
        )
        width: float | None = Field(
            None,
            gt=0,
            le=2,
            description="share of cnn5's own channels, and of 512 hidden units; none: 0.25, with --full 0.5",
        )
        epochs: int | None = Field(
            None, ge=1, le=1000, description="passes over the training images; none: 2, with --full 5"
        )
        seeds: int | None = Field(None, ge=1, le=50, description="trainings of each network; none: 3")
        share: float = Field(1.0, gt=0, le=1, description="share of the training images that is trained on")
        pictures: int | None = Field(
            None, ge=2, le=10_000, description="test pictures that are moved; none: 48, with --full 200"
        )

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Train the networks, measure them, and read the claims off the numbers."""
        plan = Plan.of(params.model_dump(), full=request.full, seed=request.seed)
        source = data_of(request)
        first = prepare(plan.spec(source, Cnn5Params(), request.seed, device=request.device))
        networks = variant_params(
            width=plan.width, image_size=plan.image_size, num_classes=len(first.dataset.class_names)
        )
        trials = [
            Trial(name, plan.spec(source, network, request.seed + number, device=request.device))
            for number in range(plan.seeds)
            for name, network in networks.items()
        ]
        outcomes = run_trials(
            trials,
            folder=request.folder,
            examine=Looks(plan.pictures, request.seed),
            about=f"pooling, {plan.pictures} pictures, seed {request.seed}",
            progress=request.progress,
        )
        results = Results(plan, networks, len(first.dataset.class_names), grouped(outcomes))
        effects = measured_effects(first, plan)
        return Experiment(
            sections=(
                trained(results),
                moved(results),
                kept(effects, plan),
                disturbed(results, effects),
                by_hand(),
            ),
            claims=claims(results, effects),
            exercises=exercises(results, effects),
            subtitle=(
                f"cnn5 at {plan.image_size} px with {plan.width:g} of its channels and one hidden layer; "
                f"{first.source.name}, {counted(outcomes[0].images, 'training image')}, "
                f"{counted(len(first.splits.test), 'test image')}; "
                f"{counted(plan.epochs, 'epoch')}, {counted(plan.seeds, 'seed')}"
            ),
            notes=(RULE, "Nothing is chosen: every figure is of the weights that a training ends with."),
        )
