"""The tool as a whole: help, version, errors, plugin files, Ctrl-C, pipes, completion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ahekit
from ahekit.cli import NAMES

AHEKIT = Path(sys.executable).with_name("ahekit")

SLOW_PLUGIN = """
import sys, time
print("loading", flush=True)
time.sleep(60)
"""


def test_help_names_every_command_and_the_one_to_start_with(executable: Callable[..., Any]) -> None:
    done = executable("--help")
    assert done.code == 0
    for name in NAMES:
        assert f" {name} " in done.out
    assert "Start: ahekit predict FOLDER" in done.out


def test_without_a_command_help_is_shown(cli: Callable[..., Any]) -> None:
    assert "Usage: ahekit" in "".join([cli().out, cli().err])


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(cli: Callable[..., Any], name: str) -> None:
    done = cli(name, "-h")
    assert done.code == 0
    assert f"Usage: ahekit {name}" in done.out


def test_the_version_is_the_packages(executable: Callable[..., Any]) -> None:
    done = executable("--version")
    assert (done.code, done.out, done.err) == (0, f"ahekit {ahekit.__version__}\n", "")


def test_the_module_runs_as_the_executable_does() -> None:
    command = [sys.executable, "-m", "ahekit", "--version"]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"ahekit {ahekit.__version__}\n"
    )


def test_an_unknown_command_or_option_exits_with_2_and_a_hint(cli: Callable[..., Any]) -> None:
    done = cli("plugin")
    assert (done.code, done.out) == (2, "")
    assert "Did you mean 'plugins'" in done.err
    assert cli("plugins", "--nonsense").code == 2


def test_an_error_of_the_user_is_one_line_on_stderr(cli: Callable[..., Any]) -> None:
    done = cli("plugins", "show", "cnn6")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("ahekit: no plugin named 'cnn6'; did you mean cnn5")
    assert done.err.count("\n") == 1


def test_a_failure_exits_with_1(cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("runs", "show", "--runs", tmp_path)
    assert (done.code, done.err) == (1, f"ahekit: no run in {tmp_path}; `ahekit train` makes one\n")


def test_a_bug_keeps_its_traceback(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(**_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ahekit.cli.plugins.listed", bug)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli("plugins")


@pytest.mark.parametrize(
    "line",
    [["--plugin", "{}", "plugins", "--json"], ["plugins", "--json", "--plugin", "{}"], ["plugins", "--plugin={}"]],
)
def test_a_plugin_file_may_be_named_before_or_after_the_command(
    cli: Callable[..., Any], tmp_path: Path, line: list[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from ahekit.registry import MODELS\n@MODELS.register('of-mine')\nclass Mine: ...\n")
    done = cli(*(part.format(file) for part in line))
    assert done.code == 0
    assert "of-mine" in done.out


def test_plugin_files_of_the_environment_are_added_to_those_of_the_line(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for name in ("one", "two", "three"):
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(f"from ahekit.registry import MODELS\nMODELS.register('of-{name}')(type('M', (), {{}}))\n")
    monkeypatch.setenv("AHEKIT_PLUGINS", os.pathsep.join([str(files[0]), "", str(files[1])]))
    out = cli("--plugin", files[2], "plugins").out
    assert all(f"of-{name}" in out for name in ("one", "two", "three"))


def test_a_broken_plugin_file_breaks_no_help(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHEKIT_PLUGINS", str(tmp_path / "gone.py"))
    assert cli("--help").code == 0
    assert cli("train", "--help").code == 0
    done = cli("plugins", "show", "cnn5")
    assert (done.code, done.err) == (2, f"ahekit: plugin file {tmp_path / 'gone.py'}: no such file\n")


def test_ctrl_c_ends_with_130_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(SLOW_PLUGIN)
    command = [str(AHEKIT), "--plugin", str(file), "plugins"]
    # A shell starts what it runs in the background deaf to Ctrl-C, these tests too.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=hearing) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "ahekit: interrupted\n")


@pytest.mark.parametrize("args", [["--help"], ["plugins"], ["plugins", "--json"]])
def test_a_reader_who_leaves_early_gets_no_traceback(args: list[str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run([str(AHEKIT), *args], stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == ""


def test_text_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    name = "säule–x"
    command = [str(AHEKIT), "runs", "show", name, "--runs", str(tmp_path / name)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ahekit: no run in ")
    assert r"s\xe4ule\u2013x" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ahekit plu", "plugins"),
        ("ahekit plugins li", "list"),
        ("ahekit train --model cn", "cnn5"),
        ("ahekit runs show 2026", "20260101-000000-cnn5-aaaa"),
    ],
)
def test_the_shell_completes_commands_models_and_runs(tmp_path: Path, words: str, expected: str) -> None:
    folder = tmp_path / "runs" / "20260101-000000-cnn5-aaaa"
    folder.mkdir(parents=True)
    (folder / "spec.yaml").touch()
    asked = {"_AHEKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    environment = {**os.environ, **asked}
    done = subprocess.run([str(AHEKIT)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert expected in done.stdout.split()
    assert done.stderr == ""


def test_first_help_page_is_one_screen(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = cli("--help").out.rstrip().splitlines()
    assert len(lines) <= 40
    assert lines[0].strip() == "", "the prompt below takes no line that says something"
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert all(f" {name} " in text for name in NAMES), "each command has its line"
