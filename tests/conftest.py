"""What all tests share: a user's home of their own, and two ways to run the command line."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import CHROMIUM, QUIET

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Read when torch and matplotlib are first imported. Small tensors gain nothing from a second thread.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

AHEKIT = Path(sys.executable).with_name("ahekit")


def pytest_collection_finish() -> None:
    """All that collecting imported lives to the end: Python's collector needn't walk through torch again and again."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of the machine's user is read or changed; datasets and caches are shared by the tests of a session."""
    for name in [name for name in os.environ if name.startswith("AHEKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path_factory.getbasetemp() / "ahekit-home"))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def everything_shown() -> Iterator[None]:
    """A test that makes the console quiet leaves the next one's alone."""
    yield
    from ahekit import console

    console.configure()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for all tests of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield running
        running.close()


@pytest.fixture
def no_plugin_files() -> Iterator[None]:
    """Forget, before and after, which plugin files were announced and what registered itself."""
    from ahekit import plugin_files, registry

    def forget() -> None:
        plugin_files._announced.clear()
        plugin_files._unread.clear()
        for each in registry.REGISTRIES:
            each._local.clear()

    forget()
    yield
    forget()


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_plugin_files: None
) -> Callable[..., Outcome]:
    """Run the command line in this process, through the same `main` as the executable."""

    def run(*args: str | Path) -> Outcome:
        from ahekit.__main__ import main

        monkeypatch.setattr(sys, "argv", ["ahekit", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), shown.out, shown.err)

    return run


@pytest.fixture
def executable(tmp_path: Path) -> Callable[..., Outcome]:
    """Run the installed `ahekit` in a process of its own, in an empty folder."""

    def run(*args: str | Path) -> Outcome:
        command = [str(AHEKIT), *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a made-up distribution for this test and the processes it starts: metadata and modules, as pip would.

    `install("nets", {"ahekit.models": {"tiny": "nets:Tiny"}}, nets="class Tiny: ...")`; version 1.0 unless named.
    """
    made: list[str] = []

    def add(name: str, points: Mapping[str, Mapping[str, str]], *, version: str = "1.0", **modules: str) -> None:
        site = tmp_path / f"site-{name}"
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = [f"[{group}]\n" + "".join(f"{n} = {t}\n" for n, t in named.items()) for group, named in points.items()]
        (info / "entry_points.txt").write_text("\n".join(groups))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
            made.append(module)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        importlib.invalidate_caches()

    yield add
    for module in made:
        sys.modules.pop(module, None)
