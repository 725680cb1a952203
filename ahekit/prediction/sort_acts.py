"""One act of a sort, done and undone: nothing that is there is ever replaced.

How far an act got is read from what is on the disk, so undoing one that died anywhere, or that was undone halfway, ends
in the same state.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from errno import EXDEV
from pathlib import Path

from ahekit.files import sync_path
from ahekit.prediction.sort_journal import Act

_BLOCK = 1 << 20


class Refusal(Exception):
    """Why an act wasn't done or undone, in words; the disk is as it was before."""


def do(act: Act, folder: Path) -> None:
    """Do it.

    Raises:
        Refusal: The photo is gone, or is no regular file.
        FileExistsError: Something has the target's name.
        OSError: The system refuses.
    """
    target = folder / act.target
    if act.kind == "rename":
        _rename(folder / act.source, target)
        return
    try:
        facts = os.stat(act.photo) if act.kind != "move" else os.lstat(act.photo)
    except FileNotFoundError:
        raise Refusal("is gone") from None
    if stat.S_ISLNK(facts.st_mode):
        raise Refusal("is a link itself, which would point elsewhere once moved")
    if not stat.S_ISREG(facts.st_mode):
        raise Refusal("is no file")
    if act.kind == "link":
        os.symlink(act.text, target)
        return
    if (facts.st_size, facts.st_mtime_ns) != (act.size, act.mtime_ns):
        raise Refusal("changed while it was being sorted")
    photo = Path(act.photo)
    if act.kind == "copy":
        copy(photo, target)
        return
    try:
        _rename(photo, target)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        carry(photo, target)


def undo(act: Act, folder: Path, *, key: str) -> None:
    """Undo it, or what was done of it.

    Args:
        key: Of the journal: the name of a draft, where a photo has to be carried back to another file system.

    Raises:
        Refusal: What it left was changed or replaced by somebody else.
        OSError: The system refuses.
    """
    target = folder / act.target
    if act.kind == "link":
        _undo_link(act, target)
    elif act.kind == "copy":
        _undo_copy(act, target)
    else:
        home = folder / act.source if act.kind == "rename" else Path(act.photo)
        _undo_move(act, home, target, home.with_name(f".ahekit-{key}-{act.number}"))


def copy(source: Path, target: Path) -> None:
    """Copy a file with its times and rights, and wait until it is on the disk; the target is new.

    Raises:
        FileExistsError: Something has the target's name.
        OSError: It can't be read or written; nothing of the target is left.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as written, source.open("rb") as read:
            shutil.copyfileobj(read, written, _BLOCK)
            written.flush()
            os.fsync(written.fileno())
        # After the content: a copy of the right size and time is whole.
        shutil.copystat(source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def carry(source: Path, target: Path) -> None:
    """Move a file to another file system: copied, compared, and only then removed where it was.

    Raises:
        Refusal: The copy differs from the file.
        OSError: As for `copy`.
    """
    copy(source, target)
    if not _begins_like(target, source, whole=True):
        target.unlink()
        raise Refusal("was read differently the second time; the disk may be failing")
    sync_path(target.parent)
    os.unlink(source)


def _undo_link(act: Act, target: Path) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_symlink() or os.readlink(target) != act.text:
        raise Refusal("is no longer the link that was made; left as it is")
    target.unlink()


def _undo_copy(act: Act, target: Path) -> None:
    facts = _facts(target)
    if facts is None:
        return
    photo = Path(act.photo)
    original = _facts(photo)
    state = (act.size, act.mtime_ns)
    is_untouched = original is not None and _state(facts) == _state(original) == state
    if is_untouched or (original is not None and _is_rest(target, photo)):
        target.unlink()
        return
    if original is None:
        raise Refusal(f"is the only copy left: {photo} is gone; left as it is")
    raise Refusal("was changed since it was copied; left as it is")


def _undo_move(act: Act, home: Path, target: Path, draft: Path) -> None:
    with suppress(FileNotFoundError):
        draft.unlink()  # a photo's way back to another file system that died halfway; the photo is still at its target
    there = _facts(target)
    here = _facts(home)
    if there is None:
        if here is None:
            raise Refusal(f"is gone, and nothing is at {home}")
        return
    if here is None or (_is_placeholder(home) and act.size != 0 and not _is_placeholder(target)):
        if here is not None:
            home.unlink()
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            _rename(target, home)
        except OSError as error:
            if error.errno != EXDEV:
                raise
            copy(target, draft)
            if not _begins_like(draft, target, whole=True):
                draft.unlink()
                raise Refusal("was read differently the second time; the disk may be failing") from None
            _rename(draft, home)
            sync_path(home.parent)
            target.unlink()
        return
    if _is_rest(target, home):
        target.unlink()
        return
    raise Refusal(f"can't go back: something else is at {home} now")


def _rename(source: Path, target: Path) -> None:
    """Rename where nothing has the new name: an empty file claims it first, since a rename would replace."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        os.rename(source, target)
    except OSError:
        # Not for an interruption, which may come after the rename: the target is the photo then.
        if _is_placeholder(target):
            target.unlink()
        raise


def _facts(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _state(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


def _is_placeholder(path: Path) -> bool:
    facts = os.lstat(path)
    return stat.S_ISREG(facts.st_mode) and facts.st_size == 0


def _is_rest(part: Path, whole: Path) -> bool:
    """Whether one file holds nothing that the other hasn't: a placeholder, a part of a copy, or all of it."""
    if _is_placeholder(part):
        return True
    are_files = stat.S_ISREG(os.lstat(part).st_mode) and stat.S_ISREG(os.lstat(whole).st_mode)
    return are_files and _begins_like(part, whole)


def _begins_like(part: Path, other: Path, *, whole: bool = False) -> bool:
    """Whether a file's content is what the other one begins with.

    Args:
        whole: And the other one ends there.
    """
    with part.open("rb") as first, other.open("rb") as second:
        while block := first.read(_BLOCK):
            if second.read(len(block)) != block:
                return False
        return not whole or not second.read(1)
