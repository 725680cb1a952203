"""`ahekit match`: do two pictures show the same one, and which one of many is it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.errors import DataError, UsageError
from ahekit.sections import Column, Table

if TYPE_CHECKING:
    from ahekit.prediction.matching import Gallery, Threshold
    from ahekit.prediction.predictor import Predictor

app = typer.Typer(no_args_is_help=True, help="Tell whether two pictures show the same one, or which one of many.")

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Whose embeddings: a model folder or a run. Without it: the one that comes with ahekit.",
    ),
]
FalseAccepts = Annotated[
    float | None,
    typer.Option(
        "--far",
        min=0.0,
        max=1.0,
        metavar="RATE",
        help="Choose the threshold by this share of false accepts; without it, by equal error.",
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
            help="Folder of identities, a folder each: the threshold is chosen on its pairs. Without it: the "
            "similarity alone.",
        ),
    ] = None,
    false_accepts: FalseAccepts = None,
    group_by: GroupBy = "auto",
    model: Model = None,
    device: options.Device = None,
    runs: options.Runs = None,
    json: options.Json = False,
) -> None:
    """Compare two pictures: how alike they are, and whether that is enough."""
    console.configure(json=json)
    from ahekit.evaluation.matching import similarities
    from ahekit.prediction.matching import embed

    if false_accepts is not None and pairs is None:
        raise UsageError("--far chooses a threshold on pairs; name their folder with --pairs")
    predictor = _open(model, runs, device)
    vectors, _, refused = embed([first, second], predictor)
    if refused:
        raise DataError(refused[0])
    similarity = float(similarities(vectors[:1], vectors[1:])[0, 0])
    threshold = _threshold(pairs, predictor, false_accepts, group_by) if pairs else None
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
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Pictures, or folders of them.")],
    gallery: Annotated[
        Path, typer.Option("--gallery", metavar="FOLDER", help="Folder of identities, a folder or a picture each.")
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
            help="Below it: none of these. Without it: chosen on the gallery's own pairs.",
        ),
    ] = None,
    group_by: GroupBy = "auto",
    model: Model = None,
    device: options.Device = None,
    runs: options.Runs = None,
    json: options.Json = False,
) -> None:
    """Find who of a gallery pictures show, or that it is none of these."""
    console.configure(json=json)
    from ahekit.evaluation.matching import rank_identities, similarities
    from ahekit.prediction.matching import Threshold, choose_threshold, embed
    from ahekit.prediction.photos import find_photos

    if threshold is not None and false_accepts is not None:
        raise UsageError("--threshold and --far can't both be asked; name one of them")
    predictor = _open(model, runs, device)
    known = _gallery(gallery, predictor, group_by)
    if known.warning:
        console.warn(known.warning)
    limit: Threshold | None
    try:
        limit = (
            Threshold(threshold, "--threshold")
            if threshold is not None
            else choose_threshold(known, false_accept_rate=false_accepts)
        )
    except UsageError as error:
        if false_accepts is not None:
            raise
        console.warn(f"whether it is none of these can't be told: {error}")
        limit = None
    files = [Path(file) for file in find_photos(pictures).files]
    vectors, kept, refused = embed(files, predictor)
    for line in refused:
        console.warn(line)
    if not kept:
        raise DataError("none of the pictures can be read")
    ranked = rank_identities(similarities(vectors, known.embeddings), known.identities)
    rows = []
    for place, found in zip(kept, ranked, strict=True):
        is_known = limit is None or found[0][1] >= limit.value
        names = ", ".join(f"{name} {similarity:.3f}" for name, similarity, _ in found[:top])
        rows.append((str(files[place]), found[0][0] if is_known else "none of these", found[0][1], names))
        if json:
            console.show_json(
                {
                    "picture": str(files[place]),
                    "identity": found[0][0] if is_known else None,
                    "best": [{"identity": name, "similarity": value} for name, value, _ in found[:top]],
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
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of identities, a folder each.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the page and its figures go.")] = Path(
        "match"
    ),
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

    predictor = _open(model, runs, device)
    gallery = _gallery(folder, predictor, group_by)
    section = evaluate(gallery, seed=seed or 0)
    report = Report(
        run=predictor.name,
        title=f"Matching by {predictor.name}",
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


def _open(model: str | None, runs: Path | None, device: str | None) -> Predictor:
    from ahekit.opening import open_predictor
    from ahekit.run import runs_root

    return open_predictor(model, root=runs_root(runs), device=device or "auto", tell=console.say)


def _gallery(folder: Path, predictor: Predictor, group_by: str) -> Gallery:
    from ahekit.prediction.matching import open_gallery

    with console.progress("looking", None) as advance:
        gallery = open_gallery(folder, predictor, group_by=group_by, advance=advance)
    for line in gallery.refused:
        console.warn(f"left out: {line}")
    return gallery


def _threshold(folder: Path, predictor: Predictor, rate: float | None, group_by: str) -> Threshold:
    from ahekit.prediction.matching import choose_threshold

    return choose_threshold(_gallery(folder, predictor, group_by), false_accept_rate=rate)
