"""Where in a folder the dataset lies: the folder that holds the class folders, or the split folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ahekit.data.image_files import problem_with
from ahekit.errors import DataError

SPLITS = ("train", "val", "test")
NESTING = 2
"""How many folders may lie around the dataset (an archive's own, and one more)."""

_SPLIT_FOLDERS = {
    "train": ("train", "training", "trainval", "trainset", "trainingset"),
    "val": ("val", "valid", "validation", "valset", "validationset"),
    "test": ("test", "testing", "testset"),
}
_SPLIT_OF = {spelling: split for split, spellings in _SPLIT_FOLDERS.items() for spelling in spellings}
_LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir"})


def find_home(top: str) -> str:
    """The folder that holds the split or class folders: `top`, or one up to `NESTING` folders within it.

    Raises:
        DataError: There is none, or several could be meant.
    """
    # Split folders first: a project that carries a dataset also has folders of pictures that are no classes.
    for level in _levels(top):
        homes = [folder for folder in level if split_folders(folder)]
        if homes:
            return _only(homes, top)
    for level in _levels(top):
        # Two folders with images: a single one is a folder of pictures, not a class among classes.
        homes = [folder for folder in level if sum(_has_image(inner) for inner in _subfolders(folder)) > 1]
        if homes:
            return _unrivalled(_only(homes, top), top)
    raise _no_dataset(top)


def split_folders(folder: str) -> dict[str, list[str]]:
    """The split folders in a folder, by split: those of a split's name that hold class folders."""
    splits: dict[str, list[str]] = {}
    for inner in _subfolders(folder):
        split = _SPLIT_OF.get(re.sub(r"[\W_]+", "", os.path.basename(inner).casefold()))
        if split and any(_has_image(class_folder, deeper=1) for class_folder in _subfolders(inner)):
            splits.setdefault(split, []).append(inner)
    return splits


def entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """A folder's entries but hidden ones and those that operating systems leave behind.

    Raises:
        OSError: The folder can't be listed.
    """
    with os.scandir(folder) as contents:
        for entry in contents:
            if not entry.name.startswith(".") and entry.name.casefold() not in _LEFT_BEHIND:
                yield entry


def is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads to itself


def _levels(top: str) -> Iterator[list[str]]:
    level = [top]
    for _ in range(NESTING + 1):
        yield level
        level = [inner for folder in level for inner in _subfolders(folder)]


def _only(homes: list[str], top: str) -> str:
    if len(homes) > 1:
        names = ", ".join(os.path.relpath(folder, top) for folder in sorted(homes))
        raise DataError(f"{top}: holds {len(homes)} datasets ({names}); name one of them")
    return homes[0]


def _unrivalled(home: str, top: str) -> str:
    """`home`, unless folders beside it hold images too: then nobody can tell classes from what lies around them."""
    if home == top:
        return home
    beside = [folder for folder in _subfolders(os.path.dirname(home)) if folder != home]
    rivals = sorted(os.path.relpath(folder, top) for folder in beside if _has_image(folder, deeper=1))
    if rivals:
        raise DataError(
            f"{top}: unclear which folders are the classes, since images lie both within the folders of "
            f"{os.path.relpath(home, top)} and in {', '.join(rivals)}; name the folder that holds the class "
            "folders, and let each hold images directly"
        )
    return home


def _no_dataset(top: str) -> DataError:
    holders = [folder for level in _levels(top) for folder in level if _has_image(folder)]
    if not holders:
        return DataError(
            f"{top}: no images here; a dataset is a folder with a folder of images for each class, "
            "or with train and test folders of such folders"
        )
    if holders == [top]:
        return DataError(f"{top}: images but no class folders; put each class's images into a folder of its own")
    return single_class(top, os.path.basename(holders[-1]))


def single_class(root: object, class_name: str) -> DataError:
    """The error for a dataset with nothing to tell apart."""
    return DataError(f"{root}: a single class ({class_name}); put a second class's images into a folder beside it")


def _has_image(folder: str, *, deeper: int = 0) -> bool:
    if any(not is_dir(entry) and problem_with(entry) is None for entry in _peek(folder)):
        return True
    return deeper > 0 and any(_has_image(inner, deeper=deeper - 1) for inner in _subfolders(folder))


def _subfolders(folder: str) -> list[str]:
    return [entry.path for entry in _peek(folder) if is_dir(entry)]


def _peek(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        yield from entries(folder)
    except OSError:
        return  # only looking around; the walk refuses by name what can't be opened
