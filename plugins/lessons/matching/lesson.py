"""Verification and identification: both tasks measured, and what is learned from one picture of each of many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from ahekit import protocols
from ahekit.data.decode import fit
from ahekit.errors import AhekitError, UsageError
from ahekit.protocols import LessonInput, VisualizerInput
from ahekit.sections import Experiment
from ahekit.spec import RunSpec, check_group_by
from ahekit.training.experiments import data_of
from ahekit.training.setup import Setup, prepare
from ahekit.validation import validate
from ahekit.wording import counted

from .identities import Identities, Pictures, find_identities
from .learning import Matched, build, embed, learn
from .page import sections
from .readings import FEW, MANY, RUN, UNTRAINED, Facts, claims, exercises


class Matching:
    """One to one and one to many: both tasks measured, and one picture each of many identities beside many of few."""

    title = "Verification and identification"
    seconds = 45.0
    full_minutes = 12.0

    class Params(protocols.Params):
        """Parameters of `Matching`."""

        identities: int | None = Field(
            None, ge=2, le=10_000, description="identities learned from by several pictures; none: 40, with --full 250"
        )
        pictures: int | None = Field(
            None, ge=2, le=100, description="pictures of each of these; none: 4, with --full 3, which visits have"
        )
        held_out: int | None = Field(
            None, ge=8, le=10_000, description="identities measured on at most; none: 100, with --full 600"
        )
        epochs: int | None = Field(None, ge=1, le=1000, description="passes of each training; none: 8, with --full 20")
        seeds: int = Field(3, ge=1, le=20, description="trainings of each kind")
        model: str = Field("cnn5", min_length=1, description="network to train, by its registered name")
        image_size: int | None = Field(None, ge=8, le=1024, description="side of the images; none: 32, with --full 64")
        group_by: str = Field("auto", description="what tells visits, as data.group_by of a run spec")

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Train on both kinds of identities, and measure both tasks on others."""
        with torch.random.fork_rng(devices=()):
            return compare(request, params)


def compare(request: LessonInput, params: Matching.Params) -> Experiment:
    """The experiment."""
    check_rule(params.group_by)
    view, notes = own_network(request)
    plan = Plan.of(request, params)
    setup = prepare(plan.spec, pretrained=False)
    identities = find_identities(
        setup.dataset,
        few=plan.few,
        pictures=plan.pictures,
        held_out=plan.held_out,
        seed=request.seed,
        group_by=params.group_by,
    )
    if identities.are_made_up:
        # Trained as they are: changing the views further would make more pictures of each identity.
        plan = Plan.of(request, params, augmented=False)
    total = 2 * len(plan.seeds) * plan.spec.train.epochs + 1
    numbers = iter(range(1, total + 1))

    def tick() -> None:
        request.progress(next(numbers), total)

    measured = trained(plan, setup, identities, tick)
    if view is not None:
        apart = fitted(view, identities.held_out.pixels)
        own = embed(view.model, apart, view.model.preprocessing, view.images.device)
        measured[RUN] = [matched(identities.held_out, own)]
    tick()
    facts = Facts(identities, measured, plan.seeds)
    return Experiment(
        sections=sections(facts),
        claims=tuple(claims(facts)),
        exercises=exercises(facts),
        subtitle=(
            f"{params.model} at {setup.dataset.preprocessing.size} px, "
            f"{counted(len(identities.few.identities), 'picture')} of {identities.few.count} or of "
            f"{identities.many.count} identities of {setup.source.name}, measured on {identities.held_out.count} "
            f"others; {counted(len(plan.seeds), 'seed')}"
        ),
        notes=(setup.source.notice, *notes),
    )


def check_rule(rule: str) -> None:
    """Make sure that visits can be told by it.

    Raises:
        SpecError: It is no rule.
    """
    validate(RunSpec, {"data": {"group_by": rule}})
    check_group_by(rule)


@dataclass(frozen=True)
class Plan:
    """How much is learned from how many, and how.

    Attributes:
        few: Identities of several pictures each.
        pictures: Of each.
    """

    few: int
    pictures: int
    held_out: int
    seeds: tuple[int, ...]
    spec: RunSpec

    @classmethod
    def of(cls, request: LessonInput, params: Matching.Params, *, augmented: bool = True) -> Plan:
        """As asked for; what isn't goes by the way that is taken, the quick or the long one."""
        full = request.full
        plain = {} if augmented else {"recipe": "assignment"}
        spec = validate(
            RunSpec,
            {
                **plain,
                "seed": request.seed,
                "model": {"name": params.model},
                "data": {
                    "source": data_of(request),
                    "image_size": params.image_size or (64 if full else 32),
                    "group_by": "none",
                },
                "progressive": {"sizes": []},
                "mix": {"probability": 0.0},
                "optim": {"name": "adamw", "lr": 1e-3, "batch_size": 32, "accumulation_steps": 1},
                "schedule": {"name": "one-cycle", "warmup": 0.2},
                "train": {"epochs": params.epochs or (20 if full else 8)},
                "runtime": {"device": request.device, "precision": "fp32"},
            },
        )
        return cls(
            few=params.identities or (250 if full else 40),
            pictures=params.pictures or (3 if full else 4),
            held_out=params.held_out or (600 if full else 100),
            seeds=tuple(range(request.seed, request.seed + params.seeds)),
            spec=spec,
        )


def trained(plan: Plan, setup: Setup, identities: Identities, tick: Callable[[], None]) -> dict[str, list[Matched]]:
    """By kind, and in the order of the seeds: networks before training, and after it on either kind of identities."""
    preprocessing = setup.dataset.preprocessing
    apart = identities.held_out
    found: dict[str, list[Matched]] = {UNTRAINED: [], MANY: [], FEW: []}
    for seed in plan.seeds:
        spec = plan.spec.model_copy(update={"seed": seed})
        for name, pictures in ((MANY, identities.many), (FEW, identities.few)):
            built = build(spec, preprocessing, pictures.count, seed)
            built.module.to(setup.compute.device)
            if name == MANY:
                found[UNTRAINED].append(matched(apart, embed(built, apart.pixels, preprocessing, setup.compute.device)))
            learn(built, pictures, spec, preprocessing, setup.compute, step=tick)
            found[name].append(matched(apart, embed(built, apart.pixels, preprocessing, setup.compute.device)))
    return found


def matched(pictures: Pictures, embeddings: NDArray[np.floating]) -> Matched:
    """How well these tell the pictures' identities."""
    return Matched.of(embeddings, pictures.identities)


def own_network(request: LessonInput) -> tuple[VisualizerInput | None, tuple[str, ...]]:
    """The student's own network, asked for before anything slow; without one None, and a note of the reason.

    Raises:
        UsageError: A run was named, and nothing or more than one goes by the name.
    """
    try:
        return request.network([]), ()
    except UsageError:
        raise
    except AhekitError as error:
        return None, (f"no network of your own stands beside them: {error}",)


def fitted(view: VisualizerInput, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pictures at the size that a network takes."""
    own = view.model.preprocessing
    if pixels.shape[1] == own.size:
        return pixels
    return np.stack([fit(Image.fromarray(picture), own) for picture in pixels])
