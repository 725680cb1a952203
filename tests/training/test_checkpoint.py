"""Checkpoints restore tensors to the bit, and memory layouts with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ahekit.errors import CheckpointError
from ahekit.training.checkpoint import (
    DamagedCheckpoint,
    Stored,
    check_optimizer,
    copied,
    drop_optimizer,
    load_into,
    load_state,
    load_weights,
    optimizer_tensors,
    put_into_optimizer,
    random_state,
    read_checkpoint,
    read_tensors,
    restore_random_state,
    save_checkpoint,
)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    return module.to(memory_format=torch.channels_last)


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=0.01, fused=True)


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        module(images).square().mean().backward()
        optimizer.step()


def save(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None = None) -> None:
    folder.mkdir()
    save_checkpoint(folder, stored(module, optimizer, average))


def stored(module: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None = None) -> Stored:
    return Stored(
        model=copied(module.state_dict()),
        average=None if average is None else copied(average.state_dict()),
        optimizer=copied(optimizer_tensors(optimizer)),
        rng=random_state(),
        state={"step": 3},
    )


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    stored = read_tensors(path)
    check_optimizer(optimizer, stored, path, step=1)
    put_into_optimizer(optimizer, stored)


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_fused_adamw_on_channels_last_goes_on_to_the_bit(tmp_path: Path) -> None:
    module = network()
    optimizer = optimizer_of(module)
    steps(module, optimizer, 3)
    save(tmp_path / "c", module, optimizer)
    steps(module, optimizer, 3)
    again = network()
    other = optimizer_of(again)
    load_into(again.state_dict(), tmp_path / "c" / "model.safetensors")
    load_optimizer(other, tmp_path / "c" / "optimizer.safetensors")
    restore_random_state(load_file(tmp_path / "c" / "rng.safetensors"))
    steps(again, other, 3)
    assert same(module, again)


def test_restored_optimizer_state_has_its_parameters_strides(tmp_path: Path) -> None:
    module = network()
    optimizer = optimizer_of(module)
    steps(module, optimizer, 1)
    save(tmp_path / "c", module, optimizer)
    again = network()
    other = optimizer_of(again)
    load_optimizer(other, tmp_path / "c" / "optimizer.safetensors")
    convolution = next(again.parameters())
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    state: dict[str, Tensor] = other.state[convolution]
    assert state["exp_avg"].stride() == convolution.stride()
    assert state["exp_avg_sq"].stride() == convolution.stride()


def test_averaged_weights_are_the_ones_to_use(tmp_path: Path) -> None:
    module, average = network(), network()
    with torch.no_grad():
        average.get_parameter("4.bias").fill_(7.0)
    save(tmp_path / "with", module, optimizer_of(module), average)
    save(tmp_path / "without", module, optimizer_of(module))
    used = network()
    load_weights(used.state_dict(), tmp_path / "with", averaged=True)
    assert used.get_parameter("4.bias").tolist() == [7.0, 7.0]
    load_weights(used.state_dict(), tmp_path / "without", averaged=False)
    assert same(used, module)
    with pytest.raises(CheckpointError, match=r"average\.safetensors: can't be read"):
        load_weights(used.state_dict(), tmp_path / "without", averaged=True)


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    module = network()
    save(tmp_path / "c", module, optimizer_of(module))
    other = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(CheckpointError, match=r"7 tensors differ from the model's, '1\.bias' first"):
        load_into(other.state_dict(), tmp_path / "c" / "model.safetensors")
    wider = network()
    wider[4] = nn.Linear(8 * 36, 3)
    with pytest.raises(CheckpointError, match=r"4\.weight is \(2, 288\), the model's is \(3, 288\)"):
        load_into(wider.state_dict(), tmp_path / "c" / "model.safetensors")


def test_optimizer_state_of_another_model_is_refused(tmp_path: Path) -> None:
    module = network()
    optimizer = optimizer_of(module)
    steps(module, optimizer, 1)
    save(tmp_path / "c", module, optimizer)
    with pytest.raises(CheckpointError, match=r"0\.exp_avg is \(8, 3, 3, 3\), not \(2, 2\)"):
        load_optimizer(optimizer_of(nn.Linear(2, 2)), tmp_path / "c" / "optimizer.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_a_torn_or_missing_file_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="can't be read as safetensors"):
        load_into(network().state_dict(), path)
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_state(tmp_path)


def emptied(path: Path) -> None:
    save_file({}, path)


def halved(path: Path) -> None:
    tensors = load_file(path)
    save_file({name: tensors[name] for name in sorted(tensors)[::2]}, path)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def turned_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (emptied, halved, piped, turned_into_a_folder, Path.unlink)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("part", ["model", "average", "optimizer", "rng"])
def test_a_part_that_is_not_whole_is_refused(tmp_path: Path, part: str, damage: Callable[[Path], None]) -> None:
    module = network()
    optimizer = optimizer_of(module)
    steps(module, optimizer, 1)
    save(tmp_path / "c", module, optimizer, average=module)
    read_checkpoint(tmp_path / "c", averaged=True)
    path = tmp_path / "c" / f"{part}.safetensors"
    if damage is halved and part == "rng":
        damage = emptied  # there is but one tensor in it
    damage(path)
    with pytest.raises(DamagedCheckpoint, match=rf"{part}\.safetensors"):
        read_checkpoint(tmp_path / "c", averaged=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {}, r"empty, after 1 optimizer steps"),
        (lambda state: {k: v for k, v in state.items() if k != "2.exp_avg"}, r"parameter 2 lacks exp_avg$"),
        (lambda state: {**state, "99.exp_avg": torch.zeros(1)}, r"state '99\.exp_avg', where the model trains 6"),
        (lambda state: {**state, "x": torch.zeros(1)}, r"state 'x', where"),
    ],
)
def test_a_state_that_noted_nothing_of_its_tensors_is_checked_by_what_an_optimizer_has(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str, tmp_path: Path
) -> None:
    module = network()
    optimizer = optimizer_of(module)
    steps(module, optimizer, 1)
    save(tmp_path / "c", module, optimizer)
    path = tmp_path / "c" / "optimizer.safetensors"
    with pytest.raises(DamagedCheckpoint, match=message):
        check_optimizer(optimizer_of(network()), change(read_tensors(path)), path, step=1)


def test_a_full_disk_is_an_error_of_the_system_not_of_a_library(tmp_path: Path) -> None:
    module = network()
    with pytest.raises(OSError, match="No such file"):
        save_checkpoint(tmp_path / "nowhere", stored(module, optimizer_of(module)))


def test_training_on_leaves_a_checkpoint_that_is_not_written_yet_as_it_was(tmp_path: Path) -> None:
    module = network()
    optimizer = optimizer_of(module)
    steps(module, optimizer, 1)
    save(tmp_path / "at once", module, optimizer)
    held = stored(module, optimizer)
    steps(module, optimizer, 1)
    (tmp_path / "later").mkdir()
    save_checkpoint(tmp_path / "later", held)
    for name in ("model", "optimizer"):
        first, second = (read_tensors(tmp_path / folder / f"{name}.safetensors") for folder in ("at once", "later"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_dropping_the_optimizer_leaves_the_weights_and_says_so(tmp_path: Path) -> None:
    module = network()
    save(tmp_path / "c", module, optimizer_of(module))
    drop_optimizer(tmp_path / "c")
    drop_optimizer(tmp_path / "c")
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"model.safetensors", "state.json"}
    load_weights(network().state_dict(), tmp_path / "c", averaged=False)
    with pytest.raises(CheckpointError, match="dropped when the run finished"):
        read_checkpoint(tmp_path / "c", averaged=False)
