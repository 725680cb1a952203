"""How fast photos are predicted, beside what decoding them and the bare network take of the processor.

    python -m tests.benchmarks.predict_rate [--model MODEL] [--rounds 5] [--folder FOLDER]

In turns, in one process: the processor time of decoding (read, decode at reduced scale, fit) and of the network alone
(batches as the engine makes them), each on all cores, one thread a core; then the whole of it, photos to survey, on all
cores; then the first two again, of which the mean counts, because machines drift. The rate that decoding and network
allow is cores / (their seconds per photo). Told are the rate reached as a share of that one, by the clock (true when
nothing else runs), and the share of all processor time that went into decoding and network (true under load as well):
medians over rounds, and their range.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from ahekit.data.decode import fit, needed_side, quiet_pillow
from ahekit.opening import open_predictor
from ahekit.prediction.deciding import Rule
from ahekit.prediction.engine import BATCH, look_at, usable_cores
from ahekit.prediction.looking import read_photo
from ahekit.prediction.photos import find_photos
from ahekit.prediction.predictor import Predictor
from ahekit.prediction.survey import Survey, SurveyModel
from ahekit.prediction.surveying import prepare
from tests.benchmarks.predict_photos import make_photos

COUNTS = {"12mp": 320, "1mp": 640, "128px": 1600}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder or run; without it the one of the package")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="12mp,1mp,128px")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of photos")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "ahekit-predict-rate")
    options = parser.parse_args()
    predictor = open_predictor(options.model, root=Path("runs"), device="cpu", threads=1)
    cores = usable_cores()
    print(f"{predictor.name}, {predictor.engine}, {predictor.preprocessing.size} px; {cores} cores", flush=True)
    for kind in options.kinds.split(","):
        count = max(BATCH, int(COUNTS[kind] * options.scale) // BATCH * BATCH)
        files = find_photos([str(make_photos(options.folder / kind, kind, count))]).files[:count]
        rounds = [one_round(predictor, files, options.folder / "survey", cores) for _ in range(options.rounds)]
        decoding, network, rate, clock, processor = (statistics.median(column) for column in zip(*rounds, strict=True))
        clocks, processors = ([row[place] for row in rounds] for place in (3, 4))
        print(
            f"{kind}: decoding {decoding * 1000:.1f} ms, network {network * 1000:.1f} ms of one core; allowed "
            f"{cores / (decoding + network):.1f}/s, reached {rate:.1f}/s, {clock:.3f} of it by the clock "
            f"({min(clocks):.3f}-{max(clocks):.3f}); {processor:.3f} of the processor's time "
            f"({min(processors):.3f}-{max(processors):.3f}); load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def one_round(
    predictor: Predictor, files: list[str], folder: Path, cores: int
) -> tuple[float, float, float, float, float]:
    """Seconds a photo of decoding and of the network, photos a second, and the two shares."""
    before = bare(predictor, files, cores)
    shutil.rmtree(folder, ignore_errors=True)
    model = SurveyModel(predictor.name, predictor.fingerprint, predictor.class_names)
    with Survey.create(folder, model) as survey:
        acceptance = predictor.decider.accept(Rule())
        tasks = prepare(survey, find_photos(files)).plan.tasks
        begun, started = time.process_time(), time.perf_counter()
        look_at(survey, tasks, predictor, predictor.decider, acceptance)
        seconds, processor = time.perf_counter() - started, time.process_time() - begun
    after = bare(predictor, files, cores)
    decoding, network = ((first + second) / 2 for first, second in zip(before, after, strict=True))
    rate = len(files) / seconds
    needed = decoding + network
    return decoding, network, rate, rate * needed / cores, needed * len(files) / processor


def bare(predictor: Predictor, files: list[str], cores: int) -> tuple[float, float]:
    """Seconds of processor time a photo that decoding and the network alone take, each on all cores."""
    with ThreadPoolExecutor(cores) as pool:
        begun = time.process_time()
        with quiet_pillow():
            pixels = np.stack(list(pool.map(partial(decoded, predictor=predictor), files)))
        decoding = (time.process_time() - begun) / len(files)
        begun = time.process_time()
        batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        list(pool.map(predictor, batches))
        network = (time.process_time() - begun) / len(files)
    return decoding, network


def decoded(file: str, predictor: Predictor) -> NDArray[np.uint8]:
    """A photo as the network's pixels."""
    picture = read_photo(Path(file).read_bytes(), file, shorter_side=needed_side(predictor.preprocessing))
    return fit(picture.image, predictor.preprocessing)


if __name__ == "__main__":
    main()
