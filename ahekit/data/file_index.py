"""What is known of a dataset's files from last time: their digests, trusted while size and time stay as they were."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ahekit.data.folder import Folder
from ahekit.files import write_atomic

INDEX_VERSION = 1
FRESH_SECONDS = 2.0
"""A file changed less than this before it was looked at isn't trusted the next time: a second change within the
clock tick of the file system (2 s on FAT) could leave size and time as they are."""

UNREADABLE = "unreadable"
"""Stands for the digest of a file that couldn't be read; never remembered, so that it's tried again."""


@dataclass(frozen=True)
class FileStat:
    """Size in bytes and modification time in nanoseconds."""

    size: int
    mtime_ns: int


def digest(content: bytes) -> str:
    """SHA-256 of a file's content, as hex."""
    return hashlib.sha256(content).hexdigest()


def fingerprint(digests: Mapping[str, str]) -> str:
    """One SHA-256 for a whole dataset, of its files' ids and digests; their order doesn't matter."""
    lines = "".join(f"{content}  {name}\n" for name, content in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def stat_files(folder: Folder) -> dict[str, FileStat]:
    """Size and time of each sample's file, by id; a file that is gone is left out."""
    stats = {}
    for sample in folder.samples:
        try:
            status = os.stat(sample.path)
        except OSError:
            continue
        stats[sample.id] = FileStat(status.st_size, status.st_mtime_ns)
    return stats


def index_path(cache: Path, folder: Folder) -> Path:
    """Where a folder's index is kept."""
    # By the real path, so that a folder reached through a link or a relative path shares one index.
    root = os.fsencode(folder.root.resolve())
    return cache / "index" / f"{hashlib.sha256(root).hexdigest()[:32]}.json"


def read_index(path: Path, stats: Mapping[str, FileStat]) -> dict[str, str]:
    """Digests by id of the files whose size and time are those of last time; a torn or foreign index knows none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] != INDEX_VERSION:
            return {}
        return {
            name: content
            for name, (size, mtime_ns, content) in values["files"].items()
            if stats.get(name) == FileStat(size, mtime_ns)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_index(
    path: Path, folder: Folder, stats: Mapping[str, FileStat], digests: Mapping[str, str], *, looked_at: int
) -> None:
    """Remember digests for the next start.

    Args:
        looked_at: When the stats were taken, in nanoseconds of `time.time_ns`.

    Raises:
        OSError: The index can't be written.
    """
    trusted = looked_at - int(FRESH_SECONDS * 1e9)
    files = {
        name: (stats[name].size, stats[name].mtime_ns, content)
        for name, content in digests.items()
        if content != UNREADABLE and name in stats and stats[name].mtime_ns < trusted
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"version": INDEX_VERSION, "root": str(folder.root), "files": files}
    write_atomic(path, json.dumps(values).encode())
