"""Runs are removed whole or not at all, and nothing else ever is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ahekit.errors import RunError
from ahekit.files import remove_folder, write_atomic
from ahekit.run import Run, list_runs, remove_run
from ahekit.spec import RunSpec

Command = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def finished_run(root: Path) -> Run:
    run = Run.create(root, RunSpec(), {"ahekit": "0.1.0"})
    run.write_status("finished")
    run.add_checkpoint("step-00000001-epoch-0002", lambda folder: write_atomic(folder / "model.safetensors", b"w"))
    run.write_bytes("figures/deep/er/a.png", b"picture")
    return run


def contents(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """All that is below a folder: its mode, and a file's bytes or a link's target."""
    entries: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        content: bytes | str = b""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        entries[str(path.relative_to(folder))] = (path.lstat().st_mode, content)
    return entries


def foreign(folder: Path) -> Path:
    """Somebody's project, which has a spec of something else."""
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text("openapi: 3.0\n")
    (folder / "main.py").write_text("precious = True\n")
    return folder


def test_a_project_with_a_spec_of_something_else_is_no_run_to_be_removed(cli: Command, root: Path) -> None:
    project = foreign(root / "proj" / "src")
    before = contents(root)
    for name in (project, root / "proj"):
        done = cli("runs", "remove", "--yes", name, "--runs", root)
        assert done.code in (1, 2)
        assert contents(root) == before
    assert "not made by ahekit" in cli("runs", "remove", "--yes", project, "--runs", root).err


def test_a_foreign_folder_among_runs_survives_pruning(cli: Command, root: Path) -> None:
    project = foreign(root / "proj")
    before = contents(project)
    done = cli("runs", "prune", "--yes", "--runs", root)
    assert done.code == 0
    assert "left alone" in done.err
    assert contents(project) == before


def test_a_run_of_before_runs_were_marked_is_known_by_its_spec_and_manifest(root: Path) -> None:
    run = finished_run(root)
    (run.path / "run.json").unlink()
    remove_run(run)
    assert not run.path.exists()


def test_a_run_whose_files_are_damaged_is_known_by_its_mark(root: Path) -> None:
    run = finished_run(root)
    (run.path / "spec.yaml").write_text("{")
    (run.path / "manifest.json").unlink()
    remove_run(run)
    assert not run.path.exists()


@pytest.mark.parametrize("content", ["{}", "[]", '{"kind": "other"}', "", '{"kind": ["run"]}'])
def test_a_mark_that_says_something_else_marks_no_run(root: Path, content: str) -> None:
    project = foreign(root / "proj")
    (project / "run.json").write_text(content)
    with pytest.raises(RunError, match="not made by ahekit"):
        remove_run(Run(project))
    assert (project / "main.py").exists()


@pytest.mark.parametrize("name", ["", " ", ".", "..", "./", "../", "x/..", "/", "~"])
def test_the_working_folder_and_those_above_it_are_never_removed(
    name: str, cli: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(root)
    (run.path / "x").mkdir()
    monkeypatch.chdir(run.path)
    before = contents(root)
    done = cli("runs", "remove", "--yes", name, "--runs", root)
    assert done.code in (1, 2)
    assert contents(root) == before
    monkeypatch.chdir(run.path / "x")
    assert cli("runs", "remove", "--yes", run.path, "--runs", root).code == 1
    assert contents(root) == before


def test_the_home_folder_is_never_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(root)
    for home in (run.path, run.path / "figures"):
        monkeypatch.setenv("HOME", str(home))
        with pytest.raises(RunError, match="your home folder, which is never removed"):
            remove_run(run)
    assert run.path.exists()


def test_of_a_link_only_the_link_goes(cli: Command, root: Path, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "elsewhere")
    root.mkdir()
    before = contents(run.path)
    for spelling in ("link", "link/"):
        link = root / "link"
        link.symlink_to(run.path)
        done = cli("runs", "remove", "--yes", str(root / spelling), "--runs", root)
        assert (done.code, link.is_symlink()) == (0, False), done.err
        assert contents(run.path) == before


def test_what_links_inside_a_run_lead_to_stays(root: Path, tmp_path: Path) -> None:
    run = finished_run(root)
    precious = foreign(tmp_path / "precious")
    before = contents(precious)
    (run.path / "link").symlink_to(precious)
    (run.path / "figures" / "file").symlink_to(precious / "main.py")
    remove_run(run)
    assert not run.path.exists()
    assert contents(precious) == before


def test_runs_in_a_folder_that_is_a_link_are_removed(cli: Command, root: Path, tmp_path: Path) -> None:
    run = finished_run(root)
    (tmp_path / "link").symlink_to(root)
    assert cli("runs", "remove", "--yes", run.name, "--runs", tmp_path / "link").code == 0
    assert list(root.iterdir()) == []


def test_a_path_through_a_linked_folder_and_back_is_what_the_system_says(
    cli: Command, root: Path, tmp_path: Path
) -> None:
    run, other = finished_run(root), finished_run(tmp_path / "other" / "runs")
    (tmp_path / "door").symlink_to(tmp_path / "other" / "runs")
    # By its letters "door/../runs" is the runs of this folder; by the file system it is those of the other.
    path = f"{tmp_path}/door/../runs/{other.name}"
    assert cli("runs", "remove", "--yes", path, "--runs", root).code == 0
    assert (run.path.exists(), other.path.exists()) == (True, False)


def test_agreeing_beforehand_takes_a_whole_name(cli: Command, root: Path) -> None:
    run = finished_run(root)
    for part in ("c", run.name[-4:], run.name[:-1]):
        done = cli("runs", "remove", "--yes", part, "--runs", root)
        assert (done.code, run.path.exists()) == (2, True)
        assert f"is a part of {run.name}" in done.err
    assert cli("runs", "remove", "--yes", run.name, "--runs", root).code == 0


@pytest.mark.parametrize("refused", ["rename", "rmdir"])
@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_run_that_cannot_be_removed_whole_is_left_as_it_was(
    refused: str, at: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(root)
    with run.lock():
        pass
    before = contents(root)
    calls = 0
    original = getattr(os, refused)

    def refuse(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise PermissionError(1, "Operation not permitted", str(args[0]))
        return original(*args, **options)

    monkeypatch.setattr(os, refused, refuse)
    with pytest.raises(RunError, match=r"can't be removed .*Operation not permitted; it is as it was"):
        remove_run(run)
    monkeypatch.undo()
    assert contents(root) == before
    assert [found.name for found in list_runs(root)] == [run.name]


def test_a_removal_that_dies_halfway_leaves_a_run_that_can_be_seen_and_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(root)
    pid = os.fork()
    if pid == 0:
        original, count = os.rename, 0

        def die(*args: Any) -> None:
            nonlocal count
            count += 1
            if count == 4:
                os._exit(9)
            original(*args)

        os.rename = die  # type: ignore[assignment]
        remove_run(run)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert [found.name for found in list_runs(root)] == [run.name]
    remove_run(run)
    assert list(root.iterdir()) == []


def test_removing_a_folder_gives_its_folders_their_modes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner").chmod(0o750)
    (folder / "file").write_text("content")
    before = contents(tmp_path)
    original = os.rmdir

    def refuse(path: Any, **options: Any) -> None:
        if Path(path) == folder:
            raise OSError(16, "Device or resource busy")
        original(path, **options)

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(OSError, match="busy"):
        remove_folder(folder)
    monkeypatch.undo()
    assert contents(tmp_path) == before


def test_a_checkpoint_that_is_a_link_is_unlinked(root: Path, tmp_path: Path) -> None:
    run = finished_run(root)
    precious = foreign(tmp_path / "precious")
    link = run.path / "checkpoints" / "step-00000009-epoch-0001"
    link.symlink_to(precious)
    run.remove_checkpoint(link)
    assert (link.is_symlink(), (precious / "main.py").exists()) == (False, True)
    for other in (run.path / "checkpoints" / ".." / "figures", run.path / "checkpoints" / "notes"):
        with pytest.raises(RunError, match="is no checkpoint of"):
            run.remove_checkpoint(other)


def test_only_drafts_of_ahekit_are_cleared_away(root: Path, tmp_path: Path) -> None:
    run = finished_run(root)
    checkpoints = run.path / "checkpoints"
    kept = [checkpoints / ".step-notes", checkpoints / ".hidden", run.path / ".git", run.path / ".status.json.old"]
    gone = [checkpoints / ".step-00000001-epoch-0002.0a1b2c3d", checkpoints / ".step-00000001-epoch-0002.removed"]
    for folder in (*kept, *gone):
        folder.mkdir()
    (run.path / ".status.json.0a1b2c3d").write_text("draft")
    (tmp_path / "precious").mkdir()
    (checkpoints / ".step-00000003-epoch-0002.0a1b2c3d").symlink_to(tmp_path / "precious")
    with run.lock():
        pass
    assert all(folder.exists() for folder in kept)
    assert not any(folder.exists() for folder in gone)
    assert not (run.path / ".status.json.0a1b2c3d").exists()
    assert (tmp_path / "precious").exists()


def test_a_lock_that_is_a_link_empties_nothing(root: Path, tmp_path: Path) -> None:
    run = finished_run(root)
    (tmp_path / "precious").write_text("content")
    (run.path / ".lock").symlink_to(tmp_path / "precious")
    run.write_status("running")
    assert run.status.state == "interrupted"
    with pytest.raises(RunError, match="a link, not the run's own lock"), run.lock():
        pass
    assert (tmp_path / "precious").read_text() == "content"


def test_the_mark_says_who_made_the_run_and_when(root: Path) -> None:
    run = finished_run(root)
    mark = json.loads((run.path / "run.json").read_text())
    assert (mark["kind"], mark["ahekit"]) == ("run", "0.1.0")
    assert mark["made"].endswith("+00:00")
