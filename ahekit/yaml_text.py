"""YAML that strangers wrote, read into plain values: bounded in size, depth and number, and without its surprises.

A plain (unquoted) word is a number, true, false or null only in the forms of YAML 1.2's core schema, so that `no`,
`0777`, `12:30` and `2001-01-01` stay the words they are; and where a model's field takes text, it gets every word as it
was typed.
"""

from __future__ import annotations

import os
import re
import stat
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

MOST_BYTES = 2**20
MOST_VALUES = 10_000
"""A run spec has about a hundred values, and a few thousand bytes."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: value for value in (True, False) for spelling in (str(value), str(value).lower(), str(value).upper())
}
_LONGEST_NUMBER = 400  # digits; longer ones aren't numbers that anything here could use, and take long to read

_PLAIN = "plain"  # the tag of a word without quotes and without a tag of its own
_CORE = "tag:yaml.org,2002:"


class YamlProblem(ValueError):
    """What is wrong with a text, in one line."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, whose values are made here; tells words without quotes from others, and counts."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.composed = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.composed += 1
        if self.composed > MOST_VALUES:
            raise YamlProblem(f"holds more than {MOST_VALUES:,d} values")
        return super().compose_node(parent, index)


def read_text(path: Path) -> str:
    """A file's text, if it is a file and not longer than a spec could be.

    Raises:
        YamlProblem: It isn't a file, is too long or isn't UTF-8.
        OSError: It can't be read.
    """
    # Opening a pipe would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise YamlProblem("not a file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise YamlProblem(f"longer than {MOST_BYTES // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(f"not UTF-8 text (byte {error.start})") from None


def parse(text: str, annotation: Any = Any) -> Any:
    """The value of a YAML text for a field of that type, or for a model's fields.

    Raises:
        YamlProblem: It is no YAML, holds a key twice, a tag that isn't YAML's own, or more than could be meant.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Values().value(node, annotation)
    except yaml.YAMLError as error:
        raise YamlProblem(f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise YamlProblem("nested too deeply") from None


def parse_word(text: str, annotation: Any) -> Any:
    """The value that somebody who types this text for a field of that type means; what is no YAML is text."""
    if takes_text(annotation):
        node = _scalar(text)
        # Quotes that the shell left standing are quotes; all else of a text is the text.
        quoted = node is not None and node.style in ("'", '"')
        text = str(node.value) if quoted and node is not None else text
        return None if not quoted and _may_be_none(annotation) and _is_none(text) else text
    try:
        return parse(text, annotation)
    except YamlProblem:
        return text


def takes_text(annotation: Any) -> bool:
    """Whether a field of this type takes words as they are typed: text, paths, and choices among words."""
    options = list(_alternatives(annotation))
    if any(option in (str, Path) for option in options):
        return True
    choices = [choice for option in options if get_origin(option) is Literal for choice in get_args(option)]
    return len(options) == 1 and bool(choices) and all(isinstance(choice, str) for choice in choices)


def _takes_numbers(annotation: Any) -> bool:
    options = list(_alternatives(annotation))
    return (int in options or float in options) and bool not in options


def annotation_at(annotation: Any, path: list[str]) -> Any:
    """The type of the field at a path below a type; Any where that isn't known."""
    for key in path:
        annotation = _inner(annotation, key)
    return annotation


class _Values:
    """Makes values of nodes; aliases are read as often as they stand, so it counts what it made."""

    def __init__(self) -> None:
        self.made = 0

    def value(self, node: yaml.Node, annotation: Any) -> Any:
        self.made += 1
        if self.made > MOST_VALUES:
            raise YamlProblem(f"holds more than {MOST_VALUES:,d} values")
        if isinstance(node, yaml.MappingNode):
            _check_tag(node, "map")
            return self.mapping(node, annotation)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq")
            return [self.value(item, _item(annotation)) for item in node.value]
        may_be_none = _may_be_none(annotation)
        if node.tag == _PLAIN and takes_text(annotation) and not (may_be_none and _is_none(node.value)):
            return node.value
        tag = node.tag.removeprefix(_CORE)
        if tag == "str":
            return node.value
        if tag in (_PLAIN, "int", "float", "bool", "null"):
            takes_numbers = _takes_numbers(annotation)
            return _number(node.value, may_be_none=may_be_none) if takes_numbers else plain_value(node.value)
        raise _unknown_tag(node)

    def mapping(self, node: yaml.MappingNode, annotation: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlProblem(f"not YAML of a spec: a key that is no word{_place(key)}")
            if key.value == "<<" and key.tag == _PLAIN:
                for base in inner.value if isinstance(inner, yaml.SequenceNode) else [inner]:
                    if not isinstance(base, yaml.MappingNode):
                        raise YamlProblem(f"not YAML: << takes mappings{_place(key)}")
                    merged = self.value(base, annotation) | merged
                continue
            if key.value in values:
                raise YamlProblem(f"not YAML: {short(key.value)!r} stands twice{_place(key)}")
            values[key.value] = self.value(inner, _inner(annotation, key.value))
        return merged | values


def _number(text: str, *, may_be_none: bool) -> Any:
    """What a word means where a number is asked for: `none` is what descriptions call null, and true isn't 1."""
    if may_be_none and text.lower() == "none":
        return None
    value = plain_value(text)
    return text if isinstance(value, bool) else value


def plain_value(text: str) -> Any:
    """A word without quotes as the value it stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def short(text: str, most: int = 80) -> str:
    """A text that fits in a message."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _scalar(text: str) -> yaml.ScalarNode | None:
    """The one word that a text is, if that is all it is."""
    try:
        node = _Loader(text).get_single_node()
    except (yaml.YAMLError, YamlProblem, RecursionError):
        return None
    return node if isinstance(node, yaml.ScalarNode) else None


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _alternatives(option)
    elif annotation is not type(None):
        yield annotation


def _may_be_none(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _may_be_none(get_args(annotation)[0])
    return annotation is type(None) or (
        get_origin(annotation) in (Union, types.UnionType) and any(map(_may_be_none, get_args(annotation)))
    )


def _is_none(text: str) -> bool:
    return text in _WORDS and _WORDS[text] is None


def _item(annotation: Any) -> Any:
    """What a sequence of this type holds."""
    for option in _alternatives(annotation):
        inner = get_args(option)
        if get_origin(option) in (list, tuple, set, frozenset) and inner:
            return inner[0]
    return Any


def _inner(annotation: Any, key: str) -> Any:
    """What a mapping or model of this type holds under a key."""
    for option in _alternatives(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            field = option.model_fields.get(key)
            return field.annotation if field else Any
        if get_origin(option) is dict:
            return get_args(option)[1]
    return Any


def _check_tag(node: yaml.Node, name: str) -> None:
    if node.tag != _CORE + name:
        raise _unknown_tag(node)


def _unknown_tag(node: yaml.Node) -> YamlProblem:
    return YamlProblem(f"not YAML of a spec: the tag {short(node.tag)!r}{_place(node)}")


def _place(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1}, column {node.start_mark.column + 1})"
