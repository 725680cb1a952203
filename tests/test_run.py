"""A run on disk: whatever byte it dies at, it can be listed, read and gone on with."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ahekit.errors import RunError, UnknownNameError, UsageError
from ahekit.evaluation.predictions import Predictions
from ahekit.files import atomic_folder, write_atomic
from ahekit.notes import History
from ahekit.run import Run, find_run, folder, list_runs, remove_run, runs_root
from ahekit.spec import Component, RunSpec


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs", RunSpec(), {"class_names": ["apse", "vault"]})


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def die_while(code: str, *args: str | Path) -> None:
    """Run code in a process that kills itself with the signal nobody can catch, at its line `die()`."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom ahekit.run import Run\n"
    head += "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run([sys.executable, "-c", head + code, *map(str, args)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_a_new_run_is_named_by_time_model_and_a_short_id_and_holds_its_spec_and_manifest(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "deep" / "runs", RunSpec(model=Component(name="zoo/net 18")), {"class_names": ["Apsë"]})
    stamp, clock, model, short = run.name.split("-")
    assert (len(stamp), len(clock), model, len(short)) == (8, 6, "zoo_net_18", 4)
    assert files_below(run.path) == {"run.json", "spec.yaml", "manifest.json", "status.json"}
    assert run.spec.model.name == "zoo/net 18"
    assert run.manifest.class_names == ("Apsë",)


def test_two_runs_that_draw_one_name_in_one_second_become_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, draw = iter(("d790", "d790", "d790", "e1a4")), secrets.token_hex
    monkeypatch.setattr(secrets, "token_hex", lambda size: next(drawn) if size == 2 else draw(size))
    monkeypatch.setattr(folder, "_STAMP", "20261127-034053")

    names = [Run.create(tmp_path, RunSpec(), {}).name for _ in range(2)]

    assert names == ["20261127-034053-cnn5-d790", "20261127-034053-cnn5-e1a4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_folder_that_cannot_be_made_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"can't make the run folder .* choose another with --runs"):
        Run.create(tmp_path / "file" / "runs", RunSpec(), {})


def test_where_runs_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs_root() == Path("runs")
    monkeypatch.setenv("AHEKIT_RUNS", str(tmp_path))
    assert runs_root() == tmp_path
    assert runs_root(Path("given")) == Path("given")


def test_a_run_nobody_holds_is_interrupted_whatever_its_status_says(run: Run) -> None:
    run.write_status("running")
    assert run.status.state == "interrupted"
    assert run.status.reason == "the process ended without a word"


def test_a_held_run_is_running_and_nobody_else_may_hold_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOCK_SECONDS", 0)
    with run.lock():
        assert Run(run.path).status.state == "running"
        with pytest.raises(RunError, match="another process is training this run"), Run(run.path).lock():
            pass
    assert run.status.state == "interrupted"


def test_a_killed_process_lets_go_of_the_run(run: Run) -> None:
    die_while("with Run(Path(sys.argv[1])).lock(): die()", run.path)
    assert run.status.state == "interrupted"
    with run.lock():
        assert Run(run.path).status.state == "running"


def test_the_lock_is_let_go_after_an_error(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass


def test_looking_at_a_run_for_an_instant_does_not_keep_it_from_being_trained(run: Run) -> None:
    with run.lock():
        pass
    is_looking = threading.Event()

    def look() -> None:
        with run.lock():
            is_looking.set()
            time.sleep(0.2)

    looking = threading.Thread(target=look)
    looking.start()
    is_looking.wait()
    with run.lock():
        assert run.status.state == "running"
    looking.join()


def test_looking_at_a_run_writes_nothing_into_it(run: Run) -> None:
    before = files_below(run.path)
    assert run.status.state == "interrupted"
    assert run.history() == History()
    assert run.checkpoints() == []
    assert files_below(run.path) == before


def test_the_status_keeps_what_the_trainer_noted(run: Run) -> None:
    run.write_status("finished", "stopped early", best={"epoch": 3})
    assert (run.status.state, run.status.reason, run.status.best.epoch) == ("finished", "stopped early", 3)


@pytest.mark.parametrize("content", [b"", b'{"state": "fin', b"[]", b"\xff\xfe"])
def test_a_status_that_cannot_be_read_means_interrupted(run: Run, content: bytes) -> None:
    (run.path / "status.json").write_bytes(content)
    assert run.status.state == "interrupted"


def test_a_spec_that_cannot_be_read_is_an_error_that_names_the_file(run: Run) -> None:
    (run.path / "spec.yaml").write_text("schema_version: 99")
    with pytest.raises(RunError, match=r"spec\.yaml: schema_version: must be 1"):
        _ = run.spec


def test_history_is_appended_to_and_read_back(run: Run) -> None:
    run.append_history([{"type": "step", "step": 1, "loss": float("nan")}])
    run.append_history([{"type": "step", "step": 2}, {"type": "epoch", "epoch": 1, "step": 2}])
    history = run.history()
    assert ([row.step for row in history.steps], [row.step for row in history.epochs]) == ([1, 2], [2])
    assert history.steps[0].loss is not None
    assert np.isnan(history.steps[0].loss)


def test_history_cut_at_any_byte_reads_as_its_whole_rows(run: Run) -> None:
    rows = [{"type": "step", "step": step, "name": "é"} for step in (1, 2, 3)]
    run.append_history(rows)
    file = run.path / "history.jsonl"
    whole = file.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        file.write_bytes(whole[:size])
        # A row is whole with its closing brace, one byte before its line's end.
        assert run.history() == History.of(rows[: sum(end - 1 <= size for end in ends)])


def test_a_broken_line_in_the_middle_of_the_history_is_told_and_costs_only_itself(run: Run) -> None:
    rows = ['{"type": "step", "step": 1}', '{"step"', '{"type": "step", "step": 3}']
    (run.path / "history.jsonl").write_text("\n".join(rows) + "\n")
    faults: list[str] = []
    assert [row.step for row in run.history(faults=faults).steps] == [1, 3]
    assert faults == ["history.jsonl, row 2: left out: it doesn't say which step or epoch it is of"]
    with pytest.raises(RunError, match=r"history\.jsonl, line 2: not a row"):
        run.rewind_history(step=3, epoch=1)


def test_a_checkpoint_of_an_epochs_end_is_named_by_that_epoch_and_others_by_their_step(run: Run) -> None:
    run.append_history(
        [{"type": "step", "step": 1}, {"type": "step", "step": 2}, {"type": "epoch", "epoch": 1, "step": 2}]
    )
    # The folder's name has the epoch in progress, which after an epoch's end is the next one.
    assert run.moment(run.path / "checkpoints/step-00000002-epoch-0002") == "epoch 1"
    assert run.moment(run.path / "checkpoints/step-00000001-epoch-0001") == "step 1"


def kept(run: Run) -> tuple[list[int], list[int]]:
    history = run.history()
    return [row.step for row in history.steps], [row.epoch for row in history.epochs]


def test_rewinding_drops_later_steps_unfinished_epochs_and_a_torn_line(run: Run) -> None:
    run.append_history([{"type": "step", "step": 1}, {"type": "step", "step": 2}])
    run.append_history([{"type": "epoch", "epoch": 1, "step": 2}, {"type": "step", "step": 3}])
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"type": "st')
    run.rewind_history(step=2, epoch=2)
    assert kept(run) == ([1, 2], [1])
    run.rewind_history(step=2, epoch=1)
    assert kept(run) == ([1, 2], [])
    run.append_history([{"type": "step", "step": 3}])
    assert len((run.path / "history.jsonl").read_text().splitlines()) == 3


def test_a_file_is_old_or_new_never_half(run: Run) -> None:
    run.write_json("notes.json", {"state": "old"})
    # Dies between writing the draft and renaming it.
    die_while("os.replace = die; Run(Path(sys.argv[1])).write_json('notes.json', {'state': 'new'})", run.path)
    assert json.loads((run.path / "notes.json").read_text()) == {"state": "old"}
    run.write_json("notes.json", {"state": "new"})
    assert json.loads((run.path / "notes.json").read_text()) == {"state": "new"}


def test_a_file_whose_writing_fails_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.write_status("finished"),
        lambda run: run.append_history([{"step": 1}]),
        lambda run: run.add_checkpoint("step-1", lambda folder: (folder / "x").write_bytes(b"")),
    ],
)
def test_a_full_disk_is_one_line_that_names_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, write: Callable[[Run], None]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"can't be written \(No space left on device\); make room") as caught:
        write(run)
    assert str(run.path) in str(caught.value)


def test_written_files_can_be_read_by_others(run: Run) -> None:
    run.add_checkpoint("step-1", lambda folder: write_atomic(folder / "x", b""))
    for path in (run.path, run.path / "spec.yaml", run.checkpoints()[0], run.checkpoints()[0] / "x"):
        assert path.stat().st_mode & 0o044 == 0o044


def test_checkpoints_are_listed_oldest_first_and_one_added_twice_stays(run: Run) -> None:
    def named(name: str) -> Callable[[Path], None]:
        return lambda folder: write_atomic(folder / "name", name.encode())

    for name in ("step-00000010-epoch-0002", "step-00000002-epoch-0001"):
        run.add_checkpoint(name, named(name))
    again = run.add_checkpoint("step-00000002-epoch-0001", named("other"))
    assert [path.name for path in run.checkpoints()] == ["step-00000002-epoch-0001", "step-00000010-epoch-0002"]
    assert (again / "name").read_text() == "step-00000002-epoch-0001"


def test_a_checkpoint_being_written_by_a_process_that_dies_is_no_checkpoint_and_is_cleared(run: Run) -> None:
    code = """
def fill(folder):
    (folder / "model.safetensors").write_bytes(b"half")
    die()
Run(Path(sys.argv[1])).add_checkpoint("step-00000001", fill)
"""
    die_while(code, run.path)
    assert run.checkpoints() == []
    assert len(list((run.path / "checkpoints").iterdir())) == 1
    with run.lock():
        assert list((run.path / "checkpoints").iterdir()) == []


def test_a_checkpoint_that_fails_leaves_no_draft(run: Run) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.add_checkpoint("step-1", fill)
    assert list((run.path / "checkpoints").iterdir()) == []


def test_a_removed_checkpoint_is_gone_and_nothing_else_can_be_removed_so(run: Run) -> None:
    path = run.add_checkpoint("step-1", lambda folder: (folder / "x").touch())
    run.remove_checkpoint(path)
    assert list((run.path / "checkpoints").iterdir()) == []
    with pytest.raises(RunError, match="is no checkpoint of"):
        run.remove_checkpoint(run.path)
    assert (run.path / "spec.yaml").is_file()


def test_a_checkpoint_whose_removal_dies_halfway_is_no_checkpoint_and_is_cleared(run: Run) -> None:
    path = run.add_checkpoint("step-1", lambda folder: (folder / "x").touch())
    code = (
        "import shutil; shutil.rmtree = die; run = Run(Path(sys.argv[1])); run.remove_checkpoint(run.checkpoints()[0])"
    )
    die_while(code, run.path)
    assert not path.exists()
    assert run.checkpoints() == []
    with run.lock():
        assert list((run.path / "checkpoints").iterdir()) == []


def test_an_atomic_folder_is_there_only_after_its_block(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "made") as draft:
        (draft / "deep").mkdir()
        (draft / "deep" / "x").write_text("content")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "deep" / "x").read_text() == "content"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_predictions_are_stored_by_split(run: Run) -> None:
    stored = Predictions(("a/ä.png",), np.array([1]), np.array([[0.5, 2.0]], dtype=np.float32), ("apse", "vault"))
    run.write_predictions("val", stored)
    assert list(run.predictions()) == ["val"]
    read = run.predictions()["val"]
    assert (read.ids, read.class_names, read.labels.tolist()) == (stored.ids, stored.class_names, [1])
    np.testing.assert_array_equal(read.logits, stored.logits)


def test_a_record_holds_what_there_is_even_of_a_run_that_got_nowhere(run: Run, tmp_path: Path) -> None:
    record = run.record()
    assert (record.name, record.state, dict(record.predictions)) == (run.name, "interrupted", {})
    assert record.history == History()
    assert record.data_root is None
    run.write_json("manifest.json", {"data": {"root": str(tmp_path)}})
    assert run.record().data_root == tmp_path


def test_opening_a_folder_without_a_spec_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        Run.open(tmp_path)


@pytest.fixture
def many(tmp_path: Path) -> dict[str, Path]:
    """Runs made one after the other, two of them in one second, beside what is none."""
    names = ["20260101-000000-cnn5-ffff", "20260102-000000-cnn5-bbbb", "20260102-000000-cnn5-aaaa"]
    made: dict[str, Path] = {}
    for name in names:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text("{}")
        os.utime(folder / "spec.yaml", ns=(len(made), len(made)))
        made[name[-4:]] = folder
    for other in ("notes", ".20260103-000000-cnn5-cccc.removed"):
        (tmp_path / "runs" / other).mkdir()
    (tmp_path / "runs" / ".20260103-000000-cnn5-cccc.removed" / "spec.yaml").touch()
    return made


def test_runs_are_listed_newest_first_and_what_is_half_made_is_not_listed(many: dict[str, Path]) -> None:
    root = many["ffff"].parent
    assert [run.path for run in list_runs(root)] == [many["aaaa"], many["bbbb"], many["ffff"]]
    assert list_runs(root / "nowhere") == []


def test_a_run_is_found_by_nothing_by_name_by_part_and_by_path(many: dict[str, Path]) -> None:
    root = many["ffff"].parent
    assert find_run(root, None).path == many["aaaa"]
    for name in ("bbbb", "20260102-000000-cnn5-bbbb", str(many["bbbb"])):
        assert find_run(root, name).path == many["bbbb"]
    assert find_run(Path("nowhere"), str(many["bbbb"])).name == "20260102-000000-cnn5-bbbb"


def test_a_part_of_several_names_is_refused_and_all_are_listed(many: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"'20260102' fits 2 runs: .*aaaa, .*bbbb; name one in full"):
        find_run(many["ffff"].parent, "20260102")


def test_a_name_no_run_has_is_answered_with_the_names_there_are(many: dict[str, Path]) -> None:
    with pytest.raises(UnknownNameError, match=r"no run named 'zzzz'\. Known: 20260101"):
        find_run(many["ffff"].parent, "zzzz")


def test_without_any_run_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run in .*; `ahekit train` makes one"):
        find_run(tmp_path, None)


def test_a_run_is_known_by_its_name_in_the_folder_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path)
    assert find_run(Path("runs"), ".").name == run.name


def test_a_removed_run_is_gone_and_one_in_training_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_LOCK_SECONDS", 0)
    with run.lock(), pytest.raises(RunError, match="is being trained; stop it first"):
        remove_run(Run(run.path))
    remove_run(run)
    assert list(run.path.parent.iterdir()) == []
