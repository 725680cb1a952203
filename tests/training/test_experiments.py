"""Trainings that an experiment compares: what is measured, and that none is repeated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ahekit.errors import RunError, TrainingError, UsageError
from ahekit.evaluation.metrics import summarize
from ahekit.protocols import LessonInput
from ahekit.run import Run
from ahekit.sample import write_sample
from ahekit.spec import RunSpec
from ahekit.training.experiments import Trial, data_of, run_trial, run_trials
from ahekit.training.loop import fit
from ahekit.training.setup import Setup


def test_a_trial_ends_as_a_run_of_its_spec_does(
    make_setup: Callable[..., Setup], new_run: Callable[[Setup], Run], watched: type
) -> None:
    setup = make_setup()
    run = new_run(setup)
    fit(setup, run, watcher=watched())
    last = run.history().epochs[-1]
    # A run measures its epochs without averaging over mirror images.
    fresh = make_setup(evaluation={"flip_average": False})
    outcome = run_trial(Trial("tiny", fresh.spec), fresh)
    assert [measurement.epoch for measurement in outcome.measured] == [3]
    assert outcome.final.step == last.step
    for split in ("train", "val", "test"):
        assert getattr(outcome.final, split)["loss"] == pytest.approx(getattr(last, split)["loss"], abs=1e-6)


def test_figures_are_of_the_weights_it_ends_with(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(evaluation={"flip_average": False})

    def logits(setup: Setup, session: Any) -> dict[str, Any]:
        return {"logits": session.logits(setup.splits.test, flip_average=False).tolist()}

    outcome = run_trial(Trial("tiny", setup.spec, measure_every=2), setup, examine=logits)
    labels = setup.dataset.labels[setup.splits.test]
    own = summarize(np.array(outcome.facts["logits"]), labels, class_names=setup.dataset.class_names)
    assert outcome.final.test == pytest.approx(own)
    assert [measurement.epoch for measurement in outcome.measured] == [2, 3]
    assert outcome.gap == outcome.final.train["accuracy"] - outcome.final.test["accuracy"]
    assert (outcome.images, outcome.seed) == (38, 0)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    write_sample(tmp_path / "pictures", train=40, test=20)
    return RunSpec.model_validate(
        {
            "model": {"name": "cnn5", "params": {"channels": [4], "hidden": []}},
            "data": {"source": str(tmp_path / "pictures"), "image_size": 16},
            "optim": {"batch_size": 16, "accumulation_steps": 1},
            "train": {"epochs": 1},
            "runtime": {"device": "cpu", "threads": 1},
        }
    )


def test_a_kept_outcome_is_not_made_again(spec: RunSpec, tmp_path: Path) -> None:
    calls: list[int] = []

    def examine(setup: Setup, session: Any) -> dict[str, int]:
        calls.append(setup.spec.seed)
        return {"seed": setup.spec.seed}

    trials = [Trial("one", spec.model_copy(update={"seed": seed})) for seed in (0, 1)]
    folder = tmp_path / "kept"
    told: list[tuple[int, int]] = []
    first = run_trials(trials[:1], folder=folder, examine=examine, progress=lambda *step: told.append(step))
    assert told[-1] == (1000, 1000)
    both = run_trials(trials, folder=folder, examine=examine)
    assert calls == [0, 1]
    assert both[0] == first[0]
    assert [outcome.facts["seed"] for outcome in both] == [0, 1]
    # Another question makes them anew, and so does a damaged file.
    run_trials(trials, folder=folder, examine=examine, about="something else")
    assert calls == [0, 1, 0, 1]
    for path in folder.iterdir():
        path.write_text(json.dumps({"name": "one"}))
    assert run_trials(trials, folder=folder, examine=examine)[0].facts == {"seed": 0}
    assert calls == [0, 1, 0, 1, 0, 1]


def test_what_was_trained_before_an_interruption_is_kept(spec: RunSpec, tmp_path: Path) -> None:
    trials = [Trial("one", spec.model_copy(update={"seed": seed})) for seed in (0, 1)]
    calls: list[int] = []

    def interrupted(setup: Setup, session: Any) -> dict[str, int]:
        calls.append(setup.spec.seed)
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run_trials(trials, folder=tmp_path / "kept", examine=interrupted)
    run_trials(trials, folder=tmp_path / "kept", examine=interrupted)
    assert calls == [0, 1, 1]


def facts(setup: Setup, session: Any) -> dict[str, Any]:
    logits = session.logits(setup.splits.test, flip_average=False).tolist()
    return {"process": os.getpid(), "threads": torch.get_num_threads(), "logits": logits}


@pytest.mark.slow
def test_trainings_in_several_processes_end_as_they_do_in_one(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [Trial("one", spec.model_copy(update={"seed": seed})) for seed in range(4)]
    alone = run_trials(trials, examine=facts)
    assert {outcome.facts["process"] for outcome in alone} == {os.getpid()}

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    told: list[int] = []
    together = run_trials(trials, folder=tmp_path / "kept", examine=facts, progress=lambda done, of: told.append(done))

    assert os.getpid() not in {outcome.facts["process"] for outcome in together}
    assert {outcome.facts["threads"] for outcome in together} == {1}
    assert [outcome.facts["logits"] for outcome in together] == [outcome.facts["logits"] for outcome in alone]
    assert [outcome.final.test for outcome in together] == [outcome.final.test for outcome in alone]
    assert told == [250, 500, 750, 1000]
    assert len(list((tmp_path / "kept").iterdir())) == 4
    # What is wrong with one is told as if it were trained here, and the others are kept.
    optim = spec.optim.model_copy(update={"lr": 1e30, "clip_norm": None})
    trials[3] = Trial("bursts", spec.model_copy(update={"seed": 3, "optim": optim}))
    with pytest.raises(TrainingError, match="no numbers any more"):
        run_trials(trials, folder=tmp_path / "kept", examine=facts)
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_a_folder_that_can_not_be_written_is_one_line(spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(RunError, match="choose a folder with --out"):
        run_trials([Trial("one", spec)], folder=tmp_path / "kept")


def test_the_long_way_is_for_real_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(**fields: Any) -> LessonInput:
        return LessonInput(network=lambda layers: pytest.fail("not asked for"), **fields)

    assert data_of(request()) == "sample"
    assert data_of(request(data="mine", full=True)) == "mine"
    with pytest.raises(UsageError, match="--full is for real images"):
        data_of(request(full=True))
    monkeypatch.setenv("AHEKIT_DATA", "elsewhere")
    assert data_of(request(full=True)) == "elsewhere"
