"""A network that tells pictures by their brightest colour, and what decides on them: no torch, no training."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahekit.prediction.deciding import Rule
from ahekit.prediction.engine import Outcome, look_at
from ahekit.prediction.photos import find_photos
from ahekit.prediction.shards import Shard
from ahekit.prediction.survey import Survey, SurveyModel
from ahekit.prediction.surveying import Work, prepare, settle
from ahekit.preprocessing import Preprocessing

NAMES = ("arch", "beam", "crypt")
MODEL = SurveyModel("colours 1", "c0105", NAMES)


@dataclass
class ColourNetwork:
    """Logits are the mean colours; a batch is remembered by its size."""

    class_names: tuple[str, ...] = NAMES
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(16))
    batches: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        self.batches.append(len(pixels))
        time.sleep(self.seconds)
        means = pixels.reshape(len(pixels), -1, 3).mean(1, dtype=np.float64).astype(np.float32) / 16
        return means, means.astype(np.float16)


class Softmax:
    """Sure from a probability on; all dark ones are unknown."""

    def accept(self, rule: Rule) -> Any:
        least = 0.9 if rule.min_confidence is None else rule.min_confidence
        return SimpleNamespace(least=least, sentences=(f"Sure from {least:g} on.",))

    def decide(self, logits: NDArray[np.float32], embeddings: NDArray[np.float16], acceptance: Any) -> Any:
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        order = np.argsort(-shares, axis=1, kind="stable")
        best = np.take_along_axis(shares, order, 1)
        score = -embeddings.astype(np.float64).max(1)
        state = np.where(score > -1, "unknown", np.where(best[:, 0] >= acceptance.least, "sure", "review"))
        return SimpleNamespace(
            class_index=order[:, 0],
            confidence=best[:, 0],
            runner_up_index=order[:, 1],
            runner_up_confidence=best[:, 1],
            unknown_score=score,
            state=state,
            reason=["" if each == "sure" else f"told {each}" for each in state],
        )


def make_photos(folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (40, 30)) -> list[Path]:
    """Noise in one of three colours or dark, JPEG and PNG, in two folders; older than what counts as fresh."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        path = folder / ("a", "b")[number % 2] / f"{number:04d}{('.jpg', '.png')[number % 5 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 12, (size[1], size[0], 3)).astype(np.uint8)
        if number % 4 < 3:
            pixels[:, :, number % 4] += np.uint8(30 + 10 * (number % 7))
        Image.fromarray(pixels).save(path)
        make_old(path)
        paths.append(path)
    return paths


def make_old(path: Path, seconds: float = 1000) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def predict(
    survey: Survey,
    folder: Path,
    *,
    network: ColourNetwork | None = None,
    rule: Rule | None = None,
    part: Survey | None = None,
    shard: Shard | None = None,
    is_backwards: bool = False,
    **options: Any,
) -> tuple[Outcome, Work]:
    """Look at what there is to look at, as the command does."""
    decider: Any = Softmax()
    own = part or survey
    acceptance, _ = settle(own, decider, rule)
    work = prepare(survey, find_photos([str(folder)]), part=part, shard=shard)
    tasks = work.plan.tasks[::-1] if is_backwards else work.plan.tasks
    options = {"workers": 2, **options}
    return look_at(own, tasks, network or ColourNetwork(), decider, acceptance, **options), work


def table(survey: Any, *, without: Sequence[str] = ("id", "predicted_at")) -> list[tuple[Any, ...]]:
    """All that a survey's file holds of the photos, by path, but for times and ids."""
    names = [row[1] for row in survey.database.execute("PRAGMA table_info(photos)") if row[1] not in without]
    return list(survey.database.execute(f"SELECT {', '.join(names)} FROM photos ORDER BY path"))


def start_child(work: Callable[[], object]) -> int:
    """A process that has all this one has, and does the work; its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        sys.__stderr__.write(f"{error!r}\n")  # type: ignore[union-attr]
        os._exit(1)
    os._exit(0)


def in_child(work: Callable[[], object]) -> int:
    """The status of a process that did the work: the number of the signal that ended it, 0 where none did."""
    return os.waitpid(start_child(work), 0)[1]
