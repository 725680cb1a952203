"""`ahekit plugins`: which models, visualizers and reporters there are, who provides them, what they take."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from ahekit import console, plugin_files
from ahekit.cli import options
from ahekit.cli.groups import ListByDefault
from ahekit.errors import PluginError, UnknownNameError
from ahekit.protocols import Suggestion, describe
from ahekit.registry import FAMILY_SUFFIX, REGISTRIES, Entry, Registry
from ahekit.sections import Column, Table

app = typer.Typer(cls=ListByDefault, help="List models, visualizers, reporters …; show what they take.")

# JSON-schema keys of a bound, and how a reader says it.
_BOUNDS = {
    "exclusiveMinimum": "> {}",
    "minimum": "≥ {}",
    "exclusiveMaximum": "< {}",
    "maximum": "≤ {}",
    "multipleOf": "multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
}


@dataclass(frozen=True)
class Listed:
    """One row of the list; description and parameters are known only once the plugin is imported.

    Attributes:
        state: "found" (by its metadata), "ok" (it loads), "broken" or "clash" (another one has its name).
        problem: What is wrong, in one line.
        suggested: Models worth starting with, of a family or of the one model.
    """

    name: str
    kind: str
    provider: str
    state: str = "found"
    problem: str = ""
    description: str | None = None
    parameters: tuple[str, ...] | None = None
    suggested: tuple[Suggestion, ...] = ()


@app.command("list")
def list_plugins(
    check: Annotated[
        bool,
        typer.Option("--check", help="Import each one: shows descriptions, parameters and what is broken."),
    ] = False,
    json: options.Json = False,
) -> None:
    """List every registered plugin; imports none of them, unless told to --check."""
    console.configure(json=json)
    rows = list(listed(check=check))
    if json:
        console.show_json([asdict(row) for row in rows])
        return
    console.show_table(_table(rows, check=check))
    # Plugins of one module share its file.
    if suggested := list(dict.fromkeys(model for row in rows for model in row.suggested)):
        families = " and ".join(row.name for row in rows if row.name.endswith(FAMILY_SUFFIX))
        note = f"{families} resolve many more by name." if families else ""
        console.show_table(_suggested_table("Networks to start with", suggested, note))
    for row in rows:
        if row.problem:
            console.warn(row.problem)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Registered name, or one that a family resolves.")],
    json: options.Json = False,
) -> None:
    """Show who provides a plugin, what it does and which parameters it takes."""
    console.configure(json=json)
    for registry, entry, plugin in find(name):
        facts = {"name": name, "kind": registry.kind, "provider": entry.provider, "description": describe(plugin)}
        if name.endswith(FAMILY_SUFFIX):
            _show_family(facts, entry.suggested(), count=len(registry.family_names(entry)), json=json)
            continue
        with entry.guarded("its parameters can't be described"):
            schema = plugin.Params.model_json_schema()
            table = _parameter_table(registry.kind, parameters(plugin.Params))
        if json:
            console.show_json({**facts, "parameters": schema})
            continue
        console.say(f"{name}: {registry.kind} of {entry.provider}")
        console.say(describe(plugin))
        console.show_table(table)


def _show_family(facts: Mapping[str, str], suggested: Sequence[Suggestion], *, count: int, json: bool) -> None:
    if json:
        console.show_json({**facts, "names": count, "suggested": [asdict(model) for model in suggested]})
        return
    console.say(f"{facts['name']}: {facts['kind']}s of {facts['provider']}")
    console.say(facts["description"])
    note = f"It resolves {count} names. `ahekit plugins show NAME` lists what one takes."
    console.show_table(_suggested_table("", suggested, note))


def _suggested_table(title: str, suggested: Sequence[Suggestion], note: str) -> Table:
    columns = (
        Column("name"),
        Column("parameters", ",d", "right"),
        Column("multiply-adds", ",d", "right"),
        Column("image size", "d", "right"),
    )
    rows = tuple((model.name, model.parameters, model.multiply_adds, model.image_size) for model in suggested)
    return Table(title, columns, rows, f"Parameters: with ten classes. {note}")


def listed(*, check: bool) -> Iterator[Listed]:
    """Every registered plugin of every kind, and every announced plugin file that doesn't run.

    Args:
        check: Import each plugin and describe it.
    """
    for registry in REGISTRIES:
        entries = registry.entries()
        for entry in entries:
            rivals = [other for other in entries if other.name == entry.name and other is not entry]
            yield _listed(registry, entry, rivals, check=check)
    for file, problem in plugin_files.broken().items():
        yield Listed(file.name, "file", str(file), "broken", problem)


def find(name: str) -> list[tuple[Registry[Any], Entry, Any]]:
    """The plugins that go by a name, of any kind: registry, entry, plugin.

    Raises:
        UnknownNameError: No kind knows the name.
        PluginError: One of them is broken.
    """
    found = []
    for registry in REGISTRIES:
        if any(entry.name == name for entry in registry.entries()):
            entry, plugin = registry.look_up(name, families=True)
            found.append((registry, entry, plugin))
    if found:
        return found
    names = [known for registry in REGISTRIES for known in registry.names()]
    known = list(names)
    for registry in REGISTRIES:
        if any(entry.is_family for entry in registry.entries()):
            try:
                entry, plugin = registry.look_up(name)
                return [(registry, entry, plugin)]
            except UnknownNameError as error:
                known += error.known
    plugin_files.raise_broken()
    groups = ", ".join(registry.group for registry in REGISTRIES)
    hint = f"A package adds more through the entry-point groups {groups}, a file through --plugin."
    raise UnknownNameError("plugin", name, known, hint=hint, listed=sorted(set(names)))


def parameters(params: type[BaseModel]) -> dict[str, dict[str, str]]:
    """What a plugin takes, in words: field name to type, default, constraint and description."""
    schema = params.model_json_schema()
    return {
        name: {
            "type": _type(field),
            "default": "required" if name in schema.get("required", ()) else _value(field.get("default")),
            "constraint": _constraint(field),
            "description": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    }


def _listed(registry: Registry[Any], entry: Entry, rivals: list[Entry], *, check: bool) -> Listed:
    row = Listed(entry.name, registry.kind, entry.provider)
    if rivals:
        problem = f"shares its name with the {registry.kind} of {rivals[0].provider}"
        return replace(row, state="clash", problem=f"{row.kind} {row.name!r} of {row.provider} {problem}")
    if not check and not entry.is_there:
        problem = f"{row.kind} {row.name!r} of {row.provider} is broken: no module named {entry.package!r}"
        return replace(row, state="broken", problem=problem)
    try:
        row = replace(row, suggested=tuple(entry.suggested()))
        if not check:
            return row
        plugin = registry.load(entry)
    except PluginError as error:
        return replace(row, state="broken", problem=str(error))
    fields = () if entry.is_family else tuple(plugin.Params.model_fields)
    return replace(row, state="ok", description=describe(plugin), parameters=fields)


def _table(rows: list[Listed], *, check: bool) -> Table:
    names = ["name", "kind", "provider", "state"] + (["description", "parameters"] if check else [])
    cells = [
        (
            row.name,
            row.kind,
            row.provider,
            row.state,
            *((row.description, ", ".join(row.parameters or ())) if check else ()),
        )
        for row in rows
    ]
    more = "" if check else "`ahekit plugins list --check` imports and describes each, "
    note = f"{more}`ahekit plugins show NAME` lists the parameters of one."
    return Table("Plugins", tuple(map(Column, names)), tuple(cells), note)


def _parameter_table(kind: str, fields: Mapping[str, Mapping[str, str]]) -> Table:
    if not fields:
        return Table("", (Column("parameter"),), (("none",),))
    names = ("type", "default", "constraint", "description")
    rows = tuple((field, *(facts[key] for key in names)) for field, facts in fields.items())
    first = next(iter(fields))
    note = f"Set one with --set model.params.{first}=VALUE" if kind == "model" else ""
    return Table("", tuple(Column(column) for column in ("parameter", *names)), rows, note)


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if "anyOf" in field:
        return " | ".join(_type(option) for option in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}" if "items" in field else "list"
    kind = str(field.get("type", "any"))
    return {"null": "none", "object": "mapping"}.get(kind, kind)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else jsonlib.dumps(value)


def _constraint(field: Mapping[str, Any]) -> str:
    options = [field, *field.get("anyOf", ())]
    return ", ".join(text.format(option[key]) for option in options for key, text in _BOUNDS.items() if key in option)
