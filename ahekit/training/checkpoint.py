"""Checkpoints: all that training needs to go on as if nothing had happened.

    step-00000123/
        model.safetensors       weights and buffers
        average.safetensors     their exponential average, when the run keeps one
        optimizer.safetensors   the optimizer's tensors, as "<parameter number>.<name>"
        rng.safetensors         the random state of every process
        state.json              where in the run this is

safetensors stores contiguous tensors only, so every tensor is copied back into one that has the strides it needs: a
fused optimizer reads its state by memory order and goes silently wrong when state and parameter are laid out apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ahekit.errors import CheckpointError


def save_checkpoint(
    folder: Path,
    *,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    optimizer: torch.optim.Optimizer,
    rng: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint's files into a folder; weights and average by tensor name."""
    _save(weights, folder / "model.safetensors")
    if average is not None:
        _save(average, folder / "average.safetensors")
    _save(_flatten(optimizer), folder / "optimizer.safetensors")
    _save(rng, folder / "rng.safetensors")
    (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def load_state(folder: Path) -> dict[str, Any]:
    """Where in the run a checkpoint is.

    Raises:
        CheckpointError: The folder is no whole checkpoint.
    """
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: not a whole checkpoint ({error})") from error
    return dict(state)


def load_into(own: Mapping[str, Tensor], path: Path) -> None:
    """Copy stored weights and buffers into a network's own (its `state_dict()`), keeping their memory layout.

    Raises:
        CheckpointError: The file can't be read, or its tensors are not the network's.
    """
    stored = read_tensors(path)
    if stored.keys() != own.keys():
        odd = sorted(stored.keys() ^ own.keys())
        raise CheckpointError(f"{path}: {len(odd)} tensors differ from the model's, {odd[0]!r} first")
    for name, tensor in own.items():
        if stored[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {name} is {tuple(stored[name].shape)}, the model's is {tuple(tensor.shape)}"
            )
        tensor.copy_(stored[name])


def load_weights(own: Mapping[str, Tensor], folder: Path) -> None:
    """Copy a checkpoint's weights for use into a network's own: the averaged ones where the run kept an average."""
    average = folder / "average.safetensors"
    load_into(own, average if average.is_file() else folder / "model.safetensors")


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Put stored state under the optimizer's parameters, each tensor with its parameter's strides.

    Raises:
        CheckpointError: The file can't be read, or belongs to another set of parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, tensor in read_tensors(path).items():
        number, _, name = key.partition(".")
        if int(number) >= len(parameters):
            raise CheckpointError(f"{path}: state for {int(number) + 1} parameters, the model trains {len(parameters)}")
        parameter = parameters[int(number)]
        if tensor.ndim and tensor.shape != parameter.shape:
            raise CheckpointError(f"{path}: {key} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        home = torch.empty_like(parameter, dtype=tensor.dtype) if tensor.ndim else torch.empty_like(tensor)
        if not tensor.ndim and optimizer.defaults.get("fused"):
            home = home.to(parameter.device)
        optimizer.state[parameter][name] = home.detach().copy_(tensor)


def random_state() -> dict[str, Tensor]:
    """The random state of this process."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Go on from what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: It is missing, torn or of another kind.
    """
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be read as safetensors ({error}); remove this checkpoint") from error


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        f"{number}.{name}": value
        for number, parameter in enumerate(parameters)
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
