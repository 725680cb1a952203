"""Streams that are closed, full or left, environments that make no sense: one line, and the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AHEKIT = Path(sys.executable).with_name("ahekit")
FULL = "ahekit: the output can't be written (No space left on device)\n"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("ahekit", str(AHEKIT), 1)
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("ahekit plugins >/dev/full", 1, FULL),
        ("ahekit plugins --json >/dev/full", 1, FULL),
        ("ahekit --help >/dev/full", 1, FULL),
        ("ahekit runs show x >/dev/full 2>/dev/full", 1, ""),
        ("ahekit plugins >&-", 0, ""),
        ("ahekit plugins --json <&- >&-", 0, ""),
        ("ahekit runs show x 2>&-", 1, ""),
        ("ahekit runs show x <&- >&- 2>&-", 1, ""),
        ("ahekit plugins | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_a_stream_that_takes_nothing_is_one_line_at_most(tmp_path: Path, line: str, code: int, err: str) -> None:
    done = shell(line, tmp_path)
    # A pipe's reader may take all that was written before it leaves.
    assert done.returncode in {code, 0 if "|" in line else code}
    assert (done.stdout, done.stderr) == ("", err)


def test_nobody_to_ask_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home" / "datasets" / "mine"
    (home / "train" / "arch").mkdir(parents=True)
    for stdin in ("<&-", "</dev/null"):
        done = shell(f"ahekit data remove mine {stdin}", tmp_path, AHEKIT_HOME=str(tmp_path / "home"))
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "say --yes to agree beforehand" in done.stderr


def test_a_working_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = "cd gone && rmdir ../gone && ahekit data info here"
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("ahekit: here: the working folder is gone; change to another one")


@pytest.mark.parametrize("name", ["~nosuchuser/x", "x" * 300, "a/" * 2500, "/dev/null/x"])
@pytest.mark.parametrize(
    "command", ["train --data", "train --spec", "data info", "data add", "runs --runs", "report", "viz --run"]
)
def test_a_path_that_cannot_be_is_one_line(cli: Callable[..., Any], command: str, name: str) -> None:
    done = cli(*command.split(), name)
    assert done.code in (1, 2) or command == "runs --runs"
    assert done.err.count("\n") == (1 if done.code else 0)


@pytest.mark.parametrize(
    "environment",
    [
        {"COLUMNS": "0"},
        {"COLUMNS": "abc"},
        {"COLUMNS": "1"},
        {"TERM": "dumb", "NO_COLOR": "1"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"AHEKIT_RUNS": "", "AHEKIT_DATA": "", "AHEKIT_PLUGINS": ""},
        {"AHEKIT_PLUGINS": ":::"},
        {"WORLD_SIZE": "abc", "RANK": "x", "MPLBACKEND": "nonsense"},
    ],
    ids=str,
)
def test_an_odd_environment_changes_nothing_that_matters(tmp_path: Path, environment: dict[str, str]) -> None:
    done = shell("ahekit plugins list", tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cnn5" in done.stdout


def test_a_number_of_processes_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = shell("ahekit train", tmp_path, WORLD_SIZE="abc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ahekit: WORLD_SIZE=abc: no number from 1 to 100000")
    assert done.stderr.count("\n") == 1


FIGURE = """
from ahekit.__main__ import keep_to_file_backends
keep_to_file_backends()
import hashlib
from ahekit.sections import Figure
from ahekit.reporting.style import render_figure
figure = Figure("x", "t", "a", lambda canvas: canvas.subplots().imshow([[0, 1], [2, 3]]), size=(2, 2))
print(hashlib.sha256(render_figure(figure)).hexdigest())
"""


def test_figures_look_alike_whatever_the_users_matplotlib_is_set_to(tmp_path: Path) -> None:
    settings = tmp_path / "elsewhere.rc"
    settings.write_text("image.origin: lower\nlines.linewidth: 9\ntext.usetex: True\nsavefig.bbox: tight\n")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "matplotlibrc").write_text("image.origin: lower\naxes.grid: True\nsavefig.dpi: 30\n")
    hashes = set()
    for folder, environment in (
        (tmp_path, {}),
        (tmp_path, {"MATPLOTLIBRC": str(settings), "MPLBACKEND": "module://matplotlib_inline.backend_inline"}),
        (odd, {"MPLBACKEND": "nonsense"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", FIGURE],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1
