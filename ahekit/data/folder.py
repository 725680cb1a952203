"""A dataset folder becomes samples: class folders, or train and test folders that hold class folders.

Links are followed, to files and to folders, so a dataset may be a folder of links to pictures kept elsewhere; a link
that leads nowhere, or back to a folder it lies in, is refused by name. Hidden files and what operating systems leave
behind (`__MACOSX`, `Thumbs.db`) are passed over; everything else that is no image is refused by name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ahekit.data._layout import SPLITS, entries, find_home, is_dir, is_image, single_class, split_folders
from ahekit.data.classes import normalize_class
from ahekit.errors import DataError


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
        found = Counter((sample.split, sample.class_name) for sample in self.samples)
        present = {split for split, _ in found}
        return {split: {name: found[split, name] for name in self.class_names} for split in SPLITS if split in present}


@dataclass
class _Found:
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
    found = _Found()
    _refuse_around(home, top, found)
    splits = split_folders(home)
    if splits:
        _walk_splits(home, splits, found)
    else:
        _walk_classes(home, "", "train", found)
    class_names = tuple(sorted({sample.class_name for sample in found.samples}))
    _check(root, found.samples, class_names)
    return Folder(
        name=name or os.path.basename(top),
        root=Path(home),
        samples=tuple(sorted(found.samples, key=lambda sample: sample.id)),
        class_names=class_names,
        refused=tuple(sorted(found.refused, key=lambda refusal: refusal.id)),
        notes=tuple(_merged(found.folders)),
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


def _walk_splits(home: str, splits: dict[str, list[str]], found: _Found) -> None:
    for split, folders in splits.items():
        if len(folders) > 1:
            names = ", ".join(sorted(os.path.basename(folder) for folder in folders))
            raise DataError(f"{home}: {len(folders)} folders for the {split} split ({names}); keep one of them")
        _walk_classes(folders[0], os.path.basename(folders[0]) + "/", split, found)
    taken = {folder for folders in splits.values() for folder in folders}
    for entry in entries(home):
        if not is_dir(entry):
            found.refuse(entry.name, "not in a class folder")
        elif entry.path not in taken:
            found.refuse(f"{entry.name}/", f"not a split's folder with classes ({_size(entry.path)})")


def _walk_classes(folder: str, prefix: str, split: str, found: _Found) -> None:
    for entry in entries(folder):
        id = prefix + entry.name + ("/" if is_dir(entry) else "")
        reason = _reason_against(entry) if is_dir(entry) else "not in a class folder"
        if reason:
            found.refuse(id, reason)
            continue
        class_name, before = normalize_class(entry.name), len(found.samples)
        _walk_class(entry.path, id, class_name, split, found)
        if len(found.samples) > before:
            found.folders.setdefault((split, class_name), []).append(entry.name)
        else:
            found.refuse(id, "holds no image")


def _walk_class(
    folder: str, prefix: str, class_name: str, split: str, found: _Found, above: tuple[str, ...] = ()
) -> None:
    """Gather a class folder's images; `above` holds the real paths of folders that links were followed from."""
    try:
        listed = list(entries(folder))
    except OSError as error:
        found.refuse(prefix, f"can't be opened ({error.strerror})")
        return
    for entry in listed:
        folder_too = is_dir(entry)
        id = f"{prefix}{entry.name}/" if folder_too else prefix + entry.name
        reason = _reason_against(entry, above)
        if reason:
            found.refuse(id, reason)
        elif folder_too:
            places = (*above, os.path.realpath(folder)) if entry.is_symlink() else above
            _walk_class(entry.path, id, class_name, split, found, places)
        else:
            found.samples.append(Sample(id, Path(entry.path), class_name, split))


def _reason_against(entry: os.DirEntry[str], above: tuple[str, ...] = ()) -> str | None:
    if not _is_utf8(entry.name):
        return "its name is not UTF-8; rename it"
    if is_dir(entry):
        here = os.path.realpath(os.path.dirname(entry.path))
        back = entry.is_symlink() and _leads_back(entry.path, (*above, here))
        return "a link that leads back to a folder it lies in" if back else None
    if not is_image(entry.name):
        return f"not an image by its suffix ({os.path.splitext(entry.name)[1] or 'it has none'})"
    if _is_regular(entry):
        return None
    return "a link that leads nowhere" if entry.is_symlink() else "not a regular file"


def _leads_back(link: str, places: Iterable[str]) -> bool:
    target = os.path.realpath(link)
    return any(place == target or place.startswith(target.rstrip("/") + "/") for place in places)


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


def _refuse_around(home: str, top: str, found: _Found) -> None:
    """Name what lies between the folder that was given and the dataset within it."""
    inner = home
    while inner != top:
        outer = os.path.dirname(inner)
        for entry in entries(outer):
            if entry.path != inner:
                id = os.path.relpath(entry.path, home) + ("/" if is_dir(entry) else "")
                found.refuse(id, "outside the dataset's folder")
        inner = outer


def _size(folder: str) -> str:
    files = sum(len(names) for _, _, names in os.walk(folder))
    return "1 file" if files == 1 else f"{files:,d} files"


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
