"""What becomes of a photo: sure, to be reviewed, or of none of the classes, from the network's output alone.

Everything is fitted once, on validation, and written down as plain numbers; deciding needs numpy and no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ahekit.errors import AhekitError, DataError, UsageError
from ahekit.evaluation.confidence import (
    Calibration,
    Score,
    ScoreName,
    compare_scores,
    fit_calibration,
    fit_score,
    runner_up_confidence,
    scaled_probabilities,
)
from ahekit.evaluation.guarantee import Guarantee, Shortage, guaranteed_threshold, images_needed
from ahekit.evaluation.unknown import Neighbours, UnknownName, kept_threshold
from ahekit.wording import counted

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DEFAULT_MAX_ERROR = 0.02
DEFAULT_MIN_CONFIDENCE = 0.95
"""Asked where nothing else is: the guarantee where the data carry it, else this confidence."""

FEWEST_VALIDATION = 2


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Labelled(_Facts):
    """Labelled images as thresholds need them, the surest first."""

    scores: tuple[float, ...] = Field(description="how sure the answer is, in the units of the score; falling")
    unknown_scores: tuple[float, ...] = Field(description="how unlike the training images it is")
    wrong: tuple[int, ...] = Field(description="places of the wrong answers, counted from 0")

    @model_validator(mode="after")
    def _check(self) -> Labelled:
        if len(self.unknown_scores) != len(self.scores):
            raise ValueError(f"{len(self.scores)} scores and {len(self.unknown_scores)} unknown_scores")
        if any(not 0 <= place < len(self.scores) for place in self.wrong):
            raise ValueError(f"wrong: a place that isn't among the {len(self.scores)} images")
        return self

    @classmethod
    def of(cls, scores: Floats, unknown_scores: Floats, is_right: Bools) -> Labelled:
        """From arrays `(N,)`, each number kept at seven digits."""
        order = np.argsort(-scores, kind="stable")
        return cls(
            scores=tuple(_digits(scores[order])),
            unknown_scores=tuple(_digits(unknown_scores[order])),
            wrong=tuple(np.flatnonzero(~is_right[order]).tolist()),
        )

    @property
    def is_right(self) -> Bools:
        """Whether each answer is right, `(N,)`."""
        right = np.ones(len(self.scores), dtype=bool)
        right[list(self.wrong)] = False
        return right


class Deciding(_Facts):
    """How a network's output becomes a decision: plain numbers, fitted on validation."""

    score: ScoreName = Field(description="what confidence is made of")
    score_temperature: float = Field(1.0, gt=0, description="divides the logits of that score")
    score_norm: float = Field(2.0, gt=0, description="exponent of the norm, for logit_norm")
    slope: float = Field(gt=0, description="of the logistic curve from the score to a confidence")
    intercept: float = Field(description="of that curve")
    temperature: float = Field(gt=0, description="divides the logits where they become probabilities")
    unknown: UnknownName = Field(description="what tells pictures of none of the classes")
    data: str = Field("", description="the dataset that validation was cut from")
    validation: Labelled = Field(description="images that the network has not learned from")
    test: Labelled | None = Field(None, description="images that no choice was made on")


@dataclass(frozen=True)
class Reference:
    """What deciding needs beside plain numbers, as named arrays: the compressed training embeddings."""

    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Rule:
    """What is asked of the photos that are called sure, and of those called unknown.

    Attributes:
        max_error: At most this share of the sure ones is wrong, 0 to 1; None: not asked.
        surety: With this probability, 0 to 1.
        min_confidence: Least confidence of a sure one, 0 to 1; None: not asked.
        known_kept: Share of photos of the classes that are not to be called unknown, 0 to 1; 1: nothing is unknown.
    """

    max_error: float | None = None
    surety: float = 0.95
    min_confidence: float | None = None
    known_kept: float = 0.95

    def __post_init__(self) -> None:
        if self.max_error is not None and self.min_confidence is not None:
            raise UsageError("a largest error and a least confidence can't both be asked; name one of them")
        bounds = {"max_error": self.max_error, "surety": self.surety}
        for name, value in bounds.items():
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name}: must be between 0 and 1, both excluded (got {value:g})")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(f"min_confidence: must be between 0 and 1 (got {self.min_confidence:g})")
        if not 0 < self.known_kept <= 1:
            raise UsageError(f"known_kept: must be above 0 and at most 1 (got {self.known_kept:g})")


@dataclass(frozen=True)
class Acceptance:
    """A rule as thresholds.

    Attributes:
        min_score: Least score of a sure photo.
        min_confidence: The same as a confidence.
        most_unknown: Highest unknown score of a photo of the classes; infinite: nothing is unknown.
        sentences: What this means and what it stands on, for people.
    """

    min_score: float
    min_confidence: float
    most_unknown: float
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Decisions:
    """What becomes of N photos; every array is `(N,)`.

    Attributes:
        class_index: Of the predicted class.
        confidence: In it, 0 to 1; `runner_up_confidence` likewise.
        unknown_score: How unlike the training images it is; only its order means something.
        state: "sure", "review" or "unknown".
        reason: Why it is not sure; empty where it is.
    """

    class_index: NDArray[np.int64]
    confidence: Floats
    runner_up_index: NDArray[np.int64]
    runner_up_confidence: Floats
    unknown_score: Floats
    state: NDArray[np.str_]
    reason: list[str]


class Decider:
    """Decides on photos by what `fit_deciding` fitted.

    Raises:
        DataError: The reference isn't one.
    """

    def __init__(self, deciding: Deciding, reference: Reference, class_names: Sequence[str]) -> None:
        self.deciding = deciding
        self.reference = reference
        self.class_names = tuple(class_names)
        self.score = Score(deciding.score, temperature=deciding.score_temperature, norm=deciding.score_norm)
        self.calibration = Calibration(deciding.slope, deciding.intercept, len(deciding.validation.scores))
        try:
            self._neighbours = Neighbours.from_arrays(reference.arrays)
        except ValueError as error:
            raise DataError(
                f"the model's training embeddings can't be used ({error}); export the model again"
            ) from error

    def accept(self, rule: Rule) -> Acceptance:
        """The thresholds of a rule, and what they stand on.

        Raises:
            AhekitError: The labelled images don't carry the guarantee that is asked.
        """
        most_unknown, on_unknown = self._known(rule.known_kept)
        if rule.min_confidence is not None:
            return self._from_confidence(rule.min_confidence, most_unknown, (on_unknown,))
        max_error = DEFAULT_MAX_ERROR if rule.max_error is None else rule.max_error
        validation = self.deciding.validation
        known = np.array(validation.unknown_scores) <= most_unknown
        result = guaranteed_threshold(
            np.array(validation.scores)[known], validation.is_right[known], max_error=max_error, surety=rule.surety
        )
        if isinstance(result, Guarantee):
            return self._guaranteed(result, max_error, rule.surety, most_unknown, on_unknown)
        refusal = self._refusal(result, max_error, rule.surety)
        if rule.max_error is not None:
            raise AhekitError(refusal)
        return self._from_confidence(DEFAULT_MIN_CONFIDENCE, most_unknown, (f"No guarantee: {refusal}.", on_unknown))

    def decide(
        self, logits: NDArray[np.float32], embeddings: NDArray[np.floating], acceptance: Acceptance
    ) -> Decisions:
        """Decide on photos.

        Args:
            logits: `(N, C)`.
            embeddings: `(N, D)`.
        """
        is_whole = np.isfinite(logits).all(axis=1) & np.isfinite(embeddings).all(axis=1)
        logits = np.where(is_whole[:, None], logits, np.float32(0))
        embeddings = np.where(is_whole[:, None], embeddings, embeddings.dtype.type(0))
        ranked = np.argsort(-logits, axis=1, kind="stable")
        scores = self.score(logits)
        confidence = np.where(is_whole, self.calibration(scores), 0.0)
        probabilities = scaled_probabilities(logits, self.deciding.temperature)
        unknown_score = self._neighbours.distances(embeddings)
        is_unknown = is_whole & (unknown_score > acceptance.most_unknown)
        is_sure = is_whole & ~is_unknown & (scores >= acceptance.min_score)
        state = np.where(is_unknown, "unknown", np.where(is_sure, "sure", "review"))
        reason = [
            self._reason(*row, acceptance)
            for row in zip(state.tolist(), is_whole.tolist(), confidence.tolist(), strict=True)
        ]
        return Decisions(
            class_index=ranked[:, 0],
            confidence=confidence,
            runner_up_index=ranked[:, 1],
            runner_up_confidence=runner_up_confidence(confidence, probabilities),
            unknown_score=unknown_score,
            state=state,
            reason=reason,
        )

    def _reason(self, state: str, is_whole: bool, confidence: float, acceptance: Acceptance) -> str:
        if state == "sure":
            return ""
        if not is_whole:
            return "the network's output is not a number"
        if state == "unknown":
            return "unlike the pictures that the classes were learned from"
        return f"confidence {confidence:.3f}, below {acceptance.min_confidence:.3f}"

    def _known(self, known_kept: float) -> tuple[float, str]:
        """The highest unknown score of what counts as known, and a sentence on it."""
        if known_kept == 1:
            return float("inf"), "Nothing is set apart as unknown."
        most_unknown = kept_threshold(np.array(self.deciding.validation.unknown_scores), known_kept)
        if np.isinf(most_unknown):
            needed = int(np.ceil(known_kept / (1 - known_kept) - 1e-9))
            images = len(self.deciding.validation.unknown_scores)
            return most_unknown, (
                f"Nothing is set apart as unknown: to keep {_percent(known_kept)} of the known pictures takes "
                f"{counted(needed, 'validation image')}, and there are {images:,d}."
            )
        sentence = (
            f"What is further from the training pictures than {_percent(known_kept)} of validation is set apart as "
            "unknown"
        )
        test = self.deciding.test
        if test is not None:
            apart = float(np.mean(np.array(test.unknown_scores) > most_unknown))
            sentence += f"; of {len(test.scores):,d} test pictures, all of known classes, that was {apart:.1%}"
        return most_unknown, f"{sentence}."

    def _from_confidence(self, min_confidence: float, most_unknown: float, sentences: tuple[str, ...]) -> Acceptance:
        n = self.calibration.images
        # The inverse of the calibration; beyond what it can reach, everything or nothing is sure.
        share = (min_confidence * (n + 2) - 1) / n
        if share >= 1:
            min_score = float("inf")
        elif share <= 0:
            min_score = float("-inf")
        else:
            log_odds = float(np.log(share) - np.log1p(-share))
            min_score = (log_odds - self.calibration.intercept) / self.calibration.slope
        sentence = f"Sure is what has a confidence of at least {min_confidence:g}."
        return Acceptance(min_score, min_confidence, most_unknown, (sentence, *sentences))

    def _guaranteed(
        self, guarantee: Guarantee, max_error: float, surety: float, most_unknown: float, on_unknown: str
    ) -> Acceptance:
        confidence = float(self.calibration(np.array([guarantee.threshold]))[0])
        promise = (
            f"Sure is what has a confidence of at least {confidence:.3f}: at most {_percent(max_error)} of these are "
            f"wrong, with a surety of {_percent(surety)} ({counted(guarantee.mistakes, 'mistake')} among the "
            f"{guarantee.images:,d} surest of {len(self.deciding.validation.scores):,d} validation pictures)."
        )
        sentences = [promise]
        test = self.deciding.test
        if test is not None:
            is_sure = np.array(test.scores) >= guarantee.threshold
            is_sure &= np.array(test.unknown_scores) <= most_unknown
            wrong = int((is_sure & ~test.is_right).sum())
            sure = int(is_sure.sum())
            share = f"{wrong / sure:.1%} of them" if sure else "none"
            sentences.append(
                f"On {len(test.scores):,d} test pictures, which had no part in this, {sure:,d} were sure "
                f"({sure / len(test.scores):.0%}), and {share} wrong ({wrong:,d})."
            )
        whose = f"{self.deciding.data}'s own" if self.deciding.data else "the training data's own"
        sentences.append(
            f"This stands on {whose} pictures; a reviewed random sample of your own photos is what makes it yours."
        )
        return Acceptance(guarantee.threshold, confidence, most_unknown, (*sentences, on_unknown))

    def _refusal(self, shortage: Shortage, max_error: float, surety: float) -> str:
        asked = f"at most {_percent(max_error)} wrong with a surety of {_percent(surety)} can't be promised"
        have = f"among the {counted(shortage.images, 'surest labelled image')} {_are(shortage.mistakes)}"
        fewest = images_needed(max_error, surety)
        if shortage.images < fewest:
            have += f", and it takes {fewest:,d} even without a mistake"
        if shortage.needed is None:
            return f"{asked}: {have}; allow more mistakes, or train a better network"
        return (
            f"{asked}: {have}; it would take about {counted(shortage.needed, 'labelled image')} in all, or allow more "
            "mistakes"
        )


def fit_deciding(
    *,
    val_logits: NDArray[np.floating],
    val_labels: NDArray[np.int64],
    val_embeddings: NDArray[np.floating],
    train_logits: NDArray[np.floating],
    train_embeddings: NDArray[np.floating],
    train_labels: NDArray[np.int64],
    class_names: Sequence[str],
    head_weight: NDArray[np.floating] | None = None,
    head_bias: NDArray[np.floating] | None = None,
    test_logits: NDArray[np.floating] | None = None,
    test_labels: NDArray[np.int64] | None = None,
    test_embeddings: NDArray[np.floating] | None = None,
    data: str = "",
    seed: int = 0,
) -> tuple[Deciding, Reference]:
    """Choose the confidence score and calibrate it, and measure what tells unknown pictures; all of it on validation.

    Args:
        val_logits: `(N, C)`; `val_labels` `(N,)` and `val_embeddings` `(N, D)` of the same images, which the network
            has not learned from.
        train_embeddings: `(M, D)` of training images, all or many of each class; with their logits and labels.
        head_weight: `(C, D)` of the network's last layer; with its bias `(C,)`.
        test_logits: Of images that no choice was made on, with labels and embeddings: what the promises gave there is
            told beside them. None: it isn't told.
        data: The dataset's name, for sentences.

    Raises:
        DataError: Validation or training holds too little, or something that is no number.
    """
    for name, logits, embeddings in (
        ("validation", val_logits, val_embeddings),
        ("training", train_logits, train_embeddings),
    ):
        if len(logits) < FEWEST_VALIDATION:
            raise DataError(
                f"{counted(len(logits), f'{name} image')}: too few to tell how far the network can be trusted"
            )
        if not np.isfinite(embeddings).all() or np.isnan(logits).any() or np.isposinf(logits).any():
            raise DataError(f"the network's outputs for {name} images are not all numbers; train it again")
    if val_logits.shape[1] < 2:
        raise DataError("the network knows one class; there is nothing to be unsure between")
    is_right = val_logits.argmax(axis=1) == val_labels
    score = compare_scores(val_logits, val_labels, seed=seed)[0].score
    scores = score(val_logits)
    calibration = fit_calibration(scores, is_right)
    neighbours = Neighbours.fit(train_embeddings, train_labels)
    test = None
    if test_logits is not None and test_labels is not None and test_embeddings is not None and len(test_labels):
        is_right_on_test = test_logits.argmax(axis=1) == test_labels
        test = Labelled.of(score(test_logits), neighbours.distances(test_embeddings), is_right_on_test)
    deciding = Deciding(
        score=score.name,
        score_temperature=score.temperature,
        score_norm=score.norm,
        slope=calibration.slope,
        intercept=calibration.intercept,
        temperature=fit_score("probability", val_logits, val_labels).temperature,
        unknown="knn",
        data=data,
        validation=Labelled.of(scores, neighbours.distances(val_embeddings), is_right),
        test=test,
    )
    return deciding, Reference(neighbours.arrays())


def _are(mistakes: int) -> str:
    return f"{'is' if mistakes == 1 else 'are'} {counted(mistakes, 'mistake')}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _digits(values: Floats) -> list[float]:
    return [float(f"{value:.7g}") for value in values.tolist()]
