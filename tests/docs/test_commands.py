"""Every command that the documentation shows is one: it is read as the command line would read it, and not run."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from ahekit.cli import app

ROOT = Path(__file__).parents[2]
# The pages on plugins name some that their own tests bring.
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name not in ("plugins", "reference")),
]
BLOCKS = re.compile(r"^```(?:console|bash)\n(.*?)^```$|((?:^ {4}\S.*\n)+)", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:torchrun .*?-m )?ahekit (.*)$", re.MULTILINE)


def commands_of(page: Path) -> list[str]:
    """The lines of a page's blocks that begin with ahekit, those that go on in the next line as one."""
    text = page.read_text(encoding="utf-8")
    blocks = ["".join(filter(None, groups)) for groups in BLOCKS.findall(text)]
    return [line for block in blocks for line in LINE.findall(re.sub(r"\\\n\s*", "", block))]


COMMANDS = [(page, line) for page in PAGES for line in commands_of(page)]


@cache
def application() -> Any:
    """The command line's own."""
    return typer.main.get_command(app)


def read(words: list[str]) -> None:
    """Read a command's arguments as the tool would."""
    command = application()
    context = typer.Context(command, info_name="ahekit")
    while hasattr(command, "commands"):
        name = words.pop(0) if words and words[0] in command.commands else "list"
        command = command.commands[name]
    command.make_context(name, words, parent=context)


def test_commands_are_found_where_they_stand() -> None:
    assert len(COMMANDS) > 90
    assert {page.name for page, _ in COMMANDS} >= {"README.md", "tutorial.md", "resume.md", "more-machines.md"}


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page.stem}: {line[:40]}" for page, line in COMMANDS])
def test_a_command_of_the_documentation_is_one(page: Path, line: str) -> None:
    words = shlex.split(line.partition(" && ")[0].replace("$(", "").replace(")", ""), comments=True)
    read([word for word in words if word not in ("…", "...")])


def test_a_wrong_option_would_be_told() -> None:
    with pytest.raises(Exception, match="--nonesuch"):
        read(["train", "--nonesuch"])
