"""A network's outputs for the images of a run and for pictures of none of its classes, for the other benchmarks here.

    python tests/benchmarks/outputs.py RUN DATA OUT.npz [--others FOLDER] [--train-per-class 300] [--threads 1]

DATA is the dataset's folder (`train/CLASS/…`, `test/CLASS/…`), FOLDER holds folders of other pictures (`far`, `near`).
Every picture is decoded from its file at its own size, as `ahekit predict` does. Written are, for each of val, test,
train and the folders of FOLDER, arrays `<name>_logits`, `<name>_embeddings` (16-bit), `<name>_labels`, `<name>_ids`,
and `head_weight`, `head_bias` and `class_names`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ahekit.data.augment import normalize
from ahekit.data.classes import normalize_class
from ahekit.data.decode import decode
from ahekit.run import find_run
from ahekit.trained import Trained, load_trained

BATCH = 64


def labelled(ids: Sequence[str], class_names: Sequence[str]) -> NDArray[np.int64]:
    """The class of each sample id, from its folder."""
    return np.array([class_names.index(normalize_class(name.split("/")[1])) for name in ids])


def some_of_each(labels: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """Places of so many images of each class, drawn at random."""
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def outputs(trained: Trained, files: Sequence[Path]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Logits and embeddings of picture files."""
    built = trained.built
    _, head = built.split(list(built.stages)[-1])
    logits = []
    embeddings = []
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            pixels = np.stack([decode(file, built.preprocessing) for file in files[start : start + BATCH]])
            embedding = built.embed(normalize(pixels, built.preprocessing))
            embeddings.append(embedding.numpy().astype(np.float16))
            logits.append(head(embedding).numpy())
    return np.concatenate(logits), np.concatenate(embeddings)


def main() -> None:
    """Write the file, and print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--train-per-class", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = find_run(options.run.parent, options.run.name)
    trained = load_trained(run, device="cpu")
    names = list(trained.class_names)
    splits = run.manifest.splits
    training = np.array(splits.train)
    training = training[some_of_each(labelled(splits.train, names), options.train_per_class)]
    parts = {"val": list(splits.val), "test": list(splits.test), "train": training.tolist()}
    files = {part: [options.data / name for name in ids] for part, ids in parts.items()}
    for folder in sorted(options.others.iterdir()) if options.others else ():
        if folder.is_dir():
            files[folder.name] = sorted(folder.iterdir())
    head = [module for module in trained.built.module.modules() if isinstance(module, torch.nn.Linear)][-1]
    arrays: dict[str, NDArray[np.generic]] = {
        "class_names": np.array(names),
        "head_weight": head.weight.detach().numpy(),
        "head_bias": head.bias.detach().numpy(),
    }
    for part, paths in files.items():
        started = time.perf_counter()
        logits, embeddings = outputs(trained, paths)
        ids = parts.get(part, [path.name for path in paths])
        labels = labelled(ids, names) if part in parts else np.full(len(ids), -1)
        arrays |= {f"{part}_logits": logits, f"{part}_embeddings": embeddings}
        arrays |= {f"{part}_labels": labels, f"{part}_ids": np.array(ids)}
        np.savez(options.out, **arrays)
        print(f"{part}: {len(ids)} pictures, {len(ids) / (time.perf_counter() - started):.1f} a second", flush=True)


if __name__ == "__main__":
    main()
