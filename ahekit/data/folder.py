"""A dataset folder becomes samples: class folders, or train and test folders that hold class folders.

Links are followed, to files and to folders, so a dataset may be a folder of links to pictures kept elsewhere; a link
that leads nowhere, or back to a folder it lies in, is refused by name. Hidden files and what operating systems leave
behind (`__MACOSX`, `Thumbs.db`) are passed over; everything else that is no image is refused by name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ahekit.data._layout import SPLITS, entries, find_home, is_dir, is_image, single_class, split_folders
from ahekit.data.classes import normalize_class
from ahekit.errors import DataError
from ahekit.wording import counted


@dataclass(frozen=True)
class Sample:
    """One image file.

    Attributes:
        id: Path relative to the dataset's root, with forward slashes, exactly as the file system spells it.
        class_name: Normalized name of its class.
        split: "train", "val" or "test".
    """

    id: str
    path: Path
    class_name: str
    split: str


@dataclass(frozen=True)
class Refusal:
    """A file or folder (its id ends with a slash) that was left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Folder:
    """What `scan` found.

    Attributes:
        root: The folder that holds the class or split folders; ids are relative to it.
        samples: Sorted by id.
        class_names: Normalized, sorted.
        refused: Files and folders left out, each with a reason; sorted by id.
        notes: What the user should know of how the folder was read (classes merged from several folders).
    """

    name: str
    root: Path
    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Samples by split and class, for the splits there are; a class without samples counts 0."""
        numbers = Counter((sample.split, sample.class_name) for sample in self.samples)
        present = {split for split, _ in numbers}
        return {
            split: {name: numbers[split, name] for name in self.class_names} for split in SPLITS if split in present
        }


@dataclass
class _Walk:
    """What the walk has gathered so far."""

    samples: list[Sample] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    folders: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def refuse(self, id: str, reason: str) -> None:
        # A name that isn't UTF-8 could be neither printed nor stored as it is.
        self.refused.append(Refusal(id.encode("utf-8", "backslashreplace").decode(), reason))


def scan(root: Path, *, name: str | None = None) -> Folder:
    """Find a dataset's images, their classes and splits.

    Understood are class folders with images (all "train"; a test split is cut later), and split folders (`train`,
    `training`, `train_val`; `val`, `valid`, `validation`; `test`, `testing`) with class folders; up to two further
    folders may lie around either. Folders within a class folder belong to the class. Two folders of a split whose
    names mean one class are merged, and `notes` says so.

    Args:
        name: The dataset's name; the folder's own when not given.

    Raises:
        DataError: There is no such folder, or it holds no dataset: no images, no class folders, a single class, no
            training images, a class without training images, or several datasets.
    """
    top = _existing(root)
    home = find_home(top)
    walk = _Walk()
    _refuse_around(home, top, walk)
    splits = split_folders(home)
    if splits:
        _walk_splits(home, splits, walk)
    else:
        _walk_classes(home, "", "train", walk)
    class_names = tuple(sorted({sample.class_name for sample in walk.samples}))
    _check(root, walk.samples, class_names)
    return Folder(
        name=name or os.path.basename(top),
        root=Path(home),
        samples=tuple(sorted(walk.samples, key=lambda sample: sample.id)),
        class_names=class_names,
        refused=tuple(sorted(walk.refused, key=lambda refusal: refusal.id)),
        notes=tuple(_merged(walk.folders)),
    )


def _existing(root: Path) -> str:
    try:
        os.scandir(root).close()
    except (FileNotFoundError, NotADirectoryError) as error:
        problem = "no such folder" if isinstance(error, FileNotFoundError) else "a file, not a folder"
        raise DataError(f"{root}: {problem}; a dataset is a folder with a folder of images for each class") from None
    except OSError as error:
        raise DataError(f"{root}: can't be opened ({error.strerror})") from error
    return os.path.abspath(root)


def _walk_splits(home: str, splits: dict[str, list[str]], walk: _Walk) -> None:
    for split, folders in splits.items():
        if len(folders) > 1:
            names = ", ".join(sorted(os.path.basename(folder) for folder in folders))
            raise DataError(f"{home}: {len(folders)} folders for the {split} split ({names}); keep one of them")
        _walk_classes(folders[0], os.path.basename(folders[0]) + "/", split, walk)
    walked = {folder for folders in splits.values() for folder in folders}
    for entry in entries(home):
        if not is_dir(entry):
            walk.refuse(entry.name, "not in a class folder")
        elif entry.path not in walked:
            files = sum(len(names) for _, _, names in os.walk(entry.path))
            walk.refuse(f"{entry.name}/", f"not a split's folder with classes ({counted(files, 'file')})")


def _walk_classes(folder: str, prefix: str, split: str, walk: _Walk) -> None:
    for entry in entries(folder):
        id = prefix + entry.name + ("/" if is_dir(entry) else "")
        reason = _reason_against(entry) if is_dir(entry) else "not in a class folder"
        if reason:
            walk.refuse(id, reason)
            continue
        class_name = normalize_class(entry.name)
        before = len(walk.samples)
        _walk_class(entry.path, id, class_name, split, walk)
        if len(walk.samples) > before:
            walk.folders.setdefault((split, class_name), []).append(entry.name)
        else:
            walk.refuse(id, "holds no image")


def _walk_class(
    folder: str, prefix: str, class_name: str, split: str, walk: _Walk, above: tuple[str, ...] = ()
) -> None:
    """Gather a class folder's images; `above` holds the real paths of folders that links were followed from."""
    try:
        contents = list(entries(folder))
    except OSError as error:
        walk.refuse(prefix, f"can't be opened ({error.strerror})")
        return
    for entry in contents:
        folder_too = is_dir(entry)
        id = f"{prefix}{entry.name}/" if folder_too else prefix + entry.name
        reason = _reason_against(entry, above)
        if reason:
            walk.refuse(id, reason)
        elif folder_too:
            places = (*above, os.path.realpath(folder)) if entry.is_symlink() else above
            _walk_class(entry.path, id, class_name, split, walk, places)
        else:
            walk.samples.append(Sample(id, Path(entry.path), class_name, split))


def _reason_against(entry: os.DirEntry[str], above: tuple[str, ...] = ()) -> str | None:
    if not _is_utf8(entry.name):
        return "its name is not UTF-8; rename it"
    if is_dir(entry):
        if not entry.is_symlink():
            return None
        target = os.path.realpath(entry.path)
        # Followed, such a link would lead to itself without end.
        places = (*above, os.path.realpath(os.path.dirname(entry.path)))
        back = any(place == target or place.startswith(target.rstrip("/") + "/") for place in places)
        return "a link that leads back to a folder it lies in" if back else None
    if not is_image(entry.name):
        return f"not an image by its suffix ({os.path.splitext(entry.name)[1] or 'it has none'})"
    if _is_regular(entry):
        return None
    return "a link that leads nowhere" if entry.is_symlink() else "not a regular file"


def _is_utf8(name: str) -> bool:
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False  # a link that leads to itself


def _refuse_around(home: str, top: str, walk: _Walk) -> None:
    """Name what lies between the folder that was given and the dataset within it."""
    inner = home
    while inner != top:
        outer = os.path.dirname(inner)
        for entry in entries(outer):
            if entry.path != inner:
                id = os.path.relpath(entry.path, home) + ("/" if is_dir(entry) else "")
                walk.refuse(id, "outside the dataset's folder")
        inner = outer


def _check(root: Path, samples: list[Sample], class_names: tuple[str, ...]) -> None:
    trained = {sample.class_name for sample in samples if sample.split == "train"}
    if not trained:
        splits = " and ".join(sorted({sample.split for sample in samples})) or "files that can't be used"
        raise DataError(f"{root}: no training images, only {splits}; put them into a folder named train")
    for split in ("val", "test"):
        orphans = sorted({sample.class_name for sample in samples if sample.split == split} - trained)
        if orphans:
            raise DataError(
                f"{root}: {', '.join(orphans)} in {split} but not in train; give every class training images, "
                "in folders spelt alike in every split"
            )
    if len(class_names) < 2:
        raise single_class(root, class_names[0])


def _merged(folders: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    for (split, class_name), names in sorted(folders.items()):
        if len(names) > 1:
            yield f"{split}: class {class_name} is merged from {len(names)} folders: {', '.join(sorted(names))}"
