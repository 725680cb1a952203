"""A network with its trained weights, from a run or a model folder, ready to be looked at or used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ahekit.compute import Compute, open_compute, resolve_runtime
from ahekit.errors import AhekitError, UnknownNameError, UsageError
from ahekit.inspection.layers import resolve_layer
from ahekit.model_folder import ModelFolder, is_model_folder, read_model_folder
from ahekit.protocols import BuiltModel
from ahekit.run import BEST, Run, find_run, list_runs, with_data
from ahekit.spec import RuntimeSpec
from ahekit.training.run_weights import folder_network, run_network


@dataclass(frozen=True)
class Trained:
    """A network with a checkpoint's weights.

    Attributes:
        run: What it is of: a run, or a model folder.
        checkpoint: The folder that the weights lie in.
        data: Where the images are that a model folder is looked at with; None: those it was made with. A run knows.
        built: In eval mode and on the device of `compute`; its preprocessing is the one the run trained with.
        class_names: In the order of the logits.
    """

    run: Run | ModelFolder
    checkpoint: Path
    built: BuiltModel
    class_names: tuple[str, ...]
    compute: Compute
    data: str | None = None

    @property
    def origin(self) -> str:
        """The run and when its weights were stored, or the model folder, in words."""
        if isinstance(self.run, ModelFolder):
            return self.run.name
        return f"{self.run.name}, {self.run.moment(self.checkpoint)}"


def load_trained(run: Run, *, checkpoint: str = BEST, device: str = "auto") -> Trained:
    """Build a run's network and load a checkpoint's weights, in 32-bit precision.

    Args:
        checkpoint: "best" by validation, "last", or a checkpoint folder's name or a part of it.

    Raises:
        RunError: The run has no checkpoint yet, or its manifest can't be read.
        UnknownNameError: It has none of that name.
        CheckpointError: The weights can't be read or don't fit.
    """
    compute = _compute_on(device)
    built, folder = run_network(run, checkpoint=checkpoint)
    built.module.to(compute.device)
    return Trained(run, folder, built, tuple(run.manifest.class_names), compute)


def load_trained_folder(folder: ModelFolder, *, device: str = "auto") -> Trained:
    """Build a model folder's network and load its weights, in 32-bit precision.

    Raises:
        UnknownNameError: No plugin provides the network.
        ModelFolderError: The weights can't be read or don't fit.
    """
    compute = _compute_on(device)
    built = folder_network(folder)
    built.module.to(compute.device)
    return Trained(folder, folder.path, built, folder.class_names, compute)


def _compute_on(device: str) -> Compute:
    return open_compute(resolve_runtime(RuntimeSpec.model_validate({"device": device, "precision": "fp32"})))


def find_trained(
    root: Path,
    *,
    run: str | None = None,
    checkpoint: str = BEST,
    layers: Collection[str] = (),
    device: str = "auto",
    data: str | None = None,
) -> tuple[Trained, tuple[str, ...]]:
    """The network of the named run, else of the newest run that has a checkpoint and the named layers.

    Args:
        root: Where runs live.
        run: Path of a run or a model folder, or a run's name or a part of it.
        layers: Aliases or dotted paths that the network has to have.
        data: Where the run's images are now, when they were moved; of a model folder, any images of its classes.

    Returns:
        The network, and a line for each newer run that was passed over, with the reason.

    Raises:
        RunError: There is no run, or none that can be used.
        UnknownNameError: The named run has no such layer; or no run has it, and then the newest one's layers are told.
    """
    if run is not None and is_model_folder(run):
        if checkpoint != BEST:
            raise UsageError(f"{run}: a model folder holds one set of weights; leave out --checkpoint")
        trained = replace(load_trained_folder(read_model_folder(Path(run)), device=device), data=data)
        _check_layers(trained, layers)
        return trained, ()
    if run is not None:
        named = find_run(root, run)
        trained = load_trained(with_data(named, data) if data else named, checkpoint=checkpoint, device=device)
        _check_layers(trained, layers)
        return trained, ()
    find_run(root, None)
    passed: list[str] = []
    failures: list[AhekitError] = []
    for candidate in list_runs(root):
        try:
            moved = with_data(candidate, data) if data else candidate
            trained = load_trained(moved, checkpoint=checkpoint, device=device)
            _check_layers(trained, layers)
        except AhekitError as error:
            failures.append(error)
            passed.append(f"passed over {candidate.name}: {error}")
        else:
            return trained, tuple(passed)
    # What the user asked for tells more than what an unfinished run lacks.
    raise next((error for error in failures if isinstance(error, UnknownNameError)), failures[0])


def _check_layers(trained: Trained, layers: Collection[str]) -> None:
    for layer in layers:
        resolve_layer(trained.built, layer)
