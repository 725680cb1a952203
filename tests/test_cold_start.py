"""Help, listing, completion and spec validation start without anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ahekit.cli import NAMES

HEAVY = ("torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "safetensors", "jinja2")

# Runs each piece of code as a program of its own, in one fresh process, and tells what was loaded by then.
TELL = """
import json, sys
for code in json.loads(sys.argv[1]):
    try:
        exec(code, {"sys": sys})
    except SystemExit as ended:
        assert not ended.code, (code, ended.code)
print()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(*codes: str, cwd: Path) -> set[str]:
    """Top-level packages in memory after running code in a fresh process."""
    command = [sys.executable, "-c", TELL, json.dumps(codes)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def command(*args: str) -> str:
    return f"sys.argv = {['ahekit', *args]!r}; from ahekit.__main__ import main; main()"


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(["import ahekit", "import ahekit.cli"], id="import"),
        pytest.param(["from ahekit import RunSpec, Run, Table, BuiltModel, MODELS"], id="light public names"),
        pytest.param(["import ahekit; ahekit.resolve_spec(assignments=['model.params.pool=avg'])"], id="specs"),
        pytest.param([command("--help"), *(command(name, "--help") for name in NAMES)], id="help"),
        pytest.param(
            [command("--version"), command("plugins"), command("plugins", "--json"), command("runs")], id="lists"
        ),
    ],
)
def test_nothing_heavy_and_no_plugin_is_loaded(codes: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(*codes, cwd=tmp_path)
    assert "ahekit" in loaded
    assert not loaded & {*HEAVY, "ahekit_plugins"}


def test_completion_loads_nothing_heavy(tmp_path: Path) -> None:
    asked = {"_AHEKIT_COMPLETE": "complete_bash", "COMP_WORDS": "ahekit train --model c", "COMP_CWORD": "3"}
    loaded = loaded_by(f"import os; os.environ.update({asked})", command(), cwd=tmp_path)
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "ahekit_plugins"}


def test_the_public_names_are_told_without_loading_their_modules(tmp_path: Path) -> None:
    assert "pydantic" not in loaded_by("import ahekit; dir(ahekit); ahekit.__version__", cwd=tmp_path)


def test_what_is_loaded_is_really_seen(tmp_path: Path) -> None:
    assert {"ahekit", "numpy"} <= loaded_by("import ahekit; ahekit.Predictions", cwd=tmp_path)
