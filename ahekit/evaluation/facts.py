"""What a run was, told in words that the report, its protocol and `ahekit runs` share."""

from __future__ import annotations

from ahekit.evaluation.record import RunRecord
from ahekit.notes import DataNote, Manifest

SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}


def run_line(record: RunRecord) -> str:
    """What a run was, in one line."""
    spec = record.spec
    return f"{spec_line(record)}, recipe {spec.recipe}, seed {spec.seed}, {record.state}"


def spec_line(record: RunRecord) -> str:
    """Model and data."""
    return f"{record.spec.model.name} on {record.manifest.data.name or 'unknown data'}"


def model_words(record: RunRecord) -> str:
    """The model and how many parameters it has."""
    total = record.manifest.parameters.total
    trainable = record.manifest.parameters.trainable
    if total is None:
        return record.spec.model.name
    part = f", {trainable:,d} of them trained" if trainable is not None and trainable != total else ""
    return f"{record.spec.model.name}, {total:,d} parameters{part}"


def data_words(record: RunRecord) -> str:
    """The dataset, its edition and the size of its images; nothing where no dataset is named."""
    data = record.manifest.data
    if not data.name:
        return ""
    size = f" at {record.spec.data.image_size} px" if record.spec.data.image_size else ""
    what = "embedded sample of drawings" if record.is_sample else data.edition
    return f"{data.name}{f' ({what})' if what else ''}{size}"


def images_words(data: DataNote) -> str:
    """How many images each split has; nothing where that isn't known."""
    totals = {split: data.images(split) for split in data.counts}
    return ", ".join(f"{total:,d} {SPLIT_WORDS.get(split, split)}" for split, total in totals.items() if total)


def refused_words(data: DataNote, *, named: int) -> str:
    """How many files were left out, and why the first of them were; nothing where none was."""
    refused = data.refused
    if not refused:
        return ""
    reasons = [f"{file.id} ({file.reason})" for file in refused[:named] if file.id]
    if len(reasons) < len(refused) and reasons:
        reasons.append(f"and {len(refused) - len(reasons)} more in manifest.json")
    return f"{len(refused)}: {'; '.join(reasons)}" if reasons else str(len(refused))


def recipe_words(record: RunRecord) -> str:
    """Recipe, optimizer, schedule, images per optimizer step, seed."""
    optim = record.spec.optim
    return (
        f"{record.spec.recipe}: {optim.name}, {record.spec.schedule.name} schedule, {optim.batch_size} × "
        f"{optim.accumulation_steps} images per optimizer step, seed {record.spec.seed}"
    )


def time_words(record: RunRecord, *, digits: int = 1) -> str:
    """How long it took; nothing where that isn't known."""
    seconds = record.status.seconds
    return "" if seconds is None else f"{seconds / 60:.{digits}f} minutes"


def length_words(record: RunRecord) -> str:
    """How many epochs were trained, in which time, and how it ended."""
    took = time_words(record)
    reason = record.status.reason
    extended = "".join(f", after {note.epochs} had ended it" for note in record.manifest.extended)
    return (
        f"{len(record.epochs)} of {record.spec.train.epochs} epochs{extended}{f' in {took}' if took else ''}; "
        f"{record.state}" + (f": {reason}" if reason else "")
    )


def weights_words(record: RunRecord) -> str:
    """Which epoch's weights were chosen, and by what; nothing where none was measured."""
    row = record.chosen_epoch
    monitored = record.monitored
    if row is None or monitored is None:
        return ""
    measured = "{} {:.3f}".format(*monitored)
    if record.state != "finished":
        return f"best on validation so far: epoch {row.epoch} ({measured})"
    return f"of epoch {row.epoch}, chosen on validation ({measured}); test had no part in any choice"


def versions_words(manifest: Manifest) -> str:
    """Versions of ahekit, Python and the libraries, as far as they are known."""
    versions = {"ahekit": manifest.ahekit, "python": manifest.hardware.python, **manifest.versions}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def image_passes(record: RunRecord) -> int:
    """Training images that went through the network forward and backward."""
    return sum(row.images for row in record.history.steps)


def setting_words(value: object) -> str:
    """A field's value of the run spec."""
    return "none" if value is None else str(value)
