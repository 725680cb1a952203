"""`ahekit sort`: a survey's photos into a folder for each class, and back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.errors import PartlyDone, UsageError
from ahekit.sections import Column, Table
from ahekit.wording import counted

if TYPE_CHECKING:
    from ahekit.prediction.sort_journal import Mode
    from ahekit.prediction.sorting import Sorted

VERBS = {"link": "linked", "copy": "copied", "move": "moved"}


def sort(
    survey: Annotated[
        Path, typer.Argument(metavar="SURVEY", help="Folder that `ahekit predict` made.", show_default=True)
    ] = Path("survey"),
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FOLDER", help="Folder for the class folders; made if need be.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the photos, with their XMP sidecars.")] = False,
    move: Annotated[
        bool, typer.Option("--move", help="Move the photos, with their XMP sidecars; asks before it does.")
    ] = False,
    absolute: Annotated[
        bool,
        typer.Option(
            "--absolute",
            help="Links name photos from the root on: they hold when FOLDER is moved alone. Without it they hold when "
            "FOLDER and photos are moved together.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Bring everything back to where it was before FOLDER was sorted into.")
    ] = False,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Sort a survey's photos into class folders, and undo it.

    As links, copies, or moved; what is to be looked at goes to review/, what is none of the classes to unknown/. What a
    person decided comes before what was predicted. Nothing that is there is replaced.
    """
    console.configure(quiet=quiet, json=json)
    if into is None:
        raise UsageError("say where to: --into FOLDER")
    if copy and move:
        raise UsageError("--copy and --move exclude each other")
    if absolute and (copy or move):
        raise UsageError("--absolute is about links; leave out --copy and --move")
    if undo:
        if copy or move or absolute or dry_run:
            raise UsageError("--undo takes back whatever was done; it stands alone with --into")
        take_back(into, json=json)
        return
    mode: Mode = "copy" if copy else "move" if move else "link"
    from ahekit.prediction.sorting import sort_photos
    from ahekit.prediction.survey import Survey

    with closing(Survey.open(survey)) as opened:
        counts = opened.counts()
        if mode == "move" and not dry_run and not yes:
            planned = sort_photos(opened.rows(), into, mode=mode, dry_run=True)
            number = sum(planned.new.values())
            if number and not console.confirm(
                f"Move {counted(number, 'photo')} into {planned.folder}? --undo brings them back.", option="--yes"
            ):
                console.say("Nothing moved.")
                return
        with console.progress("sorting", counts.total) as advance:
            done = sort_photos(opened.rows(), into, mode=mode, absolute=absolute, dry_run=dry_run, advance=advance)
    tell(done, into, dry_run=dry_run, json=json)


def tell(done: Sorted, into: Path, *, dry_run: bool, json: bool) -> None:
    """Say what was done, or would be.

    Raises:
        PartlyDone: Some photos couldn't be sorted.
    """
    number = sum(done.new.values())
    if json:
        console.show_json(
            {
                "folder": str(done.folder),
                "mode": done.mode,
                "dry_run": dry_run,
                "sorted": dict(done.new),
                "there_already": dict(done.there),
                "moved_on": done.moved_on,
                "numbered": done.numbered,
                "sidecars": done.sidecars,
                "unreadable": [{"path": path, "reason": reason} for path, reason in done.unreadable],
                "problems": done.problems,
            }
        )
    verb = f"would be {VERBS[done.mode]}" if dry_run else VERBS[done.mode]
    console.show_table(counts_table(done, verb))
    for note in notes(done, into, dry_run=dry_run):
        console.say(note)
    if done.problems:
        summary = f"{number:,d} {verb}; {counted(len(done.problems), 'photo')} could not be, for the reasons above"
        raise PartlyDone(summary, done.problems)


def counts_table(done: Sorted, verb: str) -> Table:
    """How many photos are in each folder: classes by name, then those to look at and the unknown."""
    from ahekit.prediction.sorting import REVIEW, UNKNOWN

    order = {REVIEW: 1, UNKNOWN: 2}
    names = sorted({*done.new, *done.there}, key=lambda name: (order.get(name, 0), name))
    rows = [(f"{name}/", done.new[name], done.there[name]) for name in names]
    rows.append(("together", sum(done.new.values()), sum(done.there.values())))
    columns = (Column("folder"), Column(verb, ",d", "right"), Column("there already", ",d", "right"))
    return Table(str(done.folder), columns, tuple(rows), totals=1)


def notes(done: Sorted, into: Path, *, dry_run: bool) -> list[str]:
    """What is worth knowing about a sort beside its numbers."""
    told = []
    if done.moved_on:
        told.append(f"{counted(done.moved_on, 'photo')} had another class when last sorted, and changed folders.")
    if done.sidecars:
        told.append(f"{counted(done.sidecars, 'XMP sidecar')} came along.")
    if done.numbered:
        told.append(f"{counted(done.numbered, 'photo')} got a number, since the name was taken.")
    if done.unreadable:
        stay = "stays where it is" if len(done.unreadable) == 1 else "stay where they are"
        told.append(f"{counted(len(done.unreadable), 'photo')} could not be read and {stay}:")
        told += [f"  {path}: {reason}" for path, reason in done.unreadable[:10]]
        if len(done.unreadable) > 10:
            told.append(f"  and {len(done.unreadable) - 10:,d} more; --json lists them")
    if dry_run:
        return [*told, "Nothing was changed."]
    if done.mode == "link" and any(done.new.values()):
        hold = (
            "name the photos from the root on: they hold until the photos are moved."
            if done.is_absolute
            else "are relative: they hold when photos and folder are moved together (else: --absolute)."
        )
        told.append(f"The links {hold}")
    if done.mode == "move" and any(done.new.values()):
        told.append("XMP sidecars are written where the survey says the photos are: write them before moving, or undo.")
    if done.among_photos is not None:
        told.append(f"The folder lies among the photos: a later predict of {done.among_photos} passes it over.")
    if any(done.new.values()) or any(done.there.values()):
        told.append(f"To take it back: ahekit sort --into {quote(str(into))} --undo")
    return told


def take_back(into: Path, *, json: bool) -> None:
    """Undo a sort and say so.

    Raises:
        PartlyDone: Something was changed by somebody else and left as it is.
    """
    from ahekit.prediction.sorting import undo_sort

    undone = undo_sort(into)
    if json:
        console.show_json(
            {
                "folder": str(undone.folder),
                "mode": undone.mode,
                "undone": undone.restored,
                "problems": undone.problems,
            }
        )
    what = {"link": "links removed", "copy": "copies removed", "move": "photos brought back"}[undone.mode]
    kept = "" if undone.is_gone or undone.problems else f"; {into} holds other files and stays"
    summary = f"Undone: {undone.restored:,d} {what}{kept}."
    if undone.problems:
        summary = f"{undone.restored:,d} {what}; {counted(len(undone.problems), 'file')} left, for the reasons above"
        raise PartlyDone(summary, undone.problems)
    console.say(summary)
