"""A command that names a plugin: the plugin's parameters are options of the command, in help, errors and completion.

`viz` is such a command: its class says which plugins it takes, its function asks for `parameters`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import typer
from pydantic import BaseModel
from typer.core import TyperCommand

from ahekit import console
from ahekit.cli import fields
from ahekit.errors import AhekitError
from ahekit.protocols import describe
from ahekit.registry import Registry
from ahekit.sections import Column, Table
from ahekit.validation import merge, parse_assignment, parse_assignments, validate

_META = "ahekit.plugin"
_PREFIX = "parameter_"  # keeps a plugin's parameters apart from the command's own


@dataclass(frozen=True)
class Named:
    """The plugin that a command line names.

    Attributes:
        options: What its parameters are as options of the command.
        unflagged: Parameters whose options the command has for itself; `--set` sets them.
        values: Those that the command line sets, by name.
    """

    name: str
    plugin: Any
    options: Sequence[Any] = ()
    unflagged: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


class PluginCommand(TyperCommand):
    """A command one of whose arguments or options names a plugin.

    Attributes:
        registry: Of the plugins it takes.
        named_by: The parameter that names the plugin.
        default: The plugin when none is named.
    """

    registry: ClassVar[Registry[Any]]
    named_by: ClassVar[str] = "name"
    default: ClassVar[str] = ""

    @classmethod
    def complete(cls, incomplete: str) -> list[str]:
        """Names of the plugins it takes, from package metadata, for the shell's completion."""
        return [name for name in cls.registry.names() if name.startswith(incomplete)]

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own parameters, and those of the plugin that was named."""
        named = ctx.meta.get(_META)
        return [*super().get_params(ctx), *(named.options if named else ())]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments: first which plugin they name, then everything."""
        ctx.meta[_META] = named = self._named(ctx, args)
        rest = super().parse_args(ctx, args)
        if named:
            for option in named.options:
                value = ctx.params.pop(option.name)
                # An option that may be given several times and wasn't is an empty tuple.
                if value is not None and value != ():
                    named.values[option.name.removeprefix(_PREFIX)] = value
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help on the named plugin, or on the command and the plugins that it takes."""
        named = ctx.meta.get(_META)
        if named is None:
            super().format_help(ctx, formatter)
            (naming,) = [each for each in self.params if each.name == self.named_by]
            name = f"{naming.opts[0]} NAME" if naming.param_type_name == "option" else "NAME"
            note = f"`{ctx.command_path} {name} --help` shows the options of one."
            console.show_table(plugin_table(self.registry, note))
            return
        page = copy(self)
        page.params = [each for each in self.params if each.name != self.named_by]
        page.help = describe(named.plugin)
        if named.unflagged:
            page.help += f"\n\nSet with --set alone: {', '.join(named.unflagged)}."
        TyperCommand.format_help(page, ctx, formatter)

    def _named(self, ctx: Any, args: Sequence[str]) -> Named | None:
        """The plugin to read the arguments for; None where help or completion come without a name."""
        own = super().get_params(ctx)
        name = find_name(args, own, named_by=self.named_by, known=self.registry.names())
        if name is None:
            asks_for_help = any(arg in ctx.help_option_names for arg in args)
            if asks_for_help or ctx.resilient_parsing or not self.default:
                return None
            name = self.default
        try:
            plugin = self.registry.get(name)
        except AhekitError:
            if ctx.resilient_parsing:
                return None  # completion has nowhere to say what is wrong
            raise
        if self.named_by not in {each.name for each in own if each.param_type_name == "option"}:
            ctx.info_name = f"{ctx.info_name} {name}"  # the page that usage lines and hints point to
        taken = {option for each in own for option in (*each.opts, *each.secondary_opts)}
        options, unflagged = options_of(plugin.Params, taken, panel=f"Parameters of {name}")
        return Named(name, plugin, options, unflagged)


def parameters(ctx: typer.Context, assignments: Iterable[str]) -> dict[str, Any]:
    """The parameters that a command line sets of the plugin it names: its options, and over them its `--set`s.

    Raises:
        SpecError: One of them is wrong.
        UsageError: An assignment has no `=`.
    """
    named: Named = ctx.meta[_META]
    values: dict[str, Any] = {}
    for name, value in named.values.items():
        plain = fields.is_plain(named.plugin.Params.model_fields[name].annotation)
        values |= {name: value} if plain else parse_assignment(f"{name}={value}", named.plugin.Params)
    values = merge(values, parse_assignments(assignments, named.plugin.Params))
    validate(named.plugin.Params, values, where=named.name)
    return values


def options_of(params: type[BaseModel], taken: Iterable[str], *, panel: str) -> tuple[list[Any], tuple[str, ...]]:
    """The fields of a plugin's parameters as options, and the names of those whose option is taken already."""
    made: list[inspect.Parameter] = []
    unflagged: list[str] = []
    for name, info in params.model_fields.items():
        option = name.replace("_", "-")
        if f"--{option}" in taken:
            unflagged.append(name)
            continue
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        made.append(fields.parameter(_PREFIX + name, info, option=option, panel=panel, default=default))
    return _as_options(made), tuple(unflagged)


def _as_options(parameters: Sequence[inspect.Parameter]) -> list[Any]:
    """What Typer makes of a function's parameters."""

    def command(**_: Any) -> None: ...

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def find_name(args: Sequence[str], own: Sequence[Any], *, named_by: str, known: Iterable[str]) -> str | None:
    """The plugin that a command line names, before anybody knows which options there are.

    An unknown option may take the word after it: such a word is the name only if it is one and no other word is.

    Args:
        own: The command's own parameters.
        named_by: The one of them that names the plugin.
        known: Names of plugins.
    """
    (naming,) = [each for each in own if each.name == named_by]
    if naming.param_type_name == "option":
        return next((value for option, value in _words(args, own) if option in naming.opts), None)
    free = [word for option, word in _words(args, own) if option is None]
    doubtful = [word for option, word in _words(args, own) if option == ""]
    names = set(known)
    return next((word for word in (*free, *doubtful) if word in names), free[0] if free else None)


def _words(args: Sequence[str], own: Sequence[Any]) -> Iterator[tuple[str | None, str]]:
    """Every word that is no option, with the option it belongs to: None stands for none, "" for an unknown one."""
    options = {name: each for each in own if each.param_type_name == "option" for name in each.opts}
    before: str | None = None
    only_words = False
    for arg in args:
        if arg == "--" and not only_words:
            only_words, before = True, None
        elif only_words or not arg.startswith("-") or arg == "-" or before:
            yield before, arg
            before = None
        elif "=" in arg:
            name, _, value = arg.partition("=")
            if name in options:
                yield name, value
            before = None
        elif arg in options:
            before = None if options[arg].is_flag else arg
        else:
            before = None if arg[:2] in options else ""  # -lconv3: the value is part of the word


def plugin_table(registry: Registry[Any], note: str) -> Table:
    """The plugins of a kind with a line on each, as far as it can be read without importing them."""
    rows = tuple((entry.name, entry.description()) for entry in registry.entries() if not entry.is_family)
    return Table(f"{registry.kind}s".capitalize(), (Column(""), Column("")), rows, note)
