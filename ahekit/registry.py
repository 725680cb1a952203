"""Plugins by name: entry points of installed packages, single files, and classes registered in a notebook.

Names come from package metadata; a plugin is imported only when it is asked for.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from ahekit import plugin_files
from ahekit.errors import PluginError, UnknownNameError
from ahekit.protocols import ModelPlugin, ReporterPlugin, Suggestion, VisualizerPlugin

P = TypeVar("P")
C = TypeVar("C", bound=type)
FAMILY_SUFFIX = "/*"


@dataclass(frozen=True)
class Entry:
    """A registered name, who provides it, and how to import it.

    Attributes:
        module: Module that the plugin is imported from; None when it is already imported.
    """

    name: str
    provider: str
    load: Callable[[], Any]
    module: str | None = None

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
        return self.package is None or (self.package.isidentifier() and find_spec(self.package) is not None)

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
            PluginError: Another plugin of this name is registered from elsewhere.
        """

        def add(plugin: C) -> C:
            provider = plugin_files.origin(plugin)
            earlier = self._local.get(name)
            if earlier is not None and earlier.provider != provider:
                raise _clash(self.kind, name, [earlier, Entry(name, provider, plugin)])
            self._local[name] = Entry(name, provider, lambda: plugin)
            return plugin

        return add

    def entries(self) -> list[Entry]:
        """Every registered plugin by name, from metadata alone; two of one name are both listed."""
        plugin_files.read()
        installed = [
            # Not `point.module`, which fails on a value that is none.
            Entry(point.name, _distribution(point), point.load, point.value.partition(":")[0].strip())
            for point in entry_points(group=self.group)
        ]
        return sorted([*installed, *self._local.values()], key=lambda entry: (entry.name, entry.provider))

    def names(self) -> list[str]:
        """The names `get` knows without asking a family."""
        return sorted({entry.name for entry in self.entries() if not entry.is_family})

    def get(self, name: str) -> P:
        """The plugin of that name, imported now.

        Raises:
            UnknownNameError: Neither a plugin nor a family knows the name.
            PluginError: It doesn't import or breaks its contract, two provide it, or a plugin file doesn't load.
        """
        return self.look_up(name)[1]

    def look_up(self, name: str) -> tuple[Entry, P]:
        """Like `get`, with the entry that the plugin came from: its own, or that of the family that resolved it."""
        entries = self.entries()
        plugin_files.raise_broken()
        found = [entry for entry in entries if entry.name == name]
        if len(found) > 1:
            raise _clash(self.kind, name, found)
        if found:
            return found[0], cast(P, self.load(found[0]))
        return self._resolve(name, [entry for entry in entries if entry.is_family])

    def load(self, entry: Entry) -> Any:
        """Import one entry and construct it.

        Raises:
            PluginError: What its import or constructor raised, or what it lacks, in one line.
        """
        try:
            plugin = entry.load()()
        except (Exception, SystemExit) as error:
            raise self._broken(entry, f"{type(error).__name__}: {error}") from error
        needs = ("names", "resolve") if entry.is_family else self.needs
        if lacking := [need for need in needs if not any(hasattr(plugin, name) for name in need.split(" or "))]:
            raise self._broken(entry, f"it has no {' and no '.join(lacking)}")
        params = getattr(plugin, "Params", BaseModel)
        if not (isinstance(params, type) and issubclass(params, BaseModel)):
            raise self._broken(entry, "its Params is no pydantic model")
        return plugin

    def _broken(self, entry: Entry, reason: str) -> PluginError:
        one_line = " ".join(reason.split())
        return PluginError(f"{self.kind} {entry.name!r} of {entry.provider} is broken: {one_line}")

    def _resolve(self, name: str, families: list[Entry]) -> tuple[Entry, P]:
        """Ask the family whose prefix the name carries, or every family when it carries none."""
        prefixes = {family: family.name.removesuffix("*") for family in families}
        asked = [family for family in families if name.startswith(prefixes[family])] or families
        found, known, broken = {}, self.names(), []
        for entry in asked:
            try:
                family = self.load(entry)
            except PluginError as error:
                broken.append(f" {error}.")
                continue
            plugin = family.resolve(name.removeprefix(prefixes[entry]))
            if plugin is not None:
                found[entry] = plugin
            known += family.names()
        if len(found) > 1:
            raise _clash(self.kind, name, list(found))
        if found:
            return next(iter(found.items()))
        hint = f"A package adds more through the entry-point group {self.group!r}, a file through --plugin."
        raise UnknownNameError(
            self.kind,
            name,
            known,
            hint=hint + "".join(broken),
            listed=[*self.names(), *(family.name for family in families)],
        )


def _file_beside(module: str, suffix: str) -> Path:
    """Where a module's file would be with another suffix; only its top-level package is looked for."""
    package, *inner = module.split(".")
    found = find_spec(package)
    assert found is not None
    folders = found.submodule_search_locations
    root = Path(next(iter(folders))) if folders else Path(str(found.origin)).with_suffix("")
    return root.joinpath(*inner).with_suffix(suffix)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _clash(kind: str, name: str, entries: Iterable[Entry]) -> PluginError:
    providers = " and of ".join(entry.provider for entry in entries)
    return PluginError(f"two {kind} plugins are named {name!r}: of {providers}; remove or rename one")


MODELS: Registry[ModelPlugin] = Registry("model", "ahekit.models", needs=("Params", "image_size", "build"))
VISUALIZERS: Registry[VisualizerPlugin] = Registry("visualizer", "ahekit.visualizers", needs=("Params", "visualize"))
REPORTERS: Registry[ReporterPlugin] = Registry(
    "reporter", "ahekit.reporters", needs=("Params", "order", "report or compare or metrics")
)
REGISTRIES: tuple[Registry[Any], ...] = (MODELS, VISUALIZERS, REPORTERS)
