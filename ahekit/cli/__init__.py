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
    "Train a network": ("train", "finetune", "resume"),
    "See how good it is, and why": ("report", "viz"),
    "Use it on photos": ("predict", "sort", "write", "survey", "export"),
    "Learn the ideas": ("explain",),
    "Look after data, runs and parts": ("data", "runs", "model", "plugins", "prove"),
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
            help="Load a file's plugins; repeatable, anywhere on the line. $AHEKIT_PLUGINS names more.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Classify pictures of architectural heritage elements, and see why."""


for panel, names in PANELS.items():
    for name in names:
        module = import_module(f"ahekit.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, rich_help_panel=panel)
        else:
            command_class = getattr(module, "Command", None)
            app.command(name, cls=command_class, rich_help_panel=panel)(getattr(module, name))
