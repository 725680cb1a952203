"""YAML of strangers: what words mean, and what is refused before it costs anything."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from ahekit.errors import SpecError, UsageError
from ahekit.spec import RunSpec, resolve_spec
from ahekit.validation import parse_assignments, read_yaml
from ahekit.yaml_text import YamlProblem, parse, parse_word, plain_value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5", 5),
        ("-7", -7),
        ("1e-3", 0.001),
        ("1.0e-05", 1e-5),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        *(
            (word, word)
            for word in ("no", "yes", "on", "0777", "12:30", "2001-01-01", "1_000", "=", "<", "0x", "e5", "1.2.3")
        ),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_word_without_quotes_is_a_number_or_a_switch_only_where_it_looks_like_one(word: str, value: Any) -> None:
    assert plain_value(word) == value
    assert type(plain_value(word)) is type(value)


class Params(BaseModel):
    text: str = "x"
    maybe: str | None = None
    several: tuple[str, ...] = ()
    file: Path = Path()
    choice: Literal["1", "none"] = "1"
    number: float = 0
    count: int = 0
    switch: bool = False
    filter: int | Literal["all"] | None = None
    inner: dict[str, str] = Field(default_factory=dict)


TYPED = [
    "0777",
    "yes",
    "null",
    "1e3",
    "2001-99-99",
    "[x",
    "a: b",
    "*.x",
    "&x",
    "{",
    "a # b",
    "!x",
    "~",
    "",
    "%a",
    "- a",
    "x\ty",
]


@pytest.mark.parametrize("word", TYPED)
def test_a_field_that_takes_text_gets_it_as_it_was_typed(word: str) -> None:
    assert parse_assignments([f"text={word}"], Params) == {"text": word}
    assert parse_assignments([f"inner.key={word}"], Params) == {"inner": {"key": word}}
    assert parse_assignments([f"file={word}"], Params) == {"file": word}


def test_quotes_are_quotes_and_none_is_none_where_there_may_be_none() -> None:
    assert parse_assignments(["text='a: b'", 'maybe="null"'], Params) == {"text": "a: b", "maybe": "null"}
    assert parse_assignments(["maybe=null", "choice=none", "choice=1"], Params) == {"maybe": None, "choice": "1"}


@pytest.mark.parametrize("word", ["true", "False", "TRUE", "!!bool true"])
@pytest.mark.parametrize("field", ["optim.lr", "optim.batch_size", "train.patience", "progressive.sizes.0"])
def test_a_switch_is_no_number(field: str, word: str, tmp_path: Path) -> None:
    value = f"[{word}]" if field.endswith(".0") else word
    with pytest.raises(UsageError, match=re.escape(f"{field}: must be a valid") + f".*got '{word.split()[-1]}'"):
        resolve_spec(assignments=[f"{field.removesuffix('.0')}={value}"])
    section, name = field.removesuffix(".0").split(".")
    file = tmp_path / "spec.yaml"
    file.write_text(f"{section}:\n  {name}: {value}\n")
    with pytest.raises(UsageError, match=re.escape(field)):
        resolve_spec(file=file)


def test_none_is_none_where_a_number_may_be_none() -> None:
    spec = resolve_spec(assignments=["optim.clip_norm=none", "evaluation.curve_points=None"])
    assert (spec.optim.clip_norm, spec.evaluation.curve_points) == (None, None)
    with pytest.raises(UsageError, match=r"optim\.lr: must be a valid number"):
        resolve_spec(assignments=["optim.lr=none"])


def test_words_in_a_list_of_text_are_text_and_numbers_elsewhere_numbers() -> None:
    assert parse_assignments(["several=[0777, yes, null, 1e3, 2001-01-01]"], Params) == {
        "several": ["0777", "yes", "null", "1e3", "2001-01-01"]
    }
    words = ["number=1e3", "count=0777", "switch=yes", "filter=all"]
    params = Params.model_validate(parse_assignments(words, Params))
    assert (params.number, params.count, params.switch, params.filter) == (1000.0, 777, True, "all")
    assert parse_assignments(["filter=3"], Params) == {"filter": 3}


def test_a_file_is_read_for_the_fields_it_fills(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("\ufeffmodel: {name: 0777, params: {weights: none, hidden: [8, 4]}}\ndata: {source: 2001-01-01}\n")
    spec = resolve_spec(file=file)
    assert (spec.model.name, spec.model.params) == ("0777", {"weights": "none", "hidden": [8, 4]})
    assert spec.data.source == "2001-01-01"


def test_merge_keys_give_way_to_the_mappings_own() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  z: 3\n"
    assert parse(text)["c"] == {"x": 1, "y": 1, "z": 3}


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("[" * 50_000, "nested too deeply", id="deep"),
        pytest.param("a: " * 2 + "{b: " * 5_000, "not YAML|nested too deeply", id="deep mappings"),
        pytest.param("- " * 50_000, "nested too deeply", id="deep dashes"),
        pytest.param("? " * 50_000, "nested too deeply", id="deep keys"),
        pytest.param("".join(f"key{n}: 1\n" for n in range(40_000)), "more than 10,000 values", id="many keys"),
        pytest.param(LAUGHS, "more than 10,000 values", id="laughs"),
        pytest.param(MERGED, "more than 10,000 values", id="merged laughs"),
        pytest.param("a: &a [*a]", "nested too deeply|more than 10,000", id="holds itself"),
        pytest.param("a: !!python/name:os.system", "the tag 'tag:yaml.org,2002:python/name:os.system'", id="python"),
        pytest.param("a: !!binary aGk=", "the tag", id="binary"),
        pytest.param("a: !!timestamp 2001-99-99", "the tag", id="timestamp"),
        pytest.param("a: !mine {}", "the tag '!mine'", id="own tag"),
        pytest.param("a: !!set {x}", "the tag", id="set"),
        pytest.param("a\x00b: 1", "not YAML", id="NUL"),
        pytest.param("a:\n\t- 1", "not YAML", id="tab"),
        pytest.param("a: 1\n---\nb: 2\n", "not YAML: expected a single document", id="documents"),
        pytest.param("? [a]\n: 1\n", "a key that is no word", id="list as key"),
        pytest.param("<<: 1\n", "<< takes mappings", id="merging a number"),
        pytest.param("a: 1\nb: 2\na: 3\n", r"'a' stands twice \(line 3, column 1\)", id="twice"),
        pytest.param("a: *b", "not YAML", id="no anchor"),
    ],
)
def test_what_no_spec_holds_is_refused_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(YamlProblem, match=problem) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_only_a_file_of_a_specs_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big").write_bytes(b"#" * 2**21)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, problem in (
        (tmp_path / "pipe", "not a file"),
        (Path("/dev/zero"), "not a file"),
        (tmp_path / "big", "longer than 1 MiB"),
        (tmp_path, "can't be read|not a file"),
        (tmp_path / "loop", "can't be read"),
        (tmp_path / ("x" * 300), "can't be read"),
        (Path("a\x00b"), "no path"),
    ):
        with pytest.raises(UsageError, match=problem) as caught:
            read_yaml(path)
        assert "\n" not in str(caught.value)


def test_thousands_of_wrong_fields_are_told_in_a_few_lines(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("".join(f"key{number}: 1\n" for number in range(3_000)) + f"{'k' * 1_000}: 1\n")
    with pytest.raises(SpecError) as caught:
        resolve_spec(file=file)
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 2,981 more wrong fields"
    assert max(map(len, caught.value.problems)) < 400


@pytest.mark.parametrize(
    "assignment",
    [
        "recipe=.nan",
        "seed=" + "9" * 5000,
        "optim.name=" + "x" * 100_000,
        "k" * 100_000 + "=1",
        "recipe=" + "x" * 100_000,
        "runtime.threads=100000",
        "optim.batch_size=1000000000000",
        "evaluation.batch_size=1000000000000",
        "train.epochs=1e300",
        "transfer.feature_cache_gb=1e308",
        "data.source=[1, {a: b}]",
    ],
)
def test_absurd_values_are_refused_in_a_short_line(assignment: str) -> None:
    if assignment.startswith("data.source"):
        assert resolve_spec(assignments=[assignment]).data.source == "[1, {a: b}]"
        return
    with pytest.raises(UsageError) as caught:
        resolve_spec(assignments=[assignment])
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_every_count_of_the_spec_has_a_bound() -> None:
    def unbounded(model: type[BaseModel], place: str = "") -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names += unbounded(inner, f"{place}{name}.")
            bounds = {type(bound).__name__ for bound in field.metadata}
            if inner in (int, int | None) and not bounds & {"Le", "Lt"}:
                names.append(place + name)
        return names

    assert unbounded(RunSpec) == []


def test_a_word_that_is_no_yaml_is_text() -> None:
    assert parse_word("{a", Any) == "{a"
    assert parse_word("[8, 4]", Any) == [8, 4]
