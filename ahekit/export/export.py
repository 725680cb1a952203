"""A run becomes a model folder: weights stored, thresholds set on validation, figures measured, all of it checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from ahekit import __version__
from ahekit.data.classes import display_name
from ahekit.data.ids import short_name
from ahekit.data.random import sample_keys
from ahekit.errors import RunError
from ahekit.evaluation.leaks import find_leaks, without
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord
from ahekit.evaluation.resampling import resample
from ahekit.export.card import model_card
from ahekit.export.cost import compression_costs, rounding_costs
from ahekit.export.outputs import Outputs, Progress, RunImages, run_outputs
from ahekit.export.tracing import UntraceableNetwork, network_file, trace
from ahekit.model_folder import (
    CARD,
    EMBEDDINGS,
    LABELS,
    NETWORK,
    ONNX,
    WEIGHTS,
    ComponentNote,
    FigureNote,
    ModelFolder,
    ModelFolderError,
    ProvenanceNote,
    check_place,
    is_model_folder,
    preprocessing_note,
    read_model_folder,
    write_model_folder,
)
from ahekit.models import parameter_counts
from ahekit.prediction.deciding import fit_deciding
from ahekit.prediction.network import Network
from ahekit.protocols import BuiltModel
from ahekit.run import BEST, Run, find_checkpoint, with_data
from ahekit.trained import Trained, load_trained

FOLDER = "model"
"""Where in a run its model folder lies, when nobody said where else."""

CHECKED_IMAGES = 32
_LARGEST_DIFFERENCE = 1e-3  # of the logits of two ways to compute one network, as a share of the largest logit
_FIGURES = ("accuracy", "macro_f1", "log_loss")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Networks:
    """One network in the forms that an export needs.

    Attributes:
        stored: With the weights as they are stored, ready to run.
        file: `network.json`; None where the network can't be written down so.
        program: What it was made of; None likewise.
    """

    stored: Callable[[Tensor], tuple[Tensor, Tensor]]
    file: bytes | None
    program: torch.export.ExportedProgram | None


def export_run(
    run: Run,
    to: Path | None = None,
    *,
    half: bool = False,
    onnx: bool = False,
    share_weights: bool = False,
    overwrite: bool = False,
    checkpoint: str = BEST,
    data: str | None = None,
    device: str = "auto",
    tell: Tell = lambda line: None,
    progress: Progress = lambda done, total: None,
) -> ModelFolder:
    """Write a run's network as a model folder.

    Args:
        to: The folder; None: `model/` within the run.
        half: Store weights in 16 bits.
        onnx: For other software too.
        share_weights: The ONNX file takes its weights from `model.safetensors` beside it.
        overwrite: Put it in the place of another run's model folder.
        data: Where the run's images are now, when they were moved.
        tell: Called with what the user should know.
        progress: Called with the images done and their number.

    Raises:
        RunError: The run has no checkpoint, or its images aren't where they were.
        ModelFolderError: Something else is there, or the folder can't be written.
        UsageError: `onnx` is asked for and its packages aren't there.
    """
    place = run.path / FOLDER if to is None else to
    replaces = overwrite or _is_of_run(place, run)
    check_place(place, overwrite=replaces)
    if onnx:
        from ahekit.export.onnx_file import check_installed

        check_installed()
    moved = with_data(run, data) if data else run
    trained = load_trained(moved, checkpoint=checkpoint, device=device)
    built = trained.built
    full = {name: tensor.detach().cpu().clone() for name, tensor in built.module.state_dict().items()}
    kept = {name: halved(tensor) if half else tensor for name, tensor in full.items()}
    stored = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in kept.items()}
    built.module.load_state_dict(stored)
    weights = save_tensors({name: tensor.contiguous() for name, tensor in sorted(kept.items())})
    images = RunImages.of(moved, built.preprocessing)
    networks = _networks(trained, stored, images, tell)
    outputs = run_outputs(moved, images, networks.stored, trained.compute.device, weights=weights, progress=progress)
    _check_outputs(outputs, run)
    head_weight, head_bias = _head(built, len(trained.class_names), outputs["train"].embeddings.shape[1])
    test = outputs["test"] if len(outputs["test"].ids) else None
    deciding, reference = fit_deciding(
        val_logits=outputs["val"].logits,
        val_labels=outputs["val"].labels,
        val_embeddings=outputs["val"].embeddings,
        train_logits=outputs["train"].logits,
        train_embeddings=outputs["train"].embeddings,
        train_labels=outputs["train"].labels,
        class_names=trained.class_names,
        head_weight=head_weight,
        head_bias=head_bias,
        test_logits=None if test is None else test.logits,
        test_labels=None if test is None else test.labels,
        test_embeddings=None if test is None else test.embeddings,
        data=_data_words(moved),
    )
    figures = tuple(_figures(moved, outputs, trained.class_names, tell))
    costs = list(compression_costs(outputs, reference))
    if half:
        before = _full_outputs(moved, trained, images, networks, full, progress)
        costs += rounding_costs(before, outputs)
    ids = outputs["train"].ids
    keys = {"ids": sample_keys(ids), "names": sample_keys(map(short_name, ids))}
    arrays = {**_own(reference.arrays), **keys}
    files: dict[str, bytes] = {WEIGHTS: weights, EMBEDDINGS: save_arrays(dict(sorted(arrays.items())))}
    if networks.file is not None:
        files[NETWORK] = networks.file
    notes: dict[str, Any] = {
        "name": _model_name(moved),
        "component": _component(moved).model_dump(mode="json"),
        "class_names": list(trained.class_names),
        "preprocessing": preprocessing_note(built.preprocessing).model_dump(mode="json"),
        "stored_as": "float16" if half else "float32",
        "provenance": provenance(moved, trained.checkpoint, built).model_dump(mode="json"),
        "figures": [figure.model_dump(mode="json") for figure in figures],
        "costs": [cost.model_dump(mode="json") for cost in costs],
        "deciding": deciding.model_dump(mode="json"),
    }
    if onnx:
        from ahekit.export.onnx_file import make_onnx

        made = make_onnx(
            trained,
            temperature=deciding.temperature,
            pixels=_checked_pixels(images),
            weights=weights if share_weights else None,
        )
        files[ONNX] = made.content
        files[LABELS] = ("\n".join(trained.class_names) + "\n").encode()
        notes["onnx"] = made.note.model_dump(mode="json")
    files[CARD] = model_card(notes, deciding, reference).encode()
    write_model_folder(place, notes, files, overwrite=replaces)
    return read_model_folder(place)


def is_current(folder: ModelFolder, run: Run) -> bool:
    """Whether a model folder is of a run's best checkpoint, and made by this ahekit."""
    noted = folder.notes.provenance
    try:
        best = find_checkpoint(run).name
    except RunError:
        return True  # a run whose checkpoints were cleared away has nothing newer
    return (noted.run, noted.checkpoint, noted.ahekit) == (run.name, best, __version__)


def halved(tensor: Tensor) -> Tensor:
    """A tensor of weights in 16 bits; vectors stay as they are, since they are small and BatchNorm's spread widely."""
    is_large = tensor.is_floating_point() and tensor.ndim > 1
    rounded = tensor.half() if is_large else tensor
    return rounded if torch.isfinite(rounded).all() else tensor


def provenance(run: Run, checkpoint: Path, built: BuiltModel) -> ProvenanceNote:
    """Where a run's network comes from."""
    spec = run.spec
    manifest = run.manifest
    row = run.record().chosen_epoch
    return ProvenanceNote(
        run=run.name,
        checkpoint=checkpoint.name,
        epoch=row.epoch if row is not None and checkpoint.name == run.status.best.checkpoint else 0,
        recipe=spec.recipe,
        seed=spec.seed,
        ahekit=__version__,
        torch=manifest.versions.get("torch", ""),
        data=manifest.data.name or "",
        data_kind=manifest.data.kind or "",
        edition=manifest.data.edition or "",
        fingerprint=manifest.data.fingerprint or "",
        images={
            "train": len(manifest.splits.train),
            "val": len(manifest.splits.val),
            "test": len(manifest.splits.test),
        },
        grouped_by=manifest.splits.grouped_by,
        weights=_without_folders(manifest.weights.source or "") if manifest.weights else "",
        parameters=parameter_counts(built)["total"],
    )


def _without_folders(source: str) -> str:
    """Where weights are from, without the folders of this machine."""
    return Path(source).name if "/" in source and source.startswith(("/", ".", "~")) else source


def _is_of_run(place: Path, run: Run) -> bool:
    """Whether a place holds a model folder of this run, whose place a new one may take."""
    if not is_model_folder(place):
        return False
    try:
        return read_model_folder(place).notes.provenance.run == run.name
    except ModelFolderError:
        return place.absolute() == (run.path / FOLDER).absolute()


def _component(run: Run) -> ComponentNote:
    params = dict(run.spec.model.params)
    if "weights" in params:
        params["weights"] = "none"  # they are the folder's own
    return ComponentNote(name=run.spec.model.name, params=params)


def _model_name(run: Run) -> str:
    """What people call it: network, data, and the part of the run's name that no other has."""
    data = run.manifest.data.name or "data"
    short = run.name.rpartition("-")[2]
    return f"{run.spec.model.name}-{data}-{short}"[:200]


def _data_words(run: Run) -> str:
    data = run.manifest.data
    if data.kind == "sample":
        return "the sample"
    return "AHE" if data.edition else data.name or ""


def _networks(trained: Trained, stored: dict[str, Tensor], images: RunImages, tell: Tell) -> _Networks:
    """The network in its list of operations, where that gives the same logits on real images."""
    built = trained.built
    device = trained.compute.device

    def eager(batch: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            return built.module(batch), built.embed(batch)

    try:
        on_processor = replace(built, module=built.module.to("cpu"))
        program = trace(on_processor)
        file = network_file(program, stored)
        network = Network(file, stored, device)
        built.module.to(device)
        check_same(network, eager, trained, _checked_pixels(images))
    except UntraceableNetwork as error:
        built.module.to(device)
        tell(f"no {NETWORK}, so that the model needs the plugin of {trained.run.name} wherever it is used: {error}")
        return _Networks(eager, None, None)
    return _Networks(network, file, program)


def check_same(
    network: Callable[[Tensor], tuple[Tensor, Tensor]],
    eager: Callable[[Tensor], tuple[Tensor, Tensor]],
    trained: Trained,
    pixels: NDArray[np.uint8],
) -> None:
    """Make sure that two forms of a network say the same of real images.

    Raises:
        UntraceableNetwork: They don't.
    """
    from ahekit.data.augment import normalize

    batch = normalize(pixels, trained.built.preprocessing).to(trained.compute.device)
    for own, other in zip(network(batch), eager(batch), strict=True):
        difference = float((own - other).abs().max())
        if not difference <= _LARGEST_DIFFERENCE * max(1.0, float(other.abs().max())):
            raise UntraceableNetwork(f"it differs from the network itself by {difference:.3g} on real images")


def _checked_pixels(images: RunImages) -> NDArray[np.uint8]:
    """Real images that forms of a network are compared on: of test where there are any."""
    split = "test" if len(images.splits["test"]) else "val"
    return images.pixels(split, CHECKED_IMAGES)


def _full_outputs(
    run: Run,
    trained: Trained,
    images: RunImages,
    networks: _Networks,
    full: dict[str, Tensor],
    progress: Progress,
) -> dict[str, Outputs]:
    """What the network said of validation and test before its weights were rounded."""
    device = trained.compute.device
    if networks.file is not None:
        network: Callable[[Tensor], tuple[Tensor, Tensor]] = Network(networks.file, full, device)
    else:
        trained.built.module.load_state_dict(full)
        network = networks.stored
    weights = save_tensors({name: tensor.contiguous() for name, tensor in sorted(full.items())})
    outputs = run_outputs(run, images, network, device, weights=weights, splits=("val", "test"), progress=progress)
    if networks.file is None:
        rounded = {name: halved(tensor).to(tensor.dtype) for name, tensor in full.items()}
        trained.built.module.load_state_dict(rounded)
    return outputs


def _check_outputs(outputs: dict[str, Outputs], run: Run) -> None:
    for split, words in (("val", "validation"), ("train", "training")):
        if not len(outputs[split].ids):
            raise RunError(f"{run.name}: has no {words} images to set thresholds by; it can't be exported")


def _head(built: BuiltModel, classes: int, width: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Weight and bias of the last layer, where it takes the embedding."""
    layers = [
        part
        for unit in list(built.stages.values())[-1]
        for part in unit.modules()
        if isinstance(part, nn.Linear) and (part.out_features, part.in_features) == (classes, width)
    ]
    if len(layers) != 1:
        return None, None
    weight = layers[0].weight.detach().cpu().numpy()
    return weight, None if layers[0].bias is None else layers[0].bias.detach().cpu().numpy()


def _figures(run: Run, outputs: dict[str, Outputs], class_names: tuple[str, ...], tell: Tell) -> list[FigureNote]:
    """Accuracy, macro-F1 and log loss on validation and test, on test also without near-copies of training images."""
    figures = []
    for split in ("val", "test"):
        predictions = outputs[split].predictions(class_names)
        if (predictions.labels >= 0).any():
            figures += _of_predictions(predictions, split, near_copies=True)
    if not len(outputs["test"].ids):
        return figures
    try:
        leaks = find_leaks(run.record())
    except MissingRecord as missing:
        tell(f"figures without near-copies are left out: {missing}")
        return figures
    free = without(outputs["test"].predictions(class_names), {copy.test for copy in leaks.copies})
    if leaks.copies and len(free.ids):
        figures += _of_predictions(free, "test", near_copies=False)
    return figures


def _of_predictions(predictions: Predictions, split: Any, *, near_copies: bool) -> list[FigureNote]:
    resampled = resample(predictions)
    notes = []
    for name in _FIGURES:
        interval = resampled.interval(name)
        notes.append(
            FigureNote(
                split=split,
                name=name,
                value=_digits(resampled.values[name]),
                low=None if interval is None else _digits(interval.low),
                high=None if interval is None else _digits(interval.high),
                images=int((predictions.labels >= 0).sum()),
                near_copies=near_copies,
            )
        )
    return notes


def _digits(value: Any) -> float:
    return float(f"{float(value):.6g}")


def _own(arrays: Any) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def class_words(class_names: tuple[str, ...]) -> str:
    """The classes as people write them."""
    return ", ".join(display_name(name) for name in class_names)
