"""Metrics of one's own: measured each epoch, chosen by, and costing only themselves when they break."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from ahekit.errors import PluginError, UnknownNameError
from ahekit.evaluation.predictions import Predictions
from ahekit.protocols import Metric
from ahekit.registry import REPORTERS
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.training.loop import fit
from ahekit.training.metrics import Metrics, Offer, offered_metrics
from ahekit.training.setup import Setup

MakeSetup = Callable[..., Setup]
NewRun = Callable[[Setup], Run]
BUILT_IN = ["loss", "accuracy", "precision", "recall", "f1", "balanced-accuracy", "kappa"]

predictions = Predictions(
    ids=tuple("abcdef"),
    labels=np.array([0, 0, 1, 1, 2, -1]),
    logits=np.log(
        np.array(
            [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1], [1e-9, 1e-9, 1]],
            dtype=np.float32,
        )
    ),
    class_names=("arch", "beam", "crypt"),
)


def offering(*metrics: Any) -> type:
    """A reporter that offers metrics and nothing else."""

    class Mine:
        """Offers metrics."""

        order = 5
        Params = REPORTERS.get("curves").Params

    Mine.metrics = metrics  # type: ignore[attr-defined]
    return Mine


@pytest.fixture
def offer(no_plugin_files: None) -> Callable[..., None]:
    def register(*metrics: Any, name: str = "mine") -> None:
        REPORTERS.register(name)(offering(*metrics))

    return register


def certainty(given: Predictions) -> float:
    return float(given.probabilities.max(axis=1).mean())


def test_the_usual_metrics_are_offered_by_a_reporter_and_agree_with_scikit_learn() -> None:
    metrics = offered_metrics()
    assert [note.name for note in metrics.notes] == BUILT_IN
    assert {note.reporter for note in metrics.notes} == {"curves"}
    assert [note.name for note in metrics.notes if note.direction == "lower"] == ["loss"]
    assert metrics.faults == ()
    values = metrics.measure(predictions)
    # Of the five images of known class 0, 2 and 3 are predicted rightly.
    truth, predicted = [0, 0, 1, 1, 2], [0, 1, 1, 1, 0]
    assert values["accuracy"] == 0.6
    assert values["loss"] == pytest.approx(-np.log([0.8, 0.2, 0.8, 0.4, 0.1]).mean())
    assert values["balanced-accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert values["kappa"] == pytest.approx(cohen_kappa_score(truth, predicted))


def test_kappa_is_not_defined_where_chance_cannot_be_wrong() -> None:
    of_one_class = Predictions(("a",), np.array([0]), np.array([[2.0, 1.0]], dtype=np.float32), ("arch", "beam"))
    told: list[str] = []
    values = offered_metrics().measure(of_one_class, warn=lambda name, text: told.append(name))
    assert (values["kappa"], told) == (None, ["kappa"])


def test_a_metric_of_one_s_own_gets_images_of_known_class_that_it_cannot_change(offer: Callable[..., None]) -> None:
    seen: list[Predictions] = []

    def change(given: Predictions) -> float:
        seen.append(given)
        given.logits[0, 0] = 9
        return 1.0

    offer(Metric("certainty", "higher", certainty, "mean confidence"), Metric("vandal", "higher", change))
    told: dict[str, str] = {}
    values = offered_metrics().measure(predictions, warn=lambda name, text: told.update({name: text}))
    assert list(values)[-2:] == ["certainty", "vandal"]
    assert values["certainty"] == pytest.approx(np.mean([0.8, 0.6, 0.8, 0.4, 0.7]))
    assert len(seen[0].labels) == 5
    assert values["vandal"] is None
    assert "read-only" in told["vandal"]


def give_up(given: Predictions) -> float:
    raise SystemExit(3)


def recurse(given: Predictions) -> float:
    return recurse(given)


@pytest.mark.parametrize(
    ("measure", "fault"),
    [
        (lambda given: 1 / 0, "ZeroDivisionError: division by zero"),
        (give_up, "SystemExit: 3"),
        (recurse, "RecursionError"),
        (lambda given: math.nan, "is nan here"),
        (lambda given: -math.inf, "is -inf here"),
        (lambda given: "0.5", "returned a str, not a number"),
        (lambda given: True, "returned a bool, not a number"),
        (lambda given: None, "TypeError"),
        (lambda given: given.logits, "TypeError"),
        (lambda: 0.5, "TypeError"),
    ],
)
def test_a_metric_that_breaks_is_named_in_one_line_and_costs_only_itself(
    measure: Any, fault: str, offer: Callable[..., None]
) -> None:
    offer(Metric("broken", "higher", measure))
    told: list[tuple[str, str]] = []
    values = offered_metrics().measure(predictions, warn=lambda *words: told.append(words))
    assert (values["broken"], values["accuracy"]) == (None, 0.6)
    ((name, text),) = told
    assert name == "broken"
    assert text.startswith("metric 'broken' of reporter 'mine' (")
    assert fault in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("metrics", "fault"),
    [
        ((3,), "is a int, not a Metric"),
        ((Metric("", "higher", certainty),), "has the name ''"),
        ((Metric("two words", "higher", certainty),), "has the name 'two words'"),
        ((Metric(4, "higher", certainty),), "has the name '4'"),  # type: ignore[arg-type]
        ((Metric("x", "up", certainty),), "has the direction 'up'"),  # type: ignore[arg-type]
        ((Metric("x", "higher", 0.5),), "has a float to measure by"),  # type: ignore[arg-type]
        ((Metric("x", "higher", certainty, 5),), "has a int as its description"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_metric_is_left_out_with_a_line(metrics: Any, fault: str, offer: Callable[..., None]) -> None:
    offer(*metrics)
    offered = offered_metrics()
    assert [note.name for note in offered.notes] == BUILT_IN
    (told,) = offered.faults
    assert told.startswith("a metric of reporter 'mine' (")
    assert fault in told


def test_a_reporter_whose_metrics_are_none_costs_only_them(no_plugin_files: None) -> None:
    mine = offering()
    mine.metrics = 5  # type: ignore[attr-defined]
    REPORTERS.register("mine")(mine)
    assert "metrics of reporter 'mine'" in offered_metrics().faults[0]


def test_two_metrics_of_one_name_are_told_and_nobody_chooses_by_them(offer: Callable[..., None]) -> None:
    offer(Metric("f1", "lower", lambda given: 3.0), name="zz-mine")
    metrics = offered_metrics()
    assert metrics.measure(predictions)["f1"] != 3.0
    assert "have one name; the second is left out" in metrics.faults[0]
    with pytest.raises(PluginError, match=r"choose by 'f1', but metric 'f1' of reporter 'curves' \(.*'zz-mine'"):
        metrics.get("f1")
    assert metrics.get("loss").direction == "lower"


def test_a_metric_that_nobody_offers_is_answered_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no metric named 'kapa'; did you mean kappa") as caught:
        offered_metrics().get("kapa")
    assert caught.value.exit_code == 2


def own(setup: Setup, *metrics: Metric) -> Setup:
    """A setup with metrics beside the usual ones."""
    offers = tuple(Offer(metric, "mine", "mine 1.0") for metric in metrics)
    object.__setattr__(setup, "metrics", Metrics((*setup.metrics.offers, *offers)))
    return setup


def test_the_epoch_is_chosen_and_stopped_by_a_metric_of_one_s_own(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    values = iter([0.5, 0.5, 5.0, 0.3, 0.3, 3.0, 0.4, 0.4, 1.0, 0.6, 0.6, 0.1])  # train, val and test of each epoch
    setup = own(
        make_setup(train={"epochs": 30, "patience": 2, "monitor": "miss"}, evaluation={"curve_points": None}),
        Metric("miss", "lower", lambda given: next(values), "misses"),
    )
    run = new_run(setup)
    status = fit(setup, run, watcher=watched())
    assert (status.best.epoch, status.best.val["miss"]) == (2, 0.3)
    assert status.reason == "stopped early: no better validation misses in 2 epochs"
    assert [row.value("test", "miss") for row in run.history().epochs] == [5.0, 3.0, 1.0, 0.1]
    assert run.record().monitored == ("misses", 0.3)


def test_a_metric_s_own_random_numbers_do_not_reach_the_training(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    weights = []
    for metrics in ((), (Metric("noise", "higher", lambda given: float(torch.rand(1))),)):
        setup = own(make_setup(), *metrics)
        fit(setup, new_run(setup), watcher=watched())
        weights.append(setup.built.module.get_parameter("6.weight").detach().clone())
    assert torch.equal(*weights)


def test_a_run_resumed_with_a_metric_of_one_s_own_ends_as_the_unbroken_one(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    def setup() -> Setup:
        return own(make_setup(train={"monitor": "certainty"}), Metric("certainty", "higher", certainty))

    whole, broken = new_run(setup()), new_run(setup())
    expected = fit(setup(), whole, watcher=watched())
    stop = StopRequest()
    fit(setup(), broken, watcher=watched(lambda step: setattr(stop, "asked", step == 6)), stop=stop)
    resumed = fit(setup(), broken, watcher=watched(), resume=True)
    assert resumed.best == expected.best
    assert [row.val for row in broken.history().epochs] == [row.val for row in whole.history().epochs]


def test_a_run_that_no_epoch_can_be_chosen_of_says_so_and_keeps_its_last_weights(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = own(make_setup(train={"monitor": "broken"}), Metric("broken", "higher", lambda given: 1 / 0))
    run = new_run(setup)
    told: list[str] = []
    status = fit(setup, run, watcher=watched(), warn=told.append)
    assert status.state == "finished"
    assert "no epoch could be chosen: broken was not measured in any" in status.reason
    assert "so the run can't choose it" in told[0]
    assert len(told) == 1
    assert set(run.predictions()) == {"train", "val", "test"}
    assert run.record().chosen_epoch is None
