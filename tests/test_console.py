"""What people see: nothing of theirs mangled, nothing cut, and JSON alone where JSON was asked for."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from ahekit import console
from ahekit.console.output import OUTPUT
from ahekit.errors import UsageError
from ahekit.sections import Column, Table

CLASSES = ("altar", "apse", "bell tower", "dome (inner)", "flying buttress", "stained glass")
SHOWN_AS_IT_IS = "[bold]x[/bold] :smile: [/nonsense] a=1 'q' /path/[1].png"


def numbers(*names: str, form: str = ".3f") -> tuple[Column, ...]:
    return tuple(Column(name, form, "right") for name in names)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still until it is told how many seconds pass."""
    now = [100.0]
    monkeypatch.setattr("ahekit.console.bars.monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns in place of stdout; holds what was drawn on it."""
    screen = io.StringIO()
    drawn = Console(file=screen, force_terminal=True, width=80, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr(OUTPUT, "out", drawn)
    return screen


def step(number: int, *, epoch: int = 1) -> dict[str, Any]:
    return {"step": number, "epoch": epoch, "loss": 1.5, "lr": 1e-3, "grad_norm": 1.0, "images": 256, "seconds": 2.0}


EPOCH = {
    "epoch": 1,
    "step": 40,
    "seconds": 75.0,
    "train_online": {"loss": 1.25, "f1": 0.4},
    "train": {"loss": 1.0, "f1": 0.5},
    "val": {"loss": 1.125, "f1": 0.45},
    "test": {"loss": 1.5, "f1": float("nan")},
}


def test_a_users_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(SHOWN_AS_IT_IS)
    console.warn(SHOWN_AS_IT_IS)
    console.error(SHOWN_AS_IT_IS)
    console.show_table(Table(SHOWN_AS_IT_IS, (Column(SHOWN_AS_IT_IS),), ((SHOWN_AS_IT_IS,),), SHOWN_AS_IT_IS))
    shown = capsys.readouterr()
    assert shown.out.count(SHOWN_AS_IT_IS) == 5
    assert shown.err == f"warning: {SHOWN_AS_IT_IS}\nahekit: {SHOWN_AS_IT_IS}\n"


def test_escape_sequences_in_a_file_name_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a\x1b[2Jb\x07c")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\x07c\n"


def test_a_long_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/very/long" * 40
    console.say(path)
    assert capsys.readouterr().out == path + "\n"


def test_each_line_of_an_error_carries_the_tools_name(capsys: pytest.CaptureFixture[str]) -> None:
    console.error("seed: wrong", "optim.lr: wrong")
    assert capsys.readouterr().err == "ahekit: seed: wrong\nahekit: optim.lr: wrong\n"


def test_a_table_that_fits_wraps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple((name, 0.5, None, 1234) for name in CLASSES)
    columns = (Column("class"), *numbers("precision", "recall"), *numbers("support", form=",d"))
    console.show_table(Table("Per class", columns, rows, "a note"))
    title, header, rule, *lines, note, end = capsys.readouterr().out.splitlines()
    assert (title, header.split(), note, end) == (
        "Per class",
        ["class", "precision", "recall", "support"],
        "a note",
        "",
    )
    assert set(rule) == {"─"}
    assert [re.split(r"\s{2,}", line.strip()) for line in lines] == [[name, "0.500", "–", "1,234"] for name in CLASSES]


def test_headers_wrap_at_words_before_a_number_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (
        Column("split"),
        *numbers("macro precision", "macro recall", "weighted precision", "weighted recall", "F1"),
    )
    console.show_table(Table("", columns, (("a rather long name of a split of the data", 0.5, 0.25, 0.125, 0.75, 1),)))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert re.findall(r"\d\.\d+", out) == ["0.500", "0.250", "0.125", "0.750", "1.000"]
    assert {"precision", "weighted", "macro", "recall"} <= set(out.split())


def test_a_table_too_wide_goes_on_below_with_its_first_column(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{name} {number}" for name in CLASSES for number in (1, 2)]
    rows = tuple((name, *range(1000, 1000 + len(names))) for name in names)
    console.show_table(Table("Confusion", (Column("true class"), *numbers(*names, form="d")), rows))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for number in range(1000, 1000 + len(names)):
        assert out.count(str(number)) == len(names), "each number once a row"
    assert len(re.findall(r"^apse 1 ", out, re.MULTILINE)) > 1


def test_a_path_too_long_for_its_column_is_folded_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/".join(f"folder{number}" for number in range(20))
    console.show_table(Table("", (Column("what"), Column("where")), (("file", path),)))
    lines = capsys.readouterr().out.splitlines()[2:]
    assert "".join(line.removeprefix("file").strip() for line in lines) == path


def test_names_of_runs_and_files_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("20261126-160219-cnn5-c80c", "test/flying_buttress/6023415_51f9a.jpg")
    columns = (Column("run"), Column("file"), Column("what is said of it"), *numbers("loss", "F1"))
    console.show_table(Table("", columns, ((*names, "predicted an apse where a vault is true", 0.5, 0.25),)))
    out = capsys.readouterr().out
    assert all(name in out for name in names)
    assert max(map(len, out.splitlines())) <= 80


def test_row_names_stay_whole_beside_a_long_text_among_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (("best validation macro-F1", 3), ("folder", "/".join(["folder"] * 30)))
    console.show_table(Table("", (Column("what"), Column("value")), rows))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].rstrip() == "best validation macro-F1  3"
    assert max(map(len, lines)) == 80


def test_columns_without_names_have_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table(Table("Facts", (Column(""), Column("")), (("seed", 3), ("model", "cnn5"))))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["Facts"],
        ["seed", "3"],
        ["model", "cnn5"],
        [],
    ]


def test_a_table_without_rows_shows_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table(Table("Nothing", (Column("name"), *numbers("loss")), ()))
    *words, rule = capsys.readouterr().out.split()
    assert words == ["Nothing", "name", "loss"]
    assert rule in ("─" * 10, "─" * 11), "as wide as the table, in which rich 13.8 counts one blank more"


def test_quiet_leaves_warnings_errors_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(quiet=True)
    console.say("said")
    console.show_table(Table("t", (Column("c"),), (("x",),)))
    console.warn("careful")
    console.show_json({"a": 1})
    with console.progress("decoding", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ('{"a": 1}\n', "warning: careful\n")


def test_with_json_stdout_carries_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json=True)
    console.say("said")
    console.show_table(Table("titled", (Column("c"),), (("x",),)))
    with console.training_display(total_steps=40, epochs=1) as display:
        display.step(step(40))
        display.epoch(EPOCH)
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()
    row = json.loads(line)
    assert row["val"] == EPOCH["val"]
    assert row["test"]["f1"] is None, "JSON has no NaN"
    assert "said\ntitled" in shown.err
    assert "epoch 1/1: " in shown.err


def test_json_is_one_line_of_readable_characters_whatever_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"säule [1]": ["x" * 300, (1, 2.5, float("inf"))], "nested": {"none": None}}
    console.show_json(values)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "säule [1]" in out
    assert json.loads(out) == {"säule [1]": ["x" * 300, [1, 2.5, None]], "nested": {"none": None}}


def test_training_says_a_line_an_epoch_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.training_display(total_steps=80, epochs=2) as display:
        for number in range(1, 41):
            display.step(step(number))
        display.epoch(EPOCH)
    assert capsys.readouterr().out == (
        "epoch 1/2: loss 1.250, val 1.125; F1 train 0.500, val 0.450, test nan; after 1:15\n"
    )


def test_training_says_a_line_every_half_minute_too(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with console.training_display(total_steps=100, epochs=2) as display:
        for number in range(1, 41):
            clock(2)
            display.step(step(number))
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/2, step 15/100: loss 1.500, lr 0.001, 128 images/s, 2:50 left",
        "epoch 1/2, step 30/100: loss 1.500, lr 0.001, 128 images/s, 2:20 left",
    ]


def test_time_left_counts_only_the_steps_this_process_took(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with console.training_display(total_steps=1000, epochs=2) as display:
        for number in range(901, 911):
            clock(40)
            display.step(step(number))
    assert capsys.readouterr().out.splitlines()[-1].endswith("1:00:00 left"), "90 steps of 40 seconds"


def test_an_epoch_with_parts_missing_is_shown_as_far_as_it_got(capsys: pytest.CaptureFixture[str]) -> None:
    with console.training_display(total_steps=2, epochs=1) as display:
        display.epoch({"epoch": 1, "val": {"f1": 0.5}})
        display.epoch({"epoch": 1, "train_online": {"loss": 2.0}, "seconds": 61.0})
    assert capsys.readouterr().out == (
        "epoch 1/1: loss –, val –; F1 val 0.500; after –\nepoch 1/1: loss 2.000; after 1:01\n"
    )


def test_a_terminal_shows_rate_time_left_loss_and_validation_f1(
    terminal: io.StringIO, clock: Callable[[float], None]
) -> None:
    with console.training_display(total_steps=80, epochs=2) as display:
        display.epoch(EPOCH)
        clock(2)
        display.step(step(41, epoch=2))
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).rstrip().splitlines()[-1]
    assert terminal.getvalue().endswith("\x1b[2K"), "the bar is gone at the end"
    for part in ("epoch 2/2", "51%", "128 images/s", "1:18 left", "loss 1.500", "val F1 0.450"):
        assert part in last
    assert len(last.split("\r")[-1]) <= 80


def test_a_bar_for_anything_else_vanishes_at_its_end(terminal: io.StringIO) -> None:
    with console.progress("decoding [x]", None) as advance:
        advance(5, total=10)
        OUTPUT.out.print("said meanwhile")
    assert "decoding [x]" in terminal.getvalue()
    assert "5/10" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K"), "the line is cleared"


def test_progress_says_a_line_every_half_minute_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    with console.progress("decoding images", None) as advance:
        for _ in range(4):
            clock(20)
            advance(1000, total=12000)
    assert capsys.readouterr().out.splitlines() == [
        "decoding images: 2,000 of 12,000, 3:20 left",
        "decoding images: 4,000 of 12,000, 2:40 left",
    ]


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("Yes\n", True), ("\n", False), ("n\n", False)])
def test_a_question_is_answered_no_unless_somebody_says_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, agreed: bool
) -> None:
    typed = io.StringIO(answer)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    assert console.confirm("Remove [x]?", option="--yes") is agreed
    assert "Remove [x]? [y/N]" in "".join(capsys.readouterr())


def test_a_question_nobody_can_answer_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UsageError, match="Remove x\\? Nobody is there to answer; say --yes to agree beforehand"):
        console.confirm("Remove x?", option="--yes")
