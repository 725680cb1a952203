"""`ahekit match`: do two pictures show the same one, and which one of many is it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.embeddings import Identified, Sources
from ahekit.errors import DataError, UsageError
from ahekit.sections import Column, Table

if TYPE_CHECKING:
    from ahekit.prediction.matching import Threshold

app = typer.Typer(no_args_is_help=True, help="Tell whether two pictures show the same one, or which one of many.")

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Whose embeddings: a model folder or a run. Without it: a survey's own, else the one that comes with "
        "ahekit.",
    ),
]
By = Annotated[
    Identified | None,
    typer.Option(
        "--by",
        help="Who a survey's photo shows: folder, the first one on its path (as in folders that are no survey), or "
        "decision, what a person said. Without it: folder.",
    ),
]
FalseAccepts = Annotated[
    float | None,
    typer.Option(
        "--far",
        min=0.0,
        max=1.0,
        metavar="RATE",
        help="Choose the threshold by this share of false accepts: of pairs of two, or of strangers who are searched "
        "for; without it, by equal error.",
    ),
]
GroupBy = Annotated[
    str,
    typer.Option(
        "--group-by",
        metavar="RULE",
        help="What tells pictures of one visit, which make no fair pair: auto, none, flickr, folder, folder:N, date, "
        "or a pattern with a group.",
    ),
]


@app.callback()
def match() -> None:
    """Tell whether two pictures show the same one, or which one of many."""


@app.command()
def verify(
    first: Annotated[Path, typer.Argument(metavar="PICTURE", help="A picture.")],
    second: Annotated[Path, typer.Argument(metavar="PICTURE", help="Another one.")],
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FOLDER",
            help="Folder of identities, a folder each, or a survey: the threshold is chosen on its pairs. Without it: "
            "the similarity alone.",
        ),
    ] = None,
    false_accepts: FalseAccepts = None,
    by: By = None,
    group_by: GroupBy = "auto",
    model: Model = None,
    device: options.Device = None,
    runs: options.Runs = None,
    json: options.Json = False,
) -> None:
    """Compare two pictures: how alike they are, and whether that is enough."""
    console.configure(json=json)
    from ahekit.evaluation.matching import similarities
    from ahekit.prediction.matching import choose_threshold, embed

    if false_accepts is not None and pairs is None:
        raise UsageError("--far chooses a threshold on pairs; name their folder with --pairs")
    sources = Sources(model, runs, device, by=by, group_by=group_by)
    sources.take(*([pairs] if pairs else []))
    predictor = sources.predictor()
    vectors, _, refused = embed([first, second], predictor)
    if refused:
        raise DataError(refused[0])
    similarity = float(similarities(vectors[:1], vectors[1:])[0, 0])
    threshold = choose_threshold(sources.gallery(pairs), false_accept_rate=false_accepts) if pairs else None
    verdict = None if threshold is None else similarity >= threshold.value
    if json:
        value = None if threshold is None else threshold.value
        console.show_json({"similarity": similarity, "threshold": value, "same": verdict})
        return
    console.say(f"similarity: {similarity:.3f} (1: alike, 0: nothing in common)")
    if threshold is None:
        console.say("A folder of identities (--pairs) tells from where on that means the same one.")
        return
    console.say(
        f"threshold: {threshold.value:.3f}, by {threshold.words}",
        "the same one" if verdict else "not the same one",
    )


@app.command()
def identify(
    pictures: Annotated[
        list[str], typer.Argument(metavar="PICTURE...", help="Pictures, folders of them, or a survey.")
    ],
    gallery: Annotated[
        Path,
        typer.Option(
            "--gallery", metavar="FOLDER", help="Folder of identities, a folder or a picture each, or a survey."
        ),
    ],
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="Identities that are told.")] = 3,
    false_accepts: FalseAccepts = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=-1.0,
            max=1.0,
            metavar="SIMILARITY",
            help="Below it: none of these. Without it: chosen by searching the gallery's own pictures in it.",
        ),
    ] = None,
    by: By = None,
    group_by: GroupBy = "auto",
    model: Model = None,
    device: options.Device = None,
    runs: options.Runs = None,
    json: options.Json = False,
) -> None:
    """Find who of a gallery pictures show, or that it is none of these."""
    console.configure(json=json)
    from ahekit.prediction.matching import Threshold, choose_search_threshold, find_identities, is_survey

    if threshold is not None and false_accepts is not None:
        raise UsageError("--threshold and --far can't both be asked; name one of them")
    sources = Sources(model, runs, device, by=by, group_by=group_by)
    asked = Path(pictures[0]) if len(pictures) == 1 and is_survey(Path(pictures[0])) else None
    sources.take(gallery, *([asked] if asked else []))
    known = sources.gallery(gallery)
    if known.warning:
        console.warn(known.warning)
    limit: Threshold | None
    try:
        limit = (
            Threshold(threshold, "--threshold")
            if threshold is not None
            else choose_search_threshold(known, false_accept_rate=false_accepts)
        )
    except UsageError as error:
        if false_accepts is not None:
            raise
        console.warn(f"whether it is none of these can't be told: {error}")
        limit = None
    files, vectors = sources.probes(asked, pictures)
    rows = []
    for file, found in zip(files, find_identities(files, vectors, known, top=top), strict=True):
        if not found:
            console.warn(f"{file}: the gallery holds no other picture")
            continue
        is_known = limit is None or found[0][1] >= limit.value
        names = ", ".join(f"{name} {similarity:.3f}" for name, similarity, _ in found)
        rows.append((shown(file), found[0][0] if is_known else "none of these", found[0][1], names))
        if json:
            console.show_json(
                {
                    "picture": str(file),
                    "identity": found[0][0] if is_known else None,
                    "best": [{"identity": name, "similarity": value} for name, value, _ in found],
                }
            )
    columns = (
        Column("picture"),
        Column("is"),
        Column("similarity", ".3f", "right"),
        Column(f"the first {top}"),
    )
    note = f"Threshold {limit.value:.3f}, by {limit.words}." if limit else ""
    console.show_table(Table("Identified", columns, tuple(rows), note=note))


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of identities, a folder each, or a survey.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the page and its figures go.")] = Path(
        "match"
    ),
    by: By = None,
    group_by: GroupBy = "auto",
    model: Model = None,
    seed: options.Seed = None,
    device: options.Device = None,
    runs: options.Runs = None,
    json: options.Json = False,
) -> None:
    """Measure both on a folder of identities: ROC, equal error, ranks, each with its interval."""
    console.configure(json=json)
    from ahekit.cli.output import write_folder
    from ahekit.cli.report import show
    from ahekit.prediction.matching import evaluate
    from ahekit.reporting.build import Report
    from ahekit.reporting.files import report_files

    sources = Sources(model, runs, device, by=by, group_by=group_by)
    sources.take(folder)
    section = evaluate(sources.gallery(folder), seed=seed or 0)
    report = Report(
        run=sources.name,
        title=f"Matching by {sources.name}",
        subtitle=str(folder),
        facts=(),
        sections=(section,),
        missing=(),
        made_from="embeddings of the folder’s pictures",
    )
    report, files = report_files(report, ("html", "md", "json"))
    paths = write_folder(files, out)
    show(report, full=True)
    if json:
        console.show_json(dict(section.values))
    console.say(f"page: {next(path for path in paths if path.suffix == '.html')}")


def shown(file: Path) -> str:
    """A path as it is shortest, from the working folder on where it lies below."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
