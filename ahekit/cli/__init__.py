"""The command line: one file per command, each a thin shell around functions that a program can call.

Command modules import nothing heavy at module level, so that help and completion start at once.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ahekit import __version__, console
from ahekit.cli.groups import RootGroup

COMMANDS = ("train", "finetune", "resume", "report", "viz")
"""`ahekit.cli.<name>` holds a function of that name, and a class `Command` where it reads its arguments its own way."""

GROUPS = ("data", "model", "prove", "runs", "plugins")
"""`ahekit.cli.<name>` holds a Typer `app` with subcommands."""

app = typer.Typer(
    cls=RootGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug's whole traceback, as Python prints it
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: ahekit train --model cnn5 --accum 4",
)


def _show_version(asked: bool) -> None:
    if asked:
        console.say(f"ahekit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            "--plugin",
            metavar="PATH.py",
            help="Load the plugins of a Python file; may be given several times, before or after the command. "
            "$AHEKIT_PLUGINS names more.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Classify pictures of architectural heritage elements, and see why."""


for name in COMMANDS:
    module = import_module(f"ahekit.cli.{name}")
    app.command(name, cls=getattr(module, "Command", None))(getattr(module, name))
for name in GROUPS:
    app.add_typer(import_module(f"ahekit.cli.{name}").app, name=name)
