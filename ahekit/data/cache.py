"""A dataset's images, decoded once and mapped into memory from then on.

The cache's key is what the pixels depend on: the files' contents, the part of the preprocessing that makes pixels
(size, fit, interpolation), and the decoder's version; never augmentation. A start that finds every file as it was
(size and modification time) opens the store without reading a single image. Else changed files are hashed or
decoded, and what was decoded before, in whatever folder, is copied by its content's digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from ahekit.data.decode import (
    DECODER_VERSION,
    MAX_BYTES,
    THUMBNAIL,
    DecodeError,
    UnreadableError,
    fit,
    needed_side,
    quiet_pillow,
    read,
    read_image,
    thumbnail,
)
from ahekit.data.file_index import (
    UNREADABLE,
    FileStat,
    digest,
    fingerprint,
    index_path,
    read_index,
    stat_files,
    write_index,
)
from ahekit.data.folder import Folder, Refusal, Sample
from ahekit.data.memory_budget import MemoryBudget
from ahekit.data.pixel_store import (
    CACHE_LIMIT,
    Draft,
    check_space,
    explained_disk_errors,
    keep,
    needed_bytes,
    new_draft,
    open_store,
    prune,
    stores_of,
)
from ahekit.data.pixel_store import PixelStore as PixelStore
from ahekit.data.places import cache_home
from ahekit.errors import DataError
from ahekit.preprocessing import Preprocessing

Progress = Callable[[int, int], None]
R = TypeVar("R")

FILES = MemoryBudget(MAX_BYTES)
"""Bytes of the files that all threads hold at a time."""

BLOCK = 64
"""Files handed to the threads at a time; bounds what is decoded but not yet written."""


@dataclass(frozen=True)
class _Request:
    """One call of `load_pixels`."""

    folder: Folder
    preprocessing: Preprocessing
    cache: Path
    progress: Progress
    settings: str
    stats: Mapping[str, FileStat]
    looked_at: int

    @classmethod
    def of(
        cls, folder: Folder, preprocessing: Preprocessing, *, cache: Path | None, progress: Progress | None = None
    ) -> _Request:
        looked_at = time.time_ns()
        return cls(
            folder=folder,
            preprocessing=preprocessing,
            cache=cache_home() if cache is None else cache,
            progress=progress or (lambda _done, _total: None),
            settings=settings_key(preprocessing),
            stats=stat_files(folder),
            looked_at=looked_at,
        )

    @property
    def pixels(self) -> Path:
        return self.cache / "pixels"

    @property
    def index(self) -> Path:
        return index_path(self.cache, self.folder)

    @property
    def needed(self) -> int:
        return needed_bytes(len(self.folder.samples), self.preprocessing.size)


@dataclass(frozen=True)
class _Decoded:
    """What a file's content came to: pixels and thumbnail, or the reason why there are none.

    Attributes:
        note: What the user should know of an image that can be used.
    """

    digest: str
    pixels: NDArray[np.uint8] | None = None
    thumbnail: NDArray[np.uint8] | None = None
    reason: str = ""
    note: str = ""


def load_pixels(
    folder: Folder,
    preprocessing: Preprocessing,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> PixelStore:
    """The pixels of all samples of a folder that can be decoded, from the cache or decoded now.

    Safe to call from several processes at once: one builds, the others wait and open what it built.

    Args:
        cache: The cache's folder; by default that of `cache_home()`.
        progress: Called with the files done and their number, from 0 on for each pass over files; not called when
            no file has to be read.

    Raises:
        DataError: No image can be used; the cache can't be written; the disk has no room. Nothing half-made is left.
    """
    request = _Request.of(folder, preprocessing, cache=cache, progress=progress)
    store = _find(request, read_index(request.index, request.stats))
    if store is not None:
        return store
    with explained_disk_errors(request.cache, needed=request.needed):
        request.pixels.mkdir(parents=True, exist_ok=True)
        with FileLock(request.pixels / f"{request.settings}.lock"), quiet_pillow():
            # Read again under the lock: another process may just have built it.
            digests = _hash_changed(request, read_index(request.index, request.stats))
            return _find(request, digests) or _build(request, digests)


def contents_of(folder: Folder, *, cache: Path | None = None) -> str:
    """The fingerprint of a folder's files as they are now, as `Dataset.fingerprint`; nothing is decoded.

    Only files that changed since they were last looked at are read; where the cache can't be written, the next look
    reads them again.

    Args:
        cache: The cache's folder; by default that of `cache_home()`.
    """
    request = _Request.of(folder, Preprocessing(THUMBNAIL), cache=cache)
    digests = read_index(request.index, request.stats)
    unknown = [sample for sample in folder.samples if sample.id not in digests]
    if unknown:
        digests |= _hashes(request, unknown)
        with suppress(OSError):
            _remember(request, digests)
    return fingerprint(digests)


def check_files(
    folder: Folder, *, advance: Callable[[], object] = lambda: None
) -> tuple[tuple[Refusal, ...], tuple[Refusal, ...]]:
    """Decode all files of a folder and keep nothing: those that can't be used, and those with something odd about them.

    Args:
        advance: Called after each file.
    """

    def check(sample: Sample) -> _Decoded:
        decoded = _decode(sample, Preprocessing(THUMBNAIL))
        advance()
        return replace(decoded, pixels=None, thumbnail=None)

    with quiet_pillow(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = list(zip(folder.samples, pool.map(check, folder.samples), strict=True))
    refused = tuple(Refusal(sample.id, result.reason) for sample, result in results if result.reason)
    return refused, tuple(Refusal(sample.id, result.note) for sample, result in results if result.note)


def settings_key(preprocessing: Preprocessing) -> str:
    """Names everything beside the files that the pixels depend on."""
    settings: list[Any] = [DECODER_VERSION, preprocessing.size, preprocessing.fit, preprocessing.interpolation]
    if preprocessing.fit == "crop":
        settings.append(preprocessing.crop_fraction)
    if preprocessing.sharpest < preprocessing.size:
        settings.append({"detail": preprocessing.detail, "from": needed_side(preprocessing)})
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]


def _place(request: _Request, content: str) -> Path:
    return request.pixels / f"{request.settings}-{content[:32]}"


def _find(request: _Request, digests: Mapping[str, str]) -> PixelStore | None:
    """The finished store, when the digest of every sample is known."""
    if len(digests) < len(request.folder.samples):
        return None
    return open_store(_place(request, fingerprint(digests)), size=request.preprocessing.size)


def _hash_changed(request: _Request, digests: dict[str, str]) -> dict[str, str]:
    """Hash what isn't known, if a store might be found by it; without any, decoding hashes on the way."""
    unknown = [sample for sample in request.folder.samples if sample.id not in digests]
    if not unknown or not stores_of(request.pixels, request.settings):
        return digests
    digests |= _hashes(request, unknown)
    _remember(request, digests)
    return digests


def _hashes(request: _Request, samples: Sequence[Sample]) -> dict[str, str]:
    contents = _over(request, samples, lambda sample: _content(sample)[0])
    return dict(zip((sample.id for sample in samples), contents, strict=True))


def _build(request: _Request, digests: Mapping[str, str]) -> PixelStore:
    """Decode, or copy by digest, every sample into a new store."""
    check_space(request.cache, request.needed)
    earlier = _decoded_before(request)

    # A digest that isn't known has to be read anyway, and is then decoded in the same go.
    def decode(sample: Sample) -> _Decoded:
        return earlier.get(digests.get(sample.id, "")) or _decode(sample, request.preprocessing)

    with new_draft(request.pixels, settings=request.settings) as draft:
        values = _fill(draft, request, _over(request, request.folder.samples, decode))
        place = _place(request, values["fingerprint"])
        if open_store(place, size=request.preprocessing.size) is None:
            keep(draft, place, values)
    _remember(request, values["files"])
    prune(request.pixels, limit=CACHE_LIMIT, spare=[place])
    store = open_store(place, size=request.preprocessing.size)
    if store is None:
        raise DataError(f"{place}: the cache that was just written can't be read; is another program cleaning it?")
    return store


def _fill(draft: Draft, request: _Request, results: Iterator[_Decoded]) -> dict[str, Any]:
    """Append every image to the draft and tell what `store.json` is to say."""
    files: dict[str, str] = {}
    refused: dict[str, str] = {}
    notes: dict[str, str] = {}
    for sample, result in zip(request.folder.samples, results, strict=True):
        files[sample.id] = result.digest
        if result.pixels is None or result.thumbnail is None:
            refused[sample.id] = result.reason
        else:
            draft.append(result.pixels, result.thumbnail)
        if result.note:
            notes[sample.id] = result.note
    if len(refused) == len(files):
        example = next((f", e.g. {name}: {reason}" for name, reason in refused.items()), "")
        raise DataError(f"{request.folder.root}: not one image can be used ({len(refused)} files refused{example})")
    return {"fingerprint": fingerprint(files), "files": files, "refused": refused, "notes": notes}


def _decoded_before(request: _Request) -> dict[str, _Decoded]:
    """By content digest, what stores of these settings hold, of whatever dataset."""
    results: dict[str, _Decoded] = {}
    for path in stores_of(request.pixels, request.settings):
        store = open_store(path, size=request.preprocessing.size)
        if store is None:
            continue
        rows = zip(store.ids, store.digests, store.images, store.thumbnails, strict=True)
        notes = {note.id: note.reason for note in store.notes}
        results |= {
            content: _Decoded(content, pixels, small, note=notes.get(name, "")) for name, content, pixels, small in rows
        }
        reasons = zip(store.refused_digests, store.refused, strict=True)
        results |= {content: _Decoded(content, reason=refusal.reason) for content, refusal in reasons}
    results.pop(UNREADABLE, None)  # it is the digest of no content
    return results


def _decode(sample: Sample, preprocessing: Preprocessing) -> _Decoded:
    # Files are held whole while they are decoded, and several of 1 GiB would be too much.
    with FILES.reserve(_file_size(sample)):
        file_digest, content, reason = _content(sample)
        if content is None:
            return _Decoded(file_digest, reason=reason)
        try:
            image, note = read_image(content, shorter_side=needed_side(preprocessing))
        except DecodeError as error:
            return _Decoded(file_digest, reason=error.reason)
    return _Decoded(file_digest, fit(image, preprocessing), thumbnail(image), note=note)


def _file_size(sample: Sample) -> int:
    try:
        return sample.path.stat().st_size
    except OSError:
        return 0  # reading it says why


def _content(sample: Sample) -> tuple[str, bytes | None, str]:
    """A file's digest and its content, or None for it and the reason."""
    try:
        content = read(sample.path)
    except UnreadableError as error:
        return UNREADABLE, None, error.reason
    except DecodeError as error:
        return digest(error.reason.encode()), None, error.reason
    return digest(content), content, ""


def _over(request: _Request, samples: Sequence[Sample], work: Callable[[Sample], R]) -> Iterator[R]:
    """Results in order. Threads, since Pillow and hashlib work outside the interpreter's lock."""
    request.progress(0, len(samples))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(samples), BLOCK):
            # A bounded block, since `map` over all samples would pile up results faster than they are written.
            block = samples[start : start + BLOCK]
            yield from pool.map(work, block)
            request.progress(start + len(block), len(samples))


def _remember(request: _Request, digests: Mapping[str, str]) -> None:
    write_index(request.index, request.folder, request.stats, digests, looked_at=request.looked_at)
