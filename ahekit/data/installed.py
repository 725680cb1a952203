"""Installed datasets: folders in the data directory that go by a name."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

from ahekit.data.archive import SUFFIXES, unpack
from ahekit.data.folder import Folder, scan
from ahekit.data.places import data_home, sole_writer
from ahekit.errors import DataError, UnknownNameError, UsageError
from ahekit.files import full_path

SAMPLE = "sample"
"""The embedded sample's name, which nothing else can have."""


def datasets_home() -> Path:
    """The folder that holds the installed datasets."""
    return data_home() / "datasets"


def installed() -> dict[str, Path]:
    """The installed datasets' folders by name, sorted."""
    home = datasets_home()
    if not home.is_dir():
        return {}
    return {path.name: path for path in sorted(home.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def install(
    path: Path, *, name: str | None = None, replace: bool = False, advance: Callable[[], object] = lambda: None
) -> Folder:
    """Copy a dataset's images from a folder or an archive into the data directory, all or nothing.

    Only images are taken, under their ids; `refused` of the result names what was left behind.

    Args:
        name: What it will go by; the folder's or archive's own when not given.
        replace: Put it in the place of an installed dataset of that name.
        advance: Called after each file.

    Raises:
        DataError: The path is no dataset; the name is taken; it can't be copied.
        UsageError: The name can't be one.
    """
    name = _checked(plain_name(path) if name is None else name)
    target = datasets_home() / name
    with sole_writer(target) as staging:
        if target.exists() and not replace:
            raise DataError(
                f"{name} is installed already, in {target}; replace it with --force or choose another --name"
            )
        new = staging / "new"
        old = staging / "old"
        folder = _fill(new, full_path(path), staging / "unpacked", advance)
        if target.exists():
            target.rename(old)
        new.rename(target)
    return changed(scan(target, name=name), refused=folder.refused, notes=folder.notes)


def named(name: str) -> Path:
    """An installed dataset's folder.

    Raises:
        UnknownNameError: None goes by that name.
    """
    roots = installed()
    if name not in roots:
        hint = "The sample comes with ahekit and is drawn anew when needed" if name == SAMPLE else ""
        raise UnknownNameError("installed dataset", name, roots, hint=hint)
    return roots[name]


def uninstall(name: str) -> None:
    """Remove an installed dataset.

    Raises:
        UnknownNameError: None goes by that name.
        DataError: It can't be removed.
    """
    root = named(name)
    with sole_writer(root) as staging:
        # Renamed first, so that a removal that is cut short leaves nothing that looks like a dataset.
        root.rename(staging / "old")


def unpack_dataset(archive: Path, destination: Path, *, advance: Callable[[], object] | None = None) -> Folder:
    """Unpack an archive into a new folder and see that it holds a dataset.

    Raises:
        DataError: It can't be unpacked, or holds none; the message names the archive.
        OSError: The destination can't be written to.
    """
    unpack(archive, destination, advance=advance)
    try:
        return scan(destination, name=plain_name(archive))
    except DataError as error:
        inner = [path for path in destination.rglob("*") if path.name.lower().endswith(SUFFIXES)]
        names = ", ".join(sorted(path.relative_to(destination).as_posix() for path in inner)[:3])
        hint = f"; it has archives within it ({names}); unpack it and give one of them" if inner else ""
        raise DataError(str(error).replace(str(destination), str(archive)) + hint) from error


def plain_name(path: Path) -> str:
    """A folder's or archive's name without what tells the kind of archive."""
    name = full_path(path).name
    suffix = next((suffix for suffix in sorted(SUFFIXES, key=len)[::-1] if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _checked(name: str) -> str:
    if name == SAMPLE:
        raise UsageError(f"{SAMPLE!r} is the embedded sample's name; choose another with --name")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageError(
            f"{name!r} can't be a dataset's name; use letters, digits, dots, hyphens and underscores (--name NAME)"
        )
    return name


def _fill(new: Path, path: Path, unpacked: Path, advance: Callable[[], object]) -> Folder:
    if not path.exists():
        raise DataError(f"{path}: no such folder or archive")
    if path.is_file():
        folder = unpack_dataset(path, unpacked, advance=advance)
        _place(folder, new, os.rename, lambda: None)
    else:
        folder = scan(path)
        _place(folder, new, _copy, advance)
    return folder


def _place(folder: Folder, new: Path, place: Callable[[Path, Path], object], advance: Callable[[], object]) -> None:
    for sample in folder.samples:
        target = new / sample.id
        target.parent.mkdir(parents=True, exist_ok=True)
        place(sample.path, target)
        advance()


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.filename == os.fspath(source):
            raise DataError(f"{source}: can't be read ({error.strerror})") from error
        raise
