"""What a run was, as far as its files tell."""

from collections.abc import Callable

from ahekit.evaluation.record import RunRecord
from ahekit.reporting.facts import run_facts
from ahekit.spec import RunSpec
from ahekit.validation import validate

MakeRecord = Callable[..., RunRecord]


def test_facts_of_a_whole_run(make_record: MakeRecord) -> None:
    manifest = {
        "ahekit": "0.1.0",
        "data": {
            "name": "ahe64",
            "kind": "installed",
            "edition": "64-px edition",
            "counts": {"train": {"altar": 700, "apse": 500}, "test": {"altar": 7, "apse": 5}},
            "refused": [{"id": f"train/altar/{number}.jpg", "reason": "truncated"} for number in range(7)],
        },
        "versions": {"torch": "2.5"},
        "hardware": {"processor": "A processor", "cores": 2, "gpu": None, "platform": "Linux", "python": "3.11.7"},
        "parameters": {"trainable": 1000, "total": 21000},
    }
    row = {"type": "epoch", "epoch": 4, "val": {"f1": 0.8123, "loss": 0.2504}}
    spec = validate(RunSpec, {"data": {"image_size": 64}, "train": {"epochs": 6}, "seed": 5})

    facts = dict(
        run_facts(make_record(manifest=manifest, history=[row], spec=spec, status={"seconds": 90, "reason": "early"}))
    )

    assert facts["Model"] == "cnn5, 21,000 parameters, 1,000 of them trained"
    assert facts["Data"] == "ahe64 (64-px edition) at 64 px"
    assert facts["Images"] == "1,200 training, 12 test"
    assert facts["Refused images"].startswith("7: train/altar/0.jpg (truncated); ")
    assert facts["Refused images"].endswith("; and 2 more in manifest.json")
    assert facts["Recipe"] == "strong: adamw, one-cycle schedule, 64 × 4 images per optimizer step, seed 5"
    assert facts["Trained"] == "1 of 6 epochs in 1.5 minutes; finished: early"
    assert facts["Weights"] == "of epoch 4, chosen on validation (log loss 0.250); test had no part in any choice"
    assert facts["Machine"] == "A processor, 2 cores, Linux"
    assert facts["Versions"] == "ahekit 0.1.0, python 3.11.7, torch 2.5"


def test_a_run_chosen_by_its_macro_f1_says_so(make_record: MakeRecord) -> None:
    row = {"type": "epoch", "epoch": 4, "val": {"f1": 0.812, "loss": 0.25}}
    spec = RunSpec.model_validate({"train": {"monitor": "f1"}})

    facts = dict(run_facts(make_record(history=[row], spec=spec)))

    assert facts["Weights"] == "of epoch 4, chosen on validation (macro-F1 0.812); test had no part in any choice"


def test_run_that_left_only_its_spec_still_has_facts(make_record: MakeRecord) -> None:
    facts = dict(run_facts(make_record(manifest={}, state="interrupted")))

    assert facts.keys() == {"Model", "Recipe", "Trained"}
    assert facts["Trained"] == "0 of 100 epochs; interrupted"


def test_unfinished_run_has_chosen_nothing_yet(make_record: MakeRecord) -> None:
    row = {"type": "epoch", "epoch": 4, "val": {"f1": 0.5, "loss": 1.5}}

    facts = dict(run_facts(make_record(history=[row], state="running")))

    assert facts["Weights"] == "best on validation so far: epoch 4 (log loss 1.500)"


def test_damaged_manifest_breaks_no_fact(make_record: MakeRecord) -> None:
    manifest = {"data": ["?"], "versions": None, "hardware": 3, "parameters": {"total": "many"}}

    assert dict(run_facts(make_record(manifest=manifest)))["Model"] == "cnn5"


def test_the_sample_is_called_one(make_record: MakeRecord) -> None:
    facts = dict(run_facts(make_record(manifest={"data": {"name": "sample", "kind": "sample"}})))

    assert facts["Data"] == "sample (embedded sample of drawings)"
