"""The model card of a model folder: what it was made from, how good it is, what it can't do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ahekit.data.classes import display_name
from ahekit.errors import AhekitError
from ahekit.model_folder import ONNX, FigureNote, ModelNotes
from ahekit.prediction.deciding import Decider, Deciding, Reference, Rule
from ahekit.wording import counted, listed

MAX_ERROR = 0.02
FIGURE_WORDS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "log_loss": "log loss"}
SPLIT_WORDS = {"val": "validation", "test": "test"}
_HUB_METRICS = {"accuracy": "accuracy", "macro_f1": "f1"}
_AHE = (
    "Architectural Heritage Elements (J. Llamas, P. M. Lerones, R. Medina, E. Zalama, J. Gómez-García-Bermejo, 2017, "
    "https://doi.org/10.3390/app7100992): pictures from Flickr and Wikimedia Commons, each under a Creative Commons "
    "licence of its author's choice."
)
_LIMITS = (
    "It knows its classes only. Pictures of anything else are set apart by their distance to the training images, "
    "which misses some.",
    "Confidence and thresholds were set on pictures of its own dataset. On other cameras, countries and kinds of "
    "buildings they are a promise that nobody has checked: look through a random sample of your own photos.",
    "It names one element for each picture, also where a picture shows several.",
    "It was made to sort pictures, not to date, value or attribute buildings.",
)


def model_card(notes: Mapping[str, Any], deciding: Deciding, reference: Reference) -> str:
    """The card as Markdown, with the header that model hubs read.

    Args:
        notes: The fields of `ahekit.model_folder.ModelNotes`, but for `files`.
    """
    kept = ModelNotes.model_validate({**notes, "deciding": {}, "files": _ANY_FILES})
    data = ModelCardData(
        language="en",
        library_name="ahekit",
        tags=["architectural heritage", "image classification"],
        model_name=kept.name,
        eval_results=_results(kept),
        pipeline_tag="image-classification",
        base_model=None,
        ignore_metadata_errors=False,
    )
    content = f"---\n{data.to_yaml()}\n---\n\n{_body(kept, Decider(deciding, reference, kept.class_names))}"
    return str(ModelCard(content, ignore_metadata_errors=False))


_ANY_FILES = dict.fromkeys(("model.safetensors", "embeddings.safetensors", "validation.json"), "0" * 64)


def _results(notes: ModelNotes) -> list[EvalResult]:
    """The test figures as hubs list them."""
    data = notes.provenance.data or "unknown"
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=data,
            dataset_name=f"{data}{'' if figure.near_copies else ', without near-copies'}",
            dataset_split=figure.split,
            metric_type=_HUB_METRICS[figure.name],
            metric_name=f"{FIGURE_WORDS[figure.name]}, {figure.images} images",
            metric_value=figure.value,
        )
        for figure in notes.figures
        if figure.split == "test" and figure.name in _HUB_METRICS
    ]


def _body(notes: ModelNotes, decider: Decider) -> str:
    size = notes.preprocessing.size
    names = [display_name(name) for name in notes.class_names]
    lines = [
        f"# {notes.name}",
        "",
        f"A convolutional network ({notes.component.name}, {notes.provenance.parameters:,d} parameters, {size} × "
        f"{size} pixels) that tells {len(names)} kinds of pictures: {listed(names)}.",
        "",
        "    ahekit predict PHOTOS --model THIS_FOLDER",
        "",
        "## Data",
        "",
        *_data(notes),
        "",
        "## Protocol",
        "",
        *_protocol(notes),
        "",
        "## Figures",
        "",
        "In one view of each picture, with 95 % intervals over draws of as many images:",
        "",
        *_figure_table(notes.figures),
        "",
        *_coverage(decider),
        "",
        "## What storing less costs",
        "",
        *_cost_table(notes),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _LIMITS),
        "",
        "## Licences",
        "",
        *_licences(notes),
        "",
    ]
    return "\n".join(lines)


def _data(notes: ModelNotes) -> list[str]:
    origin = notes.provenance
    what = f"{origin.data or 'a dataset without a name'}{f' ({origin.edition})' if origin.edition else ''}"
    counts = [counted(count, f"{words} image") for split, words in _SPLITS if (count := origin.images.get(split, 0))]
    lines = [f"{what}: {listed(counts)}; fingerprint `{origin.fingerprint[:16] or 'unknown'}`."]
    if origin.data_kind == "sample":
        lines.append("These are drawings made by ahekit itself: the figures say nothing of photographs.")
    if origin.edition:
        lines.append(_AHE)
    if notes.preprocessing.detail:
        lines.append(
            f"A picture is first made as coarse as {notes.preprocessing.detail} pixels a side, which is what the "
            "training images were."
        )
    return lines


_SPLITS: tuple[tuple[Literal["train", "val", "test"], str], ...] = (
    ("train", "training"),
    ("val", "validation"),
    ("test", "test"),
)


def _protocol(notes: ModelNotes) -> list[str]:
    origin = notes.provenance
    start = f"from the weights {origin.weights}" if origin.weights else "from random weights"
    epoch = f"; the weights are those of epoch {origin.epoch}, chosen on validation" if origin.epoch else ""
    grouped = ""
    if origin.grouped_by not in ("", "none"):
        grouped = f", images of one visit on one side of it (rule: {origin.grouped_by})"
    return [
        f"Trained {start} with ahekit {origin.ahekit}, recipe {origin.recipe}, seed {origin.seed}{epoch}. Validation "
        f"was cut from the training images{grouped}; near-copies lie on one side of the cut. "
        "Every choice (epoch, confidence score, calibration, thresholds) was made on validation; test had no part in "
        "any.",
    ]


def _figure_table(figures: Iterable[FigureNote]) -> list[str]:
    lines = ["| Figure | Images | Value | 95 % |", "|---|---|---:|---:|"]
    for figure in figures:
        which = "" if figure.near_copies else ", without near-copies of training images"
        ends = "–" if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
        lines.append(
            f"| {FIGURE_WORDS.get(figure.name, figure.name)} | {SPLIT_WORDS[figure.split]}, {figure.images:,d}{which} "
            f"| {figure.value:.3f} | {ends} |"
        )
    return lines


def _coverage(decider: Decider) -> list[str]:
    """How many pictures a list with at most 2 % of errors takes, by validation and as it came out on test."""
    try:
        acceptance = decider.accept(Rule(max_error=MAX_ERROR))
    except AhekitError as error:
        return [f"A list with at most {MAX_ERROR:.0%} of errors: {error}."]
    lines = [f"A list with at most {MAX_ERROR:.0%} of errors, with a surety of 95 %:"]
    lists = (("validation", decider.deciding.validation), ("test", decider.deciding.test))
    for words, labelled in lists:
        if labelled is None:
            continue
        is_sure = (np.array(labelled.scores) >= acceptance.min_score) & (
            np.array(labelled.unknown_scores) <= acceptance.most_unknown
        )
        sure = int(is_sure.sum())
        wrong = int((is_sure & ~labelled.is_right).sum())
        share = sure / max(len(labelled.scores), 1)
        errors = f"{wrong} of these wrong ({wrong / sure:.1%})" if sure else "none to be wrong"
        lines.append(f"on {words} {share:.1%} of the pictures are on it ({sure} of {len(labelled.scores)}), {errors};")
    lines[-1] = lines[-1].rstrip(";") + "."
    return [" ".join(lines)]


def _cost_table(notes: ModelNotes) -> list[str]:
    lines = ["| What | Figure | Before | After |", "|---|---|---:|---:|"]
    lines += [
        f"| {cost.what} | {cost.figure} ({cost.images:,d}) | {cost.before:.4f} | {cost.after:.4f} |"
        for cost in notes.costs
    ]
    if notes.onnx is not None:
        lines += [
            "",
            f"`{ONNX}` (opset {notes.onnx.opset}) was compared with torch on {counted(notes.onnx.images, 'picture')}: "
            f"its logits differ by {notes.onnx.difference:.1e} at most.",
        ]
    return lines


def _licences(notes: ModelNotes) -> list[str]:
    lines = ["ahekit is under the Apache License 2.0."]
    if notes.provenance.edition:
        lines.append(
            "The training pictures keep their authors' Creative Commons licences; none is part of this folder."
        )
    if notes.provenance.weights:
        lines.append(
            f"The weights that training started from, {notes.provenance.weights}, have a licence of their own."
        )
    return lines
