"""`ahekit report`, on run folders that were not trained but written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ahekit.cli.report import parse_formats
from ahekit.errors import RunError, UnknownNameError
from ahekit.evaluation.predictions import Predictions
from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.validation import validate

Cli = Callable[..., Any]

CLASSES = ("altar", "apse", "vault")
PLUGIN = '''
from ahekit.protocols import NoParams
from ahekit.registry import REPORTERS
from ahekit.sections import Column, Figure, Section, Table

def draw(figure):
    figure.add_subplot().plot([1, 2])

@REPORTERS.register("weather")
class Weather:
    """What it was like outside."""
    Params = NoParams
    order = 5
    def report(self, record, params):
        table = Table("Rain", (Column("Day"), Column("mm", ".1f", "right")), (("Monday", 3.25),))
        return Section("Weather", "It rained.", (table,), (Figure("rain", "Rain", "Rising.", draw),))
'''


MEAGRE = ("--skip", "leaks", "--skip", "inside")  # what a run without images or checkpoints can't have
MEAGRE_FOLDER = Path("report") / "without-leaks-inside"


def write_run(root: Path, *, epochs: int = 5, finished: bool = True, kind: str = "folder") -> Run:
    """A run of three classes: 30 test images, 24 of them right."""
    rng = np.random.default_rng(0)
    spec = validate(RunSpec, {"train": {"epochs": 5}})
    run = Run.create(root, spec, {"ahekit": "0.1.0", "data": {"name": "mine", "kind": kind}})
    block = {"loss": 0.7, "accuracy": 0.8, "precision": 0.79, "recall": 0.78, "f1": 0.77}
    splits = ("train_online", "train", "val", "test")
    for number in range(1, epochs + 1):
        run.append_history(
            [
                {"type": "step", "step": number, "epoch": number, "loss": 0.7},
                {"type": "epoch", "epoch": number, "step": number, **dict.fromkeys(splits, block)},
            ]
        )
    if finished:
        labels = np.arange(30) % 3
        logits = rng.normal(size=(30, 3)).astype(np.float32) * 0.1
        logits[np.arange(30), np.where(np.arange(30) < 24, labels, (labels + 1) % 3)] += 2
        ids = tuple(f"test/{CLASSES[label]}/{number}.jpg" for number, label in enumerate(labels))
        for split in ("train", "val", "test"):
            run.write_predictions(split, Predictions(ids, labels, logits, CLASSES))
    best = {"epoch": 2, "step": 2, "val_f1": 0.77, "checkpoint": ""}
    run.write_status("finished" if finished else "interrupted", "" if finished else "stopped by Ctrl-C", best=best)
    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_newest_run_is_shown_and_written_and_the_last_line_is_the_path(cli: Cli, runs: Path) -> None:
    write_run(runs)
    newest = write_run(runs)
    newest.path.rename(newest.path.with_name("29991231-235959-cnn5-ffff"))
    newest = Run(runs / "29991231-235959-cnn5-ffff")

    outcome = cli("report", "--runs", runs, *MEAGRE)

    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith(f"Run {newest.name}\n")
    assert "80.0% of 30 test images correctly" in " ".join(outcome.out.split())
    assert len(outcome.out.splitlines()) <= 24, "one screen"
    assert "Loss, accuracy and macro averages" in outcome.out
    assert "Final metrics; " in outcome.out
    assert "FINAL METRICS" not in outcome.out
    assert outcome.out.splitlines()[-1] == f"report: {newest.path / MEAGRE_FOLDER / 'report.html'}"
    assert max(map(len, outcome.out.split("\nfigures: ")[0].splitlines())) <= 80
    assert_all_written(newest)


def assert_all_written(run: Run) -> None:
    folder = run.path / MEAGRE_FOLDER
    assert sorted(file.name for file in folder.iterdir()) == ["figures", "report.html", "report.json", "report.md"]
    pictures = ["accuracy", "f1", "loss", "precision", "recall"]
    assert sorted(file.name for file in (folder / "figures").iterdir()) == [
        "calibration-reliability.svg",
        "calibration-risk_coverage.svg",
        "classes-scores.svg",
        "confusion-matrix.svg",
        *(f"curves-{name}.svg" for name in pictures),
        "metrics-headline.svg",
    ]
    for line in (folder / "report.md").read_text().splitlines():
        if line.startswith("!["):
            assert (folder / line.rpartition("](")[2].removesuffix(")")).is_file()


def test_reporting_again_gives_the_same_report(cli: Cli, runs: Path) -> None:
    run = write_run(runs)

    shown, pages = [], []
    for _ in range(2):
        shown.append(cli("report", run.path, "--only", "confusion", "--format", "console,html").out)
        pages.append((run.path / "report" / "only-confusion" / "report.html").read_bytes())

    assert shown[0] == shown[1]
    assert pages[0] == pages[1]


def test_only_and_skip_choose_sections(cli: Cli, runs: Path) -> None:
    run = write_run(runs)

    only = cli("report", run.path, "--only", "classes", "--only", "metrics", "--format", "console")
    skip = cli("report", run.path, "--skip", "curves", "--skip", "metrics", "--format", "console", "--full")

    assert "FINAL METRICS" in only.out
    assert "CLASSES ON TEST" in only.out
    assert "CONFUSIONS" not in only.out
    assert "LEARNING" not in skip.out
    assert "CONFUSIONS ON TEST" in skip.out
    assert not (run.path / "report").exists()


def test_full_shows_every_section(cli: Cli, runs: Path) -> None:
    run = write_run(runs)
    outcome = cli("report", run.path, "--full", "--format", "console", *MEAGRE)
    for heading in ("FINAL METRICS", "CLASSES ON TEST", "LEARNING CURVES", "CONFUSIONS ON TEST"):
        assert heading in outcome.out


def test_a_report_on_some_sections_leaves_the_whole_one_alone(cli: Cli, runs: Path) -> None:
    run = write_run(runs)
    cli("report", run.path, "--format", "html,png", *MEAGRE)
    whole = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    outcome = cli("report", run.path, "--only", "classes", "--format", "html,png")
    folder = run.path / "report" / "only-classes"
    assert outcome.out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    assert [picture.name for picture in (folder / "figures").iterdir()] == ["classes-scores.png"]
    assert {file: file.read_bytes() for file in whole} == whole


def test_json_is_the_report_on_one_line_of_stdout(cli: Cli, runs: Path) -> None:
    run = write_run(runs)
    outcome = cli("report", run.path, "--json", "--only", "metrics", "--format", "console")
    assert [section["name"] for section in json.loads(outcome.out)["sections"]] == ["metrics"]
    assert "FINAL METRICS" in outcome.err
    assert not (run.path / "report").exists()


def test_files_go_where_out_says(cli: Cli, runs: Path, tmp_path: Path) -> None:
    run = write_run(runs)
    out = tmp_path / "deep" / "down"

    outcome = cli("report", run.path, "--out", out, "--format", "html,json", "--only", "metrics")

    assert outcome.code == 0
    assert sorted(file.name for file in out.iterdir()) == ["report.html", "report.json"]
    assert outcome.out.splitlines() == [f"json: {out / 'report.json'}", f"report: {out / 'report.html'}"]
    assert not (run.path / "report").exists()


def test_folder_that_cannot_be_written_is_named(cli: Cli, runs: Path, tmp_path: Path) -> None:
    run = write_run(runs)
    (tmp_path / "file").write_text("in the way")

    outcome = cli("report", run.path, "--out", tmp_path / "file", "--format", "json")

    assert outcome.code == 1
    assert outcome.err.startswith(f"ahekit: {tmp_path / 'file'}: can't be written")
    assert "Traceback" not in outcome.err


def test_parameter_of_a_reporter_is_set(cli: Cli, runs: Path) -> None:
    run = write_run(runs)

    cli("report", run.path, "--set", "confusion.pairs=1", "--format", "json")

    sections = {
        part["name"]: part for part in json.loads((run.path / "report" / "report.json").read_text())["sections"]
    }
    assert len(sections["confusion"]["tables"][0]["rows"]) == 1


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--only", "classe"), "no reporter named 'classe'; did you mean classes?"),
        (("--format", "doc"), "no report format named 'doc'"),
        (("--set", "confusion.pairs=0"), "confusion.pairs: must be greater than or equal to 1 (got 0)"),
        (("--set", "confusion=3"), "confusion: must be a mapping"),
        (("--set", "confusion.pairs"), "--set confusion.pairs: write REPORTER.FIELD=VALUE"),
        (("--set", "cofusion.pairs=3"), "no reporter named 'cofusion'; did you mean confusion?"),
        (("another",), "no run named 'another'"),
    ],
)
def test_wrong_arguments_get_one_clear_line(cli: Cli, runs: Path, args: tuple[str, ...], line: str) -> None:
    write_run(runs)

    outcome = cli("report", "--runs", runs, *args)

    assert outcome.code == 2
    assert outcome.err.startswith(f"ahekit: {line}")
    assert len(outcome.err.splitlines()) == 1


def test_without_a_run_the_way_to_one_is_told(cli: Cli, runs: Path) -> None:
    outcome = cli("report", "--runs", runs)

    assert outcome.code == 1
    assert "`ahekit train` makes one" in outcome.err


def test_interrupted_run_is_reported_as_far_as_it_got(cli: Cli, runs: Path) -> None:
    run = write_run(runs, epochs=3, finished=False)

    outcome = cli("report", run.path, "--format", "console,json", "--full", *MEAGRE)

    assert outcome.code == 0
    assert "There are no final predictions yet; after epoch 2" in outcome.out
    assert outcome.err.splitlines() == [
        "warning: run: interrupted (stopped by Ctrl-C) after 3 of 5 epochs, reported as far as it got; "
        f"`ahekit resume {run.name}` goes on from there",
        *(
            f"warning: {name}: no predictions on test are stored (the run is interrupted)"
            for name in ("calibration", "classes", "confusion", "intervals", "mistakes")
        ),
    ]
    assert "no predictions on test are stored" in (run.path / MEAGRE_FOLDER / "report.json").read_text()


def damage_history(run: Run) -> None:
    with (run.path / "history.jsonl").open("ab") as file:
        file.write(b'{"type": "epoch", "epoch": 6, "va')


def damage_predictions(run: Run) -> None:
    file = run.path / "predictions" / "test.safetensors"
    file.write_bytes(file.read_bytes()[:50])


def damage_manifest(run: Run) -> None:
    (run.path / "manifest.json").write_text("{")


def damage_status(run: Run) -> None:
    (run.path / "status.json").unlink()


def damage_everything(run: Run) -> None:
    (run.path / "history.jsonl").write_bytes(b"\x00\xff\n[]\n3\n")
    for file in (run.path / "predictions").iterdir():
        file.write_bytes(b"")
    damage_manifest(run)
    damage_status(run)


@pytest.mark.parametrize(
    ("damage", "warnings"),
    [
        (damage_history, []),
        (damage_predictions, []),
        (
            damage_manifest,
            [
                "run: manifest.json: isn't JSON",
                "protocol: manifest.json",
            ],
        ),
        (damage_status, ["run: interrupted", "run: status.json: can't be read"]),
        (
            damage_everything,
            [
                "run: interrupted",
                "run: manifest.json: isn't JSON",
                "run: status.json: can't be read",
                *(f"run: history.jsonl, row {number}: left out" for number in (1, 2)),
                *("metrics:", "curves:", "classes:", "confusion:", "calibration:", "intervals:", "mistakes:"),
                "protocol: manifest.json",
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_run_is_reported_with_what_is_missing(
    cli: Cli, runs: Path, damage: Callable[[Run], None], warnings: list[str]
) -> None:
    run = write_run(runs)
    damage(run)

    outcome = cli("report", run.path, "--format", "console,json", *MEAGRE)

    assert outcome.code == 0
    for line in warnings:
        assert f"warning: {line}" in outcome.err
    assert len(outcome.err.splitlines()) == len(warnings)
    assert (run.path / MEAGRE_FOLDER / "report.json").is_file()


def test_torn_test_predictions_leave_validation_to_judge(cli: Cli, runs: Path) -> None:
    run = write_run(runs)
    damage_predictions(run)

    outcome = cli("report", run.path, "--format", "console", "--full")

    assert "24 of 30 validation images" in outcome.out
    assert "test.safetensors: not a readable predictions file" in " ".join(outcome.out.split())


def test_sample_is_called_a_sample_in_every_rendering(cli: Cli, runs: Path) -> None:
    run = write_run(runs, kind="sample")

    outcome = cli("report", run.path, "--only", "metrics", "--only", "classes", "--format", "console,html,md,json")

    assert "(sample of drawings)" in outcome.out
    for name in ("report.html", "report.md", "report.json"):
        text = (run.path / "report" / "only-metrics-classes" / name).read_text().replace("\\", "")
        assert "(sample of drawings)" in text
        assert "holds drawings and no photographs" in text


def test_third_party_reporter_appears_in_every_rendering(cli: Cli, runs: Path, tmp_path: Path) -> None:
    run = write_run(runs)
    file = tmp_path / "weather.py"
    file.write_text(PLUGIN)

    outcome = cli("report", run.path, "--plugin", file, "--only", "weather", "--only", "metrics")

    assert outcome.err == ""
    assert outcome.out.index("WEATHER") < outcome.out.index("FINAL METRICS")
    assert "3.2" in outcome.out
    folder = run.path / "report" / "only-weather-metrics"
    pages = {name: (folder / f"report.{name}").read_text() for name in ("html", "md", "json")}
    assert all("It rained." in page and "Monday" in page for page in pages.values())
    assert json.loads(pages["json"])["sections"][0]["name"] == "weather"
    assert (folder / "figures" / "weather-rain.svg").is_file()


def test_quiet_report_writes_and_says_nothing(cli: Cli, runs: Path) -> None:
    run = write_run(runs)

    outcome = cli("report", run.path, "--quiet", "--format", "json,console", *MEAGRE)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (run.path / MEAGRE_FOLDER / "report.json").is_file()


def test_report_through_the_executable(executable: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs")

    outcome = executable("report", "--format", "md", "--only", "metrics")

    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == f"report: runs/{run.name}/report/only-metrics/report.md"


def test_formats_are_taken_once_and_in_any_order() -> None:
    assert parse_formats("json, html,json") == ("json", "html")
    with pytest.raises(UnknownNameError, match="did you mean html"):
        parse_formats("htm")


def test_reporter_of_an_installed_package_appears_in_every_rendering(
    cli: Cli, runs: Path, install: Callable[..., None]
) -> None:
    run = write_run(runs)
    source = PLUGIN.replace('@REPORTERS.register("weather")\n', "")
    install("meteo", {"ahekit.reporters": {"weather": "meteo:Weather"}}, meteo=source)

    outcome = cli("report", run.path, "--only", "weather", "--format", "console,html,md,json")

    assert (outcome.code, outcome.err) == (0, "")
    for text in (
        outcome.out,
        *((run.path / "report" / "only-weather" / f"report.{form}").read_text() for form in ("html", "md", "json")),
    ):
        assert "It rained." in text
        assert "Monday" in text


def test_several_runs_are_compared_with_the_first(cli: Cli, runs: Path) -> None:
    first, second = write_run(runs), write_run(runs)

    outcome = cli("report", first.path, second.path, "--format", "console,json")

    assert (outcome.code, outcome.err) == (0, "")
    assert f"B ({second.name}) is as accurate as A ({first.name})" in " ".join(outcome.out.split())
    page = first.path / "report" / "comparison" / "report.json"
    assert outcome.out.splitlines()[-1] == f"report: {page}"
    assert json.loads(page.read_text())["sections"][0]["values"]["shared_images"] == 30


def test_sections_of_a_comparison_are_chosen_and_set_as_those_of_one_run(cli: Cli, runs: Path) -> None:
    paths = [write_run(runs).path for _ in range(2)]
    choice = ("--only", "differences", "--set", "differences.resamples=150", "--format", "console")

    chosen = cli("report", *paths, *choice)
    refused = cli("report", *paths, "--only", "metrics")

    assert (chosen.code, chosen.err) == (0, "")
    assert "WHAT DIFFERS" in chosen.out
    assert "SEEDS" not in chosen.out
    assert refused.code == 2
    assert refused.err == "ahekit: metrics: this section is of the report on one run; name one\n"


def test_long_tables_go_on_in_the_pages(cli: Cli, runs: Path) -> None:
    names = tuple(map(str, range(30)))
    run = write_run(runs)
    labels = np.arange(60) % 30
    logits = np.eye(30, dtype=np.float32)[labels]
    run.write_predictions("test", Predictions(tuple(map(str, range(60))), labels, logits, names))

    outcome = cli("report", run.path, "--only", "classes", "--format", "console,json")

    shown = [line for line in outcome.out.splitlines() if line.split()[:1] and line.split()[0] in names]
    assert len({line.split()[0] for line in shown}) == 20
    assert "12 more rows: the other formats have them." in outcome.out
    table = json.loads((run.path / "report" / "only-classes" / "report.json").read_text())["sections"][0]["tables"][0]
    assert len(table["rows"]) == 32


def test_network_is_looked_into_for_the_section_that_shows_it_and_for_no_other(
    cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(runs)
    asked: list[str] = []

    def look_into(run: Run, name: str, params: Any) -> Any:
        asked.append(name)
        raise RunError("no checkpoint yet")

    monkeypatch.setattr("ahekit.visualizing.look_into", look_into)

    cli("report", run.path, "--format", "json", "--only", "metrics")
    assert asked == []
    outcome = cli("report", run.path, "--format", "json", "--only", "inside")

    assert asked == ["gradcam"]
    assert outcome.code == 0
    assert outcome.err == (
        "warning: inside: No class activation maps: no checkpoint yet; nor were class images made or units measured\n"
    )


def test_page_is_opened_when_asked_for(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(runs)
    opened: list[str] = []

    def launch(path: str) -> int:
        opened.append(path)
        return 0

    monkeypatch.setattr("typer.launch", launch)

    outcome = cli("report", run.path, "--only", "metrics", "--format", "html,json", "--open")
    refused = cli("report", run.path, "--only", "metrics", "--format", "json", "--open")

    assert (outcome.code, outcome.err) == (0, "")
    assert opened == [str(run.path / "report" / "only-metrics" / "report.html")]
    assert refused.code == 2
    assert "--open opens the page" in refused.err
