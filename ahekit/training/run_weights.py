"""Networks that were trained: built again with their weights, or their weights as another one's first.

First weights are all of them where the classes are the same, else all but the head's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ahekit.errors import CheckpointError, RunError
from ahekit.model_folder import WEIGHTS, ModelFolder, ModelFolderError, is_model_folder, read_model_folder
from ahekit.models import build_component
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit.run import BEST, Run, find_checkpoint
from ahekit.training.checkpoint import (
    AVERAGE,
    MODEL,
    DamagedCheckpoint,
    check_fit,
    copy_into,
    load_weights,
    read_tensors,
)


def load_first_weights(built: BuiltModel, path: Path, class_names: tuple[str, ...]) -> LoadedWeights:
    """Copy the best weights of a run, or those of a model folder, into a network of the same architecture.

    The head's are left as they were built where the classes, or their order, are others.

    Args:
        path: Of the run or the model folder.
        class_names: Of the new run, in the order of its logits.

    Raises:
        RunError: There is no run, or none with a checkpoint of its best epoch.
        ModelFolderError: The model folder isn't whole.
        CheckpointError: The weights can't be read, or are those of another architecture.
    """
    if is_model_folder(path):
        folder = read_model_folder(path)
        return _load(
            *(built, read_weights(folder)),
            same_classes=folder.class_names == class_names,
            source=f"model folder {folder.name}",
            path=path,
            model=folder.notes.component.name,
        )
    run = Run.open(path)
    checkpoint = find_checkpoint(run)
    spec = run.spec
    return _load(
        *(built, read_tensors(checkpoint / (AVERAGE if spec.train.average_decay else MODEL))),
        same_classes=run.manifest.class_names == class_names,
        source=f"run {run.name}, {checkpoint.name}",
        path=path,
        model=spec.model.name,
    )


def read_weights(folder: ModelFolder) -> dict[str, Tensor]:
    """A model folder's weights and buffers by name, the floating-point ones in 32-bit precision.

    Raises:
        ModelFolderError: They can't be read.
    """
    try:
        tensors = load(folder.read(WEIGHTS))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelFolderError(f"{folder.path / WEIGHTS}: can't be read as safetensors ({error})") from error
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}


def run_network(run: Run, *, checkpoint: str = BEST) -> tuple[BuiltModel, Path]:
    """A run's network with a checkpoint's weights, in eval mode on the processor, and the checkpoint's folder.

    Args:
        checkpoint: "best" by validation, "last", or a checkpoint folder's name or a part of it.

    Raises:
        RunError: The run has no checkpoint yet, or its manifest can't be read.
        UnknownNameError: It has none of that name.
        CheckpointError: The weights can't be read or don't fit.
    """
    spec = run.spec
    class_names = run.manifest.class_names
    if not class_names:
        raise RunError(f"{run.name}: manifest.json is missing or names no classes; restore it")
    folder = find_checkpoint(run, checkpoint)
    built = build_component(
        spec.model.name, spec.model.params, num_classes=len(class_names), image_size=spec.data.image_size
    ).built
    load_weights(built.module.state_dict(), folder, averaged=bool(spec.train.average_decay))
    built.module.eval()
    preprocessing = built.preprocessing.overlaid(
        fit=spec.data.fit, interpolation=spec.data.interpolation, detail=spec.data.detail
    )
    return replace(built, preprocessing=preprocessing), folder


def folder_network(folder: ModelFolder) -> BuiltModel:
    """A model folder's network with its weights, in eval mode on the processor.

    Raises:
        UnknownNameError: No plugin provides the network.
        ModelFolderError: The weights can't be read or don't fit.
    """
    component = folder.notes.component
    built = build_component(
        component.name,
        component.params,
        num_classes=len(folder.class_names),
        image_size=folder.preprocessing.size,
    ).built
    own = built.module.state_dict()
    stored = read_weights(folder)
    try:
        check_fit(own, stored, folder.path / WEIGHTS)
    except DamagedCheckpoint as error:
        raise ModelFolderError(f"{error}; was it made with another version of {component.name}?") from error
    copy_into(own, stored)
    built.module.eval()
    return replace(built, preprocessing=folder.preprocessing)


def _load(
    built: BuiltModel, stored: Mapping[str, Tensor], *, same_classes: bool, source: str, path: Path, model: str
) -> LoadedWeights:
    own = built.module.state_dict()
    kept = set() if same_classes else _head_tensors(built)
    wanted = {name: tensor for name, tensor in own.items() if name not in kept}
    misfits = [
        f"{name} is missing" if name not in stored else f"{name} is {tuple(stored[name].shape)}, not {tuple(own.shape)}"
        for name, own in wanted.items()
        if name not in stored or stored[name].shape != own.shape
    ]
    if misfits:
        raise CheckpointError(
            f"{path}: weights of another architecture ({model}): {len(misfits)} of {len(wanted)} tensors "
            f"don't fit, {misfits[0]} first; build the same network with --model {model} and its parameters"
        )
    for name, tensor in wanted.items():
        tensor.copy_(stored[name])
    return LoadedWeights(
        source=source,
        loaded=len(wanted),
        missing=tuple(sorted(kept)),
        unexpected=tuple(sorted(stored.keys() - own.keys())),
    )


def _head_tensors(built: BuiltModel) -> set[str]:
    """Names of the weights and buffers of the last stage."""
    *_, head = built.stages.values()
    of_head = {id(tensor) for part in head for tensor in part.state_dict(keep_vars=True).values()}
    return {name for name, tensor in built.module.state_dict(keep_vars=True).items() if id(tensor) in of_head}
