"""A model folder's notes and hashes: what is written is read, and what was tampered with is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ahekit.model_folder import (
    EMBEDDINGS,
    NOTES,
    VALIDATION,
    WEIGHTS,
    ModelFolderError,
    is_model_folder,
    read_model_folder,
    write_model_folder,
)

FIELDS: dict[str, Any] = {
    "name": "small",
    "component": {"name": "cnn5", "params": {"channels": [4, 6]}},
    "class_names": ["arch", "beam"],
    "preprocessing": {
        "size": 16,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear",
        "fit": "stretch",
        "crop_fraction": 1.0,
        "detail": None,
    },
    "provenance": {"run": "20260501-small", "checkpoint": "step-1"},
    "deciding": {"temperature": 1.5, "test": None, "validation": {"scores": [2.0, 1.0], "wrong": [1]}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model_folder(tmp_path / "small", FIELDS, {WEIGHTS: b"w", EMBEDDINGS: b"e"}, overwrite=False)
    return tmp_path / "small"


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    values = yaml.safe_load((folder / NOTES).read_text())
    edit(values)
    (folder / NOTES).write_text(yaml.safe_dump(values))


def test_what_is_written_is_read(folder: Path) -> None:
    assert is_model_folder(folder)
    read = read_model_folder(folder)
    assert (read.name, read.class_names, read.preprocessing.size) == ("small", ("arch", "beam"), 16)
    assert read.read(WEIGHTS) == b"w"


def test_lists_of_images_stand_in_a_file_of_their_own_and_come_back(folder: Path) -> None:
    assert "validation" not in yaml.safe_load((folder / NOTES).read_text())["deciding"]
    assert json.loads((folder / VALIDATION).read_text()) == {"validation": {"scores": [2.0, 1.0], "wrong": [1]}}
    assert read_model_folder(folder).deciding() == FIELDS["deciding"]


def test_the_fingerprint_is_that_of_every_file(folder: Path, tmp_path: Path) -> None:
    write_model_folder(tmp_path / "other", FIELDS, {WEIGHTS: b"W", EMBEDDINGS: b"e"}, overwrite=False)
    write_model_folder(tmp_path / "same", FIELDS, {EMBEDDINGS: b"e", WEIGHTS: b"w"}, overwrite=False)
    prints = [read_model_folder(path).fingerprint for path in (folder, tmp_path / "other", tmp_path / "same")]
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize("name", [WEIGHTS, EMBEDDINGS, VALIDATION])
@pytest.mark.parametrize("spoil", [lambda file: file.write_bytes(b"x"), lambda file: file.unlink()])
def test_a_file_that_is_another_or_missing_is_refused(folder: Path, name: str, spoil: Callable[[Path], object]) -> None:
    spoil(folder / name)
    with pytest.raises(ModelFolderError, match=name):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda notes: notes["preprocessing"].update(size=10**9), "preprocessing.size"),
        (lambda notes: notes["preprocessing"].update(std=[0.0, 1.0, 1.0]), "preprocessing.std"),
        (lambda notes: notes.update(class_names=["arch", "arch"]), "two classes of one name"),
        (lambda notes: notes.update(class_names=["arch"]), "class_names"),
        (lambda notes: notes.update(surprise=1), "surprise"),
        (lambda notes: notes.update(schema_version=99), "later ahekit"),
        (lambda notes: notes["files"].pop(WEIGHTS), "no hash of model.safetensors"),
        (lambda notes: notes["files"].update({"../../home": "0" * 64}), "no name of a file"),
        (lambda notes: notes["files"].update({WEIGHTS: "short"}), "files"),
        (lambda notes: notes.pop("deciding"), "deciding"),
    ],
)
def test_notes_that_can_not_be_right_are_refused_in_one_line(
    folder: Path, edit: Callable[[dict[str, Any]], object], told: str
) -> None:
    change(folder, edit)
    with pytest.raises(ModelFolderError, match=told) as refusal:
        read_model_folder(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00", "&a [*a]", "!!python/object/apply:os.system [id]"])
def test_notes_that_are_none_are_refused_in_one_line(folder: Path, text: str) -> None:
    (folder / NOTES).write_text(text)
    with pytest.raises(ModelFolderError) as refusal:
        read_model_folder(folder)
    assert "\n" not in str(refusal.value)


def test_a_folder_without_notes_is_none(tmp_path: Path) -> None:
    assert not is_model_folder(tmp_path)
    assert not is_model_folder("a\0b")
    with pytest.raises(ModelFolderError, match="ahekit export"):
        read_model_folder(tmp_path)


def test_what_dies_while_writing_leaves_the_folder_before_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    before = read_model_folder(folder).fingerprint
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ModelFolderError, match="No space left"):
        write_model_folder(folder, FIELDS, {WEIGHTS: b"new", EMBEDDINGS: b"e"}, overwrite=True)
    monkeypatch.undo()
    assert read_model_folder(folder).fingerprint == before
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_what_died_between_two_names_is_put_right_by_the_next_export(folder: Path) -> None:
    old = folder.with_name(".small.replaced")
    folder.rename(old)
    write_model_folder(folder, FIELDS, {WEIGHTS: b"new", EMBEDDINGS: b"e"}, overwrite=True)
    assert read_model_folder(folder).read(WEIGHTS) == b"new"
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_a_link_and_a_file_are_never_replaced(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (link, file):
        with pytest.raises(ModelFolderError, match="something else is there"):
            write_model_folder(place, FIELDS, {WEIGHTS: b"w", EMBEDDINGS: b"e"}, overwrite=True)
    assert (link.is_symlink(), file.read_text()) == (True, "mine")
