"""Trainings that a benchmark keeps: one folder each, trained once, gone on with where they were interrupted."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The command line's arguments, and the flags of `ahekit train` that follow a `--`."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    return parser.parse_args(words[:end]), words[end + 1 :]


def kept_runs(jobs: Mapping[Path, Sequence[str]], *, together: int = 1) -> list[Path]:
    """`kept_run` of several folders and their arguments, so many at a time, each on its share of the cores."""
    threads = ["--set", f"runtime.threads={max(1, (os.cpu_count() or 1) // together)}"] if together > 1 else []
    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(lambda job: kept_run(job[0], [*job[1], *threads]), jobs.items()))


def kept_run(folder: Path, arguments: Sequence[str]) -> Path:
    """The finished run in a folder; trained by `ahekit ARGUMENTS` where there is none, resumed where it was broken off.

    Raises:
        CalledProcessError: The training ended with an error, or was interrupted.
    """
    states = {run.parent: json.loads(run.read_text(encoding="utf-8")) for run in sorted(folder.glob("*/status.json"))}
    for run, status in states.items():
        if status.get("state") == "finished":
            return run
    begun = [run for run in states if any((run / "checkpoints").glob("step-*"))]
    program = [sys.executable, "-m", "ahekit"]
    if begun:
        print(f"going on with {begun[-1]}", flush=True)
        subprocess.run([*program, "resume", str(begun[-1]), "--quiet"], check=True)
        return begun[-1]
    print(f"training {folder.name}", flush=True)
    subprocess.run([*program, *arguments, "--runs", str(folder), "--quiet"], check=True)
    return max(folder.glob("*/status.json"), key=lambda status: status.stat().st_mtime).parent
