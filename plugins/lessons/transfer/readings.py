"""What becomes of the text's claims, and the exercises."""

from __future__ import annotations

from collections.abc import Sequence

from ahekit.evaluation.claims import differences, read_difference
from ahekit.sections import Claim, Exercise
from ahekit.training.setup import Setup
from ahekit.wording import counted, listed

from .results import Results
from .trials import HEAD, SCRATCH, TUNED, share_words


def claims(results: Results) -> tuple[Claim, ...]:
    """The text's claims, each with what the numbers make of it."""
    part = results.plan.shares[-2]
    scratch = results.f1(SCRATCH, 1.0)
    return (
        _claim(
            results,
            "A pretrained network needs less data.",
            differences(results.f1(TUNED, part), scratch),
            f"macro-F1 of the tuned backbone with {share_words(part)} of the data less that of cnn5 with all of it",
        ),
        _claim_on_speed(results),
        _claim(
            results,
            "Pretraining regularizes: less is learnt by heart.",
            differences(results.gaps(SCRATCH, 1.0), results.gaps(TUNED, 1.0)),
            "the gap from training to test accuracy with all data, cnn5 less the tuned backbone",
        ),
        _claim(
            results,
            "A pretrained network generalizes better.",
            differences(results.f1(TUNED, 1.0), scratch),
            "macro-F1 on test with all data, the tuned backbone less cnn5",
        ),
    )


def _claim(results: Results, text: str, by_seed: Sequence[float], what: str, form: str = "+.3f") -> Claim:
    reading, numbers = read_difference(by_seed, form=form)
    if results.obstacle:
        return Claim(text, "undecided", f"{results.obstacle}; {what}: {numbers}")
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
    if results.obstacle:
        return Claim(text, "undecided", f"{results.obstacle}; {never}")
    return Claim(text, "not supported" if not saved and results.plan.seeds > 1 else "undecided", f"{what}: {never}")


def exercises(results: Results, setup: Setup) -> tuple[Exercise, ...]:
    """Questions whose answers stand in these numbers."""
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
