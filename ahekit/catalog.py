"""What `--data` names becomes a folder: an installed dataset, a folder, an archive, or the embedded sample."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ahekit.data.archive import READABLE, SUFFIXES
from ahekit.data.installed import SAMPLE, installed, plain_name, unpack_dataset
from ahekit.data.places import cache_home, data_home, made_once
from ahekit.errors import AhekitError, DataError, UnknownNameError
from ahekit.files import full_path, write_atomic

DEFAULT = "ahe64"
"""The installed dataset that is used when none is named."""

SAMPLE_NOTICE = (
    "the embedded sample (generated drawings, no photographs). For real images, download "
    "github.com/shuxinqiao/Architectural-Heritage-Elements-Classification (64 px) or the original AHE dataset "
    f"(doi.org/10.3390/app7100992), then: ahekit data add FILE_OR_FOLDER --name {DEFAULT}"
)


@dataclass(frozen=True)
class Source:
    """A dataset's place.

    Attributes:
        root: Folder to scan.
        notice: The line that tells the user which dataset this is.
        archive: The archive that `root` was unpacked from.
    """

    name: str
    root: Path
    kind: Literal["sample", "installed", "folder", "archive"]
    notice: str
    archive: Path | None = None

    @property
    def path(self) -> Path:
        """What names the dataset the next time: the archive, or the folder."""
        return self.archive or self.root


def resolve(
    source: str | None,
    *,
    announce: Callable[[str], object] = lambda notice: None,
    advance: Callable[[], object] = lambda: None,
) -> Source:
    """The dataset that `--data` asks for.

    An installed dataset wins over a folder of the same name; `./name` is the folder. An archive is unpacked once into
    the cache, the sample drawn once into the data directory; both are safe between processes.

    Args:
        source: Name, folder or archive. None: `$AHEKIT_DATA`, else the installed dataset `ahe64`, else the sample.
        announce: Called with the notice as soon as it is known, before anything slow.
        advance: Called after each file that is unpacked.

    Raises:
        UnknownNameError: Nothing goes by that name.
        DataError: A path that isn't there or is no archive; an archive that can't be unpacked or holds no dataset.
    """
    place = _find(source)
    announce(place.notice)
    if place.kind == "sample":
        from ahekit.sample import SAMPLE_SEED, write_sample

        made_once(place.root, lambda root: write_sample(root, seed=SAMPLE_SEED))
    elif place.archive is not None:
        archive = place.archive
        root = cache_home() / "archives" / _digest(archive)
        return replace(place, root=made_once(root, lambda path: unpack_dataset(archive, path, advance=advance)))
    return place


def default_source() -> str:
    """What is used when no dataset is named."""
    return os.environ.get("AHEKIT_DATA") or (DEFAULT if DEFAULT in installed() else SAMPLE)


def sample_root() -> Path:
    """Where the sample is, or will be when it is first used."""
    from ahekit.sample import SAMPLE_SEED, SAMPLE_VERSION

    return data_home() / f"sample-{SAMPLE_VERSION}-{SAMPLE_SEED}"


def _find(source: str | None) -> Source:
    """What is meant; the root of an archive isn't known before its content is."""
    if source is not None or not os.environ.get("AHEKIT_DATA"):
        return _named(source or default_source())
    try:
        place = _named(default_source())
    except AhekitError as error:
        raise DataError(f"$AHEKIT_DATA: {error}") from error
    return replace(place, notice=place.notice.replace("data:", "data, by $AHEKIT_DATA:", 1))


def _named(source: str) -> Source:
    if source == SAMPLE:
        return Source(SAMPLE, sample_root(), "sample", f"data: {SAMPLE_NOTICE}")
    root = installed().get(source)
    if root is not None:
        also = f"; for the folder {source} here, write ./{source}" if Path(source).exists() else ""
        return Source(source, root, "installed", f"data: {source}, installed in {root}{also}")
    path = full_path(source)
    if path.is_dir():
        return Source(path.resolve().name, path, "folder", f"data: the folder {path}")
    if path.is_file():
        return Source(plain_name(path), path, "archive", f"data: the archive {path}", path)
    raise _nothing_there(source, path)


def _nothing_there(source: str, path: Path) -> AhekitError:
    if "/" in source or source.startswith((".", "~")) or source.lower().endswith(SUFFIXES):
        return DataError(f"{path}: no such folder or archive")
    hint = f"A folder of class folders or an archive of one ({READABLE}) can be given by its path too"
    return UnknownNameError("dataset", source, [*installed(), SAMPLE], hint=hint)


def _digest(archive: Path) -> str:
    """SHA-256 of an archive's content, known from last time when its size and time are as they were then."""
    try:
        stat = archive.stat()
        state = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}
        place = hashlib.sha256(os.fsencode(archive.resolve())).hexdigest()[:32]
        note = cache_home() / "archives" / "known" / f"{place}.json"
        record = _read_note(note)
        if record.get("seen") == state:
            return str(record["digest"])
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise DataError(f"{archive}: can't be read ({error.strerror or error})") from error
    _write_note(note, {"seen": state, "digest": digest})
    return digest


def _read_note(note: Path) -> dict[str, object]:
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and "digest" in values else {}


def _write_note(note: Path, values: dict[str, object]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(note, json.dumps(values).encode())
    except OSError as error:
        raise DataError(
            f"{note.parent}: can't be written ({error.strerror or error}); set AHEKIT_HOME to a folder that can be"
        ) from error
