"""`ahekit explain`, with a lesson of somebody else's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from ahekit.protocols import Params
from ahekit.registry import LESSONS
from ahekit.sections import Claim, Exercise, Experiment, Section, Widget

Cli = Callable[..., Any]


class CountingParams(Params):
    """What can be set."""

    places: tuple[int, ...] = Field((1, 2), min_length=1, description="where the ones stand")


class Counting:
    """How many ones there are."""

    Params = CountingParams
    title = "Counting"
    seconds = 1.0

    def teach(self, request: Any, params: Any) -> Experiment:
        widget = Widget("click", "root.append(data.word);", {"word": "</script>"}, "count them.")
        return Experiment(
            (Section("Ones", "There are two.", widgets=(widget,)),),
            (Claim("There are three.", "not supported", "there are two"),),
            (Exercise("ones", "How many?", 2.0, hint="count"), Exercise("word", "And in words?", "two, again")),
            subtitle=f"at {params.places}",
        )


@pytest.fixture(autouse=True)
def _lesson(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LESSONS.register("counting")(Counting)


def test_lessons_are_listed_with_their_time(cli: Cli) -> None:
    outcome = cli("explain")
    assert outcome.code == 0
    assert "counting" in outcome.out
    assert "How many ones there are." in outcome.out
    assert "conv-backprop" in outcome.out


def test_option_that_may_be_given_several_times_has_its_default_without(cli: Cli) -> None:
    assert "at (1, 2)" in cli("explain", "counting").out
    assert "at (3, 4)" in cli("explain", "counting", "--places", "3", "--places", "4").out


def test_lesson_on_networks_of_its_own_takes_no_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "uses_run", False, raising=False)
    outcome = cli("explain", "counting", "--run", "some")
    assert (outcome.code, outcome.err) == (2, "ahekit: counting trains networks of its own; leave out --run\n")


def test_lesson_is_shown_and_its_page_written(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("explain", "counting")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Counting: takes about 1 s\n")
    assert "There are three." in outcome.out
    assert "not supported" in outcome.out
    assert outcome.out.splitlines()[-1] == "page: lessons/counting/report.html"
    page = (tmp_path / "lessons" / "counting" / "report.html").read_text(encoding="utf-8")
    assert '{"word":"\\u003c/script>"}' in page, "no text ends the page's script"
    assert "On the page: count them." in (tmp_path / "lessons" / "counting" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ("ones: 2\nword: Two again\n", 0, ["right", "right"]),
        ("ones: 3\nword: two\n", 1, ["wrong", "wrong"]),
        ("ones: 2\n", 1, ["right", "no answer"]),
        ("ones: many\nword: [two, again]\n", 1, ["wrong", "right"]),
    ],
)
def test_answers_are_checked(cli: Cli, tmp_path: Path, answers: str, code: int, words: list[str]) -> None:
    cli("explain", "counting")
    (tmp_path / "answers.yaml").write_text(answers)
    outcome = cli("explain", "counting", "--check", "answers.yaml", "--json")
    assert outcome.code == code
    assert list(json.loads(outcome.out).values()) == words


@pytest.mark.parametrize(
    ("prepared", "answers", "message"),
    [
        (False, "ones: 2\n", "run `ahekit explain counting` first"),
        (True, "twos: 2\n", "twos: no exercise of that name; there are ones, word"),
        (True, None, "answers.yaml"),
        (True, "- 2\n", "answers.yaml"),
    ],
)
def test_what_can_not_be_checked_is_one_line(
    cli: Cli, tmp_path: Path, prepared: bool, answers: str | None, message: str
) -> None:
    if prepared:
        cli("explain", "counting")
    if answers is not None:
        (tmp_path / "answers.yaml").write_text(answers)
    outcome = cli("explain", "counting", "--check", "answers.yaml")
    assert outcome.code in (1, 2)
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_no_run_and_no_lesson_are_one_line(cli: Cli) -> None:
    outcome = cli("explain", "conv-backprop")
    assert (outcome.code, outcome.err) == (1, "ahekit: no run in runs; `ahekit train` makes one\n")
    outcome = cli("explain", "conv-backpropp")
    assert outcome.code == 2
    assert "did you mean conv-backprop?" in outcome.err


def test_lesson_that_breaks_its_word_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "teach", lambda self, request, params: Section("a", "b"))
    outcome = cli("explain", "counting")
    assert outcome.code == 1
    assert "it returned a Section, not an Experiment" in outcome.err


@pytest.mark.parametrize(("own", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_told_otherwise(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, own: str | None, policy: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", own or "unset")
    if own is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert cli("explain", "counting").code == 0
    assert os.environ["OMP_WAIT_POLICY"] == policy
