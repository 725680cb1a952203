"""Which network is asked about photos: that of a run, a model folder or an ONNX file, or the one of the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ahekit.errors import UnknownNameError, UsageError
from ahekit.model_folder import (
    NETWORK,
    NOTES,
    ONNX,
    ModelFolder,
    ModelFolderError,
    is_model_folder,
    read_embeddings,
    read_model_folder,
)
from ahekit.prediction.deciding import Decider, Deciding, Reference
from ahekit.prediction.predictor import Outputs, Predictor
from ahekit.registry import PRETRAINED
from ahekit.run import Run, find_run, list_runs
from ahekit.run.finding import is_run_path

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "ahe"
"""The registered model that is taken when none is named."""

Engine = Literal["auto", "torch", "onnxruntime"]
Tell = Callable[[str], None]


def open_predictor(
    model: str | Path | None,
    *,
    root: Path,
    device: str = "auto",
    engine: Engine = "auto",
    threads: int | None = None,
    tell: Tell = lambda line: None,
) -> Predictor:
    """The network that a name stands for, ready for photos.

    A run becomes a model folder first, `model/` within the run, which its images are needed for; it is kept.

    Args:
        model: Path of a model folder, of an ONNX file within one, or of a run; name of a registered model, or of a run
            or a part of it. None: the model that comes with the package.
        root: Where runs live.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        engine: What computes; "auto": the faster one of those that the folder has and that are installed.
        threads: That a call of the predictor computes with on the processor; several calls may run at a time. None: as
            many as there are cores.
        tell: Called with a line of what takes long.

    Raises:
        UnknownNameError: Nothing goes by the name.
        UsageError: onnxruntime is asked for and isn't there, or the model isn't made for it.
        AhekitError: It can't be read or used.
    """
    if model is not None and str(model).lower().endswith(".onnx"):
        file = Path(model)
        if engine == "torch":
            raise UsageError(f"{file}: torch doesn't run ONNX files; name the folder that it lies in")
        return open_folder(_folder_of(file), device=device, engine="onnxruntime", threads=threads)
    folder = find_model(model, root=root, device=device, tell=tell)
    return open_folder(folder, device=device, engine=engine, threads=threads)


def find_model(
    model: str | Path | None, *, root: Path, device: str = "auto", tell: Tell = lambda line: None
) -> ModelFolder:
    """The model folder that a name stands for; see `open_predictor`."""
    if model is None:
        return registered_model(DEFAULT_MODEL)
    name = str(model)
    if is_model_folder(name):
        return read_model_folder(Path(name))
    if not is_run_path(name):
        if name in PRETRAINED.names():
            return registered_model(name)
        runs = [run.name for run in list_runs(root)]
        if not any(name in run for run in runs) or not name:
            if Path(name).is_dir():
                raise ModelFolderError(
                    f"{name}: neither a model folder (no {NOTES}) nor a run; `ahekit export` makes one"
                )
            raise UnknownNameError("model", name, [*PRETRAINED.names(), *runs], hint="A model folder goes by its path")
    return folder_of_run(find_run(root, name), device=device, tell=tell)


def registered_model(name: str) -> ModelFolder:
    """A model that a package brings, by its name.

    Raises:
        UnknownNameError: None goes by the name.
        AhekitError: It isn't whole.
    """
    entry, plugin = PRETRAINED.look_up(name)
    with entry.guarded():
        folder = plugin.folder()
    return read_model_folder(folder)


def folder_of_run(run: Run, *, device: str = "auto", tell: Tell = lambda line: None) -> ModelFolder:
    """The model folder within a run, made now where there is none of its best epoch.

    Raises:
        RunError: The run has no checkpoint, or its images aren't where they were.
    """
    from ahekit.export.export import FOLDER, export_run, is_current

    folder = run.path / FOLDER
    if is_model_folder(folder):
        try:
            kept = read_model_folder(folder)
            if is_current(kept, run):
                return kept
        except ModelFolderError as error:
            tell(f"{error}; made anew")
    tell(f"{run.name}: its thresholds are set once, on its validation images, and kept in {folder}")
    return export_run(run, folder, overwrite=True, device=device, tell=tell)


def open_folder(
    folder: ModelFolder, *, device: str = "auto", engine: Engine = "auto", threads: int | None = None
) -> Predictor:
    """A model folder's network, ready for photos; see `open_predictor`."""
    chosen = engine
    if engine == "onnxruntime" and not folder.has(ONNX):
        raise UsageError(f"{folder.path}: holds no {ONNX}; `ahekit export RUN --onnx` makes one")
    if engine == "auto":
        ready = folder.has(ONNX) and find_spec("onnxruntime") is not None and device in ("auto", "cpu")
        chosen = "onnxruntime" if ready and not _has_accelerator(device) else "torch"
    run, words = _onnx_engine(folder, threads) if chosen == "onnxruntime" else _torch_engine(folder, device, threads)
    return Predictor(
        class_names=folder.class_names,
        preprocessing=folder.preprocessing,
        fingerprint=folder.fingerprint,
        name=folder.name,
        decider=open_decider(folder),
        deciding_text=deciding_text(folder),
        engine=words,
        run=run,
    )


def deciding_text(folder: ModelFolder) -> str:
    """All that a model folder says of itself in one text, with all that new thresholds are set by (JSON, so YAML)."""
    return json.dumps({**folder.notes.model_dump(mode="json"), "deciding": folder.deciding()}, ensure_ascii=False)


def open_decider(folder: ModelFolder) -> Decider:
    """What decides on a model folder's outputs.

    Raises:
        ModelFolderError: Its values or its training embeddings can't be used.
    """
    try:
        deciding = Deciding.model_validate_json(json.dumps(folder.deciding()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelFolderError(f"{folder.path}: its thresholds can't be used ({place}: {first['msg']})") from error
    return Decider(deciding, Reference(read_embeddings(folder)), folder.class_names)


def _has_accelerator(device: str) -> bool:
    """Whether torch would compute on something faster than the processor; not asked where that was ruled out."""
    # The driver's device file tells without the seconds that importing torch takes.
    return device == "auto" and any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg"))


def _folder_of(file: Path) -> ModelFolder:
    """The model folder that an ONNX file belongs to."""
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    if not is_model_folder(file.parent):
        raise ModelFolderError(
            f"{file}: no {NOTES} lies beside it, which holds its thresholds; keep the folder together that "
            "`ahekit export --onnx` made"
        )
    folder = read_model_folder(file.parent)
    if file.name != ONNX or not folder.has(ONNX):
        raise ModelFolderError(f"{file}: not the {ONNX} of the model folder that it lies in; `ahekit export --onnx`")
    return folder


def _torch_engine(
    folder: ModelFolder, device: str, threads: int | None
) -> tuple[Callable[[NDArray[np.uint8]], Outputs], str]:
    import torch

    from ahekit.compute import open_compute, resolve_runtime
    from ahekit.spec import RuntimeSpec

    compute = open_compute(
        resolve_runtime(RuntimeSpec.model_validate({"device": device, "precision": "fp32", "threads": threads}))
    )
    if folder.has(NETWORK):
        from ahekit.prediction.network import Network
        from ahekit.training.run_weights import read_weights

        network: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = Network(
            folder.read(NETWORK), read_weights(folder), compute.device
        )
    else:
        from ahekit.trained import load_trained_folder

        built = load_trained_folder(folder, device=device).built

        def network(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            with torch.inference_mode():
                return built.module(images), built.embed(images)

    run = torch_runner(network, folder.preprocessing.mean, folder.preprocessing.std, compute.device)
    return run, f"torch, {compute.device}"


def torch_runner(
    network: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    device: torch.device,
) -> Callable[[NDArray[np.uint8]], Outputs]:
    """A network of torch as a function of pixels."""
    import torch

    # In units of a pixel, so that the division by 255 costs no pass over the batch of its own.
    centre = torch.tensor(mean, device=device).mul(255)
    scale = torch.tensor(std, device=device).mul(255)

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        # Rows of pixels with their channels last are the memory layout that convolutions are fastest in.
        own = np.require(pixels, requirements=["C", "W"])
        images = torch.from_numpy(own).to(device).float().sub_(centre).div_(scale)
        logits, embeddings = network(images.permute(0, 3, 1, 2))
        return logits.float().cpu().numpy(), embeddings.half().cpu().numpy()

    return run


def _onnx_engine(folder: ModelFolder, threads: int | None) -> tuple[Callable[[NDArray[np.uint8]], Outputs], str]:
    if find_spec("onnxruntime") is None:
        raise UsageError("onnxruntime isn't installed; pip install 'ahekit[onnx]' brings it")
    import onnxruntime

    folder.read(ONNX)  # makes sure that it is the folder's own
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # Threads that wait by spinning would take the cores from those that decode the next photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # By its path: its weights may lie in the file beside it.
        session = onnxruntime.InferenceSession(folder.path / ONNX, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common class
        reason = " ".join(str(error).split())[:200]
        raise ModelFolderError(f"{folder.path / ONNX}: onnxruntime can't use it ({reason})") from error

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        logits, embeddings = session.run(["logits", "embedding"], {"pixels": np.ascontiguousarray(pixels)})
        return np.asarray(logits, dtype=np.float32), np.asarray(embeddings, dtype=np.float16)

    return run, f"onnxruntime {onnxruntime.__version__}, cpu"
