"""Errors a user can cause: one tree, one line, an exit code."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

from ahekit import errors
from ahekit.errors import AhekitError, MemoryShortage, PartlyDone, SpecError, UnknownNameError, UsageError


def test_a_wrong_command_line_exits_with_2_and_every_other_failure_with_1() -> None:
    codes = {name: value.exit_code for name, value in vars(errors).items() if _is_ours(value)}
    assert {name for name, code in codes.items() if code == 2} == {"UsageError", "SpecError", "UnknownNameError"}
    assert set(codes.values()) == {1, 2}


def _is_ours(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, AhekitError)


def test_the_tree_of_the_docstring_is_the_tree_of_the_classes() -> None:
    root = Path(errors.__file__).parents[1]
    bases = {
        node.name: ast.unparse(node.bases[0])
        for folder in ("ahekit", "plugins")
        for file in sorted((root / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.bases
    }
    classes = {"AhekitError": "Exception"}
    while more := {name: base for name, base in bases.items() if base in classes and name not in classes}:
        classes |= more
    assert errors.__doc__ is not None
    assert drawn_tree(errors.__doc__) == classes


def drawn_tree(text: str) -> dict[str, str]:
    """Class to base, from lines like `│   ├── SpecError    why`, four characters a level."""
    parents = ["Exception"]
    drawn = {}
    for branch, name in re.findall(r"^    ([│├└─ ]*)(\w+) ", text, re.MULTILINE):
        level = len(branch) // 4
        parents[level + 1 :] = [name]
        drawn[name] = parents[level]
    return drawn


def test_a_spec_error_holds_a_line_for_each_problem() -> None:
    error = SpecError(["seed: too small", "optim.lr: too large"])
    assert error.problems == ("seed: too small", "optim.lr: too large")
    assert str(error) == "seed: too small\noptim.lr: too large"


def test_an_unknown_name_is_answered_with_near_names_first_and_all_names_after() -> None:
    error = UnknownNameError("class", "alter", ["gargoyle", "altar", "apse"])
    assert str(error) == "no class named 'alter'; did you mean altar? Known: altar, apse, gargoyle"


def test_an_unknown_name_with_nothing_near_lists_all_names_and_the_hint() -> None:
    error = UnknownNameError("run", "zzz", ["a", "b"], hint="Make one")
    assert str(error) == "no run named 'zzz'. Known: a, b. Make one"


def test_an_unknown_name_where_none_is_known_says_so() -> None:
    assert str(UnknownNameError("run", "x", [])) == "no run named 'x'. Known: none"


def test_near_names_are_searched_in_all_names_though_only_some_are_listed() -> None:
    error = UnknownNameError("model", "resnet19", ["cnn5", "resnet18"], listed=["cnn5"])
    assert str(error) == "no model named 'resnet19'; did you mean resnet18? Known: cnn5"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "not enough memory; choose a smaller batch, image size or network"),
        (MemoryError("Unable to allocate 745. GiB for an array"), "not enough memory (unable to allocate 745. GiB); "),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 129 bytes. Er"
            ),
            "not enough memory (tried to allocate 129 bytes); ",
        ),
    ],
)
def test_too_little_memory_is_told_in_a_line(error: Exception, told: str) -> None:
    shortage = MemoryShortage.behind(error)
    assert shortage is not None
    assert str(shortage).startswith(told)
    assert MemoryShortage.behind(ValueError("a bug")) is None


def test_errors_come_back_from_another_process_as_they_were() -> None:
    for error in (
        UsageError("no"),
        SpecError(["a: wrong", "b: wrong"]),
        UnknownNameError("run", "zzz", ["a"]),
        PartlyDone("done", ["but not b"]),
    ):
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert (str(back), back.lines, back.exit_code) == (str(error), error.lines, error.exit_code)
        assert vars(back) == vars(error)
