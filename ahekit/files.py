"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, sync it, and rename it into place."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
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
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield draft
        draft.chmod(0o755)
        for file in [*draft.rglob("*"), draft] if sync else ():
            _sync(file)
        draft.rename(path)
        if sync:
            _sync(path.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
