"""Checkpoints: all that training needs to go on as if nothing had happened.

    step-00000123-epoch-0004/
        model.safetensors       weights and buffers
        average.safetensors     their exponential average, when the run keeps one
        optimizer.safetensors   the optimizer's tensors, as "<parameter number>.<name>"
        rng.safetensors         the random state of every process
        state.json              where in the run this is, and which tensors the other files hold

safetensors stores contiguous tensors only, so every tensor is copied back into one that has the strides it needs: a
fused optimizer reads its state by memory order and goes silently wrong when state and parameter are laid out apart.

A checkpoint is read and checked whole before anything of it is put in place, so that a damaged one changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ahekit.errors import CheckpointError
from ahekit.files import check_regular, read_regular, write_atomic

MODEL, AVERAGE, OPTIMIZER, RNG = (f"{part}.safetensors" for part in ("model", "average", "optimizer", "rng"))
STATE = "state.json"
_FOR_TRAINING_ON = (OPTIMIZER, RNG)  # of no use but to go on from


class DamagedCheckpoint(CheckpointError):
    """A checkpoint's files are there and aren't what they should be."""


@dataclass(frozen=True)
class Stored:
    """A checkpoint in memory, whole.

    Attributes:
        model: Weights and buffers by name.
        average: Their average, where the run keeps one.
        optimizer: By "<parameter number>.<name>".
        rng: By "<rank>.<device>".
        state: What else is kept, as JSON-serializable values.
    """

    model: Mapping[str, Tensor]
    average: Mapping[str, Tensor] | None
    optimizer: Mapping[str, Tensor]
    rng: Mapping[str, Tensor]
    state: Mapping[str, Any]


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in the processor's memory, laid out as they are written; training on leaves them as they are."""
    copies = {}
    for name, tensor in tensors.items():
        # A card copies several times as fast into memory that stays where it is, and torch keeps that for the next one.
        home = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        copies[name] = home.copy_(tensor.detach(), non_blocking=True)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return copies


def save_checkpoint(folder: Path, stored: Stored) -> None:
    """Write a checkpoint's files into a folder.

    Raises:
        OSError: The disk is full, or the folder can't be written.
    """
    parts = {MODEL: stored.model, OPTIMIZER: stored.optimizer, RNG: stored.rng}
    if stored.average is not None:
        parts[AVERAGE] = stored.average
    for name, tensors in parts.items():
        _save(tensors, folder / name)
    contents = {name: _digest(tensors) for name, tensors in parts.items()}
    text = json.dumps({**stored.state, "tensors": contents}, indent=1) + "\n"
    (folder / STATE).write_text(text, encoding="utf-8")


def read_checkpoint(folder: Path, *, averaged: bool) -> Stored:
    """Read a checkpoint, and make sure that nothing of it is missing.

    Args:
        averaged: The run keeps an average of its weights.

    Raises:
        CheckpointError: It may not be read, or its optimizer state was dropped when the run finished.
        DamagedCheckpoint: A file is missing, torn, empty or of another kind.
    """
    state = load_state(folder)
    if not (folder / OPTIMIZER).exists() and state.get("dropped"):
        raise CheckpointError(f"{folder}: the optimizer's state was dropped when the run finished")
    names = (MODEL, *([AVERAGE] if averaged else []), OPTIMIZER, RNG)
    parts = {name: read_tensors(folder / name) for name in names}
    digests = state.get("tensors")
    for name, tensors in parts.items():
        noted = digests.get(name) if isinstance(digests, Mapping) else None
        if noted is not None and noted != _digest(tensors):
            raise DamagedCheckpoint(f"{folder / name}: not the tensors that were saved; some are missing or others")
    return Stored(parts[MODEL], parts.get(AVERAGE), parts[OPTIMIZER], parts[RNG], state)


def load_state(folder: Path) -> dict[str, Any]:
    """Where in the run a checkpoint is.

    Raises:
        CheckpointError: The folder may not be read.
        DamagedCheckpoint: It is no whole checkpoint.
    """
    path = folder / STATE
    try:
        state = from_json(read_regular(path))
    except PermissionError as error:
        raise _not_ours(path, error) from error
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"{folder}: not a whole checkpoint ({STATE}: {error})") from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{folder}: not a whole checkpoint ({STATE} holds a {type(state).__name__})")
    return state


def check_fit(own: Mapping[str, Tensor], stored: Mapping[str, Tensor], path: Path) -> None:
    """Make sure that stored tensors are a network's own (its `state_dict()`).

    Raises:
        DamagedCheckpoint: Names, shapes or types differ.
    """
    if stored.keys() != own.keys():
        odd = sorted(stored.keys() ^ own.keys())
        raise DamagedCheckpoint(f"{path}: {len(odd)} tensors differ from the model's, {odd[0]!r} first")
    for name, tensor in own.items():
        kept = stored[name]
        if kept.shape != tensor.shape:
            raise DamagedCheckpoint(f"{path}: {name} is {tuple(kept.shape)}, the model's is {tuple(tensor.shape)}")
        if kept.dtype != tensor.dtype:
            raise DamagedCheckpoint(f"{path}: {name} is {kept.dtype}, the model's is {tensor.dtype}")


def copy_into(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Copy tensors into a network's own, keeping their memory layout."""
    for name, tensor in own.items():
        tensor.copy_(stored[name])


def load_into(own: Mapping[str, Tensor], path: Path) -> None:
    """Copy stored weights and buffers into a network's own (its `state_dict()`), keeping their memory layout.

    Raises:
        CheckpointError: The file can't be read, or its tensors are not the network's.
    """
    stored = read_tensors(path)
    check_fit(own, stored, path)
    copy_into(own, stored)


def load_weights(own: Mapping[str, Tensor], folder: Path, *, averaged: bool) -> None:
    """Copy a checkpoint's weights for use into a network's own: the averaged ones where the run keeps an average.

    Raises:
        CheckpointError: The file can't be read, or its tensors are not the network's.
    """
    load_into(own, folder / (AVERAGE if averaged else MODEL))


def check_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor], path: Path, *, step: int) -> None:
    """Make sure that a stored state is that of an optimizer's own parameters.

    Args:
        step: Optimizer steps taken so far.

    Raises:
        DamagedCheckpoint: It belongs to another set of parameters, or lacks some.
    """
    parameters = _parameters(optimizer)
    kinds: dict[int, set[str]] = {}
    for key, tensor in stored.items():
        number, _, name = key.partition(".")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise DamagedCheckpoint(f"{path}: state {key!r}, where the model trains {len(parameters)} parameters")
        parameter = parameters[int(number)]
        if tensor.ndim and tensor.shape != parameter.shape:
            raise DamagedCheckpoint(f"{path}: {key} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}")
        kinds.setdefault(int(number), set()).add(name)
    has_state = not isinstance(optimizer, torch.optim.SGD) or any(group["momentum"] for group in optimizer.param_groups)
    if step and has_state and not kinds:
        raise DamagedCheckpoint(f"{path}: empty, after {step} optimizer steps")
    whole = set().union(*kinds.values())
    for place, names in kinds.items():
        if names != whole:
            raise DamagedCheckpoint(f"{path}: parameter {place} lacks {', '.join(sorted(whole - names))}")


def put_into_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor]) -> None:
    """Put a checked state under the optimizer's parameters, each tensor with its parameter's strides."""
    parameters = _parameters(optimizer)
    for key, tensor in stored.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        home = torch.empty_like(parameter, dtype=tensor.dtype) if tensor.ndim else torch.empty_like(tensor)
        if not tensor.ndim and optimizer.defaults.get("fused"):
            home = home.to(parameter.device)
        optimizer.state[parameter][name] = home.detach().copy_(tensor)


def drop_optimizer(folder: Path) -> None:
    """Remove from a finished run's checkpoint what is of no use but to train on; its weights stay.

    Raises:
        OSError: The folder can't be written.
    """
    state = load_state(folder)
    if not state.get("dropped"):
        # Said first, so that a checkpoint without these files is never taken for a damaged one.
        text = json.dumps({**state, "dropped": True}, indent=1) + "\n"
        write_atomic(folder / STATE, text.encode())
    for name in _FOR_TRAINING_ON:
        (folder / name).unlink(missing_ok=True)


def random_state() -> dict[str, Tensor]:
    """The random state of this process."""
    state = {"cpu": torch.get_rng_state()}
    # Of the card that the process computes on; one that it hasn't touched is left alone.
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def check_random_state(state: Mapping[str, Tensor], path: Path) -> None:
    """Make sure that a state can be restored.

    Raises:
        DamagedCheckpoint: It is none, or incomplete.
    """
    own = random_state()["cpu"]
    kept = state.get("cpu")
    if kept is None or kept.shape != own.shape or kept.dtype != own.dtype:
        raise DamagedCheckpoint(f"{path}: holds no random state for this process")


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Go on from what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    # A checkpoint may come from a machine with another kind of device.
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: It may not be read.
        DamagedCheckpoint: It is missing, torn or of another kind.
    """
    try:
        check_regular(path)
        return dict(load_file(path))
    except PermissionError as error:
        raise _not_ours(path, error) from error
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DamagedCheckpoint(f"{path}: can't be read as safetensors ({error})") from error


def _not_ours(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path}: {error.strerror}; give yourself the right to read it (chmod), nothing is lost")


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state by "<parameter number>.<name>"; the tensors are its own."""
    return {
        f"{number}.{name}": value
        for number, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of the tensors' names, types and shapes; safetensors itself notices bytes that are missing."""
    lines: Iterable[str] = (f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}" for name in sorted(tensors))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        # The library has an exception of its own for a full disk.
        raise OSError(0, str(error)) from error
