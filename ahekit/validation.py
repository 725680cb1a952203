"""Validating nested values against pydantic models: merging, YAML, assignments, and every problem in one go."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ahekit import yaml_text
from ahekit.errors import SpecError, UnknownNameError, UsageError

M = TypeVar("M", bound=BaseModel)

_DEEPEST = 32  # levels of fields within fields
_MOST_PROBLEMS = 20  # lines; a file of another kind has thousands of wrong fields, and they say no more


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested mapping `over` on `base`; where both have a mapping they are merged, else `over` wins.

    A component's `params` given for another component name replace the base's instead of mixing with them.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            other = "name" in value and "name" in below and value["name"] != below["name"]
            merged[key] = dict(value) if other else merge(below, value)
        else:
            merged[key] = value
    return merged


def validate(model: type[M], values: Mapping[str, Any], *, where: str = "") -> M:
    """Validate values against a pydantic model; every problem is reported at once.

    A key that is no field is a problem on every level, whatever the models' own configuration says of it: a mistyped
    name would otherwise leave a default in place without a word.

    Args:
        where: Dotted place of the values, put before each field's name.

    Raises:
        SpecError: `optim.accumulation_steps: must be greater than 0 (got 0)`, a line for each problem.
    """
    try:
        return model.model_validate(values, extra="forbid")
    except ValidationError as error:
        problems = [_problem(model, details, where) for details in error.errors(include_url=False)]
        left = len(problems) - _MOST_PROBLEMS
        more = [f"and {left:,d} more wrong fields"] if left > 1 else []
        raise SpecError(problems[: _MOST_PROBLEMS if more else None] + more) from None


def read_yaml(path: Path, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """Read a YAML mapping.

    Args:
        model: Whose fields the mapping is to fill: where one takes text, it gets what stands there as it was typed.

    Raises:
        UsageError: No such file, no YAML, or no mapping.
    """
    try:
        values = yaml_text.parse(yaml_text.read_text(path), Any if model is None else model)
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None
    except yaml_text.YamlProblem as problem:
        raise UsageError(f"{path}: {problem}") from None
    except ValueError:  # a NUL within the path
        raise UsageError(f"{str(path)!r}: no path") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a spec is a mapping of fields to values, not a {type(values).__name__}")
    return values


def to_yaml(spec: BaseModel) -> str:
    """The spec as YAML that `read_yaml` reads back to an equal spec."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(spec: BaseModel, other: BaseModel) -> dict[str, tuple[Any, Any]]:
    """Dotted fields in which two specs differ, with both values."""
    left = flat_fields(spec)
    right = flat_fields(other)
    return {key: (left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)}


def flat_fields(spec: BaseModel) -> dict[str, Any]:
    """A spec's values by dotted field."""
    return _flatten(spec.model_dump(mode="json"))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def parse_assignment(text: str, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """The nested mapping that an assignment `a.b=v` of `--set` stands for.

    Args:
        model: Whose field it sets. A field that takes text gets `v` as it was typed; any other, and where the field
            isn't known, the value that `v` is in YAML.

    Raises:
        UsageError: It has no `=`, or no field before it.
    """
    path, equals, value = text.partition("=")
    keys = path.split(".")
    if not equals or not all(keys) or len(keys) > _DEEPEST:
        raise UsageError(f"--set {yaml_text.short(text)}: write FIELD=VALUE, as in --set optim.lr=0.001")
    nested = yaml_text.parse_word(value, yaml_text.annotation_at(Any if model is None else model, keys))
    for key in reversed(keys):
        nested = {key: nested}
    return dict(nested)


def parse_assignments(texts: Iterable[str], model: type[BaseModel] | None = None) -> dict[str, Any]:
    """Several assignments as one nested mapping; of two for one field the later wins.

    Raises:
        UsageError: One has no `=`, or no field before it.
    """
    values: dict[str, Any] = {}
    for text in texts:
        values = merge(values, parse_assignment(text, model))
    return values


def _problem(model: type[BaseModel], details: Any, where: str) -> str:
    place = ".".join(yaml_text.short(part) for part in (where, *map(str, details["loc"])) if part)
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = message.replace("String should", "must")
    if details["type"] in ("model_type", "dict_type"):
        message = "must be a mapping of names to values"
    if details["type"] == "extra_forbidden":
        known = _fields_at(model, details["loc"][:-1])
        return f"{place}: {UnknownNameError('field', str(details['loc'][-1]), known)}"
    if not place:
        return str(message)
    if details["type"] == "missing":
        return f"{place}: required"
    if details["type"] == "string_type" and isinstance(details["input"], bool | int | float):
        message += """; what reads as a number or as yes or no is text in quotes, with --set '"these"'"""
    return f"{place}: {message} (got {reprlib.repr(details['input'])})"


def _fields_at(model: Any, path: Iterable[str | int]) -> list[str]:
    """The names that a key may have at a place inside the values of a model."""
    models = _models_in(model)
    for key in path:
        fields = [field for each in models for name, field in each.model_fields.items() if key in _keys(name, field)]
        # A number is a place in a list, a name that is no field's the branch of a union: neither leads elsewhere.
        if fields:
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return [_keys(name, field)[0] for each in models for name, field in each.model_fields.items()]


def _keys(name: str, field: FieldInfo) -> tuple[str, ...]:
    """What a field is called from outside: its alias, where it has one, before its name."""
    return (field.validation_alias, name) if isinstance(field.validation_alias, str) else (name,)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type is made of: itself, or those of its list, mapping or union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
