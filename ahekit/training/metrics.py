"""The metrics that reporters offer, measured at each epoch's end; one that breaks costs only itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ahekit.errors import AhekitError, PluginError, UnknownNameError
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.predictions import take as take_images
from ahekit.notes import MetricNote
from ahekit.protocols import Metric
from ahekit.registry import REPORTERS

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,59}")
_LONGEST = 200  # characters of a broken metric's own words


@dataclass(frozen=True)
class Offer:
    """A metric and the reporter that offers it, with its distribution."""

    metric: Metric
    reporter: str
    provider: str

    @property
    def note(self) -> MetricNote:
        """What a run's manifest keeps of it."""
        metric = self.metric
        return MetricNote(
            name=metric.name, direction=metric.direction, description=metric.description, reporter=self.reporter
        )

    @property
    def origin(self) -> str:
        """Which metric of whom, for messages."""
        return f"metric {self.metric.name!r} of reporter {self.reporter!r} ({self.provider})"


@dataclass(frozen=True)
class Metrics:
    """All that is measured at each epoch's end.

    Attributes:
        faults: What can't be used of what reporters offer, a line each.
        clashes: By name, those who offer the same.
    """

    offers: tuple[Offer, ...]
    faults: tuple[str, ...] = ()
    clashes: tuple[tuple[str, str], ...] = ()

    @property
    def notes(self) -> tuple[MetricNote, ...]:
        """What a run's manifest keeps of them."""
        return tuple(offer.note for offer in self.offers)

    def get(self, name: str) -> MetricNote:
        """The metric of that name.

        Raises:
            UnknownNameError: No reporter offers it.
            PluginError: Two reporters do.
        """
        if name in (clashes := dict(self.clashes)):
            raise PluginError(f"the run is to choose by {name!r}, but {clashes[name]}; remove or rename one")
        for note in self.notes:
            if note.name == name:
                return note
        hint = "A reporter offers more by an attribute `metrics`" + "".join(f". {fault}" for fault in self.faults)
        raise UnknownNameError("metric", name, [note.name for note in self.notes], hint=hint)

    def measure(
        self, predictions: Predictions, *, warn: Callable[[str, str], None] = lambda name, text: None
    ) -> dict[str, float | None]:
        """Every metric of predictions, by name; None for one that breaks or isn't a finite number.

        Args:
            predictions: Those on images of unknown class are left out.
            warn: Told the name of a metric that breaks, and a line that says how.
        """
        of_known_class = np.flatnonzero(predictions.labels >= 0)
        judged = take_images(predictions, of_known_class)
        values: dict[str, float | None] = {}
        for offer in self.offers:
            # Whatever the function does with random numbers, training goes on with its own.
            with torch.random.fork_rng(devices=[]):
                value, fault = _value(offer.metric, judged)
            values[offer.metric.name] = value
            if fault:
                warn(offer.metric.name, f"{offer.origin}: {fault}; it is left out of this epoch")
        return values


def offered_metrics() -> Metrics:
    """The metrics that the registered reporters offer; a reporter that can't be loaded costs only its own."""
    offers: dict[str, Offer] = {}
    faults: list[str] = []
    clashes: dict[str, str] = {}
    for entry in REPORTERS.entries():
        try:
            metrics = getattr(REPORTERS.load(entry), "metrics", ())
            metrics = tuple(metrics)
        except AhekitError as error:
            faults.append(str(error))
            continue
        except (Exception, SystemExit) as error:
            faults.append(_line(f"metrics of reporter {entry.name!r} ({entry.provider}): {_told(error)}"))
            continue
        for metric in metrics:
            if fault := metric_fault(metric):
                faults.append(_line(f"a metric of reporter {entry.name!r} ({entry.provider}) {fault}; it is left out"))
                continue
            offer = Offer(metric, entry.name, entry.provider)
            first = offers.setdefault(metric.name, offer)
            if first is not offer:
                clashes[metric.name] = f"{first.origin} and {offer.origin} have one name"
                faults.append(f"{clashes[metric.name]}; the second is left out")
    return Metrics(tuple(offers.values()), tuple(faults), tuple(clashes.items()))


def metric_fault(metric: Any) -> str:
    """What is wrong with a metric that was offered; empty when nothing is."""
    if not isinstance(metric, Metric):
        return f"is a {type(metric).__name__}, not a Metric"
    if not (isinstance(metric.name, str) and _NAME.fullmatch(metric.name)):
        return f"has the name {str(metric.name)[:60]!r}, which is none (letters, digits, -, _, . and +)"
    if metric.direction not in ("higher", "lower"):
        return f"({metric.name}) has the direction {str(metric.direction)[:60]!r}, not 'higher' or 'lower'"
    if not callable(metric.measure):
        return f"({metric.name}) has a {type(metric.measure).__name__} to measure by, not a function"
    if not isinstance(metric.description, str):
        return f"({metric.name}) has a {type(metric.description).__name__} as its description, not text"
    return ""


def _value(metric: Metric, predictions: Predictions) -> tuple[float | None, str]:
    """What a metric makes of predictions, or why that is nothing."""
    try:
        answer = metric.measure(_read_only(predictions))
        if isinstance(answer, str | bytes | bool):
            return None, f"returned a {type(answer).__name__}, not a number"
        value = float(answer)
    except (Exception, SystemExit) as error:
        return None, _line(_told(error))
    return (value, "") if math.isfinite(value) else (None, f"is {value} here, which isn't a number to compare by")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]


def _read_only(predictions: Predictions) -> Predictions:
    logits = predictions.logits.copy()
    labels = predictions.labels.copy()
    logits.flags.writeable = labels.flags.writeable = False
    return replace(predictions, logits=logits, labels=labels)
