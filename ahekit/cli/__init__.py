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

PANELS = {
    "Use it on photos": ("predict", "sort", "write", "survey", "match", "export"),
    "Train a network": ("train", "finetune", "resume"),
    "Look inside": ("viz", "model"),
    "Say how good it is": ("report", "prove"),
    "Learn the ideas": ("explain",),
    "Keep house": ("data", "runs", "plugins"),
}
"""The help page's panels, by what a person wants to do.

`ahekit.cli.<name>` holds a Typer `app` with subcommands, or a function of that name, and then a class `Command` where
it reads its arguments its own way.
"""

NAMES = tuple(name for names in PANELS.values() for name in names)

app = typer.Typer(
    cls=RootGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug's whole traceback, as Python prints it
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        console.say(f"ahekit {__version__}")
        raise typer.Exit


@app.callback(help="Classify pictures of built heritage, and see why. Start: ahekit predict FOLDER")
def root(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            "--plugin",
            metavar="PATH.py",
            help="Load a file's plugins (or $AHEKIT_PLUGINS).",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take what stands before the command."""


for panel, names in PANELS.items():
    for name in names:
        module = import_module(f"ahekit.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, rich_help_panel=panel)
        else:
            command_class = getattr(module, "Command", None)
            app.command(name, cls=command_class, rich_help_panel=panel)(getattr(module, name))
