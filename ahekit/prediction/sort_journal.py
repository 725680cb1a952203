"""What a sort is about to do, written to the disk before it is done: `--undo` and an interrupted sort go by it.

The journal lies in the sorted folder, a JSON object a line. Targets are relative to that folder, so that it may be
moved.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from ahekit.errors import DataError
from ahekit.files import sync_path

FILE_NAME = ".ahekit-sorted.jsonl"
"""A folder that holds a file of this name was made by sorting."""

Mode = Literal["link", "copy", "move"]
Kind = Literal["link", "copy", "move", "rename"]


@dataclass(frozen=True)
class Act:
    """One photo's way into its folder.

    Attributes:
        number: Counted from 1 in the order of the journal.
        kind: "rename": from one folder of the sort to another, when the survey says something else than before.
        photo: Where the survey says it is, absolute.
        target: Where it goes, relative to the sorted folder.
        source: Of a rename, likewise.
        text: Of a link: what it says.
        size: Of the photo in bytes, for copies and moves; `mtime_ns` likewise.
    """

    number: int
    kind: Kind
    photo: str
    target: str
    source: str = ""
    text: str = ""
    size: int = -1
    mtime_ns: int = -1


class Journal:
    """A sorted folder's journal, open and locked until it is closed.

    Attributes:
        folder: The sorted folder.
        mode: How its photos came in.
        key: Of this journal: names of drafts begin with it.
        acts: Those that count: not taken back.
        made: Folders that the sort made, outer ones first: `folder` and those above it absolute, those in it by name.
        times: Modification times of the folders that photos were moved out of, in nanoseconds, as they were before.
    """

    def __init__(self, folder: Path, descriptor: int) -> None:
        """Use `open`."""
        self.folder = folder
        self.mode: Mode = "link"
        self.key = ""
        self.acts: dict[int, Act] = {}
        self.made: list[str] = []
        self.times: dict[str, int] = {}
        self._last = 0
        self._done = 0
        self._descriptor = descriptor

    @classmethod
    def open(cls, folder: Path, *, create: Mode | None = None, made: Iterable[Path] = ()) -> Self | None:
        """The journal of a sorted folder; None where it has none and none is to be made.

        Args:
            create: How photos come in, if there is no journal yet.
            made: Folders that were made for it already, the outer ones first.

        Raises:
            DataError: It can't be read or written, is damaged, or another process is at work on it.
        """
        path = folder / FILE_NAME
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}: can't be written ({error.strerror}); choose another folder") from error
        journal = cls(folder, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not journal._read(path):
                if create is None:  # its sort died before the first line was written
                    os.unlink(path)
                    journal.close()
                    return None
                journal._begin(create, [os.fspath(each) for each in made])
        except BlockingIOError:
            journal.close()
            raise DataError(f"{folder}: another process is sorting into it; wait until that is done") from None
        except BaseException as error:
            journal.close()
            if isinstance(error, OSError):
                raise DataError(f"{path}: can't be written ({error.strerror}); choose another folder") from error
            raise
        return journal

    @property
    def pending(self) -> list[Act]:
        """Acts that were begun, and of which nobody knows whether they were done."""
        return [act for number, act in self.acts.items() if number > self._done]

    @property
    def next_number(self) -> int:
        """Of the next act."""
        return self._last + 1

    def intend(self, acts: Iterable[Act], *, folders: Iterable[str] = (), times: dict[str, int] | None = None) -> None:
        """Write what is about to be done, and wait until it is on the disk.

        Args:
            folders: To be made for it, by name.
            times: See `times`; those known already stay.
        """
        new = {folder: time for folder, time in (times or {}).items() if folder not in self.times}
        lines: list[dict[str, Any]] = [{"made": name} for name in folders]
        lines += [{"times": new}] if new else []
        acts = list(acts)
        lines += [{"act": {key: value for key, value in asdict(act).items() if value not in ("", -1)}} for act in acts]
        self._write(lines)
        for line in lines:
            self._take(line)

    def take_back(self, numbers: Iterable[int]) -> None:
        """Note that acts didn't happen, or were undone."""
        line = {"undone": sorted(numbers)}
        if line["undone"]:
            self._write([line])
            self._take(line)

    def all_done(self) -> None:
        """Note that whatever was begun and not taken back was done."""
        if self.pending:
            self._write([{"done": self._last}])
        self._done = self._last

    def close(self) -> None:
        """Close it; the lock is let go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, mode: Mode, made: list[str]) -> None:
        header = {"sorted by ahekit": 1, "mode": mode, "key": secrets.token_hex(4), "made": made}
        self._write([header])
        sync_path(self.folder)
        self._take(header)

    def _read(self, path: Path) -> bool:
        """Read it; whether there is a line. A last line without its end was never on the disk whole: it goes."""
        with open(self._descriptor, "rb", closefd=False) as file:
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(self._descriptor, len(whole))
        os.lseek(self._descriptor, 0, os.SEEK_END)
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                values = json.loads(line)
                if number == 1 and values.get("sorted by ahekit") != 1:
                    raise DataError(f"{path}: made by a newer version of ahekit; update this one")
                self._take(values)
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise DataError(
                    f"{path}: damaged at line {number}; nothing was changed. Sort into another folder"
                ) from error
        return bool(whole)

    def _take(self, values: dict[str, Any]) -> None:
        """Take in a line."""
        if "mode" in values:
            if values["mode"] not in get_args(Mode):
                raise ValueError
            self.mode = values["mode"]
            self.key = str(values["key"])
            self.made = [str(folder) for folder in values["made"]]
        elif "made" in values:
            self.made.append(_checked(values["made"], parts=1))
        elif "times" in values:
            self.times = {**{str(folder): int(time) for folder, time in values["times"].items()}, **self.times}
        elif "act" in values:
            act = Act(**values["act"])
            if act.kind not in get_args(Kind) or not os.path.isabs(act.photo):
                raise ValueError
            _checked(act.target, parts=2)
            if act.kind == "rename":
                _checked(act.source, parts=2)
            self.acts[act.number] = act
            self._last = act.number
        elif "undone" in values:
            for number in values["undone"]:
                self.acts.pop(number, None)
        elif "done" in values:
            self._done = int(values["done"])
        else:
            raise ValueError

    def _write(self, lines: Iterable[dict[str, Any]]) -> None:
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        start = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, start)  # a full disk: no half line stays behind
            raise


def _checked(path: str, *, parts: int) -> str:
    """A path that can't lead out of the folder, whoever wrote the journal."""
    names = path.split("/")
    if len(names) != parts or any(name in ("", ".", "..") for name in names):
        raise ValueError(path)
    return path
