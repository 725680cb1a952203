"""Which runs there are, and which one is meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ahekit.errors import RunError, UnknownNameError, UsageError
from ahekit.run.folder import Run

if TYPE_CHECKING:
    from ahekit.data.dataset import Dataset

DEFAULT_ROOT = Path("runs")
BEST = "best"
LAST = "last"


def runs_root(asked: Path | None = None) -> Path:
    """Where runs live: the folder asked for, else `$AHEKIT_RUNS`, else `runs` below the working directory."""
    return asked or Path(os.environ.get("AHEKIT_RUNS") or DEFAULT_ROOT)


def list_runs(root: Path) -> list[Run]:
    """Run folders below `root`, newest first; one that can't be looked into is listed all the same.

    Raises:
        RunError: The folder itself can't be read.
    """
    try:
        if not root.is_dir():
            return []
        folders = list(root.iterdir())
    except OSError as error:
        raise RunError(f"{root}: can't be read ({error.strerror or error}); choose another with --runs") from error
    # A leading dot marks a folder half made or half removed.
    runs = [Run(folder) for folder in folders if folder.name[0] != "." and Run(folder).is_there]
    return sorted(runs, key=lambda run: (run.made, run.name), reverse=True)


def find_run(root: Path, name: str | None, *, is_fit: Callable[[Run], bool] = lambda run: True, fit: str = "") -> Run:
    """A run by path, by name or by an unambiguous part of its name; the newest fit one when no name is given.

    Args:
        fit: What makes a run fit, for the message that none is.

    Raises:
        RunError: There is no run yet, or none that is fit.
        UnknownNameError: No run goes by the name.
        UsageError: Several runs do, or the name is empty.
    """
    if name is not None:
        return _named(root, name)
    runs = list_runs(root)
    if not runs:
        raise RunError(f"no run in {root}; `ahekit train` makes one")
    chosen = next((run for run in runs if is_fit(run)), None)
    if chosen is None:
        raise RunError(f"no run in {root} {fit}; `ahekit runs` lists them")
    return chosen


def _named(root: Path, name: str) -> Run:
    if not name.strip():
        raise UsageError("an empty name names no run; `ahekit runs` lists them")
    if is_run_path(name):
        return Run(Path(name))
    runs = list_runs(root)
    if not runs:
        raise RunError(f"no run in {root}; `ahekit train` makes one")
    fitting = [run for run in runs if run.name == name] or [run for run in runs if name in run.name]
    if not fitting:
        raise UnknownNameError("run", name, [run.name for run in runs])
    if len(fitting) > 1:
        names = ", ".join(run.name for run in fitting)
        raise UsageError(f"{name!r} fits {len(fitting)} runs: {names}; name one in full")
    return fitting[0]


def is_run_path(name: str) -> bool:
    """Whether a name is the path of a run."""
    return Run(Path(name)).is_there


def find_checkpoint(run: Run, name: str = BEST) -> Path:
    """A checkpoint's folder by "best", "last", its name or an unambiguous part of it.

    Raises:
        RunError: The run has none yet, or its best one is gone.
        UnknownNameError: None goes by the name.
        UsageError: Several do.
    """
    folders = {path.name: path for path in run.checkpoints()}
    if not folders and run.status.best.checkpoint:
        raise RunError(f"{run.name}: its checkpoints are gone; put them back, or choose another run with --run")
    if not folders:
        raise RunError(f"{run.name} has no checkpoint yet; wait for its first epoch, or choose another run with --run")
    if name == LAST:
        return next(reversed(folders.values()))
    if name == BEST:
        noted = run.status.best.checkpoint
        if noted not in folders:
            raise RunError(f"{run.name}: its best checkpoint isn't there; take --checkpoint last")
        return folders[noted]
    fitting = [folder for folder in folders if folder == name] or [folder for folder in folders if name in folder]
    if not fitting:
        raise UnknownNameError("checkpoint", name, [BEST, LAST, *folders])
    if len(fitting) > 1:
        raise UsageError(f"{name!r} fits {len(fitting)} checkpoints: {', '.join(fitting)}; name one in full")
    return folders[fitting[0]]


def check_classes(run: Run, dataset: Dataset) -> None:
    """Make sure a dataset's classes are a run's, in the same order.

    Raises:
        RunError: They are not.
    """
    stored = list(run.manifest.class_names)
    present = list(dataset.class_names)
    if stored != present:
        missing = sorted(set(stored) - set(present))
        extra = sorted(set(present) - set(stored))
        raise RunError(
            f"{run.name} knows {len(stored)} classes, {dataset.root} has {len(present)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown to the run: {', '.join(extra)}" if extra else "")
        )
