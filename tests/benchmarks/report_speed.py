"""How long reports take: a run with stored predictions, and a table of 200,000 predictions.

    python tests/benchmarks/report_speed.py RUN     all sections and all files of a run, 10,000 resamples
    python tests/benchmarks/report_speed.py table   200,000 simulated predictions of ten classes

Each prints seconds by the clock and of the processor, and the process's largest resident memory.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ahekit.cli.report import look_into
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import RunRecord
from ahekit.reporting.build import build_report
from ahekit.reporting.files import report_files
from ahekit.run import Run
from ahekit.spec import RunSpec

IMAGES, CLASSES = 200_000, 10


def simulated(seed: int) -> Predictions:
    """Predictions that are right in about nine of ten images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, IMAGES)
    logits = rng.normal(size=(IMAGES, CLASSES)).astype(np.float32)
    logits[np.arange(IMAGES), labels] += 3.2
    ids = tuple(f"test/class{label}/{number:06d}.jpg" for number, label in enumerate(labels))
    return Predictions(ids, labels, logits, tuple(f"class{label}" for label in range(CLASSES)))


def table_record(folder: Path) -> RunRecord:
    """A finished run of nothing but simulated predictions on test and validation."""
    manifest = {"data": {"name": "simulated", "kind": "folder"}}
    run = Run.create(folder, RunSpec(), manifest)
    run.write_predictions("test", simulated(0))
    run.write_predictions("val", simulated(1))
    run.write_status("finished")
    return run.record()


def measure(record: RunRecord, out: Path) -> None:
    """Build and render a report, and print what it took."""
    start, used = time.perf_counter(), time.process_time()
    report = build_report(record)
    built, computing = time.perf_counter(), time.process_time()
    _, files = report_files(report, ["html", "md", "json"])
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    done, drawing = time.perf_counter(), time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"sections: {', '.join(section.name for section in report.sections)}")
    for missing in report.missing:
        print(f"missing:  {missing.section}: {missing.reason}")
    print(f"computed in {built - start:.1f} s ({computing - used:.1f} s of the processor)")
    print(f"drawn and written in {done - built:.1f} s ({drawing - computing:.1f} s); {memory:.2f} GiB at most")
    print(f"report.html: {len(files['report.html']) / 2**20:.2f} MiB")


def main() -> None:
    """Measure what the command line names."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1] == "table":
            measure(table_record(Path(folder) / "runs"), Path(folder))
        else:
            run = Run.open(Path(sys.argv[1]))
            measure(replace(run.record(), look=partial(look_into, run)), Path(folder))


if __name__ == "__main__":
    main()
