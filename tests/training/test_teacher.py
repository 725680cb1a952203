"""A teacher sees what the student sees, is asked once, and never knew what the student is measured on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ahekit.data.batches import MicroBatch, TrainingBatches
from ahekit.data.ids import short_name
from ahekit.errors import UsageError
from ahekit.models import build_component
from ahekit.preprocessing import Preprocessing
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import DistillSpec, RunSpec
from ahekit.training.accumulation import losses_of
from ahekit.training.loop import fit
from ahekit.training.prefix import decide_views
from ahekit.training.processes import Processes
from ahekit.training.session import start
from ahekit.training.setup import Setup
from ahekit.training.teacher import find_teacher, open_teacher
from ahekit.validation import validate

Make = Callable[..., Setup]
PARAMS = {"channels": [4, 6, 8], "hidden": [8]}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def teach(make_setup: Make, tmp_path: Path) -> Callable[..., Run]:
    """A run of cnn5 on larger pictures, with the manifest's facts changed as asked."""

    def make(*, classes: tuple[str, ...] | None = None, train: list[str] | None = None, fingerprint: str = "") -> Run:
        setup = make_setup()
        names = classes or setup.dataset.class_names
        fields = {
            "model": {"name": "cnn5", "params": PARAMS},
            "data": {"source": str(tmp_path), "image_size": 16},
            "train": {"average_decay": 0},
        }
        ids = [setup.dataset.ids[index] for index in setup.splits.train.tolist()]
        manifest = {
            "class_names": list(names),
            "splits": {"train": ids if train is None else train},
            "data": {"fingerprint": fingerprint or setup.dataset.fingerprint},
        }
        run = Run.create(tmp_path / "teachers", validate(RunSpec, fields), manifest)
        torch.manual_seed(5)
        built = build_component("cnn5", PARAMS, num_classes=len(names), image_size=16).built
        weights = {name: value.contiguous() for name, value in built.module.state_dict().items()}
        run.add_checkpoint("step-00000001-epoch-0001", lambda folder: save_file(weights, folder / "model.safetensors"))
        run.write_status("finished", best={"epoch": 1, "step": 1, "checkpoint": "step-00000001-epoch-0001"})
        return run

    return make


@pytest.fixture
def taught(make_setup: Make) -> Callable[..., Setup]:
    """A student's setup, its teacher found as `prepare` finds it."""

    def make(teacher: Run, **fields: Any) -> Setup:
        distill = {"teacher": str(teacher.path), "views": 3, **fields.pop("distill", {})}
        setup = make_setup(distill=distill, **fields)
        setup = replace(setup, spec=decide_views(setup.spec, setup.freezing))
        return replace(setup, teacher=find_teacher(setup.spec, setup.dataset, setup.splits))

    return make


def one_batch(answers: Tensor | None) -> MicroBatch:
    return MicroBatch(torch.zeros(1, 3, 2, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1), torch.zeros(1), answers)


def test_the_loss_is_the_weighted_sum_of_both_parts() -> None:
    logits = torch.tensor([[2.0, 0.0]])
    answers = torch.tensor([[0.25, 0.75]])
    # By hand: log(1 + e^-2) against the label; at temperature 2, logits (1, 0):
    # -0.25 log(e / (e + 1)) - 0.75 log(1 / (e + 1)) = log(1 + e) - 0.25, times the squared temperature.
    label = 0.126928
    taught = 4 * (1.313262 - 0.25)
    loss = losses_of(logits, one_batch(answers), distill=DistillSpec(weight=0.75, temperature=2.0))
    assert loss.item() == pytest.approx(0.25 * label + 0.75 * taught, abs=1e-5)
    assert losses_of(logits, one_batch(None), distill=DistillSpec()).item() == pytest.approx(label, abs=1e-5)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_the_teacher_answers_about_the_very_views_that_the_student_gets(
    teach: Callable[..., Run], taught: Callable[..., Setup], epoch: int
) -> None:
    setup = taught(teach(), mix={"probability": 0.0}, distill={"temperature": 2.0})
    session = start(setup, Processes(), fresh=True)
    list(session.ask_teacher())
    assert setup.teacher is not None
    teacher = open_teacher(setup.teacher, setup.dataset)
    for window in session.batches.epoch(epoch):
        for batch in window.micro_batches:
            assert batch.answers is not None
            with torch.no_grad():
                expected = (teacher(batch.images) / 2).softmax(1)
            torch.testing.assert_close(batch.answers, expected, rtol=1e-4, atol=1e-5)


def test_the_answer_to_a_mix_is_mixed_as_its_target_is() -> None:
    labels = np.arange(22) % 3
    spec = RunSpec.model_validate(
        {
            "optim": {"batch_size": 4, "accumulation_steps": 2},
            "mix": {"probability": 1.0, "clean_share": 0.0},
            "distill": {"teacher": "somebody"},
        }
    )
    sure = 200.0 * torch.nn.functional.one_hot(torch.from_numpy(labels), 3)
    rng = np.random.default_rng(0)
    batches = TrainingBatches(
        rng.integers(0, 256, (22, 16, 16, 3), dtype=np.uint8),
        labels,
        tuple(f"{label}/{number}.png" for number, label in enumerate(labels)),
        np.arange(22),
        spec,
        Preprocessing(size=16),
        num_classes=3,
        answers=lambda indices, epoch: sure[torch.from_numpy(indices)],
    )
    for window in batches.epoch(1):
        for batch in window.micro_batches:
            torch.testing.assert_close(batch.answers, batch.targets)


def test_each_view_is_asked_about_once_and_shared_by_later_runs(
    teach: Callable[..., Run], taught: Callable[..., Setup], new_run: Callable[[Setup], Run], watched: Any
) -> None:
    teacher = teach()
    setup = taught(teacher)
    first = watched()
    fit(setup, new_run(setup), watcher=first)
    assert first.asked[-1] == (3 * 38, 3 * 38)
    assert len(first.epochs) == 3
    again = taught(teacher, optim={"lr": 0.02})
    second = watched()
    fit(again, new_run(again), watcher=second)
    assert second.asked == []


def test_interrupted_and_resumed_ends_in_the_same_weights(
    teach: Callable[..., Run], taught: Callable[..., Setup], new_run: Callable[[Setup], Run], watched: Any
) -> None:
    teacher = teach()
    setup = taught(teacher)
    whole = new_run(setup)
    fit(setup, whole, watcher=watched())
    setup = taught(teacher)
    run = new_run(setup)
    stop = StopRequest()

    def ask(step: int) -> None:
        if step == 6:
            stop.asked = True

    fit(setup, run, watcher=watched(ask), stop=stop)
    assert run.status.state == "interrupted"
    fit(taught(teacher), run, watcher=watched(), resume=True)
    assert final(run) == final(whole)


def test_a_teacher_changes_what_is_learned(
    teach: Callable[..., Run], taught: Callable[..., Setup], new_run: Callable[[Setup], Run], watched: Any
) -> None:
    ends = set()
    for weight in (0.2, 0.9):
        setup = taught(teach(), distill={"weight": weight})
        run = new_run(setup)
        fit(setup, run, watcher=watched())
        ends.add(final(run))
    assert len(ends) == 2


def final(run: Run) -> bytes:
    return (run.checkpoints()[-1] / "model.safetensors").read_bytes()


def test_classes_in_another_order_are_put_in_the_students(
    teach: Callable[..., Run], taught: Callable[..., Setup]
) -> None:
    setup = taught(teach(classes=("crypt", "arch", "beam")))
    assert setup.teacher is not None
    teacher = open_teacher(setup.teacher, setup.dataset)
    views = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        logits = teacher(views)
        teacher.order = torch.arange(3)
        own = teacher(views)
    torch.testing.assert_close(logits, own[:, [1, 2, 0]])


def test_other_classes_are_refused(teach: Callable[..., Run], taught: Callable[..., Setup]) -> None:
    with pytest.raises(UsageError, match=r"other classes apart \(it has no crypt; this run has no dome\)"):
        taught(teach(classes=("arch", "beam", "dome")))


@pytest.mark.parametrize(("place", "words"), [(40, "validation"), (55, "test")])
def test_a_teacher_that_was_trained_on_what_is_measured_is_refused(
    teach: Callable[..., Run], taught: Callable[..., Setup], make_setup: Make, place: int, words: str
) -> None:
    sample = make_setup().dataset.ids[place]
    with pytest.raises(UsageError, match=rf"trained on 1 image of this run's {words} \({sample} first\)"):
        taught(teach(train=["arch/000.png", sample]))
    # Another edition: other folders and suffixes, the same pictures.
    edition = f"train/{short_name(sample)}.jpg"
    with pytest.raises(UsageError, match=r"by class and file name"):
        taught(teach(train=["train/arch/zzz.jpg", edition], fingerprint="e" * 64))
    taught(teach(train=["train/arch/zzz.jpg"], fingerprint="e" * 64))


def test_a_teacher_that_does_not_say_what_it_was_trained_on_is_refused(
    teach: Callable[..., Run], taught: Callable[..., Setup]
) -> None:
    with pytest.raises(UsageError, match="doesn't say which images"):
        taught(teach(train=[]))


def test_views_kept_for_frozen_stages_and_a_teacher_do_not_go_together(
    teach: Callable[..., Run], taught: Callable[..., Setup]
) -> None:
    with pytest.raises(UsageError, match=r"leave out one of the two"):
        taught(teach(), transfer={"freeze": "backbone", "views": 4}, mix={"probability": 0.0})
