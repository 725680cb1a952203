"""Pooling: what it buys and what it costs, on cnn5 trained with each way of it, at equal budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.claims import RULE, read_difference, read_interval
from ahekit.evaluation.comparison import SeedSpread, seed_spread
from ahekit.figures.dot_plot import MARKERS, Dots, draw_dots
from ahekit.figures.tiles import Tile, Tiles
from ahekit.protocols import LessonInput
from ahekit.sample import draw
from ahekit.sections import Cell, Claim, Column, Exercise, Experiment, Figure, Section, Table, Widget
from ahekit.spec import RunSpec
from ahekit.training.experiments import Outcome, Trial, data_of, run_trials
from ahekit.training.setup import Setup, prepare
from ahekit.wording import counted, listed

from ...models.cnn5 import Cnn5Params
from .measures import NOISE, POOLINGS, SHIFTS, WRONG_SHARE, Effect, Looks, effect_of, enlarged, some_test_images
from .variants import VARIANTS, WAYS, multiply_adds, variant_params

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

LEAST_MOVED = 0.01
"""Share of predictions that may change where one says that they don't."""

SHOWN = ("vault", "stained_glass", "gargoyle")
"""Drawings of the embedded sample that the page shows pooled."""

AUGMENT = {
    "crop_scale": 0.8,
    "rotation": 0.0,
    "brightness": 0.1,
    "contrast": 0.1,
    "saturation": 0.1,
    "erase": 0.0,
}
"""Little, since trainings are short."""

_SHORT = {"image_size": 32, "width": 0.25, "epochs": 4, "seeds": 3, "pictures": 48}
_FULL = {"image_size": 64, "width": 0.5, "epochs": 5, "seeds": 3, "pictures": 200}


class Pooling:
    """Train cnn5 with max, average, strided, blur and no pooling, and see what each buys and costs."""

    title = "Pooling"
    seconds = 50.0
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
            None, ge=1, le=1000, description="passes over the training images; none: 4, with --full 5"
        )
        seeds: int | None = Field(None, ge=1, le=50, description="trainings of each network; none: 3")
        share: float = Field(1.0, gt=0, le=1, description="share of the training images that is trained on")
        pictures: int | None = Field(
            None, ge=2, le=10_000, description="test pictures that are moved; none: 48, with --full 200"
        )

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Train the networks, measure them, and read the claims off the numbers."""
        plan = Plan.of(params, full=request.full, seed=request.seed)
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
                _trained(results),
                _moved(results),
                _kept(effects, plan),
                _disturbed(results, effects),
                _by_hand(),
            ),
            claims=_claims(results, effects),
            exercises=_exercises(results, effects),
            subtitle=(
                f"cnn5 at {plan.image_size} px with {plan.width:g} of its channels and one hidden layer; "
                f"{first.source.name}, {counted(outcomes[0].images, 'training image')}, "
                f"{counted(len(first.splits.test), 'test image')}; "
                f"{counted(plan.epochs, 'epoch')}, {counted(plan.seeds, 'seed')}"
            ),
            notes=(RULE, "Nothing is chosen: every figure is of the weights that a training ends with."),
        )


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
    def of(cls, params: Pooling.Params, *, full: bool, seed: int) -> Plan:
        """What was asked for, and the short or the long way's own for the rest."""
        asked = {name: value for name, value in params.model_dump().items() if value is not None}
        return cls(**{**(_FULL if full else _SHORT), **asked}, seed=seed)

    def spec(self, source: str, network: Cnn5Params, seed: int, *, device: str) -> RunSpec:
        """A training's spec: one recipe for all networks."""
        return RunSpec.model_validate(
            {
                "seed": seed,
                "model": {"name": "cnn5", "params": network.model_dump(mode="json")},
                "data": {"source": source, "image_size": self.image_size, "train_share": self.share},
                "augment": AUGMENT,
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


def less(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The first's figures less the second's, seed by seed."""
    return [one - other for one, other in zip(first, second, strict=True)]


def measured_effects(setup: Setup, plan: Plan) -> dict[str, Effect]:
    """What each pooling by itself does to test pictures."""
    pixels = setup.dataset.images[some_test_images(setup, plan.pictures, seed=plan.seed)]
    return {name: effect_of(pooling, pixels, seed=plan.seed) for name, pooling in POOLINGS.items()}


def _trained(results: Results) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for name in VARIANTS:
        f1 = seed_spread(results.test(name, "f1"))
        rows.append(
            (
                name,
                f1.mean,
                *_ends(f1),
                float(np.mean(results.test(name, "accuracy"))),
                float(np.mean(results.gaps(name))),
                results.outcomes[name][0].parameters,
                results.work(results.networks[name]) / 1e6,
                60 * results.minutes(name),
            )
        )
    best = max(VARIANTS, key=lambda name: float(np.mean(results.test(name, "f1"))))
    thin = results.networks["no pooling"]
    whole = thin.model_copy(update={"channels": results.networks["max"].channels})
    factor = results.work(whole) / results.work(results.networks["max"])
    channels = " ".join(map(str, thin.channels))
    return Section(
        title="Six networks at equal budget",
        reading=(
            f"Every network sees the same pictures in the same order, in {counted(results.plan.epochs, 'epoch')}. The "
            "four ways of pooling have the same parameters. Without pooling the same channels would take "
            f"{factor:.0f} times the multiply-adds, so the networks that pool less often get fewer channels, all by "
            f"one factor, until the work is nearest to that of max pooling (no pooling: {channels}). The largest mean "
            f"macro-F1 is that of: {best}."
        ),
        tables=(
            Table(
                "Test figures, means over seeds",
                (
                    Column("Pooling"),
                    Column("Macro-F1", ".3f", "right"),
                    Column("From", ".3f", "right"),
                    Column("To", ".3f", "right"),
                    Column("Accuracy", ".3f", "right"),
                    Column("Gap", "+.3f", "right"),
                    Column("Parameters", ",d", "right"),
                    Column("Million products", ".1f", "right"),
                    Column("Seconds", ".0f", "right"),
                ),
                tuple(rows),
                note="From, to: 95% interval of the mean macro-F1 over seeds (Student's t), on these test images. Gap: "
                "accuracy on training images less accuracy on test images. Seconds: of one training on this machine.",
            ),
        ),
        figures=(_f1_figure(results),),
        values={
            name: {
                "f1": results.test(name, "f1"),
                "accuracy": results.test(name, "accuracy"),
                "gap": results.gaps(name),
                "parameters": results.outcomes[name][0].parameters,
                "multiply_adds": results.work(results.networks[name]),
                "channels": list(results.networks[name].channels),
            }
            for name in VARIANTS
        },
        verdict=f"Of six networks at equal budget, {best} has the largest mean macro-F1 on test.",
    )


def _ends(spread: SeedSpread) -> tuple[float | None, float | None]:
    if spread.interval is None:
        return None, None
    return max(spread.interval.low, 0.0), min(spread.interval.high, 1.0)


def _f1_figure(results: Results) -> Figure:
    spreads = {name: seed_spread(results.test(name, "f1")) for name in VARIANTS}
    spoken = ", ".join(f"{name} {spread.mean:.3f}" for name, spread in spreads.items())
    return Figure(
        name="f1",
        title="Macro-F1 on test by pooling",
        alt=f"Dot plot of mean macro-F1 with its interval over seeds: {spoken}.",
        draw=partial(_draw_f1, spreads=spreads, results=results),
        size=(6.4, 3.2),
        data={name: results.test(name, "f1") for name in VARIANTS},
        caption="Filled: the mean over seeds with its 95% interval; outlines: single seeds.",
    )


def _draw_f1(figure: MplFigure, *, spreads: Mapping[str, SeedSpread], results: Results) -> None:
    means = Dots(
        "mean over seeds",
        [spread.mean for spread in spreads.values()],
        [None if spread.interval is None else _ends(spread) for spread in spreads.values()],  # type: ignore[misc]
    )
    singles = [
        Dots(
            "single seeds" if number == 0 else "_",
            [results.test(name, "f1")[number] for name in spreads],
            colour="C5",
            is_filled=False,
        )
        for number in range(results.plan.seeds)
    ]
    axes = draw_dots(figure, list(spreads), [means, *singles[:1]])
    for dots in singles[1:]:
        places = range(len(spreads))
        axes.plot(dots.values, places, dots.marker, color=dots.colour, markersize=6, markerfacecolor="none")
    axes.set_xlabel("macro-F1 on test")


def _moved(results: Results) -> Section:
    rows = tuple(
        (
            name,
            *(float(np.mean(results.moved(name, "changed", shift))) for shift in (1, 2, 4, 8)),
            *(float(np.mean(results.moved(name, "distance", shift))) for shift in (1, 8)),
        )
        for name in VARIANTS
    )
    steady = min(WAYS, key=lambda name: float(np.mean(results.moved(name, "distance", 1))))
    return Section(
        title="When the picture moves",
        reading=(
            f"Each picture is decoded {2 * SHIFTS[-1]} pixels larger than what the networks see, and a window moves "
            "over it, in four directions: what enters at its border is the picture's own, no edge and no filling. Of "
            f"the four ways of pooling, 1 pixel moves logits least with: {steady}."
        ),
        tables=(
            Table(
                "Moved by so many pixels",
                (
                    Column("Pooling"),
                    *(Column(f"{shift} px", ".1%", "right") for shift in (1, 2, 4, 8)),
                    *(Column(f"logits, {shift} px", ".3f", "right") for shift in (1, 8)),
                ),
                rows,
                note="Share of predictions that change; how far logits move, 1 being the typical distance of a "
                "picture's logits from the mean of all pictures. Means over directions and seeds.",
            ),
        ),
        figures=(_moved_figure(results),),
        values={
            name: {
                what: {str(shift): results.moved(name, what, shift) for shift in SHIFTS}
                for what in ("changed", "distance")
            }
            for name in VARIANTS
        },
    )


def _moved_figure(results: Results) -> Figure:
    spoken = "; ".join(
        f"{name}: {np.mean(results.moved(name, 'changed', 1)):.1%} at 1 pixel, "
        f"{np.mean(results.moved(name, 'changed', 8)):.1%} at 8"
        for name in VARIANTS
    )
    return Figure(
        name="moved",
        title="Predictions and logits under a shift",
        alt=f"Two line plots over shifts of 1 to 8 pixels. Predictions that change: {spoken}.",
        draw=partial(_draw_moved, results=results),
        size=(7.4, 3.8),
        caption="Bars: the 95% interval of the mean over seeds.",
    )


def _draw_moved(figure: MplFigure, *, results: Results) -> None:
    axes = figure.subplots(1, 2)
    titles = {"changed": "predictions that change, %", "distance": "distance of logits"}
    for place, (what, title) in enumerate(titles.items()):
        scale = 100 if what == "changed" else 1
        for number, name in enumerate(VARIANTS):
            spreads = [seed_spread(results.moved(name, what, shift)) for shift in SHIFTS]
            halves = [(one.interval.high - one.mean if one.interval else 0.0) * scale for one in spreads]
            # Side by side, so that bars don't hide each other.
            shifts = np.array(SHIFTS) + 0.08 * (number - 2.5)
            means = np.array([one.mean for one in spreads]) * scale
            low = np.minimum(halves, means)
            style = "-" if name in WAYS else "--"
            marker = MARKERS[number % len(MARKERS)]
            axes[place].errorbar(
                shifts, means, yerr=[low, halves], fmt=f"{marker}{style}", markersize=4, elinewidth=0.8, label=name
            )
        axes[place].set_xlabel("shift, pixels")
        axes[place].set_ylabel(title)
        axes[place].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)


def _kept(effects: Mapping[str, Effect], plan: Plan) -> Section:
    rows = tuple((name, *effect.kept) for name, effect in effects.items())
    pictures = {name: drawing(name) for name in SHOWN}
    tiles = Tiles(
        labels=tuple(name.replace("_", " ") for name in SHOWN),
        columns=("picture", *POOLINGS),
        rows=tuple(
            (
                Tile(pixels, "picture"),
                *(Tile(pooled_picture(pixels, name), "picture") for name in POOLINGS),
            )
            for pixels in pictures.values()
        ),
        caption="Three poolings each, brought back to the picture's size: one colour for 8×8 pixels.",
    )
    return Section(
        title="What a pooling keeps of a picture",
        reading=(
            "Pooling by itself, on the pictures' own pixels, without a network. Each 2×2 pooling leaves a quarter of "
            "the values. How much of a picture that is depends on it: where neighbours are alike, little is lost."
        ),
        tables=(
            Table(
                "Share of the variance that is left",
                (
                    Column("Pooling"),
                    *(Column(f"{counted(times, 'pooling')}", ".1%", "right") for times in (1, 2, 3)),
                ),
                rows,
                note=f"Of test pictures at {plan.image_size} px, brought back to their size. What max pooling makes "
                "brighter counts as lost. A strided convolution leaves out every second place, whatever its kernel "
                "makes of the others.",
            ),
        ),
        figures=(
            Figure(
                name="kept",
                title="Drawings of the embedded sample, pooled three times",
                alt="Drawings of a vault, stained glass and a gargoyle, and what max, average, every second pixel and "
                "blur pooling leave of them: max is brighter, average smooth, every second pixel jagged.",
                draw=tiles.draw,
                size=tiles.size,
            ),
        ),
        values={name: {"kept": list(effect.kept)} for name, effect in effects.items()},
    )


def drawing(name: str) -> NDArray[np.uint8]:
    """A drawing of the embedded sample, 64 pixels a side, always the same."""
    return np.array(draw(name, np.random.default_rng(7)))


def pooled_picture(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """A picture `(S, S, 3)` after three poolings, brought back to its size."""
    maps = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).double()
    pooled = enlarged(POOLINGS[name], maps, 3)[0].permute(1, 2, 0)
    return pooled.round().clamp(0, 255).byte().numpy()


def _disturbed(results: Results, effects: Mapping[str, Effect]) -> Section:
    by_itself = tuple((name, one.noise, one.bias, one.wrong, one.touched) for name, one in effects.items())
    of_networks = []
    for name in VARIANTS:
        row: list[Cell] = [name, float(np.mean(results.test(name, "accuracy")))]
        for disturbance in ("noise", "wrong pixels"):
            spread = seed_spread(results.lost(name, disturbance))
            ends = (spread.interval.low, spread.interval.high) if spread.interval else (None, None)
            row += [spread.mean, *ends]
        of_networks.append(tuple(row))
    return Section(
        title="Noise, and one wrong maximum",
        reading=(
            f"Of noise of {NOISE:g} grey levels, max pooling lets {effects['max'].noise:.0%} through and average "
            f"pooling {effects['average'].noise:.0%}; and since max picks the largest of four, noise moves its values "
            f"by {effects['max'].bias:+.2f} of the noise's deviation in the mean. One wrong white pixel moves the "
            f"value that it meets by {effects['max'].wrong:.0f} grey levels with max and by "
            f"{effects['average'].wrong:.0f} with average pooling. What trained networks make of that is in the second "
            "table."
        ),
        tables=(
            Table(
                "Pooling by itself",
                (
                    Column("Pooling"),
                    Column("Noise left", ".2f", "right"),
                    Column("Shift by noise", "+.2f", "right"),
                    Column("Wrong pixel", ".1f", "right"),
                    Column("Values it changes", ".2f", "right"),
                ),
                by_itself,
                note="Noise and its shift in units of the noise's deviation; the wrong pixel's largest change in grey "
                "levels, mean over where it lies.",
            ),
            Table(
                "Accuracy that a disturbance costs the networks",
                (
                    Column("Pooling"),
                    Column("Accuracy", ".3f", "right"),
                    Column("Noise", "+.3f", "right"),
                    Column("from", "+.3f", "right"),
                    Column("to", "+.3f", "right"),
                    Column("Wrong pixels", "+.3f", "right"),
                    Column("from ", "+.3f", "right"),
                    Column("to ", "+.3f", "right"),
                ),
                tuple(of_networks),
                note=f"On all test images: noise of {NOISE:g} grey levels; {WRONG_SHARE:.0%} of the pixels white. "
                "From, to: 95% interval of the mean over seeds.",
            ),
        ),
        values={
            "by_itself": {
                name: {"noise": one.noise, "bias": one.bias, "wrong": one.wrong, "touched": one.touched}
                for name, one in effects.items()
            },
            "networks": {
                name: {each: results.lost(name, each) for each in ("noise", "wrong pixels")} for name in VARIANTS
            },
        },
    )


def _by_hand() -> Section:
    text = "move a small picture, spoil one of its values, and see what each pooling makes of it."
    return Section(
        title="By hand",
        reading=(
            "A bright stroke on an 8×8 picture. Move it by one: which pooled values change, and by how much? Click a "
            "value to spoil it."
        ),
        widgets=(Widget("pooling", _asset("pooling.js"), {}, text, _asset("widget.css")),),
        values={},
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _claims(results: Results, effects: Mapping[str, Effect]) -> tuple[Claim, ...]:
    return (
        _claim_on_size(results),
        _claim(
            "Pooling makes a network less sensitive to where things are.",
            less(results.moved("strided convolution", "changed", 1), results.moved("max", "changed", 1)),
            "share of predictions that 1 pixel changes, strided convolution less max, which have the same parameters "
            f"(without pooling, at the same work, {np.mean(results.moved('no pooling', 'changed', 1)):.1%} change)",
        ),
        _claim_on_invariance(results),
        _claim(
            "Pooling reduces overfitting.",
            less(results.gaps("strided convolution"), results.gaps("max")),
            "the gap from training to test accuracy, strided convolution less max, which have the same parameters "
            f"(without pooling, at the same work, the gap is {np.mean(results.gaps('no pooling')):+.3f})",
        ),
        _claim_on_loss(effects),
        _claim(
            "What pooling loses costs accuracy: pooling less often does better.",
            less(results.test("max, every second", "f1"), results.test("max", "f1")),
            "macro-F1 with max after every second convolution less that after every one, at the same work",
        ),
        _claim_on_features(results),
        _claim(
            "Max pooling does better than average pooling.",
            less(results.test("max", "f1"), results.test("average", "f1")),
            "macro-F1, max less average",
        ),
        _claim(
            "One wrong maximum spoils max pooling, where an average evens it out.",
            less(results.lost("max", "wrong pixels"), results.lost("average", "wrong pixels")),
            f"accuracy that {WRONG_SHARE:.0%} wrong pixels cost, max less average",
        ),
        _claim(
            "Max pooling suppresses noise.",
            less(results.lost("average", "noise"), results.lost("max", "noise")),
            "accuracy that noise costs, average less max",
        ),
        Claim(
            "Max pooling is used most often.",
            "undecided",
            "out of reach of this experiment: it trains networks, and counts nobody's",
        ),
    )


def _claim(text: str, differences: Sequence[float], what: str) -> Claim:
    reading, numbers = read_difference(differences)
    return Claim(text, reading, f"{what}: {numbers}")


def _claim_on_size(results: Results) -> Claim:
    pooled = results.networks["max"]
    whole = pooled.model_copy(update={"pool": "none"})
    factor = results.work(whole) / results.work(pooled)
    last = pooled.channels[-1]
    sides = [results.plan.image_size // 2 ** sum(each.pools) for each in (whole, pooled)]
    return Claim(
        "Pooling reduces the size of the maps, and with it the work.",
        "supported" if factor > 1 and sides[1] < sides[0] else "not supported",
        f"with the same channels the last maps hold {last * sides[1] ** 2:,d} values instead of "
        f"{last * sides[0] ** 2:,d}, and an image takes {factor:.1f} times fewer multiply-adds",
    )


def _claim_on_invariance(results: Results) -> Claim:
    changed = results.moved("max", "changed", 1)
    spread = seed_spread(changed)
    reading = {"supported": "not supported", "not supported": "supported"}.get(
        read_interval(spread.interval, least=LEAST_MOVED), "undecided"
    )
    ends = f", 95 % interval {spread.interval.low:.1%} to {spread.interval.high:.1%}" if spread.interval else ""
    return Claim(
        "Max pooling makes predictions invariant to small shifts.",
        reading,  # type: ignore[arg-type]
        f"1 pixel changes {spread.mean:.1%} of them{ends}; invariant is read as fewer than {LEAST_MOVED:.0%}",
    )


def _claim_on_loss(effects: Mapping[str, Effect]) -> Claim:
    kept = {name: effect.kept[-1] for name, effect in effects.items()}
    return Claim(
        "Pooling loses information.",
        "supported" if max(kept.values()) < 1 - LEAST_MOVED else "not supported",
        "three poolings leave of the pixels' variance "
        + listed([f"{share:.0%} ({name})" for name, share in kept.items()])
        + "; read as lost where all leave less than 99 %",
    )


def _claim_on_features(results: Results) -> Claim:
    text = "Max pooling keeps features, average pooling keeps the background."
    facts = [outcome.facts.get("features") for outcome in results.outcomes["max"]]
    if not all(facts):
        return Claim(text, "undecided", "the first layer's maps are empty")
    peaks, levels = (
        {name: [each[name][what] for each in facts if each] for name in ("max", "average")}
        for what in ("peak", "level")
    )
    of_peaks, peak_words = read_difference(less(peaks["max"], peaks["average"]))
    off = {name: [abs(value - 1) for value in levels[name]] for name in levels}
    of_levels, level_words = read_difference(less(off["max"], off["average"]))
    reading = of_peaks if of_peaks == of_levels else "undecided"
    return Claim(
        text,
        reading,
        f"of the first layer's maps two poolings leave {np.mean(peaks['max']):.0%} of the peak with max and "
        f"{np.mean(peaks['average']):.0%} with average (difference {peak_words}); the level is off by "
        f"{np.mean(off['max']):.0%} with max and {np.mean(off['average']):.0%} with average (difference {level_words})",
    )


def _exercises(results: Results, effects: Mapping[str, Effect]) -> tuple[Exercise, ...]:
    plan = results.plan
    poolings = sum(results.networks["max"].pools)
    steady = min(WAYS, key=lambda name: float(np.mean(results.moved(name, "distance", 1))))
    return (
        Exercise(
            "values_left",
            f"A map of {plan.image_size}×{plan.image_size} values goes through {poolings} poolings of 2×2. How many "
            "values are left?",
            float((plan.image_size // 2**poolings) ** 2),
            tolerance=0,
            hint="each pooling halves both sides",
        ),
        Exercise(
            "moves_least",
            f"With which of {listed(list(WAYS))} do logits move least when pictures move by 1 pixel?",
            steady,
            hint="the column of logits at 1 px",
        ),
        Exercise(
            "three_by_three",
            "By how many grey levels would one wrong white pixel move the value of an average pooling of 3×3 windows "
            "that meets it, on these pictures?",
            effects["average"].wrong * 4 / 9,
            tolerance=0.03,
            hint="the table has it for windows of 2×2: a quarter of what the pixel is off by",
        ),
    )
