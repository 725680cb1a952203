"""Every headline figure with its 95 % interval."""

from __future__ import annotations

from ahekit.evaluation.ranking import Ranked, average_precision, roc_auc
from ahekit.evaluation.record import SPLIT_NAMES, RunRecord, judged_predictions
from ahekit.evaluation.resampling import TOP, Resampled, resample
from ahekit.protocols import BootstrapParams
from ahekit.sections import Cell, Column, Section, Table
from ahekit.wording import counted

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "top3": f"top-{TOP} accuracy",
    "macro_f1": "macro-F1",
    "kappa": "Cohen's kappa",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
}
_MEANING = {
    "accuracy": "share of the images predicted correctly",
    "balanced_accuracy": "mean recall of the classes",
    "top3": f"the true class is among the {TOP} most likely",
    "macro_f1": "mean F1 of the classes",
    "kappa": "agreement beyond chance; 0 is chance, 1 perfect",
    "roc_auc": "one class against the rest, mean of the classes",
    "average_precision": "one class against the rest, mean of the classes",
    "log_loss": "nats; lower is better",
}
_COLUMNS = (
    Column("Figure"),
    Column("Value", ".3f", "right"),
    Column("From", ".3f", "right"),
    Column("To", ".3f", "right"),
    Column("What it is"),
    Column("Interval by"),
)


class Intervals:
    """Accuracy, balanced accuracy, top-3, macro-F1, kappa, ROC-AUC, average precision and log loss with intervals."""

    order = 15

    Params = BootstrapParams

    def report(self, record: RunRecord, params: BootstrapParams) -> Section:
        """Resample the test predictions (those on validation when there are none) once for all figures that add up."""
        split, predictions = judged_predictions(record)
        resampled = resample(predictions, samples=params.resamples, seed=params.seed)
        ranked = {
            "roc_auc": roc_auc(predictions),
            "average_precision": average_precision(predictions, samples=params.resamples, seed=params.seed),
        }
        rows = {name: _row(name, resampled, ranked) for name in NAMES if name in {*resampled.values, *ranked}}
        images = int((predictions.labels >= 0).sum())
        return Section(
            title=f"Every figure with its interval, {SPLIT_NAMES[split]}",
            reading=_reading(rows, images),
            tables=(_table(split, rows, images),),
            values={
                "split": split,
                "figures": {
                    name: {"value": row[1], "low": row[2], "high": row[3], "method": row[5]}
                    for name, row in rows.items()
                },
            },
        )


def _row(name: str, resampled: Resampled, ranked: dict[str, Ranked]) -> tuple[Cell, ...]:
    if name in ranked:
        value = ranked[name].value
        interval = ranked[name].interval
    else:
        value = float(resampled.values[name])
        interval = resampled.interval(name)
    if interval is None:
        return NAMES[name], None, None, None, _MEANING[name], None
    return NAMES[name], value, interval.low, interval.high, _MEANING[name], interval.method


def _table(split: str, rows: dict[str, tuple[Cell, ...]], images: int) -> Table:
    note = (
        f"95% intervals over draws of {counted(images, 'image')}. Shares of the images have Wilson's interval; what "
        "rests on the confusion matrix shares one resampling of it, smoothed so that a class that is always right in "
        "these images need not be so in others; ROC-AUC and average precision sort the images anew. Another seed of "
        "training moves the figures as well, and is not in the intervals."
    )
    return Table(f"Figures and 95% intervals, {SPLIT_NAMES[split]}", _COLUMNS, tuple(rows.values()), note)


def _reading(rows: dict[str, tuple[Cell, ...]], images: int) -> str:
    widths = {
        name: float(row[3]) - float(row[2])
        for name, row in rows.items()
        if isinstance(row[2], float) and isinstance(row[3], float)
    }
    sentences = [
        f"With {counted(images, 'image')} accuracy is known to within ±{widths['accuracy'] / 2:.3f} and macro-F1 to "
        f"within ±{widths['macro_f1'] / 2:.3f}: two networks whose figures differ by less can't be told apart by these "
        "figures alone."
    ]
    if "top3" in rows:
        sentences.append(f"The true class is among the {TOP} most likely in {rows['top3'][1]:.1%} of the images.")
    return " ".join(sentences)
