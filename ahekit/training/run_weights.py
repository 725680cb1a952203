"""First weights for a network from another run's: all of them where the classes are the same, else all but the head."""

from __future__ import annotations

from ahekit.errors import CheckpointError
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit.run import Run, find_checkpoint
from ahekit.training.checkpoint import AVERAGE, MODEL, read_tensors


def load_run_weights(built: BuiltModel, run: Run, class_names: tuple[str, ...]) -> LoadedWeights:
    """Copy the best weights of a run into a network of the same architecture.

    The head's are left as they were built where the classes, or their order, are others.

    Args:
        class_names: Of the new run, in the order of its logits.

    Raises:
        RunError: The run has no checkpoint of its best epoch.
        CheckpointError: The weights can't be read, or are those of another architecture.
    """
    folder = find_checkpoint(run)
    spec = run.spec
    stored = read_tensors(folder / (AVERAGE if spec.train.average_decay else MODEL))
    own = built.module.state_dict()
    kept = set() if run.manifest.class_names == class_names else _head_tensors(built)
    wanted = {name: tensor for name, tensor in own.items() if name not in kept}
    misfits = [
        f"{name} is missing" if name not in stored else f"{name} is {tuple(stored[name].shape)}, not {tuple(own.shape)}"
        for name, own in wanted.items()
        if name not in stored or stored[name].shape != own.shape
    ]
    if misfits:
        raise CheckpointError(
            f"{run.path}: weights of another architecture ({spec.model.name}): {len(misfits)} of {len(wanted)} tensors "
            f"don't fit, {misfits[0]} first; build the same network with --model {spec.model.name} and its parameters"
        )
    for name, tensor in wanted.items():
        tensor.copy_(stored[name])
    return LoadedWeights(
        source=f"run {run.name}, {folder.name}",
        loaded=len(wanted),
        missing=tuple(sorted(kept)),
        unexpected=tuple(sorted(stored.keys() - own.keys())),
    )


def _head_tensors(built: BuiltModel) -> set[str]:
    """Names of the weights and buffers of the last stage."""
    *_, head = built.stages.values()
    of_head = {id(tensor) for part in head for tensor in part.state_dict(keep_vars=True).values()}
    return {name for name, tensor in built.module.state_dict(keep_vars=True).items() if id(tensor) in of_head}
