"""A dataset folder becomes samples: class folders, or train and test folders that hold class folders.

Links are followed, to files and to folders, so a dataset may be a folder of links to pictures kept elsewhere; a link
that leads nowhere, or back to a folder it lies in, is refused by name. Hidden files and what operating systems leave
behind (`__MACOSX`, `Thumbs.db`) are passed over; everything else that is no image is refused by name.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ahekit.data._layout import SPLITS, entries, find_home, is_dir, single_class, split_folders
from ahekit.data.classes import normalize_class
from ahekit.data.image_files import problem_with
from ahekit.errors import DataError
from ahekit.wording import counted

MAX_DEPTH = 64
"""Folders that may lie around an image, the dataset's own not counted."""
LONGEST_ID = 400
"""Characters of a refused path that are told."""


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
        class_names: Normalized, sorted as people do (2 before 10).
        refused: Files and folders left out, each with a reason; sorted by id.
        notes: What the user should know of how the folder was read (classes merged from several folders).
    """

    name: str
    root: Path
    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()

    def with_class_order(self, class_names: Sequence[str]) -> Folder:
        """The same with the classes in this order, where they are the same classes.

        A run stores its classes in the order of its logits; folders may have been sorted otherwise then.
        """
        same = sorted(class_names) == sorted(self.class_names)
        return replace(self, class_names=tuple(class_names)) if same else self

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
    class_names = tuple(sorted({sample.class_name for sample in walk.samples}, key=_natural))
    _check(root, walk.samples, class_names)
    return Folder(
        name=name or os.path.basename(top),
        root=Path(home),
        samples=tuple(sorted(walk.samples, key=lambda sample: sample.id)),
        class_names=class_names,
        refused=tuple(sorted(walk.refused, key=lambda refusal: refusal.id)),
        notes=tuple(_merged(walk.folders)),
    )


def _natural(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers in names by their value: 1, 2, 10; names without any as they always were."""
    # Texts stand at even places and numbers at odd ones, so that never one is compared with the other.
    pieces: list[str | int] = [*re.split(r"(\d+)", name)]
    pieces[1::2] = [int(digits) for digits in pieces[1::2]]
    return pieces, name


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
            walk.refuse(f"{entry.name}/", f"not a split's folder with classes ({_amount(entry.path)})")


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


def _walk_class(top: str, prefix: str, class_name: str, split: str, walk: _Walk) -> None:
    """Gather a class folder's images, those of the folders within it too."""
    # A list of what is left to visit instead of recursion, which a deep tree would exhaust. `above` holds the real
    # paths of the folders that links were followed from.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(top, prefix, ())]
    while waiting:
        folder, prefix, above = waiting.pop()
        try:
            contents = list(entries(folder))
        except OSError as error:
            walk.refuse(prefix, f"can't be opened ({error.strerror})")
            continue
        for entry in contents:
            folder_too = is_dir(entry)
            id = f"{prefix}{entry.name}/" if folder_too else prefix + entry.name
            reason = _reason_against(entry, above)
            if folder_too and not reason and id.count("/") > MAX_DEPTH:
                reason = f"more than {MAX_DEPTH} folders deep ({_amount(entry.path)})"
            if reason:
                walk.refuse(id if len(id) <= LONGEST_ID else f"{id[:LONGEST_ID]}…", reason)
            elif folder_too:
                places = (*above, os.path.realpath(folder)) if entry.is_symlink() else above
                waiting.append((entry.path, id, places))
            else:
                walk.samples.append(Sample(id, Path(entry.path), class_name, split))


def _amount(top: str) -> str:
    """How many files a folder holds, as far down as they are counted."""
    files = 0
    waiting = [(top, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            contents = list(entries(folder))
        except OSError:
            continue  # what can't be opened can't be counted
        files += sum(not is_dir(entry) for entry in contents)
        # Links are not followed here: two that lead to each other would never end.
        folders = [entry.path for entry in contents if is_dir(entry) and not entry.is_symlink()]
        waiting += [(path, depth + 1) for path in folders if depth < MAX_DEPTH]
    return counted(files, "file")


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
    problem = problem_with(entry)
    if problem or _is_regular(entry):
        return problem
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
