"""Writes the pages of `docs/reference/` that follow from the code: python docs/make_reference.py.

`tests/docs/test_reference.py` fails when a page is not what this would write.
"""

from __future__ import annotations

import inspect
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any, get_args

import typer
import yaml
from pydantic import BaseModel
from rich.text import Text

from ahekit import cli, model_folder
from ahekit.cli.explain import duration
from ahekit.cli.finetune import TRANSFER
from ahekit.cli.options import MODEL, TRAINING
from ahekit.cli.plugins import parameters
from ahekit.prediction import survey
from ahekit.protocols import describe
from ahekit.registry import LESSONS, REGISTRIES, Registry
from ahekit.spec import RECIPES, RunSpec

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/make_reference.py; don't edit. -->"
OWN = "ahekit_plugins"  # other packages' plugins are no part of this documentation

# What a value is called where an option has no word of its own for it.
PLACEHOLDERS = {"int": "N", "int range": "N", "float": "X", "float range": "X", "str": "TEXT", "path": "PATH"}


def pages() -> dict[str, str]:
    """Every generated page by its name."""
    makers: dict[str, Callable[[], Iterable[str]]] = {
        "cli.md": cli_page,
        "spec.md": spec_page,
        "plugins.md": plugins_page,
        "model-folder.md": model_folder_page,
        "survey.md": survey_page,
    }
    return {name: "\n\n".join([NOTE, *make()]) + "\n" for name, make in makers.items()}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; cells are Markdown already, but for bars."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "&#124;") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Text as code that may stand in a table: a bar within backticks would end the cell."""
    if not text:
        return ""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"<code>{escaped}</code>" if "|" in text else f"`{text}`"


def prose(text: str) -> str:
    """Text that may hold code in backticks, with nothing else of it read as markup."""
    return "".join(part if part.startswith("`") else escaped(part) for part in re.split(r"(`[^`]*`)", text))


def escaped(text: str) -> str:
    """Text none of which is markup."""
    return re.sub(r"([\\*_\[\]#])", r"\\\1", text).replace("<", "&lt;").replace(">", "&gt;")


# The command line


def cli_page() -> Iterator[str]:
    """Every command with its options, from the application itself."""
    app = typer.main.get_command(cli.app)
    yield "# Command line"
    yield (
        "`ahekit COMMAND --help` shows the same in the terminal, and `ahekit --install-completion` teaches the shell "
        "to complete it. A command "
        "ends with 0, with 1 when it fails, with 2 when what was asked can't be, and with 130 or 143 when it was "
        "stopped."
    )
    yield from options_of(app, "ahekit")
    for panel, names in cli.PANELS.items():
        yield f"## {panel}"
        for name in names:
            yield from command_sections(app.commands[name], f"ahekit {name}")
    yield "## Environment"
    yield table(("Variable", "What it sets"), ENVIRONMENT)


ENVIRONMENT = (
    ("`AHEKIT_DATA`", "the dataset, where `--data` names none"),
    ("`AHEKIT_RUNS`", "where runs live, where `--runs` names no folder"),
    ("`AHEKIT_HOME`", "where installed datasets, the sample and caches live"),
    ("`AHEKIT_PLUGINS`", "files with plugins, separated as in `PATH`"),
    ("`AHEKIT_TRACEBACK`", "`1`: a plugin's bug with its whole traceback"),
)


def command_sections(command: Any, name: str) -> Iterator[str]:
    """A command, or a group's commands."""
    yield f"### {name}"
    if hasattr(command, "commands"):
        yield prose(inspect.cleandoc(command.help or ""))
        for inner, each in command.commands.items():
            yield f"#### {name} {inner}"
            yield from command_body(each, f"{name} {inner}")
    else:
        yield from command_body(command, name)


def command_body(command: Any, name: str) -> Iterator[str]:
    """What a command does, how it is called, what it takes."""
    yield prose(inspect.cleandoc(command.help or ""))
    words = [placeholder(command, each) for each in command.params if each.param_type_name == "argument"]
    shown = [word if each.required else f"[{word}]" for word, each in zip(words, arguments(command), strict=True)]
    yield "```text\n" + " ".join([name, *shown, "[OPTIONS]"]) + "\n```"
    rows = [(code(word), described(each)) for word, each in zip(words, arguments(command), strict=True)]
    if rows:
        yield table(("Argument", "What it is"), rows)
    yield from options_of(command, name)
    registry = getattr(command, "registry", None)
    if registry is not None:
        yield (
            f"The parameters of the {registry.kind} that is named are options, too: "
            f"[plugins](plugins.md#{registry.kind}s)."
        )


def arguments(command: Any) -> list[Any]:
    """A command's arguments, without its options."""
    return [each for each in command.params if each.param_type_name == "argument"]


def options_of(command: Any, name: str) -> Iterator[str]:
    """A command's options, a table for each panel of its help page."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for each in command.params:
        if each.param_type_name == "option" and not each.hidden:
            names = ", ".join([*reversed(each.opts), *each.secondary_opts])
            shown = names if each.is_flag else f"{names} {placeholder(command, each)}"
            panels.setdefault(each.rich_help_panel or "Option", []).append((code(shown), described(each)))
    for panel, rows in panels.items():
        if name != "ahekit" or panel == "Option":
            rows = [row for row in rows if "completion" not in row[0]]
            yield table((panel, "What it does"), rows)


def placeholder(command: Any, each: Any) -> str:
    """What stands for the value of an argument or option."""
    if each.metavar:
        return str(each.metavar)
    if each.param_type_name == "argument":
        return str(each.name).upper()
    kind = (each.display_type_rich(typer.Context(command)) or "").strip("<>")
    return PLACEHOLDERS.get(kind, kind)


def described(each: Any) -> str:
    """The help of an argument or option, and the value that holds without it."""
    text = prose(Text.from_markup(each.help or "").plain)
    is_told = each.show_default and each.default not in (None, False, "", ()) and not getattr(each, "is_flag", False)
    return f"{text} Default: {code(str(each.default))}." if is_told else text


# The run spec


def spec_page() -> Iterator[str]:
    """Every field of a run spec, and what the recipes set."""
    flags: dict[str, list[str]] = {}
    for flag in (MODEL, *TRAINING, *TRANSFER):
        flags.setdefault(flag.field, []).append(f"`--{flag.name.replace('_', '-')}`")
    yield "# Run spec"
    yield (
        "Everything that decides what a run does. A spec is a YAML file; what it leaves out has its default. "
        "Defaults give way to the recipe, "
        "the recipe to `--spec FILE`, the file to options and to `--set FIELD=VALUE`. The whole of it is saved as "
        "`spec.yaml` in the run's "
        "folder, and `ahekit train --spec runs/NAME/spec.yaml` repeats the run. A field that there is not is refused."
    )
    top = parameters(RunSpec)
    inner = {name: field.annotation for name, field in RunSpec.model_fields.items() if is_model(field.annotation)}
    plain = {name: facts for name, facts in top.items() if name not in inner}
    yield field_table(plain, flags, "")
    for name, model in inner.items():
        yield f"## {name}"
        yield from docstring_of(model)[0]
        yield field_table(parameters(model), flags, f"{name}.")
    yield "## Recipes"
    yield (
        "`--recipe NAME` sets these before anything else; what isn't named keeps its default. Where no recipe is named "
        "it is `strong`, of `ahekit finetune` `finetune`."
    )
    for name, values in RECIPES.items():
        if values:
            yield f"### {name}"
            yield f"```yaml\n{yaml.safe_dump(values, sort_keys=False).strip()}\n```"


def is_model(annotation: Any) -> bool:
    """Whether a field holds fields of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def field_table(
    fields: Mapping[str, Mapping[str, str]], flags: Mapping[str, Sequence[str]] | None = None, prefix: str = ""
) -> str:
    """Fields with their options."""
    rows = []
    for name, facts in fields.items():
        options = " or ".join((flags or {}).get(prefix + name, ()))
        about = prose(facts["description"]) + (f" ({options})" if options else "")
        rows.append((f"`{prefix}{name}`", taken(facts), default_of(facts), about))
    return table(("Field", "Takes", "Default", "What it is"), rows)


def taken(facts: Mapping[str, str]) -> str:
    """A field's type with its bounds, but for the lengths of texts."""
    bounds = [
        bound
        for bound in facts["constraint"].split(", ")
        if not (bound.endswith("characters") or bound.startswith("matches"))
    ]
    return prose(", ".join(filter(None, (facts["type"], *bounds))))


def default_of(facts: Mapping[str, str]) -> str:
    """A field's default as code; that it has none, in words."""
    if facts["default"] == "required":
        return "required"
    return code("{}" if facts["type"] == "mapping" else facts["default"])


# Plugins


def plugins_page() -> Iterator[str]:
    """Every plugin that comes with ahekit, and what it takes."""
    yield "# Plugins"
    yield (
        "What comes with ahekit. `ahekit plugins` lists it together with what other packages bring, `ahekit plugins "
        "show NAME` tells of one. "
        "How to write one: [plugins of your own](../how-to/plugins/index.md)."
    )
    for registry in REGISTRIES:
        yield f"## {registry.kind.capitalize()}s"
        yield HOW_SET[registry.group]
        for entry in registry.entries():
            if entry.package == OWN:
                yield from plugin_section(registry, entry)


HOW_SET = {
    "ahekit.models": "`ahekit train --model NAME`, `ahekit finetune --backbone NAME`; a parameter is `--set "
    "model.params.NAME=VALUE`.",
    "ahekit.visualizers": "`ahekit viz NAME`; a parameter is an option of it.",
    "ahekit.reporters": "`ahekit report --only NAME`; a parameter is `--set REPORTER.NAME=VALUE`.",
    "ahekit.lessons": "`ahekit explain NAME`; a parameter is an option of it.",
    "ahekit.writers": "`ahekit write SURVEY --as NAME`; a parameter is an option of it.",
    "ahekit.pretrained": "`ahekit predict --model NAME`, `ahekit finetune --weights NAME`.",
}


def plugin_section(registry: Registry[Any], entry: Any) -> Iterator[str]:
    """One plugin: what it does, what it takes."""
    yield f"### {prose(entry.name)}"
    plugin = registry.load(entry)
    if entry.is_family:
        yield prose(describe(plugin))
        rows = [
            (f"`{each.name}`", f"{each.parameters:,d}", f"{each.multiply_adds:,d}", f"{each.image_size}")
            for each in entry.suggested()
        ]
        yield table(("Some to start with", "Parameters", "Multiply-adds", "Image size"), rows)
        return
    yield from docstring_of(type(plugin))[0]
    if registry is LESSONS:
        full = duration(plugin, full=True)
        yield f"Takes about {duration(plugin)}" + (f", with `--full` {full}." if full != duration(plugin) else ".")
    fields = parameters(plugin.Params)
    if fields:
        yield field_table(fields)


# Files


def model_folder_page() -> Iterator[str]:
    """The files of a model folder, and the fields of its notes."""
    yield "# Model folder"
    yield (
        "What `ahekit export` makes, and what to do with it: [Take a trained network "
        "elsewhere](../how-to/model-folder.md)."
    )
    yield from docstring_of(model_folder)[0][:2]
    yield f"## {model_folder.NOTES}"
    yield "Read strictly: a field that there is not is refused, as is a file whose hash isn't the one given here."
    seen: list[type[BaseModel]] = []
    waiting: list[type[BaseModel]] = [model_folder.ModelNotes]
    while waiting:
        model = waiting.pop(0)
        seen.append(model)
        if model is not model_folder.ModelNotes:
            yield f"### {model.__name__}"
            yield from docstring_of(model)[0]
        yield notes_table(model)
        inner = [part for field in model.model_fields.values() for part in models_in(field.annotation)]
        waiting += [part for part in dict.fromkeys(inner) if part not in (*seen, *waiting)]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field's type is made of."""
    if is_model(annotation):
        return [annotation]
    return [part for each in get_args(annotation) for part in models_in(each)]


def notes_table(model: type[BaseModel]) -> str:
    """A model's fields, in the words of its docstring."""
    words = docstring_of(model)[1]
    fields = parameters(model)
    return field_table(
        {name: {**facts, "description": facts["description"] or words[name]} for name, facts in fields.items()}
    )


def docstring_of(thing: Any) -> tuple[list[str], dict[str, str]]:
    """The paragraphs of a docstring in Markdown, and what it says of each attribute."""
    text, _, attributes = inspect.cleandoc(thing.__doc__ or "").partition("\nAttributes:\n")
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    return list(paragraphs(text)), {name: " ".join(words.split()) for name, words in found}


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of plain text in Markdown; an indented one stays as it is."""
    for paragraph in text.strip().split("\n\n"):
        is_block = paragraph.startswith("    ")
        yield f"```text\n{dedent(paragraph)}\n```" if is_block else prose(" ".join(paragraph.split()))


def survey_page() -> Iterator[str]:
    """The files of a survey, and the tables of its database, as a new one has them."""
    yield "# Survey"
    yield (
        "What `ahekit predict` makes, and what to do with it: [Name, sort and hand on a survey's "
        "photos](../how-to/photos.md)."
    )
    yield from docstring_of(survey)[0][:2]
    with TemporaryDirectory() as folder:
        model = survey.SurveyModel("model", "00", ("arch",))
        survey.Survey.create(Path(folder), model).close()
        with closing(sqlite3.connect(Path(folder) / survey.FILE_NAME)) as database:
            yield f"## {survey.FILE_NAME}"
            yield (
                f"SQLite, schema version {survey.SCHEMA_VERSION}. It may be read while ahekit writes; write to it "
                "through ahekit alone. The class "
                "names in the order of `logits` stand in `meta` under `model`, and what `sure` was decided by under "
                "`settings`."
            )
            for name, sql in database.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
            ):
                yield f"### {name}"
                yield table(("Column", "Type", "What it is"), columns_of(sql))
    yield "## Read it"
    yield (
        "```sql\nSELECT CAST(path AS TEXT), class, confidence FROM photos\n"
        "WHERE state = 'review' ORDER BY confidence;\n```"
    )


def columns_of(sql: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and comment of each column of a table."""
    for name, kind, comment in re.findall(r"^ +(\w+) (.*?),? -- (.*)$", sql, re.MULTILINE):
        yield f"`{name}`", kind.lower(), prose(comment)


def write() -> None:
    """Write every page that is not as it should be."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = FOLDER / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    write()
