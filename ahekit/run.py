"""A run on disk: the only module that writes into a run folder.

    runs/<time>-<model>-<short id>/
        spec.yaml         the resolved spec; `ahekit train --spec` repeats the run
        manifest.json     dataset fingerprint, class names in order, split, versions, hardware
        status.json       "running", "interrupted" or "finished", and why
        history.jsonl     a row per optimizer step and per epoch; appended to
        checkpoints/      step-00000123-epoch-0004/ with safetensors and JSON
        predictions/      <split>.safetensors
        figures/ report/  what `ahekit report` and `ahekit viz` made

Every file but `history.jsonl` is written under a temporary name, synced and renamed, so a run that dies at any byte
can still be listed, reported and resumed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ahekit.errors import RunError, SpecError, UnknownNameError, UsageError
from ahekit.files import atomic_folder, write_atomic
from ahekit.spec import RunSpec
from ahekit.validation import read_yaml, to_yaml, validate

if TYPE_CHECKING:
    from ahekit.data.dataset import Dataset
    from ahekit.evaluation.predictions import Predictions
    from ahekit.evaluation.record import RunRecord

DEFAULT_ROOT = Path("runs")
_STAMP = "%Y%m%d-%H%M%S"
_STAMP_LENGTH = len("20260131-235959")
_LOCK_SECONDS = 2.0


def runs_root(given: Path | None = None) -> Path:
    """Where runs live: the given folder, else `$AHEKIT_RUNS`, else `runs` below the working directory."""
    return given or Path(os.environ.get("AHEKIT_RUNS") or DEFAULT_ROOT)


class Run:
    """One run folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The folder's name, which is what `ahekit report RUN` takes."""
        return self.path.resolve().name

    @classmethod
    def create(cls, root: Path, spec: RunSpec, manifest: Mapping[str, Any]) -> Run:
        """Make a new run folder with its spec and manifest.

        Raises:
            RunError: The folder can't be written.
        """
        stamp = datetime.now().strftime(_STAMP)
        model = "".join(char if char.isalnum() or char in "_." else "_" for char in spec.model.name)
        run = cls(root / f"{stamp}-{model}-{secrets.token_hex(2)}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            # The folder appears whole, with its spec: a run without one could be neither listed nor resumed.
            with atomic_folder(run.path) as draft:
                write_atomic(draft / "spec.yaml", to_yaml(spec).encode())
                write_atomic(draft / "manifest.json", _json(manifest))
                write_atomic(draft / "status.json", _json({"state": "running", "reason": ""}))
        except OSError as error:
            raise RunError(
                f"{run.path}: can't make the run folder ({error.strerror}); choose another with --runs"
            ) from error
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run folder.

        Raises:
            RunError: There is none, or it holds no spec.
        """
        if not (path / "spec.yaml").is_file():
            raise RunError(f"{path}: no run here (no spec.yaml); `ahekit runs` lists the runs there are")
        return cls(path)

    @property
    def spec(self) -> RunSpec:
        """The resolved spec.

        Raises:
            RunError: It can't be read as a spec of this version.
        """
        path = self.path / "spec.yaml"
        try:
            return validate(RunSpec, read_yaml(path, RunSpec))
        except (SpecError, UsageError) as error:
            raise RunError(f"{path}: {error}") from error

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty when it can't be read."""
        return _read_json(self.path / "manifest.json")

    @property
    def status(self) -> dict[str, Any]:
        """`state` ("running", "interrupted" or "finished"), `reason`, and whatever the trainer noted beside them.

        A run whose process is gone without saying so is "interrupted".
        """
        status = {"state": "interrupted", "reason": "", **_read_json(self.path / "status.json")}
        if status["state"] == "running" and not self._is_locked():
            status |= {"state": "interrupted", "reason": "the process ended without a word"}
        return status

    def write_status(self, state: str, reason: str = "", **more: Any) -> None:
        """Note the state, why, and what else is to be remembered."""
        self.write_json("status.json", {"state": state, "reason": reason, **more})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run, so that no second process trains it and others see it running.

        Raises:
            RunError: Another process holds it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            # Somebody who lists runs holds the lock for an instant, to see whether it is free.
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise RunError(f"{self.path}: another process is training this run; wait for it or stop it") from None
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            self._clear_drafts()
            yield
        finally:
            lock.release()

    def _is_locked(self) -> bool:
        if not (self.path / ".lock").is_file():
            return False
        lock = FileLock(self.path / ".lock")
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False  # a folder that can't be written to isn't being trained from here

    def _clear_drafts(self) -> None:
        """Remove checkpoints that a killed process left half written or half removed."""
        for draft in (self.path / "checkpoints").glob(".step-*"):
            shutil.rmtree(draft, ignore_errors=True)

    def write_json(self, name: str, values: Mapping[str, Any]) -> Path:
        """Write a JSON file below the run folder, atomically."""
        return self.write_bytes(name, _json(values))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file below the run folder, atomically; folders are made as needed.

        Raises:
            RunError: The disk is full, or the folder can't be written.
        """
        path = self.path / name
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
        return path

    def append_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to the history and sync them.

        Raises:
            RunError: The disk is full, or the file can't be written.
        """
        path = self.path / "history.jsonl"
        with _writing(path), path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=True) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> list[dict[str, Any]]:
        """All rows; a torn last line, left by a process that died writing it, is ignored.

        Raises:
            RunError: Another line is no row.
        """
        path = self.path / "history.jsonl"
        if not path.is_file():
            return []
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line]
        rows = [_row(line) for line in lines]
        for number, row in enumerate(rows[:-1], start=1):
            if row is None:
                raise RunError(f"{path}, line {number}: not a row of a history; restore the file, or delete the line")
        return [row for row in rows if row is not None]

    def rewind_history(self, *, step: int, epoch: int) -> None:
        """Drop rows past an optimizer step, epochs not finished by then, and a torn last line."""
        rows = [
            row
            for row in self.history()
            if row.get("step", 0) <= step and not (row.get("type") == "epoch" and row["epoch"] >= epoch)
        ]
        self.write_bytes("history.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def write_predictions(self, split: str, predictions: Predictions) -> None:
        """Store a split's predictions."""
        self.write_bytes(f"predictions/{split}.safetensors", predictions.to_bytes())

    def predictions(self) -> Mapping[str, Predictions]:
        """The predictions stored so far, by split, each read when it is first asked for."""
        from ahekit.evaluation.predictions import StoredPredictions

        return StoredPredictions(self.path / "predictions")

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))

    def add_checkpoint(self, name: str, fill: Callable[[Path], None]) -> Path:
        """Add a checkpoint folder; `fill` writes its files into the folder it is given.

        Names sort by progress: `step-00000123-epoch-0004`, where the epoch is the one in progress.
        """
        path = self.path / "checkpoints" / name
        with _writing(path):
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                with atomic_folder(path) as draft:
                    fill(draft)
        return path

    def remove_checkpoint(self, path: Path) -> None:
        """Remove a checkpoint folder; the rename first keeps a half-removed one from being taken for whole."""
        if path.parent != self.path / "checkpoints":
            raise RunError(f"{path} is no checkpoint of {self.path}")
        doomed = path.with_name(f".{path.name}.removed")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def remove(self) -> None:
        """Remove the whole folder.

        Raises:
            RunError: It is being trained, or can't be removed.
        """
        with self.lock(), _writing(self.path):
            doomed = self.path.resolve().with_name(f".{self.name}.removed")
            self.path.resolve().rename(doomed)
        shutil.rmtree(doomed)

    def record(self) -> RunRecord:
        """All that reporters need, as far as the run got and can be read."""
        from ahekit.evaluation.record import RunRecord

        manifest, status = self.manifest, self.status
        root = manifest.get("data", {}).get("root")
        faults = []
        try:
            history = self.history()
        except RunError as error:
            history = []
            faults.append(str(error))
        return RunRecord(
            name=self.name,
            path=self.path,
            spec=self.spec,
            manifest=manifest,
            history=history,
            predictions=self.predictions(),
            state=status["state"],
            data_root=Path(root) if root and Path(root).is_dir() else None,
            status=status,
            faults=tuple(faults),
        )


def list_runs(root: Path) -> list[Run]:
    """Run folders below `root`, newest first."""
    if not root.is_dir():
        return []
    # A leading dot marks a folder half made or half removed.
    folders = [folder for folder in root.iterdir() if folder.name[0] != "." and (folder / "spec.yaml").is_file()]
    return [Run(folder) for folder in sorted(folders, key=_age, reverse=True)]


def find_run(root: Path, name: str | None) -> Run:
    """A run by path, by name or by an unambiguous part of its name; the newest when no name is given.

    Raises:
        RunError: There is no run yet.
        UnknownNameError: No run goes by the name.
        UsageError: Several runs do.
    """
    if name is not None and (Path(name) / "spec.yaml").is_file():
        return Run(Path(name))
    runs = list_runs(root)
    if not runs:
        raise RunError(f"no run in {root}; `ahekit train` makes one")
    if name is None:
        return runs[0]
    found = [run for run in runs if run.name == name] or [run for run in runs if name in run.name]
    if not found:
        raise UnknownNameError("run", name, [run.name for run in runs])
    if len(found) > 1:
        raise UsageError(f"{name!r} fits {len(found)} runs: {', '.join(run.name for run in found)}; name one in full")
    return found[0]


def check_classes(run: Run, dataset: Dataset) -> None:
    """Make sure a dataset's classes are a run's, in the same order.

    Raises:
        RunError: They are not.
    """
    stored, found = run.manifest.get("class_names", []), list(dataset.class_names)
    if stored != found:
        missing, extra = sorted(set(stored) - set(found)), sorted(set(found) - set(stored))
        raise RunError(
            f"{run.name} knows {len(stored)} classes, {dataset.root} has {len(found)}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; unknown to the run: {', '.join(extra)}" if extra else "")
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: can't be written ({error.strerror or error}); make room or mend the folder's rights")


def _age(folder: Path) -> tuple[str, int, str]:
    # The name tells the second, the spec's time which of one second was first.
    return folder.name[:_STAMP_LENGTH], (folder / "spec.yaml").stat().st_mtime_ns, folder.name


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
