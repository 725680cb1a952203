"""Removing runs: only what ahekit made, never what somebody stands in, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ahekit.errors import RunError
from ahekit.files import remove_folder, remove_leftovers
from ahekit.run.folder import MARK, Run


def remove_run(run: Run) -> None:
    """Remove a run's folder with all that is in it; of a link only the link.

    Raises:
        RunError: It is being trained, or may not be removed; nothing of it is gone.
    """
    check_removable(run)
    path = _absolute(run.path)
    try:
        if path.is_symlink():
            path.unlink()
            return
        with run.lock():
            remove_folder(path, last=MARK)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise RunError(f"{run.path}: can't be removed{where}: {error.strerror or error}; it is as it was") from error
    remove_leftovers(path)


def check_removable(run: Run) -> None:
    """Make sure that a run's folder is one that may be removed.

    Raises:
        RunError: ahekit didn't make it, it is being trained, or it is or holds the working folder, the user's home, a
            mounted disk or the root.
    """
    path = _absolute(run.path)
    if path.is_symlink():
        return
    real = path.resolve()
    for what, place in (("the working folder", _here()), ("your home folder", _home()), ("the root", Path("/"))):
        if place is not None and (place == real or real in place.parents):
            raise RunError(f"{run.path}: is or holds {what}, which is never removed")
    if os.path.ismount(real):
        raise RunError(f"{run.path}: a disk is mounted here; unmount it first")
    if not run.is_ours:
        raise RunError(f"{run.path}: not made by ahekit (no {MARK} inside says so); remove it by hand if you mean it")
    if run.status.state == "running":
        raise RunError(f"{run.path}: is being trained; stop it first")


def _absolute(path: Path) -> Path:
    """The path without `.` and `..`, and with a link at its end still being one."""
    if path.name in ("", ".."):
        return path.resolve()
    # "a/../b" through a link "a" is not "b": the file system is asked, but for the last name.
    return path.parent.resolve() / path.name


def _here() -> Path | None:
    try:
        return Path.cwd().resolve()
    except OSError:  # it was removed
        return None


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except (OSError, RuntimeError):
        return None
