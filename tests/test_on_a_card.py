"""On a graphics card the same comes out as on the processor; here on a pretended one, which tells wrong places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ahekit.compute import Compute, open_compute, resolve_runtime
from ahekit.errors import UsageError
from ahekit.evaluation.predict import predict_logits
from ahekit.preprocessing import Preprocessing
from ahekit.registry import VISUALIZERS
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import RuntimeSpec
from ahekit.testing import check_visualizer, small_module, small_pictures
from ahekit.training.loop import fit
from ahekit.training.processes import Processes
from ahekit.training.prove import prove_accumulation
from ahekit.training.session import Session, start
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps
from tests.card import pretended_card
from tests.plugins.visualizers.test_discipline import PARAMS
from tests.training.conftest import Watched, tiny_setup

MakeSetup = Callable[..., Setup]
# The pretended card has no fused kernels.
PLAIN: dict[str, Any] = {"optim": {"fused": False}}


def on(device: torch.device, setup: Setup) -> Setup:
    return replace(setup, compute=Compute(device, bf16=False, channels_last=True))


def one_epoch(setup: Setup) -> Session:
    session = start(setup, Processes())
    optim = setup.spec.optim
    windows = session.batches.epoch(1)
    for _ in train_steps(
        session.model,
        windows,
        session.optimizer,
        compute=setup.compute,
        clip_norm=optim.clip_norm,
        average=session.average_weights,
    ):
        pass
    return session


@pytest.mark.parametrize("name", VISUALIZERS.names())
def test_every_visualizer_makes_the_same_on_a_card(name: str) -> None:
    with pretended_card() as card:
        check_visualizer(VISUALIZERS.get(name), params=PARAMS.get(name), device=card, tolerance=1e-6)


def test_what_is_made_in_a_wrong_place_is_told() -> None:
    with pretended_card() as card, pytest.raises(RuntimeError, match="same device"):
        small_module().to(card)(torch.zeros(1, 3, 12, 12))


@pytest.mark.parametrize("fields", [PLAIN, PLAIN | {"transfer": {"views": 3}}], ids=["fresh views", "fixed views"])
def test_training_on_a_card_draws_mixes_and_steps_as_on_the_processor(tmp_path: Path, fields: dict[str, Any]) -> None:
    expected = one_epoch(on(torch.device("cpu"), tiny_setup(tmp_path, fields)))
    with pretended_card() as card:
        setup = on(card, tiny_setup(tmp_path, fields))
        torch.manual_seed(0)
        session = one_epoch(setup)
        views = next(next(session.batches.epoch(2)).micro_batches)
        assert views.images.device.type == card.type
        assert views.targets.device.type == "cpu"
        for name, value in session.module.state_dict().items():
            torch.testing.assert_close(value.cpu(), expected.module.state_dict()[name])
        logits = session.logits(setup.splits.val, flip_average=True)
    np.testing.assert_allclose(logits, expected.logits(setup.splits.val, flip_average=True), rtol=1e-4, atol=1e-5)


def test_a_run_on_a_card_is_stopped_saved_and_resumed_to_the_same_weights(tmp_path: Path) -> None:
    weights = []
    with pretended_card() as card:
        for stop_at in (None, 5):
            setup = on(card, tiny_setup(tmp_path, PLAIN | {"train": {"epochs": 2}}))
            run = Run.create(tmp_path / "runs", setup.spec, setup.manifest())
            stop = StopRequest()

            def ask(step: int, stop: StopRequest = stop, stop_at: int | None = stop_at) -> None:
                stop.asked = step == stop_at

            status = fit(setup, run, watcher=Watched(ask), stop=stop)
            if stop_at is not None:
                assert (status.state, status.step) == ("interrupted", stop_at)
                again = on(card, tiny_setup(tmp_path, PLAIN | {"train": {"epochs": 2}}))
                fit(again, run, watcher=Watched(), resume=True)
            assert run.status.state == "finished"
            weights.append(load_file(run.checkpoints()[-1] / "average.safetensors"))
    assert all(torch.equal(own, weights[1][name]) for name, own in weights[0].items())


def test_accumulation_is_proved_on_a_card(tmp_path: Path) -> None:
    with pretended_card() as card:
        checks = prove_accumulation(on(card, tiny_setup(tmp_path)))
    assert all(check.passed for check in checks)
    assert sum(check.limit is not None for check in checks) == 4


def test_images_are_predicted_on_a_card_as_on_the_processor() -> None:
    module = small_module()
    pixels = small_pictures(5)
    arguments = (pixels, np.arange(5), Preprocessing(size=12))
    expected = predict_logits(module, *arguments, Compute(torch.device("cpu"), bf16=False, channels_last=True))
    with pretended_card() as card:
        logits = predict_logits(module.to(card), *arguments, Compute(card, bf16=False, channels_last=True))
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


# --- which card -------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))


@pytest.mark.usefixtures("two_cards")
def test_a_run_that_chose_a_card_by_itself_can_be_repeated_by_several_processes() -> None:
    resolved = resolve_runtime(RuntimeSpec(), local_world=2)
    assert (resolved.device, resolved.precision) == ("cuda", "bf16")
    assert resolve_runtime(resolved, local_world=2) == resolved


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize(
    ("device", "processes", "words"),
    [
        ("cuda:2", 1, "the last CUDA device is cuda:1"),
        ("cuda:0", 2, "use --device cuda"),
        ("auto", 3, "--nproc-per-node 2"),
        ("cuda", 3, "--nproc-per-node 2"),
    ],
)
def test_cards_that_are_not_there_are_refused(device: str, processes: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_runtime(RuntimeSpec(device=device), local_world=processes)


@pytest.mark.usefixtures("two_cards")
def test_more_processes_than_cards_train_on_the_processor() -> None:
    assert resolve_runtime(RuntimeSpec(device="cpu"), local_world=3).device == "cpu"


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize(("device", "own"), [("cuda", 1), ("cuda:0", 0)])
def test_a_process_computes_on_its_own_card_and_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch, device: str, own: int
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        compute = open_compute(RuntimeSpec(device=device, precision="fp32", threads=1), local_rank=1)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    assert compute.device == torch.device("cuda", own)
    assert chosen == [torch.device("cuda", own)]
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark
