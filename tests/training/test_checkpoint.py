"""Checkpoints restore tensors to the bit, and memory layouts with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ahekit.errors import CheckpointError
from ahekit.training.checkpoint import (
    load_into,
    load_optimizer,
    load_state,
    load_weights,
    random_state,
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
    save_checkpoint(
        folder,
        weights=module.state_dict(),
        average=None if average is None else average.state_dict(),
        optimizer=optimizer,
        rng=random_state(),
        state={"step": 3},
    )


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
    from safetensors.torch import load_file

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
    load_weights(used.state_dict(), tmp_path / "with")
    assert used.get_parameter("4.bias").tolist() == [7.0, 7.0]
    load_weights(used.state_dict(), tmp_path / "without")
    assert same(used, module)


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
