"""Photos into a folder for each class, as links, copies or moved, and everything back as it was.

Nothing that is there is replaced: a name that is taken, in any case of its letters, gets a number. What is about to be
done stands in a journal on the disk first (`sort_journal`), so that a sort which dies anywhere can be gone on with or
undone.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from errno import EDQUOT, ENAMETOOLONG, ENOSPC, ENOTSUP, EPERM, EROFS
from itertools import count, islice
from pathlib import Path

from ahekit.errors import DataError, UsageError
from ahekit.files import full_path, sync_path
from ahekit.prediction.sort_acts import Refusal, do, undo
from ahekit.prediction.sort_journal import FILE_NAME, Act, Journal, Mode
from ahekit.protocols import PhotoRow

REVIEW = "review"
UNKNOWN = "unknown"
SIDECAR = ".xmp"
BATCH = 1_000
"""Acts that are written into the journal together: the disk is waited for once each time."""

_IN_WORDS = {"link": "links", "copy": "copies", "move": "the moved photos"}
_LONGEST_NAME = 255  # bytes, on every file system of today
_LONGEST_SUFFIX = 20  # bytes; what stands behind the last dot of a longer one is no suffix
_STOPPING = (ENOSPC, EDQUOT, EROFS)  # no other photo would fare better


@dataclass
class Sorted:
    """What was done, or would be.

    Attributes:
        folder: The sorted folder.
        new: Photos that came into each folder, by its name.
        there: Those that were there already, likewise.
        moved_on: Photos that were in another folder of the sort before.
        sidecars: XMP files that came with photos that were copied or moved.
        numbered: Of the new ones, those that needed a number because their name was taken.
        unreadable: Photos that couldn't be read and are left out, with the reason.
        problems: A line for each photo that couldn't be sorted.
        among_photos: The folder of photos that the sorted folder lies in, if it does.
        is_absolute: Links say where the photos are from the root on.
    """

    folder: Path
    mode: Mode
    new: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    moved_on: int = 0
    sidecars: int = 0
    numbered: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    among_photos: Path | None = None
    is_absolute: bool = False


@dataclass
class Undone:
    """What an undo did.

    Attributes:
        restored: Acts undone.
        problems: A line for each that couldn't be: what it left was changed by somebody.
        is_gone: The sorted folder is gone, since nothing else was in it.
    """

    folder: Path
    mode: Mode
    restored: int = 0
    problems: list[str] = field(default_factory=list)
    is_gone: bool = False


def folder_of(row: PhotoRow) -> str | None:
    """The folder that a photo belongs into: what a person said, before what was predicted; None for unreadable ones."""
    if row.decision is not None:
        return _folder_name(row.decision) if row.decision else UNKNOWN
    if row.state == "sure" and row.class_name:
        return _folder_name(row.class_name)
    return {"review": REVIEW, "unknown": UNKNOWN}.get(row.state)


def sort_photos(
    rows: Iterable[PhotoRow],
    into: Path,
    *,
    mode: Mode = "link",
    absolute: bool = False,
    dry_run: bool = False,
    advance: Callable[[int], object] = lambda number: None,
) -> Sorted:
    """Sort photos into class folders; photos that an earlier sort put there stay, or go to their new folder.

    Args:
        rows: A survey's, in a fixed order: of two photos of one name the first keeps it.
        into: Made where it isn't there.
        absolute: Links name photos from the root on: they hold when `into` is moved alone. Else they are relative, and
            hold when photos and `into` are moved together. None are relative from one file system to another.
        dry_run: Change nothing, and tell what would be.
        advance: Called with the number of photos dealt with.

    Raises:
        DataError: The folder can't be made, written or read, the disk is full, or the journal is damaged or in use.
        UsageError: The folder was sorted in another mode.
    """
    folder = Path(os.path.realpath(full_path(into)))
    journal = Journal.open(folder) if dry_run else _opened(folder, mode)
    result = Sorted(folder, mode, is_absolute=absolute)
    try:
        if journal is not None and journal.mode != mode:
            raise UsageError(
                f"{into}: holds {_IN_WORDS[journal.mode]} of an earlier sort; undo that first "
                f"(`ahekit sort --into {into} --undo`), or choose another folder"
            )
        if journal is not None and not dry_run:
            _settle(journal)
        planner = _Planner(folder, journal, result, absolute=absolute)
        groups = planner.plan(rows)
        if dry_run or journal is None:
            for group in groups:
                _count(group[0], result)
                advance(1)
            return result
        while batch := list(islice(groups, BATCH)):
            _perform([plan for group in batch for plan in group], journal, planner, result)
            advance(len(batch))
        for name in {Path(each.target).parts[0] for each in journal.acts.values()}:
            sync_path(folder / name)
        return result
    finally:
        if journal is not None:
            journal.close()


def undo_sort(into: Path, *, advance: Callable[[int], object] = lambda number: None) -> Undone:
    """Bring everything back to where and what it was before a folder was sorted into; what others put there stays.

    Raises:
        DataError: Nothing was sorted there, or the journal is damaged or in use.
    """
    folder = Path(os.path.realpath(full_path(into)))
    journal = Journal.open(folder)
    if journal is None:
        raise DataError(f"{into}: nothing was sorted into it (no {FILE_NAME} in it); there is nothing to undo")
    with journal:
        result = Undone(folder, journal.mode)
        acts = list(reversed(journal.acts.values()))
        for start in range(0, len(acts), BATCH):
            batch = acts[start : start + BATCH]
            done = []
            for act in batch:
                try:
                    undo(act, folder, key=journal.key)
                    done.append(act.number)
                except (Refusal, OSError) as error:
                    result.problems.append(f"{folder / act.target}: {_reason(error)}")
            with suppress(OSError):  # on a full disk: what is undone is undone, also when it is asked for again
                journal.take_back(done)
            result.restored += len(done)
            advance(len(batch))
        for name in reversed(journal.made):
            if not os.path.isabs(name):
                with suppress(OSError):  # somebody else's files are in it
                    (folder / name).rmdir()
        if result.problems:
            return result
        (folder / FILE_NAME).unlink()
        for name in reversed(journal.made):
            if os.path.isabs(name):
                with suppress(OSError):
                    os.rmdir(name)
        for source, time in journal.times.items():
            with suppress(OSError):
                os.utime(source, ns=(os.stat(source).st_atime_ns, time))
        result.is_gone = not folder.exists()
    return result


@dataclass(frozen=True)
class _Plan:
    """An act that isn't written down yet."""

    row: PhotoRow
    act: Act
    folder: str
    is_numbered: bool = False
    is_sidecar: bool = False


class _Planner:
    """Chooses folders and names: who comes first keeps the name, and nothing gets one that is taken."""

    def __init__(self, folder: Path, journal: Journal | None, result: Sorted, *, absolute: bool) -> None:
        self._folder = folder
        self._result = result
        self._absolute = absolute
        self._taken: dict[str, set[str]] = {}
        self._next: dict[tuple[str, str], int] = {}
        self._parents: dict[str, str] = {}
        self._texts: dict[tuple[str, str], str] = {}
        self._real: dict[str, str] = {}
        self._beside: dict[str, tuple[set[str], Counter[str]]] = {}
        self._places = {act.photo: act.target for act in journal.acts.values()} if journal else {}
        self.failed: set[Path] = set()

    def plan(self, rows: Iterable[PhotoRow]) -> Iterator[list[_Plan]]:
        """What is to be done, photo by photo; what needs nothing is counted alone."""
        planned: set[str] = set()
        for row in rows:
            folder = folder_of(row)
            if folder is None:
                self._result.unreadable.append((row.path, row.reason))
                continue
            photo = os.fspath(row.file)
            self._look_where(row, photo)
            source = self._place_of(photo)
            if photo in planned or source.partition("/")[0] == folder or self._is_in(photo, folder):
                self._result.there[folder] += 1
                continue
            planned.add(photo)
            yield self.choose(row, folder)

    def choose(self, row: PhotoRow, folder: str) -> list[_Plan]:
        """The acts for a photo and the sidecars that go with it, with free names in its folder."""
        photo = os.fspath(row.file)
        wish = os.path.basename(self._place_of(photo) or photo)
        sidecars = self._sidecars(photo) if self._result.mode != "link" else []
        name = self._free_name(folder, wish, also=(sidecar[1] for sidecar in sidecars))
        plans = [replace(self._plan_for(row, photo, folder, name), is_numbered=name != wish)]
        for sidecar, of_name in sidecars:
            plans.append(replace(self._plan_for(row, sidecar, folder, of_name(name)), is_sidecar=True))
        return plans

    def _plan_for(self, row: PhotoRow, photo: str, folder: str, name: str) -> _Plan:
        source = self._place_of(photo)
        target = f"{folder}/{name}"
        kind = "rename" if source else self._result.mode
        act = Act(number=0, kind=kind, photo=photo, target=target, source=source)
        if kind == "link":
            act = replace(act, text=self._link_text(photo, folder))
        elif kind != "rename":
            with suppress(OSError):  # what is gone by now is told when its turn comes
                facts = os.lstat(photo) if kind == "move" else os.stat(photo)
                act = replace(act, size=facts.st_size, mtime_ns=facts.st_mtime_ns)
        return _Plan(row, act, folder)

    def _place_of(self, photo: str) -> str:
        """Where an earlier sort put a photo and it still is; empty where it is nowhere."""
        target = self._places.get(photo, "")
        return target if target and os.path.lexists(self._folder / target) else ""

    def _sidecars(self, photo: str) -> list[tuple[str, Callable[[str], str]]]:
        """The XMP files that belong to a photo alone, and how each is named after it."""
        parent, name = os.path.split(photo)
        if parent not in self._beside:
            try:
                names = set(os.listdir(parent))
            except OSError:
                names = set()
            others = (each for each in names if not each.endswith(SIDECAR))
            self._beside[parent] = names, Counter(os.path.splitext(each)[0] for each in others)
        names, stems = self._beside[parent]
        stem = os.path.splitext(name)[0]
        forms: list[tuple[str, Callable[[str], str]]] = [(name + SIDECAR, lambda name: name + SIDECAR)]
        if stems[stem] <= 1:  # a raw file and its JPEG share one, which stays where it is
            forms.append((stem + SIDECAR, lambda name: os.path.splitext(name)[0] + SIDECAR))
        paths = [(os.path.join(parent, form), of_name) for form, of_name in forms]
        return [(path, of_name) for path, of_name in paths if os.path.basename(path) in names or self._place_of(path)]

    def release(self, plan: _Plan) -> None:
        """Let go of the name of something that wasn't done."""
        folder, _, name = plan.act.target.partition("/")
        self._taken[folder].discard(_folded(name))

    def _free_name(self, folder: str, wish: str, *, also: Iterable[Callable[[str], str]] = ()) -> str:
        """A name that nothing has, nor what is to be named after it."""
        taken = self._names_in(folder)
        forms: list[Callable[[str], str]] = [str, *also]
        first = (folder, _folded(wish))
        for number in count(self._next.get(first, 1)):
            name = wish if number == 1 else numbered(wish, number)
            keys = {_folded(form(name)) for form in forms}
            if not keys & taken:
                taken |= keys
                self._next[first] = number + 1
                return name
        raise AssertionError("numbers don't end")

    def _names_in(self, folder: str) -> set[str]:
        if folder not in self._taken:
            try:
                names = os.listdir(self._folder / folder)
            except FileNotFoundError:
                names = []
            except OSError as error:
                raise DataError(f"{self._folder / folder}: can't be sorted into ({error.strerror})") from error
            self._taken[folder] = {_folded(name) for name in names}
        return self._taken[folder]

    def _link_text(self, photo: str, folder: str) -> str:
        parent, name = os.path.split(photo)
        if (parent, folder) not in self._texts:
            # A link is followed from where its folder really is, whatever links lead there.
            start = os.path.realpath(self._folder / folder)
            home = os.path.realpath(parent)
            is_far = self._absolute or _device(home) != _device(os.fspath(self._folder))
            self._result.is_absolute |= is_far
            self._texts[parent, folder] = home if is_far else os.path.relpath(home, start)
        return os.path.join(self._texts[parent, folder], name)

    def _is_in(self, photo: str, folder: str) -> bool:
        """Whether the photo itself lies in the folder that it would be sorted into."""
        parent = os.path.dirname(photo)
        if parent not in self._real:
            self._real[parent] = os.path.realpath(parent)
        return self._real[parent] == os.path.join(self._folder, folder)

    def _look_where(self, row: PhotoRow, photo: str) -> None:
        """Notice when the sorted folder lies in the folder that the photos were read from."""
        if self._result.among_photos is None and photo.endswith(f"/{row.path}"):
            base = photo[: -len(row.path) - 1]
            if base not in self._parents:
                self._parents[base] = os.path.realpath(base)
                if self._folder.is_relative_to(self._parents[base]):
                    self._result.among_photos = Path(base)


def numbered(name: str, number: int) -> str:
    """A name with a number before its suffix, cut where it would be too long for a file system.

    Example:
        >>> numbered("IMG_1.jpg", 2)
        'IMG_1-2.jpg'
    """
    stem, suffix = os.path.splitext(os.fsencode(name))
    if len(suffix) > _LONGEST_SUFFIX:
        stem, suffix = stem + suffix, b""
    end = b"-%d" % number + suffix
    kept = stem[: _LONGEST_NAME - len(end)]
    if len(kept) < len(stem):
        with suppress(UnicodeDecodeError):
            stem.decode()
            kept = kept.decode(errors="ignore").encode()  # not half a letter
    return os.fsdecode(kept + end)


def _perform(plans: list[_Plan], journal: Journal, planner: _Planner, result: Sorted) -> None:
    """Write down what is about to be done, and do it; what can't be done is told, and costs itself alone."""
    number = journal.next_number
    plans = [replace(plan, act=replace(plan.act, number=number + place)) for place, plan in enumerate(plans)]
    folders = list(dict.fromkeys(plan.folder for plan in plans if not (journal.folder / plan.folder).is_dir()))
    try:
        journal.intend((plan.act for plan in plans), folders=folders, times=_times(plans, journal.times))
        for name in folders:
            (journal.folder / name).mkdir()
    except FileExistsError as error:
        journal.take_back(plan.act.number for plan in plans)
        raise DataError(f"{error.filename}: a file, where a folder has to be; rename it or sort elsewhere") from error
    except OSError as error:
        with suppress(OSError):
            journal.take_back(plan.act.number for plan in plans)
        raise _stopped(journal.folder, error, result) from error
    failed: list[int] = []
    again: list[_Plan] = []
    for place, plan in enumerate(plans):
        if plan.is_sidecar and plan.row.file in planner.failed:
            failed.append(plan.act.number)
            continue
        try:
            do(plan.act, journal.folder)
        except FileExistsError:  # somebody was faster, or the file system takes other names for one than we do
            failed.append(plan.act.number)
            if plan.is_sidecar:
                result.problems.append(f"{plan.act.photo}: its name is taken in {plan.folder}")
                continue
            planner.failed.add(plan.row.file)
            again += planner.choose(plan.row, plan.folder)
        except (Refusal, OSError) as error:
            if isinstance(error, OSError) and (error.errno in _STOPPING or _holds_no_links(error, plan.act)):
                with suppress(OSError):
                    journal.take_back([*failed, *(left.act.number for left in plans[place:])])
                    journal.all_done()
                raise _stopped(journal.folder, error, result) from error
            result.problems.append(f"{plan.act.photo}: {_reason(error)}")
            failed.append(plan.act.number)
            planner.failed.add(plan.row.file)
            planner.release(plan)
        else:
            _count(plan, result)
    journal.take_back(failed)
    journal.all_done()
    if again:
        planner.failed -= {plan.row.file for plan in again}
        _perform(again, journal, planner, result)


def _count(plan: _Plan, result: Sorted) -> None:
    if plan.is_sidecar:
        result.sidecars += 1
        return
    result.new[plan.folder] += 1
    result.moved_on += plan.act.kind == "rename"
    result.numbered += plan.is_numbered


def _settle(journal: Journal) -> None:
    """Undo what an interrupted sort had begun: whether it was done isn't known, and it is done anew."""
    undone = []
    for act in reversed(journal.pending):
        try:
            undo(act, journal.folder, key=journal.key)
        except (Refusal, OSError) as error:
            raise DataError(
                f"{journal.folder / act.target}: left by an interrupted sort, and {_reason(error)}; move it elsewhere "
                "and sort again"
            ) from error
        undone.append(act.number)
    journal.take_back(undone)
    journal.all_done()


def _opened(folder: Path, mode: Mode) -> Journal:
    """The folder's journal, and the folder itself, made where they aren't there."""
    made = [parent for parent in (*reversed(folder.parents), folder) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{folder}: a file, not a folder; choose another with --into") from None
    except OSError as error:
        raise DataError(f"{folder}: can't be made ({error.strerror}); choose another with --into") from error
    try:
        journal = Journal.open(folder, create=mode, made=made)
    except DataError:
        for each in reversed(made):
            with suppress(OSError):
                each.rmdir()
        raise
    assert journal is not None
    return journal


def _times(plans: Iterable[_Plan], known: Mapping[str, int]) -> dict[str, int]:
    """When the folders that photos are about to be moved out of were last changed."""
    sources = {os.path.dirname(plan.act.photo) for plan in plans if plan.act.kind == "move"}
    times = {}
    for source in sources - known.keys():
        with suppress(OSError):
            times[source] = os.stat(source).st_mtime_ns
    return times


def _stopped(folder: Path, error: OSError, result: Sorted) -> DataError:
    done = sum(result.new.values())
    if error.errno in _STOPPING:
        advice = "free some space, or" if error.errno != EROFS else "make it writable, or"
        return DataError(
            f"{folder}: {error.strerror}; {done:,d} photos are sorted. To go on, {advice} choose another place, and "
            "run the same command again; --undo takes back what was done"
        )
    if result.mode == "link" and error.errno in (EPERM, ENOTSUP):
        return DataError(f"{folder}: its file system holds no links; use --copy")
    return DataError(f"{error.filename or folder}: can't be written ({error.strerror}); {done:,d} photos are sorted")


def _holds_no_links(error: OSError, act: Act) -> bool:
    return act.kind == "link" and error.errno in (EPERM, ENOTSUP)


def _reason(error: Refusal | OSError) -> str:
    if isinstance(error, Refusal):
        return str(error)
    if error.errno == ENAMETOOLONG:
        return "its name is too long for that folder"
    return (error.strerror or str(error)).lower()


def _folder_name(class_name: str) -> str:
    """A class's folder: its name, without what a folder's name can't hold, and never one of the two others."""
    name = "".join("_" if char in "/\\\0" or not char.isprintable() else char for char in class_name).strip()
    name = name.lstrip(".") or "_"
    return f"{name}_" if name.casefold() in (REVIEW, UNKNOWN) else name


def _folded(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _device(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1
