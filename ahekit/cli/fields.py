"""Options made from fields of pydantic models: type, choices, default and help stand there alone."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ahekit import console

METAVARS: dict[Any, str] = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
"""What stands for a value in help, by the type of the value."""

_CHOICES_WIDTH = 18  # of alternatives that may stand for the value; longer ones would take their column from the help

Completer = Callable[[str], list[str]]


def parameter(
    name: str,
    field: FieldInfo,
    *,
    option: str,
    help: str | None = None,
    metavar: str | None = None,
    panel: str | None = None,
    complete: Completer | None = None,
    default: Any = None,
) -> inspect.Parameter:
    """The parameter of a command that Typer makes an option for a field of; it is None where the option isn't given.

    Args:
        name: Of the parameter.
        option: Long option without its dashes.
        help: Instead of the field's description.
        metavar: Instead of the one that follows from the field's type.
        default: The value that help names as the one that holds without the option.
    """
    kind, placeholder = command_line_type(field.annotation)
    declaration = f"--{option}"
    if kind is bool and default:
        declaration += f"/--no-{option}"  # only a pair can switch off what is on by default
    info = typer.Option(
        declaration,
        help=console.as_markup(help if help is not None else sentence(field, default)),
        metavar=placeholder if metavar is None else metavar,
        rich_help_panel=panel,
        autocompletion=complete,
        show_default=False,
    )
    annotation: Any = Annotated[(kind | None, info)]  # a tuple, for its type is known at run time alone
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def sentence(field: FieldInfo, default: Any = None) -> str:
    """A field's description as an option's help, with the value that holds without the option.

    Example:
        >>> from pydantic import Field
        >>> sentence(Field(8, description="images per batch"), 8)
        'Images per batch (default: 8).'
    """
    text = (field.description or "").rstrip(".")
    if default is None:
        text = re.sub(r"\bnone: ", "without it: ", text)  # an option can't be set to none
    remarks = ["may be given several times"] if any(map(_is_sequence, _without_none(field.annotation))) else []
    choices = _choices(field.annotation)
    if len("|".join(choices)) > _CHOICES_WIDTH and not all(choice in text for choice in choices):
        remarks.append(f"{', '.join(choices[:-1])} or {choices[-1]}")
    if not (default is None or default is False or default == ()):
        shown = "on" if default is True else f"{default:g}" if isinstance(default, float) else str(default)
        remarks.append(f"default: {shown}")
    if remarks:
        text = f"{text} ({'; '.join(remarks)})".lstrip()
    return text[:1].upper() + text[1:] + "." if text else ""


def command_line_type(annotation: Any) -> tuple[Any, str]:
    """The type that Typer reads a field's option as, and what stands for the value in help.

    Types that the command line has no word for are read as text, which the model then validates; see `is_plain`.

    Example:
        >>> command_line_type(int | Literal["all"] | None)
        (<class 'str'>, 'N|all')
    """
    options = _without_none(annotation)
    if len(options) > 1:
        return str, "|".join(command_line_type(option)[1] or "true|false" for option in options)
    only = options[0]
    if get_origin(only) is Literal:
        alternatives = "|".join(_choices(only))
        return only, alternatives if len(alternatives) <= _CHOICES_WIDTH else "NAME"
    if _is_sequence(only) and is_plain(only):
        item, placeholder = command_line_type(get_args(only)[0])
        return list.__class_getitem__(item), placeholder
    if only is bool:
        return bool, ""
    return (only, METAVARS[only]) if only in METAVARS else (str, "YAML")


def is_plain(annotation: Any) -> bool:
    """Whether the command line can say a value of this type in words; if not, the option takes YAML."""
    options = _without_none(annotation)
    if len(options) > 1:
        return all(is_plain(option) and not _is_sequence(option) for option in options)
    if _is_sequence(options[0]):
        (item,) = _without_none(get_args(options[0])[0])[:1]
        return is_plain(item) and not _is_sequence(item)
    return options[0] in (*METAVARS, bool) or get_origin(options[0]) is Literal


def _choices(annotation: Any) -> list[str]:
    """The words that a field takes, where it takes no others."""
    options = _without_none(annotation)
    is_choice = all(get_origin(option) is Literal for option in options)
    return [str(choice) for option in options for choice in get_args(option)] if is_choice else []


def _without_none(annotation: Any) -> list[Any]:
    """The alternatives of a union, or the one type that it is, without None and without what validates it besides."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for part in get_args(annotation) if part is not type(None) for option in _without_none(part)]
    return [annotation]


def _is_sequence(annotation: Any) -> bool:
    """A list, or a tuple of any length: an option that may be given several times."""
    origin, inner = get_origin(annotation), get_args(annotation)
    return origin is list or (origin is tuple and len(inner) == 2 and inner[1] is Ellipsis)
