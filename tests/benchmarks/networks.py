"""What each of some finished runs costs and reaches, as a row of the results' table of networks.

    python -m tests.benchmarks.networks RUN ...

Parameters and multiply-adds (for one image of the run's size) are counted in the network as it is built; minutes are
those of the run's own clock, from the first step to the last; accuracy has its Wilson interval, macro-F1 its bootstrap
interval of 10,000 resamples, both on the run's test predictions, and so is the expected calibration error, in 15 bins.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ahekit.evaluation.calibration import confidences, reliability
from ahekit.evaluation.intervals import wilson_interval
from ahekit.evaluation.resampling import resample
from ahekit.inspection.summary import summarize
from ahekit.run import Run
from ahekit.trained import load_trained

HEAD = "| Network | Accuracy | Macro-F1 | ECE | Minutes | Pixels | Parameters | Multiply-adds |"


def row_of(run: Run) -> str:
    """A run's row."""
    summary = summarize(load_trained(run, device="cpu").built)
    predictions = run.predictions()["test"]
    answers = confidences(predictions)
    right, images = int(answers.correct.sum()), len(answers.correct)
    accuracy = wilson_interval(right, images)
    resampled = resample(predictions)
    cells = (
        run.name,
        f"{right / images:.3f} ({accuracy})",
        f"{resampled.values['macro_f1']:.3f} ({resampled.interval('macro_f1')})",
        f"{reliability(answers).ece:.3f}",
        f"{(run.status.seconds or 0) / 60:.1f}",
        str(run.spec.data.image_size),
        f"{summary.parameters / 1e6:.2f} M",
        f"{summary.multiply_adds / 1e9:.3f} G",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Tell them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n")
    for path in parser.parse_args().runs:
        print(row_of(Run.open(path)), flush=True)


if __name__ == "__main__":
    main()
