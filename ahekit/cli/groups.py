"""How groups of commands read their arguments, and how they say what is wrong with them."""

from __future__ import annotations

import difflib
import os
from typing import Any

import typer
from typer.core import TyperGroup

from ahekit import console, plugin_files
from ahekit.errors import UsageError

# Of Typer's exceptions for a wrong command line, the one that all others are; Typer has no public name for it.
_WrongLine: type[Exception] = typer.BadParameter.__mro__[1]


class RootGroup(TyperGroup):
    """The tool itself: takes `--plugin` anywhere on the line, and says on one line what ends it."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line; returns the exit code.

        Raises:
            UsageError: What is wrong with it, on one line.
        """
        try:
            return super().main(*args, **{**options, "standalone_mode": False})
        except _WrongLine as problem:
            message = one_line(problem)
            if not message:  # help was shown, since there were no arguments
                return 2
            raise UsageError(message) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, those of `--plugin` first: completion and help know the plugins too."""
        if not ctx.resilient_parsing:
            _say_types_in_words(self, ctx)
        rest: list[str] = super().parse_args(ctx, _plugins_first(args))
        from_environment = os.environ.get("AHEKIT_PLUGINS", "").split(os.pathsep)
        plugin_files.announce([*filter(None, from_environment), *(ctx.params.get("plugin") or ())])
        return rest

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options; those that set completion up work, but don't stand on the page, which is one screen."""
        params: list[Any] = super().get_params(ctx)
        for each in params:
            each.hidden = each.hidden or each.name in ("install_completion", "show_completion")
        return params

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.error("interrupted")
            raise typer.Exit(130) from None


class ListByDefault(TyperGroup):
    """A group that runs its `list` command when no other one is named: `ahekit runs --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, with `list` put in where no command stands."""
        named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        if not named and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(ctx, args)


def one_line(problem: Any) -> str:
    """What Typer finds wrong with a command line, in one line that ends in where to read more."""
    option = getattr(problem, "option_name", None)
    ctx = problem.ctx
    if option is not None and hasattr(problem, "possibilities"):
        names = [name for each in ctx.command.get_params(ctx) for name in (*each.opts, *each.secondary_opts)]
        near = difflib.get_close_matches(option, [name for name in names if name.startswith("--")], n=3)
        message = f"no option {option}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    else:
        message = " ".join(problem.format_message().split())
        message = message.replace("Value error, ", "").replace("Input should be", "must be")
        message = message[:1].lower() + message[1:].rstrip(".")
    if not message or ctx is None:
        return message
    end = "" if message.endswith("?") else ";"
    return f"{message}{end} `{ctx.command_path} --help` lists what it takes"


def _say_types_in_words(command: Any, ctx: Any) -> None:
    """Keep Python's names of types (`<bool>`, `<list[str]>`) from the help pages of a command and those below it.

    A flag takes no value; an argument's metavar says what it is.
    """
    for each in [*command.params, command.get_help_option(ctx)]:
        if each.param_type_name == "argument":
            each.display_type_rich = lambda ctx: ""
        elif each.is_flag and each.metavar is None:
            each.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _say_types_in_words(inner, ctx)


def _plugins_first(args: list[str]) -> list[str]:
    plugins: list[str] = []
    others: list[str] = []
    left = list(args)
    while left and left[0] != "--":
        arg = left.pop(0)
        if arg == "--plugin" and left:
            plugins += [arg, left.pop(0)]
        elif arg.startswith("--plugin="):
            plugins.append(arg)
        else:
            others.append(arg)
    return [*plugins, *others, *left]
