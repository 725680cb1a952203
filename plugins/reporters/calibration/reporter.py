"""Whether the network's confidence can be trusted, and how many images have to be looked at by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ahekit.evaluation.calibration import (
    BINS,
    Confidences,
    abstention_threshold,
    answered,
    confidences,
    reliability,
)
from ahekit.evaluation.confidence import (
    Calibration as ConfidenceCurve,
)
from ahekit.evaluation.confidence import (
    Score,
    Trial,
    area_interval,
    compare_scores,
    fit_calibration,
    fit_score,
    risk_coverage_area,
    score_names,
)
from ahekit.evaluation.guarantee import Guarantee, guaranteed_threshold
from ahekit.evaluation.intervals import Interval
from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions, take
from ahekit.evaluation.record import SPLIT_NAMES, MissingRecord, RunRecord, judged_predictions
from ahekit.protocols import NoParams
from ahekit.sections import Cell, Column, Section, Table
from ahekit.wording import counted
from ahekit_plugins.reporters.calibration.drawing import coverage_figure, reliability_figure

TARGETS = (0.95, 0.98)
MAX_ERRORS = (0.01, 0.02, 0.05)
SURETY = 0.95

SCORE_WORDS = {
    "probability": "largest probability",
    "logit_norm": "normalised logit",
    "energy": "energy",
    "margin": "margin of logits",
}


@dataclass(frozen=True)
class Fitted:
    """What validation chose.

    Attributes:
        trials: The scores, best first.
        temperature: Under which the log loss of the probabilities is least.
        curve: From the best score to a confidence.
        on: Validation as the best score and that curve see it.
    """

    trials: list[Trial]
    temperature: float
    curve: ConfidenceCurve
    on: Confidences

    @property
    def score(self) -> Score:
        """The best score."""
        return self.trials[0].score


class Calibration:
    """How well scores rank the answers, calibration before and after fitting, thresholds for answering when sure."""

    order = 60
    Params = NoParams

    def report(self, record: RunRecord, params: NoParams) -> Section:
        """Measure on test what was fitted on validation; without test predictions, measure alone."""
        split, whole = judged_predictions(record)
        predictions = _labelled(whole)
        validation = _validation(record) if split == "test" else None
        fitted = _fit(validation) if validation is not None and len(validation.ids) else None
        states = _states(predictions, fitted)
        scores = [trial.score for trial in fitted.trials] if fitted else _plain_scores(predictions)
        ranked = {SCORE_WORDS[score.name]: _ranked(predictions, score) for score in scores}
        areas = {name: risk_coverage_area(answers.confidence, answers.correct) for name, answers in ranked.items()}
        intervals = {name: area_interval(answers.confidence, answers.correct) for name, answers in ranked.items()}
        answers = list(states.values())[-1][1]
        thresholds = _thresholds(fitted, answers) if fitted else []
        guarantees = _guarantees(fitted, answers) if fitted else []
        raw = states["as it is"][1]
        tables = [_error_table(split, predictions, states), _score_table(split, fitted, scores, areas, intervals)]
        if thresholds:
            tables += [_threshold_table(thresholds), _guarantee_table(guarantees)]
        kinds = {name: reliability(state) for name, (_, state) in states.items()}
        return Section(
            title=f"Confidence, {SPLIT_NAMES[split]}",
            reading=_reading(raw, answers, fitted, thresholds, guarantees),
            tables=tuple(tables),
            figures=(
                reliability_figure(split, kinds),
                coverage_figure(split, ranked, areas, SCORE_WORDS[scores[0].name], TARGETS),
            ),
            values={
                "split": split,
                "bins": BINS,
                "temperature": fitted.temperature if fitted else None,
                "ece": {name: kind.ece for name, kind in kinds.items()},
                "score": fitted.score.name if fitted else None,
                "areas": {
                    score.name: {
                        "validation": fitted.trials[number].area if fitted else None,
                        split: areas[SCORE_WORDS[score.name]],
                        "low": intervals[SCORE_WORDS[score.name]].low,
                        "high": intervals[SCORE_WORDS[score.name]].high,
                    }
                    for number, score in enumerate(scores)
                },
                "thresholds": thresholds,
                "guarantees": guarantees,
            },
            verdict=_verdict(thresholds, len(raw.correct)),
        )


def _labelled(predictions: Predictions) -> Predictions:
    return take(predictions, np.flatnonzero(predictions.labels >= 0))


def _validation(record: RunRecord) -> Predictions | None:
    try:
        return _labelled(record.need_predictions("val"))
    except MissingRecord:
        return None


def _fit(validation: Predictions) -> Fitted:
    trials = compare_scores(validation.logits, validation.labels)
    on = _ranked(validation, trials[0].score)
    curve = fit_calibration(on.confidence, on.correct)
    temperature = fit_score("probability", validation.logits, validation.labels).temperature
    return Fitted(trials, temperature, curve, Confidences(curve(on.confidence), on.correct))


def _ranked(predictions: Predictions, score: Score) -> Confidences:
    """Answers by a score instead of a confidence."""
    return Confidences(score(predictions.logits), predictions.predicted == predictions.labels)


def _plain_scores(predictions: Predictions) -> list[Score]:
    return [Score(name) for name in score_names(predictions.logits)]


def _states(predictions: Predictions, fitted: Fitted | None) -> dict[str, tuple[float | None, Confidences]]:
    """Each kind of confidence, with the temperature of its probabilities where it is one of these."""
    states: dict[str, tuple[float | None, Confidences]] = {"as it is": (1.0, confidences(predictions))}
    if fitted is not None:
        scaled = confidences(predictions, temperature=fitted.temperature)
        ranked = _ranked(predictions, fitted.score)
        states["scaled"] = (fitted.temperature, scaled)
        states["calibrated"] = (None, Confidences(fitted.curve(ranked.confidence), ranked.correct))
    return states


def _thresholds(fitted: Fitted, answers: Confidences) -> list[dict[str, float | None]]:
    """For each target: the threshold chosen on validation, and what it does on test."""
    rows: list[dict[str, float | None]] = []
    for target in TARGETS:
        threshold = abstention_threshold(fitted.on, target)
        row: dict[str, float | None] = {"target": target, "threshold": threshold}
        if threshold is not None:
            row |= _what_it_does(answers, threshold)
        rows.append(row)
    return rows


def _guarantees(fitted: Fitted, answers: Confidences) -> list[dict[str, float | None]]:
    """For each largest error: what validation promises, and what it gave on test."""
    rows: list[dict[str, float | None]] = []
    for max_error in MAX_ERRORS:
        result = guaranteed_threshold(fitted.on.confidence, fitted.on.correct, max_error=max_error, surety=SURETY)
        row: dict[str, float | None] = {"max_error": max_error, "surety": SURETY}
        if isinstance(result, Guarantee):
            row |= {"threshold": result.threshold, "accepted": result.images, "mistakes": result.mistakes}
            row |= _what_it_does(answers, result.threshold)
        else:
            row |= {"threshold": None, "needed": result.needed}
        rows.append(row)
    return rows


def _what_it_does(answers: Confidences, threshold: float) -> dict[str, float | None]:
    images, correct = answered(answers, threshold)
    total = len(answers.correct)
    return {
        "answered": images / total,
        "by_hand": total - images,
        "accuracy": correct / images if images else None,
        "wrong": images - correct,
        "error": (images - correct) / images if images else None,
    }


def _error_table(split: str, predictions: Predictions, states: dict[str, tuple[float | None, Confidences]]) -> Table:
    logits = predictions.logits.astype(np.float64)
    columns = (
        Column("Confidence"),
        Column("Temperature", ".3f", "right"),
        Column("Mean confidence", ".3f", "right"),
        Column("Accuracy", ".3f", "right"),
        Column("ECE", ".4f", "right"),
        Column("Log loss", ".4f", "right"),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, (temperature, answers) in states.items():
        means = float(answers.confidence.mean()), float(answers.correct.mean()), reliability(answers).ece
        loss = None if temperature is None else float(log_losses(logits / temperature, predictions.labels).mean())
        rows.append((name, temperature, *means, loss))
    note = f"ECE: {BINS} bins of equal width, confidence of the predicted class. The temperature divides the logits"
    note += (
        ". Calibrated: a logistic curve of the score that ranks best, which has no probabilities of the other classes "
        "and so no log loss of its own. Both were fitted on validation, which also chose the epoch."
        if len(rows) > 1
        else "; it needs validation to fit."
    )
    return Table(f"Calibration, {SPLIT_NAMES[split]}", columns, tuple(rows), note)


def _score_table(
    split: str,
    fitted: Fitted | None,
    scores: list[Score],
    areas: dict[str, float],
    intervals: dict[str, Interval],
) -> Table:
    columns = (
        Column("Score"),
        Column("Area, validation", ".4f", "right"),
        Column(f"Area, {split}", ".4f", "right"),
        Column("From", ".4f", "right"),
        Column("To", ".4f", "right"),
    )
    rows: list[tuple[Cell, ...]] = []
    for number, score in enumerate(scores):
        name = SCORE_WORDS[score.name]
        area = fitted.trials[number].area if fitted else None
        rows.append((name, area, areas[name], intervals[name].low, intervals[name].high))
    method = next(iter(intervals.values())).method
    note = "Area under the curve of errors against images answered: the smaller, the better the score tells right "
    note += f"answers from wrong ones. 95 % interval on {split}: {method}."
    if fitted:
        note += " The first is used; it was chosen by cross-validation on validation."
    if "energy" not in {score.name for score in scores}:
        note += " The stored logits are logarithms of averaged probabilities, whose energy is always 0: it is left out."
    return Table("Scores that rank the answers", columns, tuple(rows), note)


def _threshold_table(thresholds: list[dict[str, float | None]]) -> Table:
    columns = (
        Column("Accuracy wanted", ".0%", "right"),
        Column("Confidence from", ".3f", "right"),
        Column("Answered", ".1%", "right"),
        Column("Accuracy of these", ".3f", "right"),
        Column("Wrong among them", ",d", "right"),
        Column("To look at by hand", ",d", "right"),
    )
    keys = ("target", "threshold", "answered", "accuracy", "wrong", "by_hand")
    rows = tuple(tuple(row.get(key) for key in keys) for row in thresholds)
    note = (
        "The threshold on the calibrated confidence is the lowest that reaches the accuracy on validation; the other "
    )
    note += "columns are what it does on test. A dash: no confidence reaches it on validation."
    return Table("Answering only when confident", columns, rows, note)


def _guarantee_table(guarantees: list[dict[str, float | None]]) -> Table:
    columns = (
        Column("Wrong at most", ".0%", "right"),
        Column("Confidence from", ".3f", "right"),
        Column("Validation: from there", ",d", "right"),
        Column("Validation: wrong", ",d", "right"),
        Column("Test: answered", ".1%", "right"),
        Column("Test: wrong", ",d", "right"),
        Column("Test: wrong, share", ".2%", "right"),
        Column("Labelled images it would take", ",d", "right"),
    )
    keys = ("max_error", "threshold", "accepted", "mistakes", "answered", "wrong", "error", "needed")
    rows = tuple(tuple(row.get(key) for key in keys) for row in guarantees)
    note = f"Promised with a surety of {SURETY:.0%}, by an exact binomial bound on validation over a fixed order of "
    note += "thresholds; test shows what it gave. It holds for pictures like those of validation. A dash in place of a "
    note += "confidence: validation can't carry the promise."
    return Table("Answering with a guarantee", columns, rows, note)


def _reading(
    raw: Confidences,
    answers: Confidences,
    fitted: Fitted | None,
    thresholds: list[dict[str, float | None]],
    guarantees: list[dict[str, float | None]],
) -> str:
    gap = float(raw.confidence.mean() - raw.correct.mean())
    if abs(gap) < 0.02:
        judgement = "about as confident as it is right"
    else:
        judgement = "overconfident" if gap > 0 else "underconfident"
    sentences = [
        f"On average it is {raw.confidence.mean():.3f} confident and {raw.correct.mean():.3f} right: {judgement} "
        f"(calibration error {reliability(raw).ece:.3f})."
    ]
    if fitted is not None:
        sentences.append(
            f"The {SCORE_WORDS[fitted.score.name]}, which ranks the answers of validation best, as a confidence "
            f"fitted there has an error of {reliability(answers).ece:.3f}."
        )
    for row in thresholds:
        if row["threshold"] is not None and row.get("accuracy") is not None:
            sentences.append(
                f"Answering only from {row['threshold']:.2f} on, chosen for {row['target']:.0%} accuracy, leaves "
                f"{counted(int(row['by_hand'] or 0), 'image')} of {len(raw.correct):,d} to look at by hand; the others "
                f"are {row['accuracy']:.1%} right{_short(row)}."
            )
    for row in guarantees:
        if row["threshold"] is not None and row.get("error") is not None:
            sentences.append(
                f"At most {row['max_error']:.0%} wrong, promised with a surety of {SURETY:.0%}, were "
                f"{row['error']:.2%} of the {row['answered']:.0%} of test that it answers."
            )
            break
    return " ".join(sentences)


def _verdict(thresholds: list[dict[str, float | None]], images: int) -> str:
    """How much work the most demanding target that can be reached leaves to a person."""
    for row in reversed(thresholds):
        if row["threshold"] is not None and row.get("accuracy") is not None:
            by_hand = counted(int(row["by_hand"] or 0), "image")
            return (
                f"For {row['target']:.0%}, {by_hand} of {images:,d} are to be looked at by hand (the others are "
                f"{row['accuracy']:.1%} right on test)."
            )
    return ""


def _short(row: dict[str, float | None]) -> str:
    reached = row.get("accuracy")
    target = row["target"]
    return ", less than on validation" if reached is not None and target is not None and reached < target else ""
