"""Plugins by name: entry points of installed packages, single files, and classes registered in a notebook.

Names come from package metadata; a plugin is imported only when it is asked for.
"""

from __future__ import annotations

import ast
import csv
import os
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from ahekit import plugin_files
from ahekit.errors import PluginError, UnknownNameError, UsageError
from ahekit.guard import Origin, reason_of
from ahekit.protocols import (
    LessonPlugin,
    ModelPlugin,
    PretrainedModel,
    ReporterPlugin,
    Suggestion,
    VisualizerPlugin,
    WriterPlugin,
)
from ahekit.wording import kind_of

P = TypeVar("P")
C = TypeVar("C", bound=type)
FAMILY_SUFFIX = "/*"


@dataclass(frozen=True)
class Entry(Origin):
    """A registered name, who provides it, and how to import it.

    Attributes:
        module: Module that the plugin is imported from; None when it is already imported.
        attribute: The plugin's name in that module.
    """

    load: Callable[[], Any]
    module: str | None = None
    attribute: str = ""

    @property
    def origin(self) -> Origin:
        """Name and provider alone."""
        return Origin(self.kind, self.name, self.provider)

    @property
    def is_family(self) -> bool:
        """Whether it resolves many names instead of being one plugin."""
        return self.name.endswith(FAMILY_SUFFIX)

    @property
    def package(self) -> str | None:
        """Top-level package that the plugin is imported from; None when it is already imported."""
        return None if self.module is None else self.module.partition(".")[0]

    @property
    def is_there(self) -> bool:
        """Whether its package could be imported, found out without importing it."""
        return self.package is None or _spec_of(self.package) is not None

    def description(self) -> str:
        """The first line of its docstring, as far as that can be read without importing it."""
        if self.module is None:
            return _first_line(self.load().__doc__)
        if not self.is_there:
            return ""
        files = (_file_beside(self.module, ".py"), _file_beside(self.module, "") / "__init__.py")
        for file in files:
            try:
                tree = ast.parse(file.read_bytes())
            except (OSError, SyntaxError, ValueError, RecursionError):
                continue
            classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == self.attribute]
            return _first_line(ast.get_docstring(classes[-1])) if classes else ""
        return ""

    def suggested(self) -> list[Suggestion]:
        """The models worth starting with that a file beside its module names; imports nothing.

        Raises:
            PluginError: There is such a file, and it is no table of suggestions.
        """
        if self.module is None or not self.is_there:
            return []
        file = _file_beside(self.module, ".csv")
        if not file.is_file():
            return []
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                return TypeAdapter(list[Suggestion]).validate_python(list(csv.DictReader(lines)))
        except ValidationError as error:
            first = error.errors()[0]
            row, *column = first["loc"]
            place = f"line {int(row) + 2}, {'.'.join(map(str, column))}"
            raise PluginError(f"{file}: no table of suggested models ({place}: {first['msg']})") from error
        except (OSError, ValueError, csv.Error) as error:
            raise PluginError(f"{file}: no table of suggested models ({error})") from error


class Registry(Generic[P]):
    """The plugins of one kind.

    Args:
        kind: What a plugin is called in messages.
        group: Entry-point group of installed packages.
        needs: Attributes every plugin of the kind has; "a or b" where one of them will do.

    Example:
        >>> registry: Registry[Any] = Registry("model", "example.models")
        >>> @registry.register("tiny")
        ... class Tiny:
        ...     "A tiny model."
        >>> type(registry.get("tiny")).__name__
        'Tiny'
    """

    def __init__(self, kind: str, group: str, *, needs: Iterable[str] = ()) -> None:
        self.kind = kind
        self.group = group
        self.needs = tuple(needs)
        self._local: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator for a plugin class of a notebook or single file; a cell run again replaces its own plugin.

        Raises:
            PluginError: The name is no name, what it stands over is no class, or another plugin of this name is
                registered from elsewhere.
        """
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or name != name.strip():
            raise PluginError(f"a {self.kind}'s name is a word, as in @register('my-{self.kind}'); got {name!r}")

        def add(plugin: C) -> C:
            if not isinstance(plugin, type):
                raise PluginError(f"@register({name!r}) stands over a class; this is {kind_of(plugin)}")
            provider = plugin_files.origin(plugin)
            entry = Entry(self.kind, name, provider, lambda: plugin)
            earlier = self._local.get(name)
            if earlier is not None and earlier.provider != provider:
                raise _clash(self.kind, name, [earlier, entry])
            self._local[name] = entry
            return plugin

        return add

    def entries(self) -> list[Entry]:
        """Every registered plugin by name, from metadata alone; two of one name are both listed."""
        plugin_files.read()
        installed = _installed(self.kind, self.group, tuple((place, _changed(place)) for place in sys.path))
        return sorted([*installed, *self._local.values()], key=lambda entry: (entry.name, entry.provider))

    def names(self) -> list[str]:
        """The names `get` knows without asking a family."""
        return sorted({entry.name for entry in self.entries() if not entry.is_family})

    def get(self, name: str) -> P:
        """The plugin of that name, imported now.

        Raises:
            UnknownNameError: Neither a plugin nor a family knows the name.
            UsageError: It is a family's.
            PluginError: It doesn't import or breaks its contract, two provide it, or a plugin file doesn't load.
        """
        return self.look_up(name)[1]

    def look_up(self, name: str, *, families: bool = False) -> tuple[Entry, P]:
        """Like `get`, with the entry that the plugin came from: its own, or that of the family that resolved it.

        Args:
            families: Whether the name may be that of a family, which is no plugin yet.
        """
        entries = self.entries()
        plugin_files.raise_broken()
        matches = [entry for entry in entries if entry.name == name and (families or not entry.is_family)]
        if len(matches) > 1:
            raise _clash(self.kind, name, matches)
        if matches:
            return matches[0], cast(P, self.load(matches[0]))
        if any(entry.name == name for entry in entries):
            raise UsageError(
                f"{name} stands for many {self.kind}s; name one of them; `ahekit plugins show {name!r}` tells"
            )
        return self._resolve(name, [entry for entry in entries if entry.is_family])

    def load(self, entry: Entry) -> Any:
        """Import one entry and construct it.

        Raises:
            PluginError: What its import or constructor raised, or what it lacks, in one line.
        """
        with entry.guarded():
            plugin = entry.load()()
        self._check(entry, plugin, ("names", "resolve") if entry.is_family else self.needs)
        return plugin

    def family_names(self, entry: Entry) -> list[str]:
        """The names that a family resolves.

        Raises:
            PluginError: It is broken.
        """
        return _names_of(entry, self.load(entry))

    def _check(self, entry: Entry, plugin: Any, needs: Iterable[str]) -> None:
        """Make sure that a plugin has what its kind needs; a look at its attributes may run code of its own."""
        with entry.guarded():
            lacking = [need for need in needs if not any(hasattr(plugin, name) for name in need.split(" or "))]
            if lacking:
                raise entry.broken(f"it has no {' and no '.join(lacking)}")
            params = getattr(plugin, "Params", BaseModel)
            if not (isinstance(params, type) and issubclass(params, BaseModel)):
                raise entry.broken("its Params is no pydantic model")

    def _resolve(self, name: str, families: list[Entry]) -> tuple[Entry, P]:
        """Ask the family whose prefix the name carries, or every family when it carries none.

        A family that breaks is told of only when nobody else knows the name.
        """
        prefixes = {family: family.name.removesuffix("*") for family in families}
        by_prefix = [family for family in families if name.startswith(prefixes[family])]
        matches: dict[Entry, Any] = {}
        known: list[str] = self.names()
        broken: list[PluginError] = []
        is_claimed = bool(by_prefix)
        for entry in by_prefix or families:
            try:
                family = self.load(entry)
                with entry.guarded():
                    plugin = family.resolve(name.removeprefix(prefixes[entry]))
                if plugin is None:
                    known += _names_of(entry, family)
                    continue
                member = replace(entry, name=name)
                is_claimed = True
                self._check(member, plugin, self.needs)
                matches[member] = plugin
            except PluginError as error:
                broken.append(error)
        if len(matches) > 1:
            raise _clash(self.kind, name, list(matches))
        if matches:
            return next(iter(matches.items()))
        if is_claimed and broken:
            raise broken[0]
        hint = f"A package adds more through the entry-point group {self.group!r}, a file through --plugin."
        raise UnknownNameError(
            self.kind,
            name,
            known,
            hint=hint + "".join(f" {error}." for error in broken),
            listed=[*self.names(), *(family.name for family in families)],
        )


@cache
def _installed(kind: str, group: str, places: tuple[tuple[str, int], ...]) -> tuple[Entry, ...]:
    """The entries of installed packages; read anew when `places`, the import path with times of change, are others."""
    return tuple(
        # Not `point.module`, which fails on a value that is none.
        Entry(kind, point.name, _distribution(point), point.load, *_target(point.value))
        for point in entry_points(group=group)
    )


def _changed(place: str) -> int:
    """When something was last added to or removed from a folder, in nanoseconds; 0 where there is none."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except (OSError, ValueError):
        return 0


def _target(value: str) -> tuple[str, str]:
    """Module and attribute of an entry point, whatever it says; `[extras]` after them are left out."""
    module, _, attribute = value.partition("[")[0].partition(":")
    return module.strip(), attribute.strip()


def _first_line(docstring: object) -> str:
    return docstring.strip().split("\n", 1)[0] if isinstance(docstring, str) else ""


def _names_of(entry: Entry, family: Any) -> list[str]:
    with entry.guarded():
        names = family.names()
        if not isinstance(names, Collection) or isinstance(names, str | bytes):
            raise entry.broken(f"its names() returned {kind_of(names)}, not a list of names")
        wrong = next((name for name in names if not isinstance(name, str)), None)
        if wrong is not None:
            raise entry.broken(f"its names() holds {wrong!r}, which is no text")
        return list(names)


def _spec_of(package: str) -> Any:
    """Where a top-level package would be imported from; None where it couldn't be."""
    try:
        return find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):  # `__main__` is there and comes from no file
        return None


def _file_beside(module: str, suffix: str) -> Path:
    """Where a module's file would be with another suffix; only its top-level package is looked for."""
    package, *inner = module.split(".")
    found = _spec_of(package)
    assert found is not None
    folders = found.submodule_search_locations
    root = Path(next(iter(folders))) if folders else Path(str(found.origin)).with_suffix("")
    return root.joinpath(*inner).with_suffix(suffix)


def _distribution(point: EntryPoint) -> str:
    try:
        return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    except (KeyError, TypeError, ValueError):  # a distribution without METADATA
        return point.value


def _clash(kind: str, name: str, entries: Iterable[Entry]) -> PluginError:
    providers = " and of ".join(entry.provider for entry in entries)
    return PluginError(f"two {kind} plugins are named {name!r}: of {providers}; remove or rename one")


MODELS: Registry[ModelPlugin] = Registry("model", "ahekit.models", needs=("Params", "image_size", "build"))
VISUALIZERS: Registry[VisualizerPlugin] = Registry("visualizer", "ahekit.visualizers", needs=("Params", "visualize"))
REPORTERS: Registry[ReporterPlugin] = Registry(
    "reporter", "ahekit.reporters", needs=("Params", "order", "report or compare or metrics")
)
LESSONS: Registry[LessonPlugin] = Registry("lesson", "ahekit.lessons", needs=("Params", "title", "seconds", "teach"))
WRITERS: Registry[WriterPlugin] = Registry("writer", "ahekit.writers", needs=("Params", "write"))
PRETRAINED: Registry[PretrainedModel] = Registry("pretrained model", "ahekit.pretrained", needs=("Params", "folder"))
REGISTRIES: tuple[Registry[Any], ...] = (MODELS, VISUALIZERS, REPORTERS, LESSONS, WRITERS, PRETRAINED)


def blame(error: BaseException) -> PluginError | None:
    """The plugin file or other distribution in whose code an error arose, for what no guard stands around.

    A network's `forward` is such a place: torch calls it. None where the innermost code of ours, of torch or of anybody
    else was called by no plugin but the tool's own.
    """
    theirs = {
        entry.package: entry.provider
        for registry in REGISTRIES
        for entry in registry.entries()
        if entry.package not in (None, "ahekit_plugins")
    }
    providers = []
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        provider = plugin_files.file_of(module) or theirs.get(module.partition(".")[0])
        if provider:
            providers.append(provider)
        trace = trace.tb_next
    return PluginError(f"code of {providers[-1]} failed: {reason_of(error)}") if providers else None
