"""How groups of commands read their arguments."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from ahekit import console


class RootGroup(TyperGroup):
    """The tool itself: takes `--plugin` anywhere on the line, and ends on Ctrl-C with one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, those of `--plugin` first."""
        return super().parse_args(ctx, _plugins_first(args))

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


def _plugins_first(args: list[str]) -> list[str]:
    ours: list[str] = []
    others: list[str] = []
    left = list(args)
    while left and left[0] != "--":
        arg = left.pop(0)
        if arg == "--plugin" and left:
            ours += [arg, left.pop(0)]
        elif arg.startswith("--plugin="):
            ours.append(arg)
        else:
            others.append(arg)
    return [*ours, *others, *left]
