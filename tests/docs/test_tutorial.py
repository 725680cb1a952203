"""The tutorial does what it says, typed from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.fork_server import forking_ahekit

TUTORIAL = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", "\n".join(re.findall(r"^```console\n(.*?)^```$", TUTORIAL, re.M | re.S)), re.M)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tutorial_s_commands_run_as_they_are_typed(tmp_path: Path) -> None:
    """All of them, in one shell and an empty folder; the files that the text names are there at the end."""
    assert len(COMMANDS) >= 8
    folder = tmp_path / "tutorial"
    folder.mkdir()
    with forking_ahekit() as executables:
        where = os.pathsep.join([str(executables), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-eux", "-o", "pipefail", "-c", "\n".join(COMMANDS)],
            cwd=folder,
            env={**os.environ, "PATH": where},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=1190,
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    named = re.findall(r"`((?:runs|survey|sorted|lessons|my-model)/[^`]*)`", TUTORIAL)
    assert named
    for name in named:
        assert list(folder.glob(name.replace("RUN", "*"))), f"the tutorial names {name}, which is not there"
