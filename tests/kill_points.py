"""Kill runs where it hurts, resume them, and compare what they end in with unbroken runs, by SHA-256.

    python tests/kill_points.py [--points 40] [--folder FOLDER]

Each of three small runs (a plain one, one that stops early, one on a frozen prefix) is first made unbroken while its
events are counted: every file that is synced, renamed or removed, every optimizer step, every measurement. Then it is
made again and again in processes of their own that kill themselves (SIGKILL, which nobody can catch) at events spread
evenly over its whole life, from the first file to the last prediction; each is resumed, or started anew where there was
no run yet, and has to end in the same weights, average, predictions, choice and history.

Processes are forked from one that has imported everything, so that a point takes a second or two.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

SMALL = (
    *("--image-size=16", "--batch-size=4", "--accum=3", "--device=cpu", "--precision=fp32", "--quiet"),
    *("--set=runtime.threads=1", "--set=train.checkpoint_minutes=1e-9"),
)
CNN5 = ("--set=model.params.channels=[4, 4, 8, 8, 8]", "--set=model.params.hidden=[16, 16, 16]")
CASES: dict[str, tuple[str, ...]] = {
    "plain": ("train", *SMALL, *CNN5, "--epochs=2"),
    "early-stop": ("train", *SMALL, *CNN5, "--epochs=30", "--patience=1", "--lr=1e-9"),
    "prefix": (
        *("finetune", *SMALL, "--backbone=mobilenetv3_small_050", "--weights=none", "--image-size=32", "--epochs=2"),
        *("--freeze=backbone", "--views=2"),
    ),
}


def make_pictures(root: Path) -> Path:
    """Forty small pictures of three classes that differ in colour, in train and test folders."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 10)):
        for number in range(count):
            label = number % 3
            pixels = rng.integers(0, 140, (16, 16, 3)).astype(np.uint8)
            pixels[:, :, label] += 60
            folder = root / split / ("arch", "beam", "crypt")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return root


class Events:
    """Counts what happens in this process, and kills it when the count is reached.

    Args:
        last: The number of the event to die at; None: none.
    """

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self._last = last

    def watch(self, owner: Any, name: str) -> None:
        """Count the calls of a function or method."""
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1
            return original(*args, **options)

        setattr(owner, name, counted)

    def watch_all(self) -> None:
        """Count what a run does to the disk, its steps and its measurements."""
        from ahekit.training import recorder, session

        for name in ("fsync", "replace", "rename", "unlink", "rmdir", "pwrite"):
            self.watch(os, name)
        self.watch(recorder.Recorder, "add")
        self.watch(session.Session, "logits")


def in_a_process(work: Callable[[], int]) -> int:
    """Do work in a forked process; the number it returned, or minus the signal that ended it."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, str(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "the process failed; its traceback stands above"
    return int(answer)


def command(arguments: Sequence[str], folder: Path, *, die_at: int | None = None) -> int:
    """Run a command of ahekit in a process of its own, with a home of its own; how many events there were.

    Args:
        die_at: The number of the event to die at, counted from 0.
    """

    def work() -> int:
        os.environ["AHEKIT_HOME"] = str(folder / "home")
        os.chdir(folder)
        sys.argv = ["ahekit", *arguments]
        events = Events(die_at)
        events.watch_all()
        from ahekit.__main__ import main

        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"{arguments} ended with {ended.code}") from ended
        return events.count

    return in_a_process(work)


def runs_in(folder: Path) -> list[Path]:
    """The run folders there."""
    return [path for path in sorted(folder.glob("runs/*")) if path.name[0] != "."]


def fingerprint(run: Path) -> dict[str, str]:
    """SHA-256 of everything that a run ends in, but for what a clock tells."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    files = [
        *sorted(last.glob("[am]*.safetensors")),
        *sorted((run / "predictions").iterdir()),
    ]
    prints = {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
    status = json.loads((run / "status.json").read_text())
    status.pop("seconds")
    prints["history"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    prints["status"] = hashlib.sha256(json.dumps(status).encode()).hexdigest()
    prints["checkpoints"] = ", ".join(sorted(path.name for path in (run / "checkpoints").iterdir()))
    return prints


def kill_and_resume(arguments: Sequence[str], folder: Path, *, die_at: int) -> tuple[str, dict[str, str]]:
    """Make a run that dies at an event, go on until it is finished; where it stood, and what it ended in."""
    folder.mkdir(parents=True)
    assert command(arguments, folder, die_at=die_at) == -signal.SIGKILL
    runs = runs_in(folder)
    if not runs:
        command(arguments, folder)
        (run,) = runs_in(folder)
        return "no run yet", fingerprint(run)
    (run,) = runs
    from ahekit.run import Run

    state = Run(run).status.state
    checkpoints = Run(run).checkpoints()
    predictions = len(Run(run).predictions())
    where = f"{checkpoints[-1].name if checkpoints else 'no checkpoint'}, {predictions} predictions, {state}"
    if state != "finished":
        command(("resume", run.name, "--quiet"), folder)
    return where, fingerprint(run)


def try_points(case: str, folder: Path, *, points: int, say: Callable[[str], None] = lambda text: None) -> list[str]:
    """Kill a case's run at events spread over its life; a line for each that ended otherwise than the unbroken run."""
    data = make_pictures(folder / "pictures")
    arguments = (*CASES[case], f"--data={data}")
    (folder / "whole").mkdir()
    events = command(arguments, folder / "whole")
    (run,) = runs_in(folder / "whole")
    expected = fingerprint(run)
    failures = []
    for point in range(points):
        die_at = round((point + 0.5) * events / points)
        where, prints = kill_and_resume(arguments, folder / f"killed-{die_at}", die_at=die_at)
        differing = sorted(name for name in expected.keys() | prints.keys() if expected.get(name) != prints.get(name))
        verdict = "differs in " + ", ".join(differing) if differing else "same"
        say(f"{case}: killed at event {die_at} of {events} ({where}): {verdict}")
        if differing:
            failures.append(f"{case}, event {die_at} of {events} ({where}): {verdict}")
    return failures


def main() -> None:
    """Try all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=40, help="of all cases together")
    parser.add_argument("--case", choices=CASES, action="append", help="by default all")
    given = parser.parse_args()
    cases = given.case or list(CASES)
    failures = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            failures += try_points(case, Path(folder), points=-(-given.points // len(cases)), say=print)
    print(f"{len(failures)} differ" if failures else "all end as the unbroken runs do")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
