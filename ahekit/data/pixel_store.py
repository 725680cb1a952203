"""Decoded pixels on disk: a folder that appears whole or not at all, and is mapped into memory.

    <cache>/pixels/<settings>-<fingerprint>/
        images.u8       (N, S, S, 3) uint8, C order, no header
        thumbnails.u8   (N, 16, 16, 3) uint8
        store.json      the files' digests and the reasons of those refused, by id
        near-copies-*   (see near_copies.py)

Any of it can be deleted at any time, at the price of decoding again. The least recently used stores go by themselves
when all of them together pass 20 GiB.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ahekit.data.decode import THUMBNAIL
from ahekit.data.folder import Refusal
from ahekit.errors import DataError
from ahekit.files import write_atomic

STORE_VERSION = 1
CACHE_LIMIT = 20 * 2**30
"""Bytes that all stores together may take before the least recently used are removed."""
ABANDONED_SECONDS = 7 * 24 * 3600

_OVERHEAD_PER_IMAGE = THUMBNAIL * THUMBNAIL * 3 + 512
_OVERHEAD = 2**20


@dataclass(frozen=True)
class PixelStore:
    """Decoded images.

    Attributes:
        ids: N sample ids, sorted.
        digests: SHA-256 of each image's file.
        images: `(N, S, S, 3)` uint8 RGB, a read-only memory map.
        thumbnails: `(N, 16, 16, 3)` uint8, of the whole image whatever the fit; a read-only memory map.
        refused: Files that couldn't be used.
        refused_digests: SHA-256 of each refused file.
        notes: What the user should know of single images.
        fingerprint: SHA-256 over ids and contents of all files, the refused ones too.
        path: Its folder in the cache.
    """

    ids: tuple[str, ...]
    digests: tuple[str, ...]
    images: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    refused: tuple[Refusal, ...]
    refused_digests: tuple[str, ...]
    notes: tuple[Refusal, ...]
    fingerprint: str
    path: Path


@dataclass
class Draft:
    """A store being written: rows appended in the order of ids."""

    path: Path
    images: IO[bytes]
    thumbnails: IO[bytes]

    def append(self, pixels: NDArray[np.uint8], thumbnail: NDArray[np.uint8]) -> None:
        """Add an image. Plain writes, since a full disk under a memory map would kill the process."""
        self.images.write(np.ascontiguousarray(pixels).data)
        self.thumbnails.write(np.ascontiguousarray(thumbnail).data)


def open_store(path: Path, *, size: int) -> PixelStore | None:
    """Map a store into memory; None when there is none, or not all of it."""
    try:
        values = json.loads((path / "store.json").read_text(encoding="utf-8"))
        if values["version"] != STORE_VERSION:
            return None
        files = values["files"]
        refused = values["refused"]
        # JSON keeps the order in which files were written, which is that of the rows.
        ids = tuple(name for name in files if name not in refused)
        store = PixelStore(
            ids=ids,
            digests=tuple(files[name] for name in ids),
            images=_map(path / "images.u8", len(ids), size),
            thumbnails=_map(path / "thumbnails.u8", len(ids), THUMBNAIL),
            refused=tuple(Refusal(name, reason) for name, reason in refused.items()),
            refused_digests=tuple(files[name] for name in refused),
            notes=tuple(Refusal(name, note) for name, note in values.get("notes", {}).items()),
            fingerprint=values["fingerprint"],
            path=path,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with suppress(OSError):  # a cache that can only be read serves as well, it just doesn't know what is used
        os.utime(path / "store.json")
    return store


def _map(path: Path, count: int, size: int) -> NDArray[np.uint8]:
    # A map past a file's end would kill the process at the first look, so sizes are compared before.
    if path.stat().st_size != count * size * size * 3:
        raise ValueError(f"{path} is not {count} images")
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(count, size, size, 3))


def stores_of(pixels: Path, settings: str) -> list[Path]:
    """Stores of the given settings, of whatever dataset."""
    return sorted(file.parent for file in pixels.glob(f"{settings}-*/store.json"))


def needed_bytes(count: int, size: int) -> int:
    """Disk space that a store of `count` images takes, a little rounded up."""
    return count * (size * size * 3 + _OVERHEAD_PER_IMAGE) + _OVERHEAD


@contextmanager
def new_draft(pixels: Path, *, settings: str) -> Iterator[Draft]:
    """A store being written; removed at the end of the block unless `keep` has moved it into place.

    To be used under the settings' lock: drafts of the same settings were left by processes that died and are removed.
    """
    for left_over in pixels.glob(f".{settings}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    path = Path(tempfile.mkdtemp(dir=pixels, prefix=f".{settings}-"))
    try:
        with (path / "images.u8").open("wb") as images, (path / "thumbnails.u8").open("wb") as thumbnails:
            yield Draft(path, images, thumbnails)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def keep(draft: Draft, path: Path, values: Mapping[str, Any]) -> None:
    """Finish a draft and move it to `path`, in place of a damaged store there.

    Args:
        values: What `store.json` holds beside the version.

    Raises:
        OSError: It can't be written.
    """
    # Pixels reach the disk before the file that says they are there.
    for file in (draft.images, draft.thumbnails):
        file.flush()
        os.fsync(file.fileno())
    write_atomic(draft.path / "store.json", json.dumps({"version": STORE_VERSION, **values}).encode())
    # mkdtemp lets nobody else in, and a cache may be shared by a group.
    draft.path.chmod(0o755)
    if path.exists():
        _remove(path)
    draft.path.rename(path)


def prune(pixels: Path, *, limit: int, spare: Sequence[Path] = ()) -> None:
    """Remove the least recently used stores until the rest takes at most `limit` bytes; never those to `spare`.

    Drafts that no process can still be writing go too.
    """
    for hidden in pixels.glob(".*/"):
        with suppress(OSError):
            if time.time() - hidden.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(hidden, ignore_errors=True)
    stores = [file.parent for file in pixels.glob("[!.]*/store.json")]
    ages: dict[Path, float] = {}
    sizes: dict[Path, int] = {}
    for store in stores:
        with suppress(OSError):  # another process is removing it
            ages[store] = (store / "store.json").stat().st_mtime
            files = [file.stat() for file in store.iterdir()]
            # Files of kept features have holes, which take no room: blocks of 512 bytes tell.
            sizes[store] = sum(min(file.st_size, file.st_blocks * 512) for file in files)
    total = sum(sizes.values())
    for store in sorted(sizes, key=ages.__getitem__):
        if total > limit and store not in spare:
            _remove(store)
            total -= sizes[store]


def _remove(store: Path) -> None:
    # Renamed first, so that nobody takes a half-removed store for a whole one. Whoever has it mapped keeps it.
    trash = Path(tempfile.mkdtemp(dir=store.parent, prefix=".removed-"))
    with suppress(FileNotFoundError):
        store.rename(trash / store.name)
    shutil.rmtree(trash, ignore_errors=True)


@contextmanager
def explained_disk_errors(cache: Path, *, needed: int, part: str = "pixels") -> Iterator[None]:
    """Turn the system's refusal to write into a line that says what to do.

    Args:
        part: Folder of the cache that is written to.

    Raises:
        DataError: The disk is full (with the needed and free bytes), or the folder can't be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(cache, needed, part) from error
        raise DataError(
            f"{cache}: can't write the cache ({error.strerror or error}); "
            "make the folder writable, or set AHEKIT_HOME to one that is"
        ) from error


def check_space(cache: Path, needed: int, *, part: str = "pixels", spared: int = 0) -> None:
    """See that the disk has room for `needed` bytes before anything is written.

    Args:
        part: Folder of the cache that is to be written to.
        spared: Bytes that have to stay free for everybody else.

    Raises:
        DataError: It hasn't.
    """
    if free_bytes(cache) < needed + spared:
        raise _no_space(cache, needed, part)


def _no_space(cache: Path, needed: int, part: str) -> DataError:
    return DataError(
        f"{cache}: the {part} to keep need {_bytes(needed)}, {_bytes(free_bytes(cache))} are free; free some space "
        f"(deleting {cache / part} is always safe), or set AHEKIT_HOME to a folder on another disk"
    )


def free_bytes(cache: Path) -> int:
    """Free bytes on the disk that holds the cache."""
    return shutil.disk_usage(cache).free


def _bytes(count: int) -> str:
    return f"{count:,} bytes ({count / 2**20:,.1f} MiB)"
