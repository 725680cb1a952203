"""A run's folder: what is written into it and read from it.

    runs/<time>-<model>-<short id>/
        run.json          that this is a run of ahekit, and when it was made
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

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic_core import from_json

from ahekit.errors import RunError, SpecError, UsageError
from ahekit.evaluation.record import RunRecord
from ahekit.evaluation.stored import StoredPredictions
from ahekit.files import atomic_folder, check_regular, read_regular, write_atomic
from ahekit.notes import EpochRow, History, Manifest, Note, Status
from ahekit.spec import RunSpec
from ahekit.validation import read_yaml, to_yaml, validate

if TYPE_CHECKING:
    from ahekit.evaluation.predictions import Predictions

MARK = "run.json"
"""The file that says that a folder is a run of ahekit's."""

_STAMP = "%Y%m%d-%H%M%S"
_LOCK_SECONDS = 2.0
_CHECKPOINT = re.compile(r"step-(\d+)[\w-]*")
_DRAFT = re.compile(r"\.step-\d+[\w-]*\.\w+")
_DRAFT_FILE = re.compile(
    r"\.((run|manifest|status)\.json|spec\.yaml|history\.jsonl|(train|val|test)\.safetensors)\.[0-9a-f]{8}"
)
_LONGEST = 300  # characters of a spec's problem that are told


class Mark(Note):
    """`run.json`: made by ahekit, and when (ISO 8601, UTC)."""

    kind: str = ""
    ahekit: str = ""
    made: str = ""


class Run:
    """One run folder.

    Attributes:
        path: The folder.
        data: Where its images are now, when they are no longer where its spec says; see `with_data`.
    """

    def __init__(self, path: Path, *, data: Path | None = None) -> None:
        self.path = path
        self.data = data

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
        now = datetime.now(UTC)
        stamp = now.astimezone().strftime(_STAMP)
        model = "".join(char if char.isalnum() or char in "_." else "_" for char in spec.model.name)
        mark = {"kind": "run", "ahekit": str(manifest.get("ahekit", "")), "made": now.isoformat()}
        while True:
            run = cls(root / f"{stamp}-{model[:100]}-{secrets.token_hex(2)}")
            try:
                root.mkdir(parents=True, exist_ok=True)
                # The folder appears whole, with its spec: a run without one could be neither listed nor resumed.
                with atomic_folder(run.path) as draft:
                    write_atomic(draft / MARK, _json(mark))
                    write_atomic(draft / "spec.yaml", to_yaml(spec).encode())
                    write_atomic(draft / "manifest.json", _json(manifest))
                    write_atomic(draft / "status.json", _json({"state": "running", "reason": ""}))
                return run
            except OSError as error:
                # Of the runs that are started in one second, two may draw the same name.
                taken = error.errno in (errno.EEXIST, errno.ENOTEMPTY) and run.path.is_dir()
                if not taken:
                    raise RunError(
                        f"{run.path}: can't make the run folder ({error.strerror}); choose another with --runs"
                    ) from error

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run folder.

        Raises:
            RunError: There is none, or it holds no spec.
        """
        run = cls(path)
        if not run.is_there:
            raise RunError(f"{path}: no run here (no spec.yaml); `ahekit runs` lists the runs there are")
        return run

    @property
    def is_there(self) -> bool:
        """Whether the folder is a run, or was one; of one that may not be looked into, only its name can tell."""
        try:
            return any(os.path.lexists(self.path / name) for name in ("spec.yaml", MARK)) and self.path.is_dir()
        except (OSError, ValueError):
            return False

    @property
    def is_readable(self) -> bool:
        """Whether it can be seen what is inside."""
        try:
            for folder in (self.path, self.path / "checkpoints", self.path / "predictions"):
                with suppress(FileNotFoundError), os.scandir(folder):
                    pass
        except OSError:
            return False
        return True

    @property
    def fault(self) -> str:
        """Why its spec can't be read; empty when it can."""
        try:
            _ = self.spec
        except RunError as error:
            return str(error)
        return ""

    @property
    def is_ours(self) -> bool:
        """Whether ahekit made the folder: it says so inside, or, of before it did, holds what only a run holds."""
        if Mark.read(self.path / MARK).kind == "run":
            return True
        return not self.fault and bool(self.manifest.ahekit)

    @property
    def made(self) -> float:
        """When it was made, in seconds since 1970; what it says itself, else the time of its spec."""
        with suppress(ValueError, OSError, OverflowError):
            return datetime.fromisoformat(Mark.read(self.path / MARK).made).timestamp()
        with suppress(OSError):
            return (self.path / "spec.yaml").stat().st_mtime
        return 0.0

    @property
    def spec(self) -> RunSpec:
        """The resolved spec.

        Raises:
            RunError: It can't be read as a spec of this version.
        """
        path = self.path / "spec.yaml"
        try:
            check_regular(path)
            spec = validate(RunSpec, read_yaml(path, RunSpec))
        except OSError as error:
            raise RunError(f"{path}: can't be read ({error.strerror or error})") from error
        except (SpecError, UsageError) as error:
            raise RunError(f"{path}: {' '.join(str(error).split())[:_LONGEST]}") from error
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise RunError(f"{path}: not a run spec ({type(error).__name__})") from error
        if self.data is None:
            return spec
        return spec.model_copy(update={"data": spec.data.model_copy(update={"source": str(self.data)})})

    @property
    def manifest(self) -> Manifest:
        """The manifest; what can't be read of it is unknown."""
        return Manifest.read(self.path / "manifest.json")

    @property
    def status(self) -> Status:
        """How the run stands; one whose process is gone without saying so is "interrupted"."""
        return self._status()

    def _status(self, faults: list[str] | None = None) -> Status:
        status = Status.read(self.path / "status.json", faults=faults)
        if status.state == "running" and not self._is_locked():
            change = {"state": "interrupted", "reason": status.reason or "the process ended without a word"}
            return status.model_copy(update=change)
        return status

    def rewrite(self, spec: RunSpec, **facts: Any) -> None:
        """Replace the spec, and note facts in the manifest; what else stands there stays.

        Raises:
            RunError: The manifest can't be read, or the folder can't be written.
        """
        path = self.path / "manifest.json"
        try:
            values = from_json(read_regular(path))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: can't be read ({error}); restore it") from error
        for name, value in facts.items():
            both = isinstance(value, Mapping) and isinstance(values.get(name), Mapping)
            values[name] = {**values[name], **value} if both else value
        self.write_json("manifest.json", values)
        self.write_bytes("spec.yaml", to_yaml(spec).encode())

    def clear_predictions(self) -> None:
        """Remove the predictions, which are those of weights that will no longer be the chosen ones."""
        for file in (self.path / "predictions").glob("[!.]*.safetensors"):
            with _writing(file):
                file.unlink()

    def write_status(self, state: str, reason: str = "", **more: Any) -> None:
        """Note the state, why, and what else is to be remembered."""
        self.write_json("status.json", {"state": state, "reason": reason, **more})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run, so that no second process trains it and others see it running.

        Raises:
            RunError: Another process holds it.
        """
        path = self.path / ".lock"
        if path.is_symlink():  # some versions of filelock empty the file that a link leads to
            raise RunError(f"{path}: a link, not the run's own lock; remove it")
        lock = FileLock(path)
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
        path = self.path / ".lock"
        try:
            if path.is_symlink() or not path.is_file():
                return False
            with FileLock(path).acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False  # a folder that can't be written to isn't being trained from here

    def _clear_drafts(self) -> None:
        """Remove what a killed process left half written or half removed; nothing else, and nothing behind a link."""
        predictions = self.path / "predictions"
        for folder in (self.path, *([] if predictions.is_symlink() else [predictions])):
            for draft in folder.glob(".*"):
                if _DRAFT_FILE.fullmatch(draft.name) and draft.is_file() and not draft.is_symlink():
                    with suppress(OSError):
                        draft.unlink()
        checkpoints = self.path / "checkpoints"
        if checkpoints.is_symlink():
            return
        for draft in checkpoints.glob(".step-*"):
            if _DRAFT.fullmatch(draft.name) and not draft.is_symlink():
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
        lines = "".join(json.dumps(row, allow_nan=True) + "\n" for row in rows).encode()
        with _writing(path), path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while lines:
                    lines = lines[file.write(lines) :]
                os.fsync(file.fileno())
            except OSError:
                # Half a row, with others after it, would be no history any more.
                os.truncate(path, before)
                raise

    def history(self, *, faults: list[str] | None = None) -> History:
        """All rows that can be read; a torn last line, left by a process that died writing it, is ignored.

        Args:
            faults: Told here, a line each.
        """
        told = [] if faults is None else faults
        try:
            lines = self._history_lines()
        except RunError as error:
            told.append(str(error))
            return History()
        rows = [_row(line) for line in lines]
        # Written last, when the process died or the disk was full.
        if rows and rows[-1] is None:
            del rows[-1]
        return History.of(rows, faults=told)

    def rewind_history(self, *, step: int, epoch: int) -> None:
        """Drop rows past an optimizer step, epochs not finished by then, and a torn last line.

        Raises:
            RunError: The history can't be read or written, or a line before the last one is no row.
        """
        path = self.path / "history.jsonl"
        lines = self._history_lines()
        kept = []
        for number, line in enumerate(lines, start=1):
            row = _row(line)
            if row is None:
                if number == len(lines):
                    break
                raise RunError(f"{path}, line {number}: not a row of a history; restore the file, or delete the line")
            read = EpochRow.of(row)
            is_later = read.step > step or (row.get("type") == "epoch" and read.epoch >= epoch)
            if not is_later:
                kept.append(line + b"\n")
        self.write_bytes("history.jsonl", b"".join(kept))

    def _history_lines(self) -> list[bytes]:
        path = self.path / "history.jsonl"
        try:
            return [line for line in read_regular(path).split(b"\n") if line]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{path}: can't be read ({error.strerror or error})") from error

    def write_predictions(self, split: str, predictions: Predictions) -> None:
        """Store a split's predictions."""
        self.write_bytes(f"predictions/{split}.safetensors", predictions.to_bytes())

    def predictions(self) -> Mapping[str, Predictions]:
        """The predictions stored so far, by split, each read when it is first asked for."""
        return StoredPredictions(self.path / "predictions")

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, oldest first."""
        try:
            folders = [path for path in (self.path / "checkpoints").iterdir() if _CHECKPOINT.fullmatch(path.name)]
            return sorted(path for path in folders if path.is_dir())
        except OSError:
            return []

    def moment(self, checkpoint: Path) -> str:
        """When in the training a checkpoint was written, as reports count: "epoch 10", or "step 123" within one."""
        match = _CHECKPOINT.fullmatch(checkpoint.name)
        step = int(match[1]) if match else 0
        epochs = [row.epoch for row in self.history().epochs if row.step == step]
        return f"epoch {epochs[-1]}" if epochs else f"step {step}"

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

    def set_aside_checkpoint(self, path: Path) -> None:
        """Rename a checkpoint that can't be used, so that it is none any more and nothing of it is lost."""
        with _writing(path):
            path.rename(path.with_name(f"damaged-{path.name}-{secrets.token_hex(2)}"))

    def remove_checkpoint(self, path: Path) -> None:
        """Remove a checkpoint folder; the rename first keeps a half-removed one from being taken for whole.

        Of a link only the link goes.

        Raises:
            RunError: It is none of this run's, or can't be removed.
        """
        if path.parent != self.path / "checkpoints" or not _CHECKPOINT.fullmatch(path.name):
            raise RunError(f"{path} is no checkpoint of {self.path}")
        with _writing(path):
            if path.is_symlink():
                path.unlink()
                return
            removed = path.with_name(f".{path.name}.removed")
            if removed.exists():
                shutil.rmtree(removed, ignore_errors=True)
            path.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def record(self) -> RunRecord:
        """All that reporters need, as far as the run got and can be read.

        Raises:
            RunError: The spec can't be read; everything else may be missing.
        """
        faults: list[str] = []
        spec = self.spec
        manifest = Manifest.read(self.path / "manifest.json", faults=faults)
        status = self._status(faults)
        return RunRecord(
            name=self.name,
            path=self.path,
            spec=spec,
            manifest=manifest,
            history=self.history(faults=faults),
            predictions=self.predictions(),
            state=status.state,
            data_root=self.data or _folder(manifest.data.root),
            status=status,
            faults=tuple(faults),
        )


def resume_command(path: Path, processes: object) -> str:
    """What to type to go on with a run that so many processes train."""
    command = f"resume {quote(str(path))}"
    if not isinstance(processes, int) or processes < 2:
        return f"ahekit {command}"
    return f"torchrun --nproc-per-node {processes} -m ahekit {command}"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: can't be written ({error.strerror or error}); make room or mend the folder's rights")


def _folder(root: str | None) -> Path | None:
    try:
        return Path(root) if root and Path(root).is_dir() else None
    except (OSError, ValueError):
        return None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = from_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
