"""Archives become folders: safely, within limits, whole or not at all."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from ahekit.errors import DataError
from ahekit.files import atomic_folder

READABLE = ".zip, .tar, .tar.gz, .tar.bz2 or .tar.xz"
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")

_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
# What the readers of the standard library raise over bytes that they trusted: numbers that are none or too long,
# headers that refer to each other without end, fields that are missing.
_DAMAGE = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_CHUNK = 1 << 20

MAX_DEPTH = 64
"""Folders around a file. A path of a thousand can be written, and hardly read or removed again."""
_LONGEST_NAME = 255
_LONGEST_SHOWN = 120


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    Attributes:
        entries: Files and folders.
        bytes: Bytes of all files together.
        ratio: Unpacked bytes per byte of the archive, looked at from `ratio_from` unpacked bytes on.
    """

    entries: int = 500_000
    bytes: int = 32 << 30
    ratio: float = 100.0
    ratio_from: int = 64 << 20


def unpack(
    archive: Path, destination: Path, *, limits: Limits | None = None, advance: Callable[[], object] | None = None
) -> None:
    """Unpack an archive into a new folder, which appears when all of it is there.

    The kind of archive is told by its content. Sizes are counted while unpacking; what the archive's headers claim is
    not relied on. Owners, permissions and times in the archive are ignored.

    Args:
        destination: Must not exist; its parent must.
        limits: The defaults of `Limits` when not given.
        advance: Called after each file.

    Raises:
        DataError: It is no archive, damaged or encrypted; an entry is a link or a device, would land outside the
            folder or is there twice; a limit is passed. Nothing is left then.
        OSError: The destination can't be written to.
    """
    try:
        with archive.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise DataError(f"{archive}: can't be read ({error.strerror})") from error
    with atomic_folder(destination, sync=False) as draft, _damage_told(archive):
        job = _Job(archive, draft, limits or Limits(), advance or (lambda: None))
        if magic.startswith(_ZIP_MAGIC):
            _unpack_zip(job)
        else:
            _unpack_tar(job, magic)


class _Job:
    """One archive being unpacked: where to, and what it has used up of its limits."""

    def __init__(self, archive: Path, folder: Path, limits: Limits, advance: Callable[[], object]) -> None:
        self.archive = archive
        self._folder = folder
        self._limits = limits
        self._advance = advance
        self._entries = 0
        self._written = 0
        self._size = archive.stat().st_size
        self._most = int(min(limits.bytes, max(limits.ratio * self._size, limits.ratio_from)))

    def add(self, name: str, source: IO[bytes] | None) -> None:
        """Write an entry: a file from `source`, or a folder."""
        self.count()
        if source is None and name.strip("/.") == "":
            return  # the folder that was packed itself, as tar names it
        target = self._target(name)
        try:
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                while chunk := source.read(_CHUNK):
                    self._written += len(chunk)
                    self.check(self._written)
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise self.error(f"holds {_shown(name)} twice; pack it again") from None
        self._advance()

    def count(self) -> None:
        """Count an entry."""
        self._entries += 1
        if self._entries > self._limits.entries:
            raise self.error(f"holds more than {self._limits.entries:,d} entries; unpack it yourself if you trust it")

    def check(self, size: int) -> None:
        """Refuse to go on past `size` unpacked bytes when that is too much."""
        if size <= self._most:
            return
        if self._most == self._limits.bytes:
            much = f"more than {self._most / (1 << 30):.3g} GiB"
        else:
            much = f"more than {self._most / max(self._size, 1):.0f} times its size"
        raise self.error(
            f"unpacks to {much}, as an archive made to fill disks would; unpack it yourself if you trust it"
        )

    def error(self, problem: str) -> DataError:
        """An error about this archive."""
        return DataError(f"{self.archive}: {problem}")

    def _target(self, name: str) -> Path:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        # "C:x" is a place on another drive too, wherever that drive's folder stands.
        if "\0" in name or name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
            raise self.error(f"holds {_shown(name)}, which would land outside its folder; don't trust this archive")
        if not parts:
            raise self.error(f"holds an entry without a name ({_shown(name)}); pack it again")
        if len(parts) > MAX_DEPTH:
            raise self.error(
                f"holds a path of {len(parts):,} folders ({_shown(name)}), more than {MAX_DEPTH}; pack it again"
            )
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
            raise self.error(f"holds a name of more than {_LONGEST_NAME} bytes ({_shown(name)}); pack it again")
        return self._folder.joinpath(*parts)


def _unpack_zip(job: _Job) -> None:
    with zipfile.ZipFile(job.archive) as file:
        for info in file.infolist():
            name = _zip_name(info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(job, name, link=kind == stat.S_IFLNK)
            if info.flag_bits & 0x1:
                raise job.error("encrypted; unpack it yourself and give the folder")
            if name.endswith("/") or kind == stat.S_IFDIR:
                job.add(name, None)
                continue
            with file.open(info) as source:
                job.add(name, source)


def _zip_name(info: zipfile.ZipInfo) -> str:
    name = info.filename
    if not info.flag_bits & 0x800:
        # Many packers write UTF-8 without saying so, and zipfile then reads it as DOS's code page 437.
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return name.replace("\\", "/")


def _unpack_tar(job: _Job, magic: bytes) -> None:
    opener = next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), open)
    with opener(job.archive, "rb") as plain:
        stream = _Metered(plain, job)
        with _open_tar(job, stream) as file:
            for member in file:
                _add_member(job, file, member)
        # tarfile takes an unreadable header for the end; at the true end there is a block of zeros.
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise EOFError
        while stream.read(_CHUNK):
            pass  # to the end, where the compressed stream's checksum is


def _open_tar(job: _Job, stream: _Metered) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:")
    except tarfile.ReadError:
        raise job.error(f"not an archive that can be read here ({READABLE}), or a damaged one") from None


def _add_member(job: _Job, file: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.isdir():
        job.add(member.name, None)
    elif member.isreg():
        if member.size < 0:
            raise tarfile.ReadError("a file of negative size")
        job.add(member.name, file.extractfile(member))
    else:
        raise _special(job, member.name, link=member.issym() or member.islnk())


class _Metered(io.RawIOBase):
    """A decompressed stream that refuses to go on past a job's limit, whatever is read or skipped."""

    def __init__(self, stream: IO[bytes], job: _Job) -> None:
        super().__init__()
        self.last = b""
        self._stream = stream
        self._job = job
        self._position = 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _CHUNK:
            # File contents are asked for in chunks: this is a name or header, which would be held in memory.
            raise tarfile.ReadError("a header is far too long")
        self.last = self._stream.read(size)
        self._position += len(self.last)
        self._job.check(self._position)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._job.check(offset)
        if offset != self._position:
            self._position = self._stream.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _special(job: _Job, name: str, *, link: bool) -> DataError:
    kind = "a link" if link else "a device or pipe"
    return job.error(f"holds {kind} ({_shown(name)}); unpack it yourself and give the folder")


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{archive}: damaged or cut short ({_one_line(error)}); fetch it again") from error
    except NotImplementedError as error:
        raise DataError(f"{archive}: {error}; pack it again, as plain zip or tar") from error
    except OSError as error:
        # bz2 complains of damaged data without an error number; EINVAL is a damaged offset within a zip file.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise DataError(f"{archive}: damaged ({error.strerror or error}); fetch it again") from error


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its headers refer to each other without end"
    text = " ".join(str(error).split()) or "it ends too early"
    return text.encode("utf-8", "backslashreplace").decode()[:_LONGEST_SHOWN]


def _shown(name: str) -> str:
    text = repr(name.encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
