"""The protocol box: what the figures rest on, so that somebody else can judge or repeat them."""

from __future__ import annotations

from typing import Any

from ahekit.data.classes import AHE_CLASSES
from ahekit.data.editions import EDITIONS, Edition
from ahekit.evaluation import facts
from ahekit.evaluation.record import MissingRecord, RunRecord, judged_predictions
from ahekit.protocols import NoParams
from ahekit.sections import Column, Section, Table
from ahekit.spec import RunSpec
from ahekit.validation import differences
from ahekit.wording import counted


class Protocol:
    """Data, split, choices, spec, versions, machine, cost, and published results on the same test set."""

    order = 80
    Params = NoParams

    def report(self, record: RunRecord, params: NoParams) -> Section:
        """State what the run's files tell of how its figures came about."""
        if record.manifest.is_blank:
            raise MissingRecord("manifest.json is missing or can't be read: nothing is known of data and machine")
        changed = differences(RunSpec(recipe=record.spec.recipe), record.spec)
        asked = {field: values for field, values in changed.items() if _is_asked(record, field, values[0])}
        tables = [Table("Protocol", (Column("What"), Column("Value")), tuple(_facts(record).items()))]
        recipe = record.spec.recipe
        tables.append(_changes(f"What was set, against the recipe {recipe}", asked, "nothing was set"))
        resolved = {field: values for field, values in changed.items() if field not in asked}
        if resolved:
            tables.append(_changes(f"What the recipe {recipe} leaves open, as it was resolved", resolved))
        edition = _edition(record)
        if edition is not None and edition.name in PUBLISHED:
            tables.append(_published(record, edition))
        return Section(
            title="Protocol",
            reading=_reading(record),
            tables=tuple(tables),
            values={
                "fingerprint": record.manifest.data.fingerprint,
                "edition": edition.name if edition else None,
                "seed": record.spec.seed,
                "image_passes": facts.image_passes(record),
                "spec_changes": {field: {"recipe": a, "run": b} for field, (a, b) in asked.items()},
                "resolved": {field: value for field, (_, value) in resolved.items()},
            },
        )


def _is_asked(record: RunRecord, field: str, recipe: object) -> bool:
    """Whether whoever started the run set a field that departs from the recipe.

    A run that didn't note it is read by its recipe: what that leaves open was most likely resolved and not set.
    """
    asked = record.manifest.asked
    if asked is not None:
        return any(field == name or field.startswith(f"{name}.") for name in asked)
    return recipe not in (None, "auto", {})


def _changes(title: str, fields: dict[str, tuple[Any, Any]], none: str = "") -> Table:
    columns = (Column("Field"), Column("Recipe"), Column("This run"))
    rows = tuple((field, facts.setting_words(a), facts.setting_words(b)) for field, (a, b) in fields.items())
    return Table(title, columns, rows or ((none, None, None),))


def _facts(record: RunRecord) -> dict[str, str]:
    spec = record.spec
    data = record.manifest.data
    passes = facts.image_passes(record)
    told = {
        "dataset": data.name or "",
        "fingerprint": f"{data.fingerprint} (SHA-256 of ids and files)" if data.fingerprint else "",
        "edition": _edition_text(record),
        "images": facts.images_words(data),
        "refused": counted(len(data.refused), "file"),
        "split": _split(record),
        "epoch chosen on": f"validation {record.monitor.words}; test was measured for the curves, and nothing was "
        "chosen on it",
        "thresholds chosen on": "validation, as was the temperature",
        "teacher": _teacher(record),
        "seed": str(spec.seed),
        "training cost": f"{passes:,d} image passes" if passes else "",
        "time": facts.time_words(record),
        "hardware": record.manifest.hardware.words,
        "precision": f"{spec.runtime.precision} on {spec.runtime.device}",
        "versions": facts.versions_words(record.manifest),
    }
    return {label: value for label, value in told.items() if value}


def _teacher(record: RunRecord) -> str:
    distill = record.spec.distill
    if distill.teacher is None:
        return ""
    teacher = record.manifest.teacher
    name = teacher.name if teacher and teacher.name else distill.teacher
    model = f", {teacher.model}" if teacher and teacher.model else ""
    return (
        f"{name}{model}; {distill.weight:g} of the loss is against its answers about "
        f"{counted(distill.views, 'view')} of each image, temperature {distill.temperature:g}"
    )


def _split(record: RunRecord) -> str:
    data = record.spec.data
    names = record.manifest.splits.test
    own = names and all(name.startswith("test/") for name in names)
    test = "the dataset's own test images" if own else f"{data.test_fraction:.0%} cut as test"
    rule = record.manifest.splits.grouped_by
    series = "" if rule == "none" else f" and series (data.group_by {rule})"
    return (
        f"{test}; {data.val_fraction:.0%} of the training images as validation, stratified by class, near-copies "
        f"(thumbnail correlation {data.near_copy_threshold:g}){series} on one side, seed {record.spec.seed}"
    )


def _edition(record: RunRecord) -> Edition | None:
    """The published edition whose training images these are, by their number in each class."""
    counts = record.manifest.data.counts
    if set(record.manifest.class_names) != set(AHE_CLASSES):
        return None
    cut = [counts.get(split, {}) for split in ("train", "val")]
    totals = {name: sum(by_class.get(name, 0) for by_class in cut) for name in AHE_CLASSES}
    return next((edition for edition in EDITIONS if edition.train == totals), None)


def _edition_text(record: RunRecord) -> str:
    if record.manifest.data.edition:
        return record.manifest.data.edition
    edition = _edition(record)
    return f"training images of the {edition.name} of AHE, by their counts" if edition else "none recognized"


def _published(record: RunRecord, edition: Edition) -> Table:
    rows: list[tuple[str, str, str]] = []
    caveat = ""
    try:
        split, predictions = judged_predictions(record)
    except MissingRecord:
        split = ""
    if split == "test":
        images = int((predictions.labels >= 0).sum())
        right = float((predictions.predicted == predictions.labels).sum() / images)
        rows.append(("this run", f"{right:.3f}", f"epoch chosen on validation; {counted(images, 'test image')}"))
        if images != edition.test_total:
            caveat = (
                f" Here are {images:,d} of the {edition.test_total:,d} test images, so it is the same kind of "
                "images and not the same set."
            )
    return Table(
        f"Published accuracy on the {edition.test_total:,d} test images of the {edition.name}",
        (Column("What"), Column("Accuracy", None, "right"), Column("Caveat")),
        (*rows, *PUBLISHED[edition.name]),
        "Other people's figures are as they published them; they hold the near-copies between train and test." + caveat,
    )


def _reading(record: RunRecord) -> str:
    passes = facts.image_passes(record)
    took = facts.time_words(record, digits=0)
    cost = f" Training took {passes:,d} image passes{f' in {took}' if took else ''}." if passes else ""
    return (
        "Every choice was made on validation images cut from the training images; the test images had no part in any."
        f"{cost} `ahekit train --spec spec.yaml`, with the run folder's own spec.yaml, repeats the run."
    )


PUBLISHED = {
    "64-px edition": (
        ("small CNNs from scratch", "0.71–0.76", "as published; how the epoch was chosen is not always told"),
        ("ResNet from scratch", "0.85", "224 px"),
        ("fine-tuned ResNet50", "0.93", "64 px; pretrained on ImageNet"),
        ("larger fine-tuned networks", "0.944–0.949", "224 px; pretrained; best epoch picked on the test images"),
    )
}
"""By edition: what was trained, its accuracy, its caveat."""
