"""`ahekit data`: which datasets there are and what one holds; add some, remove some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.groups import ListByDefault
from ahekit.errors import DataError
from ahekit.sections import Cell, Column, Table

if TYPE_CHECKING:
    from ahekit.catalog import Source
    from ahekit.data.folder import Folder

app = typer.Typer(cls=ListByDefault, help="List datasets, show one, add some, remove some.")

NAMED_REFUSALS = 10
"""Refused files named for each reason; --json names them all."""


def complete_installed(incomplete: str) -> list[str]:
    """Names of installed datasets."""
    from ahekit.data.installed import installed

    try:
        return [name for name in installed() if name.startswith(incomplete)]
    except OSError:
        return []  # completion has nowhere to say what is wrong


@app.command("list")
def list_all(json: options.Json = False) -> None:
    """List the installed datasets and the embedded sample."""
    from ahekit.catalog import default_source, sample_root
    from ahekit.data.installed import SAMPLE, datasets_home, installed

    console.configure(json=json)
    summaries = {name: _summary(root, name) for name, root in {**installed(), SAMPLE: sample_root()}.items()}
    if json:
        console.show_json([{"name": name, **facts} for name, facts in summaries.items()])
        return
    console.show_table(_list_table(summaries, note=f"Installed in {datasets_home()}"))
    console.say(f"Used without --data: {default_source()}")
    for facts in summaries.values():
        if facts["problem"]:
            console.warn(facts["problem"])


@app.command()
def info(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FOLDER|ARCHIVE",
            help="Dataset. Without it: the one that training would use.",
            autocompletion=complete_installed,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Decode every image too, and name each that can't be used, with the reason.")
    ] = False,
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by",
            metavar="RULE",
            help="What tells an image's series: auto, none, flickr, folder, folder:N, date, or a pattern on the "
            "sample id with a group.",
        ),
    ] = "auto",
    json: options.Json = False,
) -> None:
    """Show a dataset's images by class and split, its series, which edition of AHE it is, and what can't be used."""
    from ahekit.catalog import resolve
    from ahekit.data.cache import check_files
    from ahekit.data.folder import scan
    from ahekit.data.series import decide_rule

    console.configure(json=json)
    with console.progress("getting the images ready", None) as advance:
        place = resolve(source, announce=console.say, advance=advance)
    folder = scan(place.root, name=place.name)
    rule = decide_rule(group_by, [sample.id for sample in folder.samples])
    if check:
        with console.progress("decoding", len(folder.samples)) as advance:
            undecodable, odd = check_files(folder, advance=advance)
        refused = (*folder.refused, *undecodable)
        notes = [f"{note.id}: {note.reason}" for note in odd]
        folder = replace(
            folder,
            refused=tuple(sorted(refused, key=lambda refusal: refusal.id)),
            notes=(*folder.notes, *notes),
        )
    if json:
        console.show_json(describe(place, folder, rule=rule, checked=check))
        return
    _show(folder, rule=rule)
    if check:
        undecoded = len(folder.refused)
        console.say("Every image was decoded" + (": all can be used." if not undecoded else "; see the warnings."))


@app.command()
def where(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FOLDER|ARCHIVE",
            help="Dataset. Without it: the one that training would use.",
            autocompletion=complete_installed,
        ),
    ] = None,
) -> None:
    """Print the folder that a dataset's images are in; the embedded sample is drawn, an archive unpacked first."""
    from ahekit.catalog import resolve

    console.configure(json=True)  # stdout is for the path alone
    with console.progress("getting the images ready", None) as advance:
        place = resolve(source, announce=console.say, advance=advance)
    console.show_path(place.root)


@app.command()
def add(
    path: Annotated[Path, typer.Argument(metavar="FOLDER|ARCHIVE", help="Folder of class folders, or a .zip or .tar.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What it will go by. Without it: the folder's or archive's name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an installed dataset of that name.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Install a dataset: copy its images from a folder or an archive into the data directory."""
    from ahekit.data.installed import install

    console.configure(quiet=quiet)
    with console.progress("adding images", None) as advance:
        folder = install(path, name=name, replace=force, advance=advance)
    console.say(f"Installed {folder.name} in {folder.root}; use it with --data {folder.name}", "")
    _show(folder)


@app.command()
def remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An installed dataset.", autocompletion=complete_installed)
    ],
    yes: options.Yes = False,
) -> None:
    """Remove an installed dataset's images from the data directory."""
    from ahekit.data.installed import named, uninstall

    root = named(name)
    if not yes and not console.confirm(f"Remove {name} with all its images in {root}?", option="--yes"):
        console.say("Nothing removed.")
        return
    uninstall(name)
    console.say(f"Removed {root}")


def describe(source: Source, folder: Folder, *, rule: str = "none", checked: bool = False) -> dict[str, Any]:
    """What `ahekit data info` tells, for machines.

    Args:
        rule: What tells an image's series, "auto" decided.
        checked: Whether `folder.refused` holds what can't be decoded too.
    """
    from ahekit.data.editions import recognize_edition
    from ahekit.data.series import survey_series

    edition = recognize_edition(folder)
    return {
        "name": folder.name,
        "kind": source.kind,
        "root": str(folder.root),
        "archive": str(source.archive) if source.archive else None,
        "notice": source.notice,
        "classes": list(folder.class_names),
        "counts": folder.counts,
        "edition": str(edition) if edition else None,
        "notes": list(folder.notes),
        "series": asdict(survey_series(folder, rule)),
        "checked": checked,
        "refused": [{"id": refusal.id, "reason": refusal.reason} for refusal in folder.refused],
    }


def _show(folder: Folder, *, rule: str = "none") -> None:
    from ahekit.data.editions import recognize_edition
    from ahekit.data.series import survey_series

    console.show_table(_counts_table(folder))
    edition = recognize_edition(folder)
    if edition:
        console.say(f"Recognized: {edition}")
    elif _is_ahe(folder):
        console.say("Not a published edition of AHE, nor a part of one.")
    if "test" not in folder.counts:
        console.say("No test split: training cuts one from the training images.")
    for note in (*folder.notes, *survey_series(folder, rule).sentences()):
        console.say(note)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for refusal in folder.refused:
        by_reason[refusal.reason].append(refusal.id)
    for reason, ids in sorted(by_reason.items()):
        more = f" and {len(ids) - NAMED_REFUSALS:,d} more (all with --json)" if len(ids) > NAMED_REFUSALS else ""
        console.warn(f"{len(ids):,d} left out, {reason}: {', '.join(ids[:NAMED_REFUSALS])}{more}")


def _is_ahe(folder: Folder) -> bool:
    from ahekit.data.classes import AHE_CLASSES

    return set(folder.class_names) <= set(AHE_CLASSES)


def _counts_table(folder: Folder) -> Table:
    """Images by class and split; beside AHE's classes what is published of them."""
    from ahekit.data.editions import AHE_COUNTS, EDITION_64

    counts: dict[str, Mapping[str, int]] = dict(folder.counts)
    note = ""
    if _is_ahe(folder):
        published = {"train": EDITION_64.train, "test": EDITION_64.test or {}}
        counts |= {f"64-px AHE {split}": by_class for split, by_class in published.items()} | {"full AHE": AHE_COUNTS}
        note = "As published: the 64-px edition, and the training images of the full set."
    rows: list[tuple[Cell, ...]] = [
        (name, *(split.get(name) for split in counts.values())) for name in folder.class_names
    ]
    rows.append(("all", *(sum(split.values()) for split in counts.values())))
    columns = (Column("class"), *(Column(split, ",d", "right") for split in counts))
    return Table(f"Images of {folder.name} by class", columns, tuple(rows), note)


def _summary(root: Path, name: str) -> dict[str, Any]:
    """A dataset at a glance; what can't be known of it is None, and `problem` says why."""
    from ahekit.data.editions import recognize_edition
    from ahekit.data.folder import scan
    from ahekit.data.installed import SAMPLE

    empty = {"root": str(root), "images": None, "classes": None, "edition": None, "problem": ""}
    if name == SAMPLE and not root.is_dir():
        return {**empty, "edition": "generated drawings, made when first used"}
    try:
        folder = scan(root, name=name)
    except DataError as error:
        return {**empty, "problem": str(error)}
    edition = "generated drawings" if name == SAMPLE else recognize_edition(folder)
    return {
        **empty,
        "images": {split: sum(by_class.values()) for split, by_class in folder.counts.items()},
        "classes": len(folder.class_names),
        "edition": str(edition) if edition else None,
    }


def _list_table(summaries: dict[str, dict[str, Any]], *, note: str) -> Table:
    splits = ("train", "val", "test")
    columns = (
        Column("dataset"),
        *(Column(split, ",d", "right") for split in splits),
        Column("classes", align="right"),
        Column("edition"),
    )
    rows = tuple(
        (
            name,
            *((facts["images"] or {}).get(split) for split in splits),
            facts["classes"],
            "unreadable" if facts["problem"] else facts["edition"],
        )
        for name, facts in summaries.items()
    )
    return Table("Datasets", columns, rows, note)
