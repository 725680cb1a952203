"""Where datasets and caches live, and how one process at a time makes a folder there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path, user_data_path

from ahekit.errors import DataError
from ahekit.files import full_path


def data_home() -> Path:
    """Where datasets are installed: `$AHEKIT_HOME`, else the user's data directory."""
    home = os.environ.get("AHEKIT_HOME")
    return full_path(home) if home else user_data_path("ahekit", appauthor=False)


def cache_home() -> Path:
    """Where what can be made again is kept: `$AHEKIT_HOME/cache`, else the user's cache directory."""
    if os.environ.get("AHEKIT_HOME"):
        return data_home() / "cache"
    return user_cache_path("ahekit", appauthor=False)


@contextmanager
def sole_writer(path: Path) -> Iterator[Path]:
    """Be the only process that changes the folder `path`; yields an empty folder to build in, removed at the end.

    What is built there is renamed to `path` when it's whole. What a killed process left there is removed first.

    Raises:
        DataError: Something in the block can't be written.
    """
    staging = path.parent / ".new" / path.name
    lock = path.parent / ".locks" / path.name
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(exist_ok=True)
        with FileLock(lock):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{path}: can't be written ({error.strerror or error}); "
            "free some space, or set AHEKIT_HOME to a folder that can be written"
        ) from error


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The folder `path`, filled by `make(folder)` unless it is there; whole or not at all, safe between processes.

    Args:
        make: Is given a path that doesn't exist, and makes a folder there.

    Raises:
        DataError: It can't be written.
    """
    if not path.is_dir():
        with sole_writer(path) as staging:
            if not path.is_dir():  # another process may have made it while this one waited
                make(staging / path.name)
                (staging / path.name).rename(path)
    return path
