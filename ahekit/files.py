"""Files and folders that appear whole or not at all, and go whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ahekit.errors import UsageError


def full_path(path: str | os.PathLike[str]) -> Path:
    """A path from the root on, with `~` and `~user` filled in.

    Raises:
        UsageError: There is no such user, or the working folder is gone.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{os.fspath(path)}: no home folder of that user is known") from error
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: the working folder is gone; change to another one") from error


def read_regular(path: Path) -> bytes:
    """A regular file's content; opening a pipe would wait for a writer, and a device may never end.

    Raises:
        OSError: It is missing, can't be read, or is something else.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "is no regular file")
        return file.read()


def check_regular(path: Path) -> None:
    """Make sure that a file can be handed to somebody who opens it by its name and reads to its end.

    Raises:
        OSError: It is missing, or no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "is no regular file")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, sync it, and rename it into place."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write into that becomes `path` when the block ends well and vanishes when it doesn't.

    Args:
        sync: Wait until it is on the disk. Without it thousands of files take a fraction of the time.

    Raises:
        OSError: It can't be written; what was at `path` before is still there.
    """
    draft = _draft_name(path)
    try:
        # Not `tempfile`, whose files nobody but their owner may read: the mode is what the user's umask leaves.
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A draft folder that becomes `path` when the block ends well and vanishes when it doesn't.

    Args:
        sync: Wait until all files are on the disk. Without it thousands of files take a fraction of the time, and
            the folder is still whole after anything but a power cut.

    Raises:
        OSError: The disk is full, or `path` is already there and not empty.
    """
    draft = _draft_name(path)
    draft.mkdir()
    try:
        yield draft
        # Some libraries write files that only their owner may read.
        readable = stat.S_IMODE(draft.stat().st_mode) & 0o666
        for entry in [*draft.rglob("*"), draft]:
            if entry.is_symlink():
                continue
            mode = stat.S_IMODE(entry.stat().st_mode)
            if entry.is_file() and mode | readable != mode:
                entry.chmod(mode | readable)
            if sync:
                sync_path(entry)
        draft.rename(path)
        if sync:
            sync_path(path.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def remove_folder(path: Path, *, last: str = "") -> None:
    """Remove a folder with all that is in it, or, when any of it can't be removed, nothing.

    Everything is moved into a folder beside it first, which tells whether it may go; what was moved is put back where
    something may not. Links are removed and never followed.

    Args:
        last: Name of the file that goes last: a folder whose removal dies halfway is still known for what it is.

    Raises:
        OSError: Something can't be removed (rights, a mount point, an immutable file); the folder is as it was.
    """
    bin_folder = path.with_name(f".{path.name}.removed-{secrets.token_hex(4)}")
    bin_folder.mkdir()
    moved: list[tuple[Path, Path]] = []
    emptied: list[tuple[Path, int]] = []
    try:
        files, folders = _contents(path)
        for file in sorted(files, key=lambda file: file == path / last):
            place = bin_folder / str(len(moved))
            os.rename(file, place)
            moved.append((file, place))
        for folder in [*folders, path]:
            mode = stat.S_IMODE(folder.stat().st_mode)
            folder.rmdir()
            emptied.append((folder, mode))
    except BaseException:
        for folder, mode in reversed(emptied):
            folder.mkdir()
            folder.chmod(mode)
        for file, place in reversed(moved):
            os.rename(place, file)
        bin_folder.rmdir()
        raise
    shutil.rmtree(bin_folder)


def remove_leftovers(path: Path) -> None:
    """Clear away what a removal of the folder that died halfway had already taken out of it."""
    with suppress(OSError):
        for folder in path.parent.glob(f".{_escaped(path.name)}.removed-????????"):
            shutil.rmtree(folder, ignore_errors=True)


def _contents(path: Path) -> tuple[list[Path], list[Path]]:
    """All files (and links) below a folder, and its folders, the inner ones first."""
    files: list[Path] = []
    folders: list[Path] = []
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                (waiting if entry.is_dir(follow_symlinks=False) else files).append(Path(entry.path))
        folders.append(folder)
    return files, folders[:0:-1]


def _draft_name(path: Path) -> Path:
    # File systems count bytes, of which a character has up to four.
    name = os.fsencode(path.name)[:200].decode(errors="ignore")
    return path.with_name(f".{name}.{secrets.token_hex(4)}")


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def sync_path(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
