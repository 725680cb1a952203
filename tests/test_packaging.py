"""What gets installed: every package, every data file, every entry point, one version."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import ahekit

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {"ahekit": ROOT / "ahekit", "ahekit_plugins": ROOT / "plugins"}


def modules() -> set[str]:
    """Every Python file below the packages' folders, as its path in an installation."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*.py")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the source tree, built with what is installed; no network, nothing left in the tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for folder in ("ahekit", "plugins"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_package_on_disk_is_listed_by_name() -> None:
    on_disk = {name.rpartition("/")[0].replace("/", ".") for name in modules()}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == on_disk
    for name in on_disk:
        folder = FOLDERS[name.split(".")[0]].joinpath(*name.split(".")[1:])
        assert (folder / "__init__.py").is_file(), f"{name} has no __init__.py"


def test_the_wheel_holds_every_module_and_nothing_else(names: set[str]) -> None:
    assert {name for name in names if name.endswith(".py")} == modules()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ahekit", "ahekit_plugins"}


def test_the_wheel_holds_every_file_that_is_no_module(names: set[str]) -> None:
    others = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert "ahekit/py.typed" in others
    assert others <= names


def test_every_entry_point_of_the_wheel_names_a_module_in_it(wheel: Path, names: set[str]) -> None:
    points = ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in names if name.endswith("entry_points.txt"))
        points.read_string(archive.read(file).decode())
    assert set(points) >= {"console_scripts", "ahekit.models", "ahekit.reporters"}
    for group in points.values():
        for target in group.values():
            assert target.partition(":")[0].replace(".", "/") + ".py" in names, target


def test_the_wheel_says_who_what_and_which_version(wheel: Path, names: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in names if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(file).decode())
    assert (metadata["Name"], metadata["Version"]) == ("ahekit", ahekit.__version__)
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.11", "Apache-2.0")
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PYPROJECT["project"]["dynamic"]
    source = (ROOT / "ahekit" / "__init__.py").read_text(encoding="utf-8")
    assert re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE) == [ahekit.__version__]


def test_the_lowest_versions_tested_are_those_that_are_allowed() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    allowed = {requirement.replace(">=", "==") for requirement in PYPROJECT["project"]["dependencies"]}
    pinned = {line for line in lines if line and not line.startswith("#")}
    # 3.20 stands for 3.20.0, and so on.
    assert {re.sub(r"(\.0)+$", "", pin) for pin in pinned} == {re.sub(r"(\.0)+$", "", name) for name in allowed}


def test_every_public_name_can_be_imported_from_the_top() -> None:
    stub = (ROOT / "ahekit/__init__.pyi").read_text(encoding="utf-8")
    assert set(dir(ahekit)) == set(re.findall(r"import \w+ as (\w+)$", stub, re.MULTILINE))
    assert {"BuiltModel", "MODELS", "resolve_spec"} <= set(dir(ahekit))
    for name in dir(ahekit):
        assert getattr(ahekit, name) is not None


def test_a_name_that_is_not_public_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="No ahekit attribute nothing"):
        _ = ahekit.nothing  # type: ignore[attr-defined]
