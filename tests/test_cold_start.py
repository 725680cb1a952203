"""Help, listing, completion and spec validation start without anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "safetensors", "jinja2")

# `sys.exit` inside the command line is caught, so that what it loaded can be told.
TELL = """
import json, sys
try:
    {code}
except SystemExit as ended:
    assert not ended.code, ended.code
print()
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded_by(code: str, cwd: Path) -> set[str]:
    """Top-level packages in memory after running code in a fresh process."""
    command = [sys.executable, "-c", TELL.format(code=code)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def command(*args: str) -> str:
    return f"sys.argv = {['ahekit', *args]!r}; from ahekit.__main__ import main; main()"


@pytest.mark.parametrize(
    "code",
    [
        "import ahekit",
        "import ahekit.cli",
        "from ahekit import RunSpec, Run, Table, BuiltModel, MODELS, resolve_spec",
        "import ahekit; ahekit.resolve_spec(assignments=['optim.lr=0.1', 'model.params.pool=avg'])",
        command("--help"),
        command("--version"),
        command("plugins"),
        command("plugins", "--json"),
        command("runs"),
        *(
            command(name, "--help")
            for name in ("train", "resume", "report", "viz", "data", "model", "prove", "plugins", "runs")
        ),
    ],
)
def test_nothing_heavy_and_no_plugin_is_loaded(code: str, tmp_path: Path) -> None:
    loaded = loaded_by(code, tmp_path)
    assert "ahekit" in loaded
    assert not loaded & {*HEAVY, "ahekit_plugins"}


def test_completion_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import os; os.environ.update({'_AHEKIT_COMPLETE': 'complete_bash', 'COMP_WORDS': 'ahekit train --model c', "
    loaded = loaded_by(code + "'COMP_CWORD': '3'}); " + command(), tmp_path)
    assert not loaded & {*HEAVY, "ahekit_plugins"}


def test_the_public_names_are_found_without_loading_their_modules(tmp_path: Path) -> None:
    assert "pydantic" not in loaded_by("import ahekit; dir(ahekit); ahekit.__version__", tmp_path)
