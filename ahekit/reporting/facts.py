"""What a run was, in a dozen lines: model, data, recipe, length, machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ahekit.evaluation.record import RunRecord

_NAMED_REFUSALS = 5


def run_facts(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Label and value of each fact that the run's files tell; what they don't is left out."""
    makers = {
        "Model": _model,
        "Data": _data,
        "Images": _images,
        "Refused images": _refused,
        "Recipe": _recipe,
        "Trained": _length,
        "Weights": _weights,
        "Machine": _machine,
        "Versions": _versions,
    }
    found = ((label, make(record)) for label, make in makers.items())
    return tuple((label, value) for label, value in found if value)


def run_line(record: RunRecord) -> str:
    """What a run was, in one line."""
    spec, name = record.spec, _dig(record.manifest, "data", "name")
    return f"{spec.model.name} on {name or 'unknown data'}, recipe {spec.recipe}, seed {spec.seed}, {record.state}"


def _model(record: RunRecord) -> str:
    total, trainable = (_dig(record.manifest, "parameters", key) for key in ("total", "trainable"))
    if not isinstance(total, int):
        return record.spec.model.name
    part = f", {trainable:,d} of them trained" if isinstance(trainable, int) and trainable != total else ""
    return f"{record.spec.model.name}, {total:,d} parameters{part}"


def _data(record: RunRecord) -> str:
    name, edition = _dig(record.manifest, "data", "name"), _dig(record.manifest, "data", "edition")
    size = f" at {record.spec.data.image_size} px" if record.spec.data.image_size else ""
    what = "embedded sample of drawings" if record.is_sample else edition
    return f"{name}{f' ({what})' if what else ''}{size}" if name else ""


def _images(record: RunRecord) -> str:
    counts = _dig(record.manifest, "data", "counts")
    if not isinstance(counts, Mapping):
        return ""
    totals = {split: sum(by_class.values()) for split, by_class in counts.items() if isinstance(by_class, Mapping)}
    return ", ".join(f"{split} {total:,d}" for split, total in totals.items())


def _refused(record: RunRecord) -> str:
    refused = _dig(record.manifest, "data", "refused") or []
    named = [f"{refusal.get('id')} ({refusal.get('reason')})" for refusal in refused[:_NAMED_REFUSALS]]
    more = len(refused) - len(named)
    return (
        f"{len(refused)}: {'; '.join(named)}{f'; and {more} more in manifest.json' if more else ''}" if refused else ""
    )


def _recipe(record: RunRecord) -> str:
    optim = record.spec.optim
    return (
        f"{record.spec.recipe}: {optim.name}, {record.spec.schedule.name} schedule, {optim.batch_size} × "
        f"{optim.accumulation_steps} images per optimizer step, seed {record.spec.seed}"
    )


def _length(record: RunRecord) -> str:
    seconds = record.status.get("seconds")
    took = f" in {seconds / 60:.1f} minutes" if isinstance(seconds, int | float) else ""
    reason = record.status.get("reason")
    state = f"; {record.state}{f': {reason}' if reason else ''}"
    return f"{len(record.epochs)} of {record.spec.train.epochs} epochs{took}{state}"


def _weights(record: RunRecord) -> str:
    row, monitored = record.chosen_epoch, record.monitored
    if row is None or monitored is None:
        return ""
    measured = "{} {:.3f}".format(*monitored)
    if record.state != "finished":
        return f"best on validation so far: epoch {row.get('epoch')} ({measured})"
    return f"of epoch {row.get('epoch')}, chosen on validation ({measured}); test had no part in any choice"


def _machine(record: RunRecord) -> str:
    parts = [_dig(record.manifest, "hardware", key) for key in ("processor", "gpu", "platform")]
    cores = _dig(record.manifest, "hardware", "cores")
    return ", ".join(str(part) for part in [*parts[:1], f"{cores} cores" if cores else None, *parts[1:]] if part)


def _versions(record: RunRecord) -> str:
    versions = {
        "ahekit": _dig(record.manifest, "ahekit"),
        "python": _dig(record.manifest, "hardware", "python"),
        **(_dig(record.manifest, "versions") or {}),
    }
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _dig(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
