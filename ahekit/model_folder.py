"""A model folder: a trained network with all that it takes to use it elsewhere; `ahekit export` makes one.

    model.yaml              what the network is, its classes, preprocessing, thresholds, figures; hashes of the others
    model.safetensors       weights and buffers
    embeddings.safetensors  compressed training embeddings: for unknown detection, and for learning on
    validation.json         how sure the network was of each labelled image: what new thresholds are set by
    network.json            the network as a list of torch's own operations, so that it runs without its plugin
    README.md               the model card
    model.onnx, labels.txt  for other software, where they were asked for

A folder may come from anybody: nothing of it is unpickled or run as code, every value is checked, and every file that
is used has the hash that `model.yaml` gives it. Reading one loads neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json

from ahekit.errors import AhekitError, UsageError
from ahekit.files import atomic_folder, read_regular, remove_folder, remove_leftovers
from ahekit.preprocessing import Fit, Interpolation, Preprocessing
from ahekit.validation import read_yaml, to_yaml, validate

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTES = "model.yaml"
WEIGHTS = "model.safetensors"
EMBEDDINGS = "embeddings.safetensors"
VALIDATION = "validation.json"
NETWORK = "network.json"
CARD = "README.md"
ONNX = "model.onnx"
LABELS = "labels.txt"
NEEDED = (WEIGHTS, EMBEDDINGS, VALIDATION)
FILES = (NOTES, *NEEDED, NETWORK, CARD, ONNX, LABELS)

SCHEMA_VERSION: Literal[1] = 1
MOST_CLASSES = 10_000
_LARGEST_NOTES = 2**24  # bytes

Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Channels = tuple[float, float, float]


class ModelFolderError(AhekitError):
    """A model folder that can't be read, or made where it was asked for."""


class ModelNote(BaseModel):
    """Base of what `model.yaml` holds: nothing unknown is let through, nothing is guessed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ComponentNote(ModelNote):
    """The registered model and its parameters; its weights are the folder's own.

    Attributes:
        name: As registered.
        params: Validated by the model's own `Params` when the network is built.
    """

    name: Name
    params: dict[str, Any] = {}


class PreprocessingNote(ModelNote):
    """How pixels become the network's input; see `ahekit.preprocessing.Preprocessing`.

    Attributes:
        mean: Of each channel, subtracted from pixels in [0, 1].
        std: Of each channel, divided by afterwards.
        interpolation: Resampling.
        fit: How a picture becomes square.
        crop_fraction: Of the shorter side, for `fit: crop`.
    """

    size: Annotated[int, Field(ge=8, le=2048, description="pixels a side")]
    mean: Channels
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    interpolation: Interpolation
    fit: Fit
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    detail: Annotated[int | None, Field(ge=8, le=2048, description="pixels a side that a picture is first reduced to")]

    def preprocessing(self) -> Preprocessing:
        """As the rest of the tool takes it."""
        return Preprocessing(**self.model_dump())


class FigureNote(ModelNote):
    """A figure of the network with its 95 % interval.

    Attributes:
        split: That it is measured on.
        name: What is measured, as in `accuracy`.
        value: The figure.
        low: Where its interval begins.
        high: Where it ends.
        images: That it is measured on.
        near_copies: Whether images with a near-copy in training are among them.
    """

    split: Literal["val", "test"]
    name: Name
    value: float
    low: float | None = None
    high: float | None = None
    images: Annotated[int, Field(ge=1)]
    near_copies: bool = True


class CostNote(ModelNote):
    """What storing less costs: a figure before and after.

    Attributes:
        what: What was stored smaller.
        figure: What is measured.
        before: With what was trained.
        after: With what is stored.
        images: That it is measured on.
    """

    what: Name
    figure: Name
    before: float
    after: float
    images: Annotated[int, Field(ge=1)]


class ProvenanceNote(ModelNote):
    """Where the network comes from; what isn't known is left empty.

    Attributes:
        run: The run's name.
        checkpoint: The checkpoint's.
        epoch: Whose weights these are, counted from 1, chosen on validation.
        recipe: That the run's spec started from.
        seed: Of the run.
        ahekit: The version that trained it.
        torch: Likewise.
        data: Name of the dataset.
        data_kind: Where it came from: installed, a folder, an archive, the sample.
        edition: Name of the published edition that it is.
        fingerprint: Tells its images.
        images: By split.
        grouped_by: The rule by which images of one visit stay in one split.
        weights: What training started from.
        parameters: Of the network.
    """

    run: Text
    checkpoint: Text
    epoch: Annotated[int, Field(ge=0)] = 0
    recipe: Text = ""
    seed: int = 0
    ahekit: Text = ""
    torch: Text = ""
    data: Text = ""
    data_kind: Text = ""
    edition: Text = ""
    fingerprint: Text = ""
    images: dict[Literal["train", "val", "test"], Annotated[int, Field(ge=0)]] = {}
    grouped_by: Text = ""
    weights: Text = ""
    parameters: Annotated[int, Field(ge=0)] = 0


class OnnxNote(ModelNote):
    """What was made sure of the ONNX file.

    Attributes:
        opset: Version of ONNX's operators.
        difference: The largest between its logits and torch's, over `images` real images.
        images: That both were asked about.
    """

    opset: Annotated[int, Field(ge=1, le=1000)]
    difference: Annotated[float, Field(ge=0)]
    images: Annotated[int, Field(ge=1)]


class ModelNotes(ModelNote):
    """`model.yaml`.

    Attributes:
        schema_version: Of this file.
        name: What people call the model.
        component: Which network it is.
        class_names: In the order of the logits.
        preprocessing: How pixels become its input.
        stored_as: The numbers' type in `model.safetensors`, for tensors of two dimensions and more.
        provenance: Where it comes from.
        figures: How good it is.
        costs: What storing it smaller costs.
        onnx: What was made sure of `model.onnx`, where there is one.
        deciding: `ahekit.prediction.deciding.Deciding` as plain values, but for its lists of images, which
            `validation.json` holds.
        files: SHA-256 of each of the folder's other files.
    """

    schema_version: Literal[1] = 1
    name: Name
    component: ComponentNote
    class_names: Annotated[tuple[Name, ...], Field(min_length=2, max_length=MOST_CLASSES)]
    preprocessing: PreprocessingNote
    stored_as: Literal["float32", "float16"] = "float32"
    provenance: ProvenanceNote
    figures: tuple[FigureNote, ...] = ()
    costs: tuple[CostNote, ...] = ()
    onnx: OnnxNote | None = None
    deciding: dict[str, Any]
    files: dict[Name, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    @model_validator(mode="after")
    def _fits_together(self) -> ModelNotes:
        if len({*self.class_names}) != len(self.class_names):
            raise ValueError("class_names: two classes of one name")
        for name in NEEDED:
            if name not in self.files:
                raise ValueError(f"files: no hash of {name}")
        for name in self.files:
            if not re.fullmatch(r"[\w-][\w.-]*", name):
                raise ValueError(f"files: {name!r} is no name of a file in the folder")
        return self


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that was read, and whose files are those it was made with.

    Attributes:
        path: The folder.
        notes: Its `model.yaml`.
        text: That file as it stands there.
        fingerprint: SHA-256 over `model.yaml`, which holds the hashes of the other files: of the whole, that is.
    """

    path: Path
    notes: ModelNotes
    text: str
    fingerprint: str

    @property
    def name(self) -> str:
        """What people call it."""
        return self.notes.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return self.notes.class_names

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the network's input."""
        return self.notes.preprocessing.preprocessing()

    def has(self, name: str) -> bool:
        """Whether a file of that name belongs to the folder."""
        return name in self.notes.files

    def deciding(self) -> dict[str, Any]:
        """All values of its `ahekit.prediction.deciding.Deciding`.

        Raises:
            ModelFolderError: They can't be read.
        """
        try:
            images = from_json(self.read(VALIDATION))
        except ValueError as error:
            raise ModelFolderError(f"{self.path / VALIDATION}: isn't JSON; export the model again") from error
        if not isinstance(images, dict):
            raise ModelFolderError(f"{self.path / VALIDATION}: holds no lists of images; export the model again")
        return {**self.notes.deciding, **images}

    def read(self, name: str) -> bytes:
        """One of its files.

        Raises:
            ModelFolderError: It is missing, can't be read, or isn't the one that the folder was made with.
        """
        path = self.path / name
        try:
            content = read_regular(path)
        except OSError as error:
            raise ModelFolderError(f"{path}: can't be read ({error.strerror or error}); export it again") from error
        if hashlib.sha256(content).hexdigest() != self.notes.files.get(name):
            raise ModelFolderError(
                f"{path}: not the file that {NOTES} names (another hash); copy the folder again, or export it again"
            )
        return content


def is_model_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder that says it is a model's."""
    try:
        return (Path(path) / NOTES).is_file()
    except (OSError, ValueError):
        return False


def read_embeddings(folder: ModelFolder) -> dict[str, NDArray[Any]]:
    """The arrays of `embeddings.safetensors`.

    Beside those of `ahekit.prediction.deciding.Reference`: `ids`, the keys of the training images' ids, and `names`,
    those of their class folders and file names (`ahekit.data.ids.short_name`), uint64.

    Raises:
        ModelFolderError: They can't be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(folder.read(EMBEDDINGS)))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelFolderError(f"{folder.path / EMBEDDINGS}: can't be read as safetensors ({error})") from error


def read_model_folder(path: Path) -> ModelFolder:
    """Read a model folder's notes, and make sure that its weights and embeddings are theirs.

    Raises:
        ModelFolderError: It is none, of a later version, damaged, or its files don't belong together.
    """
    file = path / NOTES
    try:
        content = read_regular(file)
    except FileNotFoundError as error:
        hint = "`ahekit export` makes one of a run"
        raise ModelFolderError(f"{path}: no model folder (no {NOTES} inside); {hint}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelFolderError(f"{file}: can't be read ({reason})") from error
    if len(content) > _LARGEST_NOTES:
        raise ModelFolderError(f"{file}: {len(content):,} bytes, which no {NOTES} has")
    try:
        values = read_yaml(file)
        version = values.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ModelFolderError(f"{path}: made by a later ahekit (schema {version}); update ahekit to use it")
        notes = validate(ModelNotes, values)
    except UsageError as error:
        lines = "; ".join(error.lines[:3])
        raise ModelFolderError(f"{file}: no {NOTES} that can be used ({' '.join(lines.split())[:400]})") from error
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ModelFolderError(f"{file}: no {NOTES} that can be used ({type(error).__name__})") from error
    folder = ModelFolder(path, notes, content.decode("utf-8", "replace"), hashlib.sha256(content).hexdigest())
    for name in NEEDED:
        folder.read(name)
    return folder


def preprocessing_note(preprocessing: Preprocessing) -> PreprocessingNote:
    """A preprocessing as `model.yaml` holds it."""
    return PreprocessingNote(**asdict(preprocessing))


def write_model_folder(to: Path, notes: Mapping[str, Any], files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write a model folder, whole or not at all.

    Args:
        notes: The fields of `ModelNotes` but for `files`; `deciding` with all its values.
        files: The others' contents by name, but for `validation.json`.
        overwrite: Put it in the place of another model folder.

    Raises:
        ModelFolderError: Something else is there, or the folder can't be written.
    """
    old = to.with_name(f".{to.name}.replaced")
    made = to.with_name(f".{to.name}.made")
    _mend(to, old, made)
    check_place(to, overwrite=overwrite)
    plain = {name: value for name, value in notes["deciding"].items() if not isinstance(value, Mapping)}
    images = {name: value for name, value in notes["deciding"].items() if isinstance(value, Mapping)}
    files = {**files, VALIDATION: (json.dumps(images, separators=(",", ":"), allow_nan=False) + "\n").encode()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    text = to_yaml(validate(ModelNotes, {**notes, "deciding": plain, "files": hashes}))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        # What is there stays whole until the new one is.
        replaces = to.is_dir() and any(to.iterdir())
        with atomic_folder(made if replaces else to) as draft:
            for name, content in files.items():
                (draft / name).write_bytes(content)
            (draft / NOTES).write_text(text, encoding="utf-8")
        if replaces:
            to.rename(old)
            made.rename(to)
            remove_folder(old, last=NOTES)
            remove_leftovers(old)
    except OSError as error:
        raise ModelFolderError(
            f"{to}: can't be written ({error.strerror or error}); choose another with --to"
        ) from error


def _mend(to: Path, old: Path, made: Path) -> None:
    """Put right what a process left that died between giving a new folder its name and removing the old one."""
    try:
        if is_model_folder(old) and not os.path.lexists(to):
            old.rename(to)
        for left in (old, made):
            if is_model_folder(left) and not left.is_symlink():
                remove_folder(left, last=NOTES)
    except OSError as error:
        raise ModelFolderError(f"{to.parent}: can't be written ({error.strerror or error})") from error


def check_place(to: Path, *, overwrite: bool) -> None:
    """Make sure that a model folder may be written to a place.

    Raises:
        ModelFolderError: Something is there that is no model folder, or one and nobody said to overwrite it.
    """
    if not os.path.lexists(to) or (to.is_dir() and not to.is_symlink() and not any(to.iterdir())):
        return
    if to.is_symlink() or not to.is_dir():
        raise ModelFolderError(f"{to}: something else is there; choose another place with --to")
    if not is_model_folder(to):
        raise ModelFolderError(f"{to}: a folder with other files is there; choose another place with --to")
    strangers = sorted({entry.name for entry in to.iterdir()} - {*FILES})
    if strangers:
        raise ModelFolderError(f"{to}: holds {strangers[0]}, which no model folder has; choose another place with --to")
    if not overwrite:
        raise ModelFolderError(f"{to}: a model folder is there already; --overwrite replaces it, --to names another")
