"""Plugins of single Python files: `--plugin PATH.py` and `$AHEKIT_PLUGINS`.

A file is announced when the command line is read and runs when a plugin is first asked for, so that a broken one
never breaks help or completion.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from ahekit.errors import PluginError, UsageError
from ahekit.files import full_path
from ahekit.guard import lets_bugs_through, reason_of

_MODULE_PREFIX = "_ahekit_plugin_file_"

_announced: dict[Path, PluginError | UsageError | None] = {}  # the file, and what went wrong running it
_unread: list[Path] = []


def announce(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Name files to run before a plugin is looked up; one named twice runs once."""
    for path in map(Path, paths):
        file = full_path(path)
        if file not in _announced:
            _announced[file] = None
            _unread.append(file)


def announced() -> tuple[Path, ...]:
    """The files that were named, for a process that needs the same plugins."""
    return tuple(_announced)


def read() -> None:
    """Run the announced files that haven't run yet, and remember what went wrong."""
    while _unread:
        file = _unread.pop(0)
        try:
            load(file)
        except (PluginError, UsageError) as problem:
            _announced[file] = problem


def broken() -> dict[Path, str]:
    """The announced files that don't run, and why."""
    read()
    return {file: str(problem) for file, problem in _announced.items() if problem is not None}


def raise_broken() -> None:
    """Refuse to go on without a plugin file that was asked for.

    Raises:
        PluginError: One of the announced files doesn't run.
        UsageError: One of them isn't there.
    """
    read()
    for problem in _announced.values():
        if problem is not None:
            raise problem


def load(path: str | os.PathLike[str]) -> None:
    """Run a Python file whose classes register themselves with `@MODELS.register(...)` and the like.

    Raises:
        UsageError: There is no such file, or it doesn't end in `.py`.
        PluginError: It doesn't run.
    """
    file = full_path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UsageError(f"plugin file {path}: {'not a .py file' if file.is_file() else 'no such file'}")
    name = f"{_MODULE_PREFIX}{file.stem}_{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
    module_spec = importlib.util.spec_from_file_location(name, file)
    assert module_spec is not None
    assert module_spec.loader is not None
    # pydantic and dataclasses look a class's module up by its name.
    sys.modules[name] = module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a file that exits ends its own part
        del sys.modules[name]
        if lets_bugs_through():
            raise
        raise PluginError(f"plugin file {path} is broken: {reason_of(error)}") from error


def origin(plugin: type) -> str:
    """Who provides a class that registered itself: its file, or the module it is defined in."""
    module = str(plugin.__module__)
    return file_of(module) or module


def file_of(module: str) -> str:
    """The plugin file that a module was made of, in words; empty where it was none."""
    is_file = module.startswith(_MODULE_PREFIX) and module in sys.modules
    return f"file {sys.modules[module].__file__}" if is_file else ""
