"""Whatever became of a run's files, every command answers in lines, and the other runs are listed as ever."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from ahekit.run import Run

Command = Callable[..., Any]

# Values of every kind that JSON has, where another is expected.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "number": 7,
    "negative": -1,
    "huge": 10**400,
    "nan": float("nan"),
    "text": "x",
    "empty text": "",
    "list": [1, [2]],
    "mapping": {"a": {"b": 1}},
}
FIELDS: dict[str, tuple[str, ...]] = {
    "manifest.json": ("", "data", "data.name", "data.counts", "data.counts.train", "class_names", "splits", "versions"),
    "status.json": ("", "state", "best", "best.epoch", "best.checkpoint", "seconds"),
    "history.jsonl": ("", "epoch", "val", "val.f1", "step", "type"),
}


def changed(values: Any, field: str, value: Any) -> Any:
    """Nested values with another one at a dotted place."""
    if not field:
        return value
    first, _, rest = field.partition(".")
    return {**values, first: changed(values.get(first, {}), rest, value)}


def put(file: str, field: str, value: Any) -> Callable[[Path], None]:
    """Set one field of a run's JSON file; of the history, in every row."""

    def damage(run: Path) -> None:
        path = run / file
        if file == "history.jsonl":
            rows = [changed(json.loads(line), field, value) for line in path.read_text().splitlines()]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text(json.dumps(changed(json.loads(path.read_text()), field, value)))

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda run: void((run / name).write_bytes(content))


def void(_: object) -> None:
    """Nothing."""


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else in a file's or folder's place."""

    def damage(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return damage


NESTED = b"[" * 50_000
WHOLE_FILES: dict[str, Callable[[Path], None]] = {
    f"{name} {what}": damage
    for name in ("manifest.json", "status.json", "history.jsonl", "spec.yaml", "run.json")
    for what, damage in {
        "empty": write(name, b""),
        "torn": write(name, b'{"data": {"na'),
        "binary": write(name, b"\xff\xfe\x00\x01"),
        "nested": write(name, NESTED),
        "of surrogates": write(name, b'{"state": "\\ud800", "data": {"name": "\\udfff"}}\n'),
        "of control characters": write(name, b'{"reason": "\\u001b[31m", "data": {"name": "\\u001b]0;x\\u0007"}}\n'),
        "gone": replaced(name, void),
        "a folder": replaced(name, Path.mkdir),
        "a pipe": replaced(name, os.mkfifo),
        "a dead link": replaced(name, lambda path: path.symlink_to("nowhere")),
        "a device": replaced(name, lambda path: path.symlink_to("/dev/zero")),
    }.items()
}
TAMPERINGS: dict[str, Callable[[Path], None]] = {
    **{
        f"{file} {field or 'whole'} {kind}": put(file, field, value)
        for file, fields in FIELDS.items()
        for field in fields
        for kind, value in VALUES.items()
    },
    **WHOLE_FILES,
    "spec.yaml of something else": write("spec.yaml", b"openapi: 3.0\n"),
    "spec.yaml with a date": write("spec.yaml", b"data: {source: 2001-99-99}\n"),
    "checkpoints a file": replaced("checkpoints", Path.touch),
    "predictions a file": replaced("predictions", Path.touch),
}


def of_checkpoint(name: str, damage: Callable[[Path], object]) -> Callable[[Path], None]:
    """Damage a file of every checkpoint."""

    def each(run: Path) -> None:
        for checkpoint in (run / "checkpoints").iterdir():
            damage(checkpoint / name)

    return each


def into_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


# For the commands that load a network: one of each kind.
HEAVY: dict[str, Callable[[Path], None]] = {
    "spec torn": WHOLE_FILES["spec.yaml torn"],
    "manifest a list": TAMPERINGS["manifest.json whole list"],
    "manifest torn": WHOLE_FILES["manifest.json torn"],
    "counts huge": TAMPERINGS["manifest.json data.counts huge"],
    "splits of another type": put("manifest.json", "splits", {"test": [1, None], "train": "x"}),
    "status a pipe": WHOLE_FILES["status.json a pipe"],
    "best of another type": put("status.json", "best", [1]),
    "history a folder": WHOLE_FILES["history.jsonl a folder"],
    "weights empty": of_checkpoint("average.safetensors", lambda path: path.write_bytes(b"")),
    "weights a pipe": of_checkpoint("average.safetensors", into_a_pipe),
    "weights of something else": of_checkpoint("average.safetensors", lambda path: save_file({}, path)),
    "predictions a pipe": lambda run: into_a_pipe(run / "predictions" / "test.safetensors"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of an epoch, and the images it was made with."""
    from tests.kill_points import CNN5, SMALL, command, make_pictures

    folder = tmp_path_factory.mktemp("damaged")
    data = make_pictures(folder / "pictures")
    command(("train", *SMALL, *CNN5, "--epochs=1", f"--data={data}"), folder)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs: "whole", and "damaged", which has yet to be."""
    monkeypatch.setenv("AHEKIT_HOME", str(made / "home"))
    (run,) = (made / "runs").iterdir()
    for name in ("whole", "damaged"):
        shutil.copytree(run, tmp_path / "runs" / name)
    return tmp_path / "runs"


def lines_of(done: Any) -> list[str]:
    """What was said on stderr: lines that name a fault, and no traceback."""
    assert done.code in (0, 1, 2)
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err + done.out
    return [line for line in done.err.splitlines() if line]


def test_damaged_runs_hide_no_other_from_the_list(runs: Path, cli: Command) -> None:
    for number, damage in enumerate(TAMPERINGS.values()):
        run = runs / f"damaged-{number:03d}"
        shutil.copytree(runs / "damaged", run, ignore=shutil.ignore_patterns("*.safetensors"))
        damage(run)
    done = cli("runs", "--runs", runs, "--json")
    lines_of(done)
    assert done.code == 0
    rows = {row["name"]: row for row in json.loads(done.out)}
    # Only one that lost its mark and its spec is no run any more; each damage leaves one of the two.
    assert rows.keys() == {"whole", "damaged", *(f"damaged-{number:03d}" for number in range(len(TAMPERINGS)))}
    assert (rows["whole"]["state"], rows["whole"]["epochs_done"], rows["whole"]["problem"]) == ("finished", 1, "")
    assert len(rows) > 250


@pytest.mark.parametrize("name", [name for name in TAMPERINGS if name.endswith((" list", " huge", " a pipe"))])
def test_what_can_be_read_of_a_damaged_run_is_shown(name: str, runs: Path, cli: Command) -> None:
    TAMPERINGS[name](runs / "damaged")
    done = cli("runs", "show", runs / "damaged", "--runs", runs)
    assert len([line for line in lines_of(done) if line.startswith("ahekit:")]) == (done.code != 0)
    assert done.code == (name.startswith("spec"))


@pytest.mark.parametrize("name", HEAVY)
def test_every_command_answers_a_damaged_run_in_a_line(name: str, runs: Path, cli: Command) -> None:
    HEAVY[name](runs / "damaged")
    damaged = runs / "damaged"
    commands: tuple[tuple[Any, ...], ...] = (
        ("report", damaged, "--only", "metrics", "--only", "protocol", "--format", "json"),
        ("report", "whole", damaged, "--format", "json", "--only", "differences", "--set", "differences.resamples=100"),
        ("viz", "kernels", "--run", damaged, "--out", runs / "out"),
        ("resume", damaged),
        ("train", "--weights", damaged, "--epochs", 1, "--data", "nowhere"),
    )
    for command in commands:
        done = cli(*command, "--runs", runs)
        errors = [line for line in lines_of(done) if line.startswith("ahekit:")]
        assert len(errors) == (done.code != 0), (command, done.err)


def test_a_run_that_may_not_be_looked_into_is_listed_and_left_alone(
    runs: Path, cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root one may look into everything, so the system's refusal is played.
    original = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if "damaged" in os.fsdecode(path):
            raise PermissionError(13, "Permission denied", os.fsdecode(path))
        return original(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    done = cli("runs", "--runs", runs)
    assert done.code == 0
    assert "damaged" in done.out
    assert "Permission denied" in done.err
    assert Run(runs / "whole").status.state == "finished"
    assert cli("runs", "prune", "--yes", "--runs", runs).code == 0
    assert (runs / "damaged").exists()
