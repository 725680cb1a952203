"""Where datasets and caches live, and folders that appear there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path, user_data_path

from ahekit.errors import DataError


def data_home() -> Path:
    """Where datasets are installed: `$AHEKIT_HOME`, else the user's data directory."""
    given = os.environ.get("AHEKIT_HOME")
    return Path(given).expanduser().absolute() if given else user_data_path("ahekit", appauthor=False)


def cache_home() -> Path:
    """Where what can be made again is kept: `$AHEKIT_HOME/cache`, else the user's cache directory."""
    if os.environ.get("AHEKIT_HOME"):
        return data_home() / "cache"
    return user_cache_path("ahekit", appauthor=False)


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A draft folder beside `path` that becomes `path` when the block ends well and vanishes when it doesn't.

    Raises:
        OSError: `path` is there already, and not to be replaced; or the disk is full.
    """
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.draft-"))
    try:
        draft.chmod(0o755)
        yield draft
        if replace and path.exists():
            path.rename(draft.with_name(f"{draft.name}-old"))
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    shutil.rmtree(draft.with_name(f"{draft.name}-old"), ignore_errors=True)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Be the only process that makes the folder `path`; drafts left by processes that were killed are removed.

    Raises:
        DataError: Anything in the block fails to be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            for draft in path.parent.glob(f".{path.name}.draft-*"):
                shutil.rmtree(draft, ignore_errors=True)
            yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path}: can't be written ({reason}); free some space or name another place in $AHEKIT_HOME"
        ) from error


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """The folder `path`, made by `make(path)` (which must be atomic) unless it is there; safe between processes.

    Raises:
        DataError: It can't be written.
    """
    if not path.is_dir():
        with sole_writer(path):
            if not path.is_dir():  # another process may have made it while this one waited
                make(path)
    return path
