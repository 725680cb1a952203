"""A model's outputs for the images of its run and for pictures of none of its classes, for the other benchmarks here.

    python tests/benchmarks/outputs.py RUN OUT.npz [--model MODEL] [--others FOLDER]

MODEL is the folder that the run was exported to; without it the run is exported first where that hasn't been done. An
export computes the outputs of all images of the run. FOLDER holds folders of other pictures (`far`, `near`), which are
decoded and looked at as `ahekit predict` does. Written are, for train, val, test and each folder of FOLDER, arrays
`<name>_logits`, `<name>_embeddings`, `<name>_labels` and `<name>_ids`, and `head_weight`, `head_bias`, `class_names`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ahekit.data.decode import decode
from ahekit.export.outputs import FOLDER, RunImages
from ahekit.model_folder import read_model_folder
from ahekit.opening import folder_of_run, open_folder
from ahekit.prediction.predictor import Predictor
from ahekit.run import find_run
from ahekit.trained import load_trained

BATCH = 64


def of_files(predictor: Predictor, files: list[Path]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Logits and embeddings of picture files."""
    logits = []
    embeddings = []
    for start in range(0, len(files), BATCH):
        pixels = np.stack([decode(file, predictor.preprocessing) for file in files[start : start + BATCH]])
        batch = predictor(pixels)
        logits.append(batch[0])
        embeddings.append(batch[1])
    return np.concatenate(logits), np.concatenate(embeddings)


def main() -> None:
    """Write the file, and print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    run = find_run(options.run.parent, options.run.name)
    folder = read_model_folder(options.model) if options.model else folder_of_run(run, device="cpu", tell=print)
    predictor = open_folder(folder, device="cpu")
    trained = load_trained(run, device="cpu")
    head = [module for module in trained.built.module.modules() if isinstance(module, torch.nn.Linear)][-1]
    arrays: dict[str, Any] = {
        "class_names": np.array(predictor.class_names),
        "head_weight": head.weight.detach().numpy(),
        "head_bias": head.bias.detach().numpy(),
    }
    images = RunImages.of(run, trained.built.preprocessing)
    newest = max((run.path / FOLDER).glob("train-val-test-*.safetensors"), key=lambda file: file.stat().st_mtime)
    kept = load_file(newest)
    for split in ("train", "val", "test"):
        outputs = images.outputs(split, kept[f"{split}.logits"], kept[f"{split}.embeddings"])
        arrays |= {f"{split}_logits": outputs.logits, f"{split}_embeddings": outputs.embeddings}
        arrays |= {f"{split}_labels": outputs.labels, f"{split}_ids": np.array(outputs.ids)}
        print(f"{split}: {len(outputs.ids)} images")
    for place in sorted(options.others.iterdir()) if options.others else ():
        if not place.is_dir():
            continue
        started = time.perf_counter()
        files = sorted(place.iterdir())
        logits, embeddings = of_files(predictor, files)
        arrays |= {f"{place.name}_logits": logits, f"{place.name}_embeddings": embeddings}
        arrays |= {f"{place.name}_labels": np.full(len(files), -1), f"{place.name}_ids": np.array(files, dtype=str)}
        print(f"{place.name}: {len(files)} pictures, {len(files) / (time.perf_counter() - started):.1f} a second")
    np.savez(options.out, **arrays)


if __name__ == "__main__":
    main()
