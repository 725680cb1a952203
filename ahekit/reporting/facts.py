"""The facts that head a report: model, data, recipe, length, machine."""

from __future__ import annotations

from ahekit.evaluation import facts
from ahekit.evaluation.record import RunRecord

_NAMED_REFUSALS = 5


def run_facts(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Label and value of each fact that the run's files tell; what they don't is left out."""
    data = record.manifest.data
    told = {
        "Model": facts.model_words(record),
        "Data": facts.data_words(record),
        "Images": facts.images_words(data),
        "Refused images": facts.refused_words(data, named=_NAMED_REFUSALS),
        "Recipe": facts.recipe_words(record),
        "Trained": facts.length_words(record),
        "Weights": facts.weights_words(record),
        "Machine": record.manifest.hardware.words,
        "Versions": facts.versions_words(record.manifest),
    }
    return tuple((label, value) for label, value in told.items() if value)
