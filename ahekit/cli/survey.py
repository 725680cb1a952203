"""`ahekit survey`: what a survey holds, new thresholds for it, its parts brought together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.errors import UsageError
from ahekit.prediction.survey import DEFAULT_FOLDER, Survey
from ahekit.sections import Column, Table

if TYPE_CHECKING:
    from ahekit.prediction.deciding import Rule

app = typer.Typer(no_args_is_help=True, help="Say what a survey holds; decide on it anew; merge its parts.")

Folder = Annotated[Path, typer.Argument(metavar="SURVEY", help="The survey's folder.")]


@app.command()
def info(survey: Folder = DEFAULT_FOLDER, json: options.Json = False) -> None:
    """Show what a survey holds, which model made it, and what counts as sure in it."""
    console.configure(json=json)
    with Survey.open(survey) as opened:
        if json:
            console.show_json(as_json(opened))
            return
        facts = opened.facts()
        console.say(
            f"{survey}: by {facts.model} ({facts.model_hash[:12]}), last photo {facts.predicted_at[:19] or '–'}"
        )
        show_sentences(opened)
        console.show_table(counts_table(opened))


@app.command()
def decide(
    survey: Folder = DEFAULT_FOLDER,
    max_error: Annotated[
        str | None,
        typer.Option("--max-error", metavar="SHARE", help="Of those called sure at most so many are wrong, as in 2%."),
    ] = None,
    surety: Annotated[
        str | None, typer.Option("--surety", metavar="SHARE", help="… with this probability (default: 95%).")
    ] = None,
    min_confidence: Annotated[
        str | None,
        typer.Option("--min-confidence", metavar="SHARE", help="Instead: sure is what has at least this confidence."),
    ] = None,
    known_kept: Annotated[
        str | None,
        typer.Option(
            "--known-kept",
            metavar="SHARE",
            help="Photos of the classes that are not to be called unknown (default: 95%); 100%: none is.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="Where the survey's model is now, if it was moved."),
    ] = None,
    runs: options.Runs = None,
    json: options.Json = False,
) -> None:
    """Decide again which photos are sure, from what is stored of them; none is opened."""
    console.configure(json=json)
    asked = rule_from(max_error=max_error, surety=surety, min_confidence=min_confidence, known_kept=known_kept)
    with Survey.open(survey) as opened:
        from ahekit.opening import find_model, open_decider
        from ahekit.prediction.deciding import Rule
        from ahekit.prediction.survey import redecide
        from ahekit.run import runs_root

        folder = find_model(model or opened.model.place or None, root=runs_root(runs), tell=console.say)
        opened.check_fingerprint(folder.fingerprint, folder.name)
        redecide(opened, open_decider(folder), asked or Rule())
        write_pages(opened)
        show_sentences(opened)
        console.show_table(counts_table(opened))
        if json:
            console.show_json(as_json(opened))


@app.command()
def merge(survey: Folder = DEFAULT_FOLDER, json: options.Json = False) -> None:
    """Bring the parts of a divided survey together (`ahekit predict --shard`)."""
    console.configure(json=json)
    from ahekit.prediction.shards import merge as merge_parts

    with Survey.open(survey) as opened:
        count = merge_parts(opened)
        console.say(f"{count:,d} photos of the parts are in {survey} now")
        write_pages(opened)
        show_sentences(opened)
        console.show_table(counts_table(opened))
        if json:
            console.show_json({**as_json(opened), "merged": count})


# What predict shows, too.


def counts_table(survey: Survey) -> Table:
    """How many photos are sure and to be reviewed, by class, and how many neither."""
    from ahekit.data.classes import display_name

    counts = survey.counts()
    names = sorted(counts.sure, key=lambda name: (-(counts.sure[name] + counts.review[name]), name))
    rows: list[tuple[str | int | None, ...]] = [
        (display_name(name), counts.sure[name], counts.review[name], counts.sure[name] + counts.review[name])
        for name in names
    ]
    totals = sum(counts.sure.values()), sum(counts.review.values())
    rows += [
        ("all classes", *totals, sum(totals)),
        ("unknown (none of these)", None, None, counts.unknown),
        ("unreadable", None, None, counts.unreadable),
    ]
    columns = (
        Column("class"),
        *(Column(name, ",d", "right") for name in ("sure", "to review", "photos")),
    )
    note = f"{counts.reviewed:,d} photos were decided on by a person" if counts.reviewed else ""
    return Table(f"{counts.total:,d} photos", columns, tuple(rows), note, totals=3)


def show_sentences(survey: Survey) -> None:
    """What counts as sure, and what that stands on."""
    console.say(*survey.settings.sentences)


def as_json(survey: Survey) -> dict[str, Any]:
    """A survey at a glance, as JSON-serialisable values."""
    counts = survey.counts()
    facts = survey.facts()
    return {
        "survey": str(survey.folder),
        "model": facts.model,
        "model_hash": facts.model_hash,
        "predicted_at": facts.predicted_at,
        "photos": counts.total,
        "sure": counts.sure,
        "review": counts.review,
        "unknown": counts.unknown,
        "unreadable": counts.unreadable,
        "reviewed": counts.reviewed,
        "rule": dict(survey.settings.rule),
        "sentences": list(survey.settings.sentences),
    }


def write_pages(survey: Survey) -> list[Path]:
    """The list and the gallery of a survey, written anew."""
    from ahekit.prediction.gallery import write_gallery
    from ahekit.prediction.listing import write_predictions_csv

    return [write_predictions_csv(survey), write_gallery(survey)]


def rule_from(
    *, max_error: str | None, surety: str | None, min_confidence: str | None, known_kept: str | None
) -> Rule | None:
    """What was asked for; None where nothing was.

    Raises:
        UsageError: It can't be.
    """
    shares = {"max_error": max_error, "surety": surety, "min_confidence": min_confidence, "known_kept": known_kept}
    given = {name: parse_share(value, name) for name, value in shares.items() if value is not None}
    if not given:
        return None
    if "max_error" in given and "min_confidence" in given:
        raise UsageError("--max-error and --min-confidence can't both be asked; name one of them")
    for name, value in given.items():
        if name in ("max_error", "surety") and not 0 < value < 1:
            raise UsageError(f"{_option(name)}: must be between 0 and 1 (0% and 100%), both excluded (got {value:g})")
        if name == "known_kept" and not 0 < value <= 1:
            raise UsageError(f"{_option(name)}: must be above 0 and at most 1 (100%) (got {value:g})")
        if not 0 <= value <= 1:
            raise UsageError(f"{_option(name)}: must be between 0 and 1 (0% and 100%) (got {value:g})")
    from ahekit.prediction.deciding import Rule

    return Rule(**given)


def parse_share(text: str, name: str) -> float:
    """A share as people write it: `2%`, `2 %`, `0.02`.

    Raises:
        UsageError: It is no number.

    Example:
        >>> parse_share("2 %", "max_error")
        0.02
    """
    number = text.strip()
    is_percent = number.endswith("%")
    try:
        value = float(number.removesuffix("%").strip().replace(",", "."))
    except ValueError:
        raise UsageError(f"{_option(name)}: takes a share, as in 2% or 0.02 (got {text!r})") from None
    return round(value / 100, 12) if is_percent else value


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
