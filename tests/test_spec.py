"""Run specs: what is refused, how, and what wins over what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, Field

from ahekit.errors import SpecError, UsageError
from ahekit.registry import MODELS
from ahekit.spec import RECIPES, Component, DataSpec, ProgressiveSpec, RunSpec, resolve_spec
from ahekit.validation import differences, merge, parse_assignment, read_yaml, to_yaml, validate


def write(path: Path, values: Any) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def models(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield place, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from models(field.annotation, f"{place}{name}.")


LEVELS = dict(models(RunSpec))


def test_a_spec_has_a_level_for_each_subject() -> None:
    assert len(LEVELS) == len({"", *RunSpec.model_fields} - {"schema_version", "recipe", "seed"})


@pytest.mark.parametrize("place", LEVELS)
def test_every_level_is_frozen_and_forbids_what_it_does_not_know(place: str) -> None:
    assert LEVELS[place].model_config["frozen"] is True
    values: dict[str, Any] = {"speling": 1}
    for key in reversed(place.split(".")[:-1]):
        values = {key: values}
    with pytest.raises(SpecError) as caught:
        validate(RunSpec, values)
    assert caught.value.problems[0].startswith(f"{place}speling: no field named 'speling'")


@pytest.mark.parametrize("place", LEVELS)
def test_every_field_is_described(place: str) -> None:
    assert not [name for name, field in LEVELS[place].model_fields.items() if not field.description]


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunSpec().seed = 3  # type: ignore[misc]


def test_all_errors_are_told_at_once_a_line_each() -> None:
    values = {
        "recipe": "stong",
        "seed": -1,
        "augment": 5,
        "optim": {"accumulation_steps": 0, "name": "rmsprop", "lrr": 1, "lr": float("nan")},
        "runtime": {"device": "gpu"},
    }
    with pytest.raises(SpecError) as caught:
        validate(RunSpec, values)
    assert sorted(caught.value.problems) == [
        "augment: must be a mapping of names to values (got 5)",
        "optim.accumulation_steps: must be greater than 0 (got 0)",
        "optim.lr: must be a finite number (got nan)",
        "optim.lrr: no field named 'lrr'; did you mean lr? Known: accumulation_steps, batch_size, beta2, clip_norm, "
        "decay_all, fused, lr, momentum, name, weight_decay",
        "optim.name: must be 'adam', 'adamw' or 'sgd' (got 'rmsprop')",
        f"recipe: no recipe named 'stong'; did you mean strong? Known: {', '.join(sorted(RECIPES))} (got 'stong')",
        "runtime.device: must match pattern '^(auto|cpu|cuda(:\\d+)?|mps)$' (got 'gpu')",
        "seed: must be greater than or equal to 0 (got -1)",
    ]


def test_a_components_own_params_are_checked_under_its_place() -> None:
    class Params(BaseModel):
        width: int = Field(32, gt=0)
        pool: str

    with pytest.raises(SpecError) as caught:
        validate(Params, {"width": 0}, where="model.params")
    assert caught.value.problems == (
        "model.params.width: must be greater than 0 (got 0)",
        "model.params.pool: required",
    )


def test_a_huge_wrong_value_is_shortened() -> None:
    with pytest.raises(SpecError) as caught:
        validate(RunSpec, {"seed": "x" * 10_000})
    assert len(str(caught.value)) < 200


def test_the_defaults_are_the_strong_recipe() -> None:
    assert RunSpec() == RunSpec(recipe="strong")
    assert RunSpec().optim.effective_batch_size == RunSpec().optim.batch_size * RunSpec().optim.accumulation_steps


def test_the_assignment_recipe_is_plain_adam_without_augmentation_or_regularization() -> None:
    spec = RunSpec(recipe="assignment")
    assert (spec.optim.name, spec.optim.weight_decay, spec.optim.clip_norm) == ("adam", 0.0, None)
    assert (spec.augment.flip, spec.augment.crop_scale, spec.augment.erase, spec.mix.probability) == (0, 1, 0, 0)
    assert (spec.schedule.name, spec.loss.label_smoothing, spec.train.average_decay) == ("constant", 0.0, 0.0)


def test_other_sizes_of_training_images_come_without_a_recipes_shares() -> None:
    assert RunSpec(recipe="fast").progressive == ProgressiveSpec(sizes=(0.5, 0.75), shares=(0.3, 0.7))
    assert resolve_spec(assignments=["progressive.sizes=[]"]).progressive == ProgressiveSpec()
    own = resolve_spec(flags={"recipe": "fast"}, assignments=["progressive.sizes=[32, 40, 48]"])
    assert own.progressive == ProgressiveSpec(sizes=(32, 40, 48))
    longer = resolve_spec(flags={"recipe": "fast"}, assignments=["progressive.shares=[0.5, 0.5]"])
    assert longer.progressive == ProgressiveSpec(sizes=(0.5, 0.75), shares=(0.5, 0.5))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_sets_only_fields_that_exist(recipe: str) -> None:
    spec = RunSpec(recipe=recipe)
    plain = RunSpec(progressive=ProgressiveSpec()).model_dump()
    assert validate(RunSpec, merge(plain, {**RECIPES[recipe], "recipe": recipe})) == spec


def test_defaults_yield_to_the_recipe_the_file_the_flags_and_the_assignments_in_this_order(tmp_path: Path) -> None:
    file = write(tmp_path / "spec.yaml", {"optim": {"lr": 0.5, "batch_size": 7, "momentum": 0.1}, "seed": 4})
    spec = resolve_spec(
        file=file,
        flags={"recipe": "assignment", "optim": {"batch_size": 8, "momentum": 0.2}},
        assignments=["optim.momentum=0.3"],
    )
    assert spec.augment.brightness == RunSpec(recipe="assignment").augment.brightness == 0.0
    assert spec.optim.beta2 == RunSpec().optim.beta2
    assert (spec.optim.lr, spec.optim.batch_size, spec.optim.momentum, spec.seed) == (0.5, 8, 0.3, 4)


def test_a_saved_spec_repeats_the_run(tmp_path: Path) -> None:
    spec = resolve_spec(
        flags={"recipe": "assignment", "model": {"name": "cnn5", "params": {"pool": "avg", "hidden": [8, 4]}}},
        assignments=["data.source=/somewhere/Säule [1]", "optim.lr=1e-3", "train.max_minutes=2.5"],
    )
    file = tmp_path / "spec.yaml"
    file.write_text(to_yaml(spec), encoding="utf-8")
    assert resolve_spec(file=file) == spec
    assert resolve_spec(file=file, flags={"recipe": "assignment"}) == spec


def test_another_recipe_than_the_saved_ones_is_refused_since_it_would_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(to_yaml(RunSpec()), encoding="utf-8")
    with pytest.raises(UsageError, match="already of recipe 'strong'; leave out the recipe 'assignment' or the file"):
        resolve_spec(file=file, flags={"recipe": "assignment"})
    with pytest.raises(UsageError, match="already of recipe"):
        resolve_spec(file=file, assignments=["recipe=assignment"])


def test_params_without_a_name_are_those_of_the_default_model() -> None:
    assert resolve_spec(assignments=["model.params.pool=avg"]).model == Component(name="cnn5", params={"pool": "avg"})


def test_another_model_does_not_inherit_the_params_of_the_files(tmp_path: Path) -> None:
    file = write(tmp_path / "spec.yaml", {"model": {"name": "cnn5", "params": {"pool": "avg"}}})
    assert resolve_spec(file=file, flags={"model": {"name": "other"}}).model.params == {}
    kept = resolve_spec(file=file, flags={"model": {"name": "cnn5", "params": {"dropout": 0.5}}})
    assert kept.model.params == {"pool": "avg", "dropout": 0.5}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("optim.lr=1e-3", {"optim": {"lr": 0.001}}),
        ("train.epochs=5", {"train": {"epochs": 5}}),
        ("optim.clip_norm=null", {"optim": {"clip_norm": None}}),
        ("model.params.hidden=[8, 4]", {"model": {"params": {"hidden": [8, 4]}}}),
        ("data.source=a=b", {"data": {"source": "a=b"}}),
        ("data.source=[x", {"data": {"source": "[x"}}),
        ("data.source=nan", {"data": {"source": "nan"}}),
        ("optim.fused=false", {"optim": {"fused": False}}),
    ],
)
def test_an_assignment_means_what_a_user_who_types_it_means(text: str, values: dict[str, Any]) -> None:
    assert parse_assignment(text) == values


@pytest.mark.parametrize("text", ["optim.lr", "=1", "optim..lr=1", ".lr=1", ""])
def test_an_assignment_without_field_or_value_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"write FIELD=VALUE, as in --set optim\.lr=0\.001"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "a spec is a mapping of fields to values, not a list"),
        (b"optim: {lr: [}", "not YAML: "),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"seed: 1\nseed: 2\n", "'seed' stands twice"),
        (b"optim:\n  lr: 1\n  lr: 2\n", "'lr' stands twice"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_refused_in_one_line_by_name(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name_and_an_empty_one_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").touch()
    assert resolve_spec(file=tmp_path / "empty.yaml") == RunSpec()


def test_a_spec_runs_no_code_hidden_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(f"seed: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'touched'}]\n")
    with pytest.raises(UsageError, match="not YAML"):
        read_yaml(file)
    assert not (tmp_path / "touched").exists()


def test_a_key_that_is_no_field_is_refused_whatever_it_is(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^1: no field named '1'\. Known: augment, "):
        resolve_spec(file=write(tmp_path / "spec.yaml", {1: 2}))


def test_differences_name_dotted_fields_with_both_values() -> None:
    left, right = RunSpec(), RunSpec(seed=1, data=DataSpec(source="ahe64"))
    assert differences(left, right) == {"seed": (0, 1), "data.source": (None, "ahe64")}
    assert differences(left, left) == {}


def test_differences_show_params_that_only_one_of_two_has() -> None:
    left = RunSpec(model=Component(name="cnn5", params={"pool": "avg"}))
    assert differences(left, RunSpec()) == {"model.params.pool": ("avg", None)}


def test_merging_leaves_its_inputs_alone() -> None:
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[1] / "docs" / "specs").glob("*.yaml")), ids=lambda f: f.name
)
def test_a_spec_of_the_docs_is_one(file: Path) -> None:
    spec = resolve_spec(file=file)
    assert differences(spec, RunSpec(recipe=spec.recipe))
    plugin = MODELS.get(spec.model.name)
    validate(plugin.Params, spec.model.params, where="model.params")


def test_a_size_for_each_share_of_the_epochs_and_the_full_one_last() -> None:
    sizes = ProgressiveSpec(sizes=(32, 48), shares=(0.5, 0.25))
    assert [sizes.size_at(epoch, epochs=8) for epoch in range(1, 9)] == [32, 32, 32, 32, 48, 48, None, None]
    # Without shares in equal parts; an epoch more or less by rounding, and never past the last but one.
    equal = ProgressiveSpec(sizes=(32, 48))
    assert [equal.size_at(epoch, epochs=3) for epoch in (1, 2, 3)] == [32, 48, None]
    assert [equal.size_at(epoch, epochs=2) for epoch in (1, 2)] == [32, None]
    assert equal.size_at(1, epochs=1) is None
    assert ProgressiveSpec(sizes=(32,), shares=(0.99,)).size_at(5, epochs=5) is None
    assert ProgressiveSpec().size_at(1, epochs=9) is None


def test_shares_of_1_together_leave_no_epoch_for_the_full_size() -> None:
    small = ProgressiveSpec(sizes=(32, 48), shares=(0.3, 0.7))
    assert [small.size_at(epoch, epochs=10) for epoch in (1, 3, 4, 10)] == [32, 32, 48, 48]
    assert ProgressiveSpec(sizes=(48,), shares=(1.0,)).size_at(1, epochs=1) == 48
    # Ten tenths are a little less than 1 in binary.
    tenths = ProgressiveSpec(sizes=tuple(range(10, 20)), shares=(0.1,) * 10)
    assert tenths.size_at(10, epochs=10) == 19


@pytest.mark.parametrize(
    ("assignments", "problem"),
    [
        (["progressive.sizes=[48,32]"], "progressive.sizes: each size must be larger than the one before"),
        (
            ["progressive.sizes=[2]"],
            "progressive.sizes.0: must be pixels, from 4 to 1024, or a share",
        ),
        (["progressive.sizes=[32.5]"], "progressive.sizes.0: must be pixels"),
        (["progressive.sizes=[0]"], "progressive.sizes.0: must be pixels"),
        (["progressive.sizes=[0.5,48]"], "progressive.sizes: must all be pixels, or all be shares of the full size"),
        (
            ["progressive.sizes=[]", "progressive.shares=[0.5]"],
            "progressive.shares: must be as many as the sizes, of which there are 0",
        ),
        (["progressive.sizes=[32,48]", "progressive.shares=[0.5,0.6]"], "progressive.shares: must be 1 together"),
    ],
)
def test_sizes_that_are_no_schedule_are_told(assignments: list[str], problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve_spec(assignments=assignments)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
