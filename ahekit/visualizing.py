"""From a trained network and pictures to what a visualizer makes of them, and to the files that hold it.

trained, _ = find_trained(Path("runs"), layers=["conv3"])
pictures = one_per_class(trained)
visualization = look(trained, "activations", pictures, layers=["conv3"], params={"show_units": 8})
for name, content in visualization_files(visualization, trained, name="activations", layers=["conv3"]).items():
    trained.run.write_bytes(f"figures/{name}", content)
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahekit.catalog import resolve
from ahekit.data.augment import normalize
from ahekit.data.dataset import Dataset, load_dataset
from ahekit.data.decode import DecodeError, fit, quiet_pillow, read, to_rgb
from ahekit.data.folder import Sample, scan
from ahekit.data.random import generator
from ahekit.data.split import splits_from_ids
from ahekit.errors import AhekitError, RunError
from ahekit.evaluation.predict import predict_logits
from ahekit.evaluation.predictions import softmax
from ahekit.evaluation.record import Look
from ahekit.faults import visualization_faults
from ahekit.hooks import evaluating
from ahekit.inspection.layers import resolve_layer
from ahekit.model_folder import ModelFolder
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import Original, SplitImages, VisualizerInput, VisualizerPlugin
from ahekit.registry import REPORTERS, VISUALIZERS
from ahekit.reporting.style import Form, render_figure
from ahekit.reporting.table_files import csv_of, latex_of
from ahekit.run import Run, check_classes, keep_look, kept_look
from ahekit.sections import Animation, Column, Table, Visualization
from ahekit.trained import Trained, load_trained
from ahekit.validation import validate

FileForm = Literal["png", "svg", "pdf", "csv", "tex"]
FIGURE_FORMS: tuple[Form, ...] = get_args(Form)

_TITLE_POINTS = 12  # of a heading, as the figures' style sets it
_ORIGINAL_SIDE = 480  # pixels of a picture that figures show: more than a tile has, in print too
_CHARACTER_WIDTH = 0.58  # of the mean character, as a share of the type's size


@dataclass(frozen=True)
class Pictures:
    """Images to look at.

    Attributes:
        pixels: `(B, S, S, 3)` uint8, as the network's preprocessing made them.
        ids: A name for each.
        labels: True class index of each, -1 where unknown.
        notes: What the user should know of how they were chosen.
        originals: The pictures themselves, for figures to show; none: figures show `pixels`.
    """

    pixels: NDArray[np.uint8]
    ids: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    originals: tuple[Original, ...] = ()


def read_pictures(paths: Sequence[Path], preprocessing: Preprocessing) -> Pictures:
    """Image files, whose classes aren't known.

    Raises:
        DataError: A file can't be read or used as an image.
    """
    pixels, originals = _decoded(paths, preprocessing)
    return Pictures(pixels, tuple(map(str, paths)), (-1,) * len(paths), originals=originals)


def one_per_class(trained: Trained, *, seed: int = 0) -> Pictures:
    """One of the run's test images for each class, drawn by the seed; for a model folder, of its dataset's own.

    Raises:
        RunError: The dataset isn't where it was, or holds none of the test images.
    """
    run = trained.run
    try:
        samples = _test_samples(trained)
    except AhekitError as error:
        raise RunError(f"{run.name}: its test images can't be found ({error}); give pictures with --image") from error
    chosen, missing = {}, []
    for name in trained.class_names:
        of_class = [sample for sample in samples if sample.class_name == name]
        if of_class:
            chosen[name] = of_class[int(generator("pictures", seed, name).integers(len(of_class)))]
        else:
            missing.append(name)
    if not chosen:
        raise RunError(f"{run.name}: none of its test images is there any more; give pictures with --image")
    notes = (f"no test image of {', '.join(missing)}",) if missing else ()
    pixels, originals = _decoded([sample.path for sample in chosen.values()], trained.built.preprocessing)
    return Pictures(
        pixels,
        tuple(sample.id for sample in chosen.values()),
        tuple(trained.class_names.index(name) for name in chosen),
        notes,
        originals,
    )


def _test_samples(trained: Trained) -> list[Sample]:
    """A run's test images; those of a model folder's dataset, or all where nothing is set aside as test."""
    folder = scan(resolve(_source(trained)).root)
    if isinstance(trained.run, ModelFolder):
        return [sample for sample in folder.samples if sample.split == "test"] or list(folder.samples)
    tested = set(trained.run.manifest.splits.test)
    return [sample for sample in folder.samples if sample.id in tested]


def _source(trained: Trained) -> str | None:
    """What leads to the images of a run, or to those that a model folder is looked at with."""
    if not isinstance(trained.run, ModelFolder):
        return trained.run.spec.data.source
    source = trained.data or trained.run.notes.provenance.data
    if not source:
        raise RunError("the model folder doesn't say which images it was made with; name some with --data")
    return source


def open_split(trained: Trained, name: str) -> SplitImages:
    """One of the splits that a run stored ("train", "val" or "test"), or that a model folder's dataset has on disk.

    Raises:
        RunError: The dataset isn't where it was, or no longer holds the images.
    """
    run = trained.run
    try:
        folder = scan(resolve(_source(trained)).root).with_class_order(trained.class_names)
        dataset = load_dataset(folder, trained.built.preprocessing)
        if isinstance(run, ModelFolder):
            places = _split_on_disk(dataset, run, name)
        else:
            check_classes(run, dataset)
            places = getattr(splits_from_ids(run.manifest.splits.model_dump(), dataset), name)
    except AhekitError as error:
        raise RunError(f"{run.name}: its {name} images can't be found ({error})") from error
    ids = tuple(dataset.ids[place] for place in places)
    return SplitImages(name, dataset.images, places, ids, dataset.labels[places])


def _split_on_disk(dataset: Dataset, folder: ModelFolder, name: str) -> NDArray[np.int64]:
    if dataset.class_names != folder.class_names:
        raise RunError(f"{dataset.root} holds other classes than {folder.name} knows")
    places = np.flatnonzero(dataset.split_names == name)
    if not len(places):
        raise RunError(f"{dataset.root} has no {name} images of its own, and only a run knows how it cut them")
    return places


def look(
    trained: Trained,
    name: str,
    pictures: Pictures | None = None,
    *,
    layers: Collection[str] = (),
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    judge: Trained | None = None,
) -> Visualization:
    """What a visualizer makes of a network and pictures.

    Args:
        name: Of the visualizer.
        pictures: None where the visualizer takes none.
        layers: Aliases or dotted paths; none leaves the choice to the visualizer.
        params: The visualizer's own.
        progress: Called with the steps done and their number by visualizers that take long.
        judge: A second network that visualizers of synthesized images may ask for its opinion.

    Raises:
        UnknownNameError: No visualizer or layer of that name.
        SpecError: A parameter is wrong.
        PluginError: The visualizer is broken, or returns something else than it should.
        AhekitError: What the visualizer finds wrong with the request.
    """
    entry, plugin = VISUALIZERS.look_up(name)
    with entry.guarded():
        values = validate(plugin.Params, params or {}, where=name)
    request = look_at(trained, pictures, layers=layers, seed=seed, progress=progress, judge=judge)
    with entry.guarded():
        visualization = visualize(plugin, request, values)
        if fault := next(visualization_faults(visualization), ""):
            raise entry.broken(fault)
    return replace(visualization, figures=entry.guarded_figures(visualization.figures))


def look_at(
    trained: Trained,
    pictures: Pictures | None = None,
    *,
    layers: Collection[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    judge: Trained | None = None,
) -> VisualizerInput:
    """A network and pictures as plugins look at them; see `look`.

    Raises:
        UnknownNameError: No layer of that name.
    """
    size = trained.built.preprocessing.size
    pictures = pictures or Pictures(np.zeros((0, size, size, 3), dtype=np.uint8))
    return VisualizerInput(
        model=trained.built,
        class_names=trained.class_names,
        images=normalize(pictures.pixels, trained.built.preprocessing).to(trained.compute.device),
        pixels=pictures.pixels,
        image_ids=pictures.ids,
        labels=pictures.labels,
        originals=pictures.originals,
        layers={layer: resolve_layer(trained.built, layer) for layer in layers},
        seed=seed,
        progress=progress,
        judge=partial(judge_pictures, judge, trained.class_names) if judge else None,
        split=cache(partial(open_split, trained)),
    )


def visualize(plugin: VisualizerPlugin, request: VisualizerInput, params: Any) -> Visualization:
    """What a visualizer makes of a request, with the network in eval mode while it works.

    The one place that keeps the protocol's word: visualizers and what they share never set a train flag. Every
    submodule has its own flag back afterwards, whatever is raised.

    Args:
        params: The visualizer's own, validated.
    """
    with evaluating(request.model.module):
        return plugin.visualize(request, params)


def look_into(run: Run, name: str, params: Mapping[str, Any]) -> Look:
    """What a visualizer sees in a run's network, and in a test image of each class where it looks at images.

    It is kept beside the run, where that can be written.

    Raises:
        AhekitError: The run has no checkpoint, its images are gone, or whatever `look` raises.
    """
    trained = load_trained(run)
    pictures = one_per_class(trained) if needs_pictures(name) else Pictures(np.zeros((0, 1, 1, 3), dtype=np.uint8))
    visualization = look(trained, name, pictures if pictures.ids else None, params=params)
    shown = {"pixels": pictures.pixels, **_named(pictures)} if pictures.ids else {}
    insight = Look(
        title=visualization.figures[0].title if visualization.figures else name,
        notes=(*pictures.notes, *visualization.notes),
        arrays={**visualization.arrays, **shown},
    )
    with suppress(AhekitError):  # a run that can only be read is shown all the same
        keep_look(run, name, params, insight)
    return insight


def keep_looks(run: Run) -> None:
    """Look into a run's network for the reporters that will ask for it, while torch and the images are at hand.

    What can't be seen is left for the report to say.
    """
    for entry in REPORTERS.entries():
        with suppress(AhekitError):
            reporter = REPORTERS.load(entry)
            with entry.guarded():
                looks = tuple(getattr(reporter, "looks", ()))
            for name, params in looks:
                if kept_look(run, name, params) is None:
                    look_into(run, name, params)


def _named(pictures: Pictures) -> dict[str, NDArray[Any]]:
    return {"image_ids": np.array(pictures.ids), "labels": np.array(pictures.labels)}


def judge_pictures(judge: Trained, class_names: Sequence[str], pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A second network's probabilities `(B, C)` of the named classes for pictures `(B, H, W, 3)` of any size.

    Raises:
        RunError: It knows other classes.
    """
    unknown = sorted(set(class_names) - set(judge.class_names))
    if unknown:
        raise RunError(f"{judge.run.name} can't judge: it doesn't know {', '.join(unknown)}")
    preprocessing = judge.built.preprocessing
    fitted = np.stack([fit(Image.fromarray(picture), preprocessing) for picture in pictures])
    logits = predict_logits(judge.built.module, fitted, np.arange(len(fitted)), preprocessing, judge.compute)
    columns = [judge.class_names.index(name) for name in class_names]
    return softmax(logits)[:, columns]


def needs_pictures(name: str) -> bool:
    """Whether a visualizer looks at images; one that doesn't says `needs_images = False`."""
    entry, plugin = VISUALIZERS.look_up(name)
    with entry.guarded():
        return bool(getattr(plugin, "needs_images", True))


def visualization_files(
    visualization: Visualization,
    trained: Trained,
    pictures: Pictures | None = None,
    *,
    name: str,
    layers: Collection[str] = (),
    formats: Sequence[FileForm] = ("png",),
    plain_title: bool = False,
    tell: Callable[[str], None] = lambda note: None,
) -> dict[str, bytes]:
    """A visualization as files by name: figures and tables in the formats asked for, animations, arrays as `.npz`.

    Beside the visualizer's arrays stand `class_names` and, where pictures were looked at, their `image_ids` and
    `labels`. As "csv" there are, beside the tables, the predictions of single images where they were made.

    Args:
        formats: Of figures "png", "svg" and "pdf"; of tables "csv" and "tex".
        plain_title: Figures are headed by their titles alone, without the run and its checkpoint.
        tell: Called with what the user should know of the figures.
    """
    origin = "" if plain_title else trained.origin
    files = {}
    for figure in visualization.figures:
        heading = _heading(figure.title, origin, figure.size[0])
        for form in FIGURE_FORMS:
            if form in formats:
                file = f"{_file_name(f'{name}-{figure.name}')}.{form}"
                # Missing letters are the same in every form.
                files[file] = render_figure(figure, form=form, heading=heading, tell=tell)
                tell = _quiet
    stem = _file_name("-".join([name, *layers]))
    tables = {f"{stem}-{_file_name(table.title.partition(':')[0].lower())}": table for table in visualization.tables}
    if "csv" in formats:
        images = _images_table(visualization, trained, pictures)
        with_images = tables | ({f"{stem}-images": images} if images else {})
        files |= {f"{file}.csv": csv_of(table) for file, table in with_images.items()}
    if "tex" in formats:
        files |= {f"{file}.tex": latex_of(table) for file, table in tables.items()}
    for animation in visualization.animations:
        files[f"{_file_name(f'{name}-{animation.name}')}.{animation.form}"] = render_animation(animation)
    arrays: dict[str, Any] = {"class_names": np.array(trained.class_names)}
    if pictures is not None:
        arrays |= _named(pictures)
    content = io.BytesIO()
    np.savez_compressed(content, **(arrays | {key: np.asarray(array) for key, array in visualization.arrays.items()}))
    files[f"{stem}.npz"] = content.getvalue()
    return files


def _quiet(note: str) -> None:
    """Say nothing again."""


def _images_table(visualization: Visualization, trained: Trained, pictures: Pictures | None) -> Table | None:
    """The network's prediction for each picture looked at, with the probability of every class."""
    logits = visualization.arrays.get("logits")
    if pictures is None or logits is None:
        return None
    probabilities = softmax(np.asarray(logits, dtype=np.float64))
    names = trained.class_names
    rows = [
        (image, names[label] if label >= 0 else None, names[int(row.argmax())], *map(float, row))
        for image, label, row in zip(pictures.ids, pictures.labels, probabilities, strict=True)
    ]
    columns = ("image", "true", "predicted", *names)
    return Table("Images", tuple(Column(column) for column in columns), tuple(rows))


def render_animation(animation: Animation) -> bytes:
    """An animation as a GIF or WebP file that plays for ever."""
    first, *others = [Image.fromarray(frame) for frame in animation.frames]
    durations = [animation.milliseconds] * len(others) + [5 * animation.milliseconds]
    content = io.BytesIO()
    first.save(content, animation.form, save_all=True, append_images=others, duration=durations, loop=0)
    return content.getvalue()


def _heading(title: str, origin: str, width: float) -> str:
    columns = int(width * 72 / (_TITLE_POINTS * _CHARACTER_WIDTH)) - 1
    return "\n".join(line for text in (title, origin) if text for line in _evenly_wrapped(text, columns))


def _evenly_wrapped(text: str, columns: int) -> list[str]:
    """As few lines as can be, none of them a lone last word."""
    lines = textwrap.wrap(text, columns)
    widths = range(-(-len(text) // max(len(lines), 1)), columns)
    return next((even for even in (textwrap.wrap(text, width) for width in widths) if len(even) == len(lines)), lines)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text)


def _decoded(paths: Sequence[Path], preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], tuple[Original, ...]]:
    """The network's input of each picture, and the pictures for figures to show."""
    pixels = []
    originals = []
    for path in paths:
        try:
            with quiet_pillow():
                image = to_rgb(read(path))
        except DecodeError as error:
            raise type(error)(error.reason, path) from error.__cause__
        pixels.append(fit(image, preprocessing))
        image.thumbnail((_ORIGINAL_SIDE, _ORIGINAL_SIDE))
        originals.append(Original(np.asarray(image), preprocessing.input_box(*image.size)))
    return np.stack(pixels), tuple(originals)
