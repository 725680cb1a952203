"""From a record to sections: order, choice, faults, and the sample's mark."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from ahekit.errors import PluginError, SpecError, UnknownNameError, UsageError
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.protocols import NoParams
from ahekit.registry import REPORTERS
from ahekit.reporting.build import Missing, build_report
from ahekit.sections import Column, Figure, Section, Table

MakeRecord = Callable[..., RunRecord]

pytestmark = pytest.mark.usefixtures("no_plugin_files")


def register(name: str, order: int, make: Callable[[RunRecord, Any], Section], params: type = NoParams) -> None:
    class Reporter:
        """A reporter of a test."""

        Params = params

        def report(self, record: RunRecord, params: Any) -> Section:
            return make(record, params)

    Reporter.order = order  # type: ignore[attr-defined]
    REPORTERS.register(name)(Reporter)


def section(reading: str = "It is so.") -> Section:
    table = Table("A table", (), ())
    return Section("A title", reading, (table,), (Figure("f", "A figure", "", lambda figure: None),))


def test_sections_stand_in_the_order_of_their_reporters(make_record: MakeRecord) -> None:
    for name, order in (("late", 3), ("early", 1), ("also-early", 1)):
        register(name, order, lambda record, params: section())

    report = build_report(make_record(), only=["late", "early", "also-early"])

    assert [found.name for found in report.sections] == ["also-early", "early", "late"]


def test_skipped_reporter_is_neither_asked_nor_missing(make_record: MakeRecord) -> None:
    register("mine", 1, lambda record, params: section())
    others = [name for name in REPORTERS.names() if name != "mine" and hasattr(REPORTERS.get(name), "report")]

    report = build_report(make_record(), skip=["mine"])

    assert "mine" not in [found.name for found in report.sections]
    # What the run's files tell of it needs no predictions.
    assert sorted(missing.section for missing in report.missing) == [name for name in others if name != "protocol"]


def test_reporter_that_only_compares_is_left_out_unless_it_is_named(make_record: MakeRecord) -> None:
    report = build_report(make_record(), skip=["metrics"])

    assert "seeds" not in [missing.section for missing in report.missing]
    choices: tuple[dict[str, Any], ...] = ({"only": ["seeds"]}, {"params": {"seeds": {}}})
    for choice in choices:
        with pytest.raises(UsageError, match="seeds: this section compares runs; name two or more"):
            build_report(make_record(), **choice)


def test_missing_record_becomes_a_line_and_the_others_go_on(make_record: MakeRecord) -> None:
    def lack(record: RunRecord, params: Any) -> Section:
        raise MissingRecord("no epoch was measured")

    register("lacking", 1, lack)
    register("mine", 2, lambda record, params: section())

    report = build_report(make_record(), only=["lacking", "mine"])

    assert [found.name for found in report.sections] == ["mine"]
    assert report.missing == (Missing("lacking", "no epoch was measured"),)


def test_broken_reporter_costs_its_own_section_alone(make_record: MakeRecord) -> None:
    register("bug", 1, lambda record, params: section(1 / 0))  # type: ignore[arg-type]
    register("mine", 2, lambda record, params: section())

    report = build_report(make_record(), skip=[name for name in REPORTERS.names() if name not in ("bug", "mine")])

    assert [found.name for found in report.sections] == ["mine"]
    assert "bug" in [missing.section for missing in report.missing]
    assert "ZeroDivisionError: division by zero" in report.missing[0].reason
    assert report.missing[0].reason.startswith(f"reporter 'bug' of {__name__} is broken: ")


def test_section_that_no_rendering_could_cope_with_costs_itself_alone(make_record: MakeRecord) -> None:
    ragged = Table("Counts", (Column("Class"), Column("F1", ".2f")), (("altar", 0.5), ("apse",)))
    register("garbage", 1, lambda record, params: Section("Garbage", "It is so.", (ragged,)))
    register("mine", 2, lambda record, params: section())

    report = build_report(make_record(), only=["garbage", "mine"])

    assert [found.name for found in report.sections] == ["mine"]
    assert report.missing[0].reason == (
        f"reporter 'garbage' of {__name__} is broken: table 'Counts': row 2 has 1 cells and the table 2 columns"
    )


def test_reporter_that_exits_costs_its_own_section_alone(make_record: MakeRecord) -> None:
    register("leaver", 1, lambda record, params: sys.exit(0))
    register("mine", 2, lambda record, params: section())

    report = build_report(make_record(), only=["leaver", "mine"])

    assert [found.name for found in report.sections] == ["mine"]
    assert "'leaver' of" in report.missing[0].reason
    assert "SystemExit: 0" in report.missing[0].reason


def test_reporter_whose_place_is_no_number_costs_its_own_section_alone(make_record: MakeRecord) -> None:
    register("placeless", "first", lambda record, params: section())  # type: ignore[arg-type]
    register("mine", 2, lambda record, params: section())

    report = build_report(make_record(), only=["placeless", "mine"])

    assert [found.name for found in report.sections] == ["mine"]
    assert report.missing[0].reason.endswith("is broken: its order is 'first', not a number")


def test_broken_reporter_keeps_its_traceback_when_asked_to(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("bug", 1, lambda record, params: section(1 / 0))  # type: ignore[arg-type]
    monkeypatch.setenv("AHEKIT_TRACEBACK", "1")

    with pytest.raises(ZeroDivisionError):
        build_report(make_record(), only=["bug"])


def test_reporter_that_does_not_load_is_missing_with_its_provider(make_record: MakeRecord) -> None:
    @REPORTERS.register("unloadable")
    class Unloadable:
        """Breaks at once."""

        def __init__(self) -> None:
            raise ImportError("no module named astrology")

    report = build_report(make_record(), only=["unloadable"])

    assert report.sections == ()
    assert "'unloadable' of" in report.missing[0].reason
    assert "no module named astrology" in report.missing[0].reason


@pytest.mark.parametrize("option", ["only", "skip"])
def test_unknown_reporter_is_named_with_the_nearest(make_record: MakeRecord, option: str) -> None:
    with pytest.raises(UnknownNameError, match=r"no reporter named 'confusions'; did you mean confusion\?"):
        build_report(make_record(), **{option: ["confusions"]})  # type: ignore[arg-type]


class Params(BaseModel):
    """Parameters of a test's reporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    word: str = Field("yes", description="what it says")
    times: int = Field(1, gt=0, description="how often")


def test_parameters_reach_their_reporter(make_record: MakeRecord) -> None:
    register("mine", 1, lambda record, params: section(params.word * params.times), Params)

    report = build_report(make_record(), only=["mine"], params={"mine": {"times": 3}})

    assert report.sections[0].reading == "yesyesyes"


def test_wrong_parameters_are_all_named(make_record: MakeRecord) -> None:
    register("mine", 1, lambda record, params: section(), Params)

    with pytest.raises(SpecError) as caught:
        build_report(make_record(), only=["mine"], params={"mine": {"times": 0, "wrd": "no"}})

    assert "mine.times: must be greater than 0 (got 0)" in str(caught.value)
    assert "mine.wrd: no field named 'wrd'; did you mean word?" in str(caught.value)


def test_section_goes_by_its_registered_name(make_record: MakeRecord) -> None:
    register("mine", 1, lambda record, params: section())

    assert build_report(make_record(), only=["mine"]).sections[0].name == "mine"


def test_a_report_on_the_sample_says_so_once(make_record: MakeRecord) -> None:
    register("mine", 1, lambda record, params: section("Accuracy is 0.9."))

    report = build_report(make_record(manifest={"data": {"name": "sample", "kind": "sample"}}), only=["mine"])

    assert report.title == "Run run-1 (sample of drawings)"
    assert report.caveat == "Measured on the embedded sample, which holds drawings and no photographs."
    assert report.sections[0].title == "A title"
    assert report.sections[0].reading == "Accuracy is 0.9."


def test_real_data_is_not_called_a_sample(make_record: MakeRecord) -> None:
    register("mine", 1, lambda record, params: section())

    report = build_report(make_record(), only=["mine"])

    assert "sample" not in report.title + report.caveat + report.sections[0].title + report.sections[0].reading


def test_interrupted_run_says_how_far_it_got_and_how_to_go_on(make_record: MakeRecord) -> None:
    history = [{"type": "epoch", "epoch": 1}, {"type": "epoch", "epoch": 2}]

    report = build_report(
        make_record(state="interrupted", history=history, status={"reason": "stopped by Ctrl-C"}),
        skip=REPORTERS.names(),
    )

    assert report.missing == (
        Missing(
            "run",
            "interrupted (stopped by Ctrl-C) after 2 of 100 epochs, reported as far as it got; "
            "`ahekit resume run-1` goes on from there",
        ),
    )


def test_running_run_is_not_told_to_resume(make_record: MakeRecord) -> None:
    report = build_report(make_record(state="running"), skip=REPORTERS.names())

    assert report.missing[0].reason == "still running after 0 of 100 epochs, reported as far as it got"


def test_lost_manifest_is_told(make_record: MakeRecord) -> None:
    report = build_report(make_record(manifest={}), skip=REPORTERS.names())

    assert "manifest.json is missing or can't be read" in report.missing[0].reason


def test_manifest_that_cannot_be_read_is_told_once(make_record: MakeRecord) -> None:
    record = replace(make_record(manifest={}), faults=("manifest.json: isn't JSON",))

    assert [missing.reason for missing in build_report(record, skip=REPORTERS.names()).missing] == list(record.faults)


def test_broken_plugin_file_stops_the_report(make_record: MakeRecord, tmp_path: Any) -> None:
    from ahekit import plugin_files

    file = tmp_path / "broken.py"
    file.write_text("import astrology")
    plugin_files.announce([file])

    with pytest.raises(PluginError, match=r"broken\.py"):
        build_report(make_record())
