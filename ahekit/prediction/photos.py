"""Which photos are meant by what was given: files, folders with all below them, patterns, a list on stdin.

Within folders a photo is what its suffix or its beginning says is one. Passed over, and counted, are other files,
hidden ones, and surveys and sorted folders of ours. Links are followed, to files and to folders, but not back to a
folder that holds what was given; what is reached twice by links counts once.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ahekit.data.image_files import format_of, is_image_name, is_raw, suffix_of
from ahekit.errors import DataError
from ahekit.prediction.survey import FILE_NAME as SURVEY_FILE
from ahekit.prediction.survey import WORKING_FILE, Survey
from ahekit.wording import counted, listed

STDIN = "-"
PASSED_FOLDERS = frozenset({"__MACOSX", "@eaDir", "lost+found"})
"""What systems leave behind; hidden ones (a leading dot) are passed over too."""
OWN_FILES = frozenset({SURVEY_FILE, WORKING_FILE, ".ahekit-sorted.jsonl"})
"""Folders that hold one of these are ours: a survey, or photos that `ahekit sort` has laid there."""
_HEAD_BYTES = 32
_LONGEST_NOTE = 3  # names that a note tells


@dataclass(frozen=True, slots=True)
class Photo:
    """A file to look at.

    Attributes:
        path: Relative to what was given; the photo's name in the survey.
        file: Absolute.
    """

    path: str
    file: str


@dataclass(frozen=True)
class Root:
    """A folder that paths in a survey are relative to.

    Attributes:
        folder: Absolute.
        prefix: Stands before the paths below it: nothing for a survey's first, `name/` for those that came later.
    """

    folder: str
    prefix: str = ""


@dataclass
class Listing:
    """What was found.

    Attributes:
        files: Absolute paths, sorted by their bytes, each once.
        root: The folder that all of it lies in: the one given, or the innermost that several have in common.
        folders: The folders that were given, absolute.
        others: Files in folders that are no images; `hidden` those with a leading dot; `twice` links to what is
            listed anyway.
        problems: Folders and names that couldn't be looked into, each with the reason.
    """

    files: list[str] = field(default_factory=list)
    root: str = ""
    folders: list[str] = field(default_factory=list)
    others: int = 0
    hidden: int = 0
    twice: int = 0
    own: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What was passed over, in words."""
        parts = [
            (
                self.others,
                counted(self.others, "file") + f" that {'is no image' if self.others == 1 else 'are no images'}",
            ),
            (self.hidden, counted(self.hidden, "hidden name")),
            (self.twice, counted(self.twice, "link") + " to what is listed anyway"),
            (self.own, counted(self.own, "folder") + " that ahekit made"),
        ]
        words = [text for number, text in parts if number]
        lines = [f"passed over: {listed(words)}"] if words else []
        lines += self.problems[:_LONGEST_NOTE]
        if len(self.problems) > _LONGEST_NOTE:
            lines.append(f"… and {len(self.problems) - _LONGEST_NOTE:,d} more that can't be looked into")
        return lines


def find_photos(given: Sequence[str], *, stdin: BinaryIO | None = None) -> Listing:
    """The photos that are meant by paths, patterns (`*`, `?`, `[…]`, `**`) and `-`, a list on stdin.

    A file that is named is a photo whatever it is called; what is wrong with it shows when it is opened.

    Raises:
        DataError: One of them is neither there nor matches anything, or there is no photo.
    """
    listing = Listing()
    files: list[str] = []
    for name, from_list in _expanded(given, stdin):
        path = os.path.abspath(name)
        if name and os.path.isdir(path):
            listing.folders.append(path)
        elif name and os.path.lexists(path):
            files.append(path)
        elif from_list:
            listing.problems.append(f"{name}: no such file or folder")
        else:
            raise DataError(f"{name or 'an empty name'}: no such file or folder")
    # What lies in a folder that was given, too, goes by its name in that.
    outer = [folder for folder in listing.folders if not any(is_below(folder, other) for other in listing.folders)]
    loose = [file for file in files if not any(is_below(file, folder) for folder in outer)]
    is_single = len(set(outer)) == 1 and not loose
    bases = outer if is_single else [*map(os.path.dirname, [*outer, *loose])]
    if not bases:
        raise DataError(". ".join(["the list of photos on stdin names none that is there", *listing.notes]))
    listing.root = os.path.commonpath(bases)
    _walk(listing, files)
    if not listing.files:
        where = listed([*given[:_LONGEST_NOTE]])
        raise DataError(". ".join([f"{where}: no photo in it", *listing.notes]))
    return listing


def _expanded(given: Sequence[str], stdin: BinaryIO | None) -> Iterator[tuple[str, bool]]:
    """Names with the patterns filled in, and whether each comes from the list on stdin."""
    for name in given:
        if name == STDIN:
            yield from ((each, True) for each in read_list(stdin.read() if stdin is not None else b""))
            continue
        name = os.path.expanduser(name)
        if os.path.lexists(name) or not glob.has_magic(name):
            yield name, False
            continue
        matches = sorted(_matches(name), key=os.fsencode)
        if not matches:
            raise DataError(f"{name}: nothing matches this pattern")
        yield from ((match, False) for match in matches)


def _matches(pattern: str) -> Iterator[str]:
    """What a pattern matches; hidden names only where it spells their dot. `**` follows no links."""
    # Not `glob`, whose `**` walks in circles where links do.
    parts = Path(pattern).parts
    literal = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    rest = parts[literal:]
    shows_hidden = any(part.startswith(".") for part in rest)
    base = Path(*parts[:literal])
    for match in base.glob(os.path.join(*rest)):
        if shows_hidden or not any(part.startswith(".") for part in match.relative_to(base).parts):
            yield str(match)


def read_list(content: bytes) -> list[str]:
    r"""The names in a list, one a line, or with NUL between them where there is any (`find … -print0`).

    Example:
        >>> read_list(b"a.jpg\nb c.jpg\n"), read_list(b"a\nb.jpg\0c.jpg\0")
        (['a.jpg', 'b c.jpg'], ['a\nb.jpg', 'c.jpg'])
    """
    if b"\0" in content:
        return [os.fsdecode(name) for name in content.split(b"\0") if name]
    return [os.fsdecode(line.removesuffix(b"\r")) for line in content.split(b"\n") if line.strip()]


def _walk(listing: Listing, named: Iterable[str]) -> None:
    """Gather the photos below the listing's folders, and the named files."""
    files = set(named)
    seen: set[tuple[int, int]] = set()
    tops = [os.path.join(os.path.realpath(folder), "") for folder in listing.folders]
    # Lists of what is left to visit instead of recursion, which a deep tree would exhaust. Links come after all real
    # folders, so that what is reached both ways is listed by its own name.
    waiting = listing.folders[::-1]
    links: list[str] = []
    while waiting or links:
        if waiting:
            folder = waiting.pop()
        else:
            folder = links.pop(0)
            end = os.path.join(os.path.realpath(folder), "")
            if any(top.startswith(end) for top in tops):
                listing.twice += 1
                continue
        try:
            status = os.stat(folder)
            key = (status.st_dev, status.st_ino)
            if key in seen:
                listing.twice += folder not in listing.folders
                continue
            seen.add(key)
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            listing.problems.append(f"{folder}: can't be looked into ({error.strerror})")
            continue
        if any(entry.name in OWN_FILES for entry in entries):
            listing.own += 1
            continue
        for entry in entries:
            _sort_in(entry, listing, files, waiting, links)
    listing.files = sorted(_without_second_names(files, listing), key=os.fsencode)


def _sort_in(entry: os.DirEntry[str], listing: Listing, files: set[str], folders: list[str], links: list[str]) -> None:
    """Put a folder's entry where it belongs."""
    if entry.name.startswith("."):
        listing.hidden += 1
        return
    try:
        is_folder = entry.is_dir()
        is_file = entry.is_file()
    except OSError as error:
        # A link that leads to itself.
        listing.problems.append(f"{entry.path}: can't be looked into ({error.strerror})")
        return
    if is_folder:
        if entry.name in PASSED_FOLDERS:
            listing.hidden += 1
        else:
            (links if entry.is_symlink() else folders).append(entry.path)
    elif entry.path in files:
        return
    elif not is_file and not (entry.is_symlink() and is_image_name(entry.name)):
        listing.others += 1  # a pipe, a socket, a link to nowhere
    elif is_image_name(entry.name) or _begins_like_an_image(entry):
        files.add(entry.path)
    else:
        listing.others += 1


def _begins_like_an_image(entry: os.DirEntry[str]) -> bool:
    try:
        with open(entry.path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    # A text may well begin with "P1 ".
    return is_raw(head, "") or format_of(head) not in ("", *(["PPM"] if suffix_of(entry.name) else []))


def _without_second_names(files: set[str], listing: Listing) -> Iterator[str]:
    """The files without the links to others among them."""
    linked = [file for file in sorted(files, key=os.fsencode) if os.path.islink(file)]
    if not linked:
        yield from files
        return
    own: set[tuple[int, int]] = set()
    for file in files.difference(linked):
        try:
            status = os.stat(file)
        except OSError:
            continue
        own.add((status.st_dev, status.st_ino))
    yield from files.difference(linked)
    for file in linked:
        try:
            status = os.stat(file)
        except OSError:
            yield file  # a link to nowhere that is called as an image: told when it is opened
            continue
        if (status.st_dev, status.st_ino) in own:
            listing.twice += 1
        else:
            own.add((status.st_dev, status.st_ino))
            yield file


# What photos are called in a survey.


def read_roots(survey: Survey) -> list[Root]:
    """The folders that a survey's paths are relative to; the first is the one it was begun with."""
    return [Root(folder, prefix) for folder, prefix in json.loads(survey.meta("roots") or "[]")]


def write_roots(survey: Survey, roots: Sequence[Root]) -> None:
    """Store them; within a transaction."""
    survey.set_meta(roots=json.dumps([(root.folder, root.prefix) for root in roots]))


def with_root(roots: Sequence[Root], listing: Listing) -> list[Root]:
    """The roots with one for what was given now, where it lies in none of them."""
    known = [*roots]
    if all(_root_of(file, known) is not None for file in listing.files):
        return known
    if not known:
        return [Root(listing.root)]
    name = os.path.basename(listing.root) or "root"
    prefix = f"{name}/"
    number = 1
    while any(prefix == root.prefix or os.path.lexists(os.path.join(root.folder, prefix)) for root in known):
        number += 1
        prefix = f"{name}-{number}/"
    return [*known, Root(listing.root, prefix)]


def named_photos(listing: Listing, roots: Sequence[Root]) -> list[Photo]:
    """The listed files with their names in a survey, ordered by the bytes of these names."""
    photos = []
    for file in listing.files:
        root = _root_of(file, roots)
        if root is None:
            raise DataError(f"{file}: lies in none of the survey's folders")
        photos.append(Photo(root.prefix + os.path.relpath(file, root.folder), file))
    return sorted(photos, key=lambda photo: os.fsencode(photo.path))


def _root_of(file: str, roots: Sequence[Root]) -> Root | None:
    """The innermost root that a file lies below."""
    holding = [root for root in roots if is_below(file, root.folder)]
    return max(holding, key=lambda root: len(root.folder), default=None)


def shard_of(path: str, count: int) -> int:
    """Which of `count` parts a photo belongs to, from 0: by its name alone, the same on every machine."""
    digest = hashlib.sha256(os.fsencode(path)).digest()
    return int.from_bytes(digest[:8], "big") % count


@dataclass(frozen=True)
class FileStatus:
    """Size in bytes and modification time in nanoseconds of a regular file."""

    size: int
    mtime_ns: int


def file_status(file: str) -> FileStatus | None:
    """A file's size and time; None where it is gone or can't be asked."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return FileStatus(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies below a folder, by their names."""
    return path != folder and path.startswith(os.path.join(folder, ""))
