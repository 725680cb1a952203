"""Which engine asks a network faster on a processor, and how soon after the command the first answer is there.

    python tests/benchmarks/predict_engines.py MODEL [--batch 32] [--threads 2] [--rounds 7] [--starts 3]

MODEL is a model folder with an ONNX file (`ahekit export --onnx`). The contenders take turns on one batch of noise:

- module: the network as its plugin builds it, its maps with their channels last in memory.
- list: `network.json`, BatchNorm folded into the convolutions; what ahekit runs where onnxruntime isn't installed.
- onnxruntime: `model.onnx`.

Reported are medians over the rounds: images per second, and per second of processor time, which other work on the
machine disturbs less. A start is a new process that opens the folder and asks it about one picture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

START = """
import sys, time
from pathlib import Path
import numpy as np
from ahekit.opening import open_folder
from ahekit.model_folder import read_model_folder
predictor = open_folder(read_model_folder(Path(sys.argv[1])), device="cpu", engine=sys.argv[2])
size = predictor.preprocessing.size
predictor(np.zeros((1, size, size, 3), dtype=np.uint8))
"""


def contenders(path: Path, threads: int) -> dict[str, Callable[[Any], Any]]:
    import onnxruntime
    import torch

    from ahekit.model_folder import ONNX, read_model_folder
    from ahekit.opening import open_folder, torch_runner
    from ahekit.trained import load_trained_folder

    folder = read_model_folder(path)
    listed = open_folder(folder, device="cpu", engine="torch")
    built = load_trained_folder(folder, device="cpu").built
    built.module.to(memory_format=torch.channels_last)

    def module(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            prefix, head = built.split(list(built.stages)[-1])
            embedding = prefix(images)
            return head(embedding), embedding.flatten(1)

    mean = folder.preprocessing.mean
    eager = torch_runner(module, mean, folder.preprocessing.std, torch.device("cpu"))
    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder.path / ONNX, options, providers=["CPUExecutionProvider"])
    return {
        "module": eager,
        "list": listed,
        "onnxruntime": lambda pixels: session.run(["logits", "embedding"], {"pixels": pixels}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    for engine in ("torch", "onnxruntime"):
        seconds = []
        spent = []
        for _ in range(options.starts):
            before = (time.perf_counter(), sum(os.times()[2:4]))
            subprocess.run([sys.executable, "-c", START, str(options.model), engine], check=True)
            seconds.append(time.perf_counter() - before[0])
            spent.append(sum(os.times()[2:4]) - before[1])
        print(
            f"start, {engine}: {statistics.median(seconds):.1f} s, {statistics.median(spent):.1f} s of processor time"
        )
    from ahekit.model_folder import read_model_folder

    size = read_model_folder(options.model).preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 255, (options.batch, size, size, 3), dtype=np.uint8)
    engines = contenders(options.model, options.threads)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for run in engines.values():
        run(pixels)
    for _ in range(options.rounds):
        for name, run in engines.items():
            began = time.perf_counter()
            worked = time.process_time()
            run(pixels)
            rates[name].append((time.perf_counter() - began, time.process_time() - worked))
    for name, times in rates.items():
        wall = options.batch / statistics.median(each for each, _ in times)
        processor = options.batch / statistics.median(each for _, each in times)
        print(f"{name}: {wall:.1f} images/s, {processor:.1f} per second of processor time")


if __name__ == "__main__":
    main()
