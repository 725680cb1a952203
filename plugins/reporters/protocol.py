"""The protocol box: what the figures rest on, so that somebody else can judge or repeat them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ahekit.data.classes import AHE_CLASSES
from ahekit.data.editions import EDITIONS, Edition
from ahekit.evaluation.record import MissingRecord, RunRecord, judged_predictions
from ahekit.protocols import NoParams
from ahekit.sections import Column, Section, Table
from ahekit.spec import MONITORED, RunSpec
from ahekit.validation import differences
from ahekit.wording import counted

_LABELS = {"train": "training", "val": "validation", "test": "test"}


class Protocol:
    """Data, split, choices, spec, versions, machine, cost, and published results on the same test set."""

    order = 80
    Params = NoParams

    def report(self, record: RunRecord, params: NoParams) -> Section:
        """State what the run's files tell of how its figures came about."""
        if not record.manifest:
            raise MissingRecord("manifest.json is missing or can't be read: nothing is known of data and machine")
        facts = _facts(record)
        changed = differences(RunSpec(recipe=record.spec.recipe), record.spec)
        tables = [Table("Protocol", (Column("What"), Column("Value")), tuple(facts.items()))]
        rows = tuple((field, _plain(recipe), _plain(value)) for field, (recipe, value) in changed.items())
        columns = (Column("Field"), Column("Recipe"), Column("This run"))
        tables.append(Table(f"Where the spec departs from the recipe {record.spec.recipe}", columns, rows))
        edition = _edition(record)
        if edition is not None and edition.name in PUBLISHED:
            tables.append(_published(record, edition))
        return Section(
            title="Protocol",
            reading=_reading(record),
            tables=tuple(tables),
            values={
                "fingerprint": _dig(record.manifest, "data", "fingerprint"),
                "edition": edition.name if edition else None,
                "seed": record.spec.seed,
                "image_passes": image_passes(record),
                "spec_changes": {field: {"recipe": a, "run": b} for field, (a, b) in changed.items()},
            },
        )


def image_passes(record: RunRecord) -> int:
    """Training images that went through the network forward and backward."""
    steps = (row.get("images", 0) for row in record.history if row.get("type") == "step")
    return sum(number for number in steps if isinstance(number, int))


def _facts(record: RunRecord) -> dict[str, str]:
    spec, data = record.spec, record.manifest.get("data") or {}
    seconds, passes = record.status.get("seconds"), image_passes(record)
    hardware = record.manifest.get("hardware") or {}
    machine = ", ".join(str(hardware[key]) for key in ("processor", "gpu", "platform") if hardware.get(key))
    versions = {"ahekit": record.manifest.get("ahekit"), **(record.manifest.get("versions") or {})}
    facts = {
        "dataset": str(data.get("name") or ""),
        "fingerprint": f"{data['fingerprint']} (SHA-256 of ids and files)" if data.get("fingerprint") else "",
        "edition": _edition_text(record),
        "images": _counts(data.get("counts")),
        "refused": counted(len(data.get("refused") or []), "file"),
        "split": _split(record),
        "epoch chosen on": f"validation {MONITORED[spec.train.monitor]}; test was measured for the curves, and "
        "nothing was chosen on it",
        "thresholds chosen on": "validation, as was the temperature",
        "seed": str(spec.seed),
        "training cost": f"{passes:,d} image passes" if passes else "",
        "time": f"{seconds / 60:.1f} minutes" if isinstance(seconds, int | float) else "",
        "hardware": f"{machine}, {hardware.get('cores')} cores" if machine else "",
        "precision": f"{spec.runtime.precision} on {spec.runtime.device}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }
    return {label: value for label, value in facts.items() if value}


def _counts(counts: Any) -> str:
    if not isinstance(counts, Mapping):
        return ""
    return ", ".join(f"{sum(found.values()):,d} {_LABELS.get(split, split)}" for split, found in counts.items())


def _split(record: RunRecord) -> str:
    data = record.spec.data
    names = _dig(record.manifest, "splits", "test")
    own = isinstance(names, list) and names and all(str(name).startswith("test/") for name in names)
    test = "the dataset's own test images" if own else f"{data.test_fraction:.0%} cut as test"
    rule = _dig(record.manifest, "splits", "grouped_by") or "none"
    series = "" if rule == "none" else f" and series (data.group_by {rule})"
    return (
        f"{test}; {data.val_fraction:.0%} of the training images as validation, stratified by class, near-copies "
        f"(thumbnail correlation {data.near_copy_threshold:g}){series} on one side, seed {record.spec.seed}"
    )


def _edition(record: RunRecord) -> Edition | None:
    """The published edition whose training images these are, by their number in each class."""
    counts = _dig(record.manifest, "data", "counts")
    if not isinstance(counts, Mapping) or set(record.manifest.get("class_names", ())) != set(AHE_CLASSES):
        return None
    found = {name: sum((counts.get(split) or {}).get(name, 0) for split in ("train", "val")) for name in AHE_CLASSES}
    return next((edition for edition in EDITIONS if edition.train == found), None)


def _edition_text(record: RunRecord) -> str:
    noted = _dig(record.manifest, "data", "edition")
    if noted:
        return str(noted)
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
    seconds, passes = record.status.get("seconds"), image_passes(record)
    took = f" in {seconds / 60:.0f} minutes" if isinstance(seconds, int | float) else ""
    cost = f" Training took {passes:,d} image passes{took}." if passes else ""
    return (
        "Every choice was made on validation images cut from the training images; the test images had no part in any."
        f"{cost} `ahekit train --spec spec.yaml`, with the run folder's own spec.yaml, repeats the run."
    )


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _dig(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


PUBLISHED = {
    "64-px edition": (
        ("small CNNs from scratch", "0.71–0.76", "as published; how the epoch was chosen is not always told"),
        ("ResNet from scratch", "0.85", "224 px"),
        ("fine-tuned ResNet50", "0.93", "64 px; pretrained on ImageNet"),
        ("larger fine-tuned networks", "0.944–0.949", "224 px; pretrained; best epoch picked on the test images"),
    )
}
"""By edition: what was trained, its accuracy, its caveat."""
