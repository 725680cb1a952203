"""A survey in parts ends as one that was made in one go, however often its parts are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ahekit.errors import DataError, UsageError
from ahekit.prediction.deciding import Rule
from ahekit.prediction.shards import Shard, merge, open_part, parse_shard, shard_from
from ahekit.prediction.survey import Settings, Survey
from ahekit.prediction.surveying import settle
from tests.prediction.networks import MODEL, ColourNetwork, Softmax, in_child, make_photos, predict, table


def run_shard(folder: Path, photos: Path, shard: Shard, *, rule: Rule | None = None, dies_at: int = 10**9) -> int:
    """One process' part of a survey; returns how many photos it looked at."""
    with Survey.create(folder, MODEL, is_spread=True) as survey:
        settle(survey, Softmax(), rule)  # type: ignore[arg-type]
        with open_part(folder, shard, MODEL, survey.settings) as part:
            left = iter(range(dies_at))
            part.database.set_trace_callback(
                lambda text: None if next(left, None) is not None else os.kill(os.getpid(), signal.SIGKILL)
            )
            stored = Rule(**survey.settings.rule)
            network = ColourNetwork(seconds=0.01)
            return predict(survey, photos, part=part, shard=shard, network=network, rule=stored)[0].looked_at


def test_four_shards_with_kills_equal_one_run_row_for_row(tmp_path: Path) -> None:
    photos = tmp_path / "p"
    make_photos(photos, 40)
    with Survey.create(tmp_path / "whole", MODEL) as whole:
        predict(whole, photos)
        expected = table(whole)
        settings = whole.settings
    folder = tmp_path / "parts"
    shards = [Shard(index, 4) for index in (3, 1, 4, 2)]
    for shard, dies_at in zip(shards, (2, 17, 29, 41), strict=True):
        assert in_child(partial(run_shard, folder, photos, shard, dies_at=dies_at)) in (
            signal.SIGKILL,
            0,
        )
    counts = [run_shard(folder, photos, shard) for shard in shards]
    assert sum(counts) <= 40
    # What is whole is not done again.
    assert run_shard(folder, photos, Shard(1, 4)) == 0
    with Survey.open(folder) as survey:
        assert merge(survey) == 40
        assert table(survey) == expected
        assert survey.settings == settings
        assert not (folder / "parts").exists()
        with pytest.raises(DataError, match="no parts to merge"):
            merge(survey)
        # Photos that came later are all that a part looks at then.
        make_photos(photos / "new", 8, seed=5)
    assert sum(run_shard(folder, photos, shard) for shard in shards) == 8


def test_parts_that_are_missing_or_unfinished_are_named(tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 12)
    run_shard(tmp_path / "s", tmp_path / "p", Shard(2, 3))
    in_child(lambda: run_shard(tmp_path / "s", tmp_path / "p", Shard(3, 3), dies_at=15))
    with (
        Survey.open(tmp_path / "s") as survey,
        pytest.raises(DataError, match=r"not whole yet: 1/3, 3/3; .*--shard 1/3"),
    ):
        merge(survey)
    with pytest.raises(DataError, match="a survey in 3, and this one is of 4"):
        run_shard(tmp_path / "s", tmp_path / "p", Shard(2, 4))


def test_parts_of_other_models_or_rules_are_refused(tmp_path: Path) -> None:
    make_photos(tmp_path / "p", 12)
    folder = tmp_path / "s"
    run_shard(folder, tmp_path / "p", Shard(1, 2), rule=Rule(min_confidence=0.5))
    run_shard(folder, tmp_path / "p", Shard(2, 2), rule=Rule(min_confidence=0.6))
    with Survey.open(folder) as survey, pytest.raises(DataError, match=r"part 2/2 was decided by another rule"):
        merge(survey)
    # Run again by the same thresholds, the other part is decided on again.
    assert run_shard(folder, tmp_path / "p", Shard(1, 2)) == 0
    other = replace(MODEL, fingerprint="other")
    with pytest.raises(DataError, match="another model"), open_part(folder, Shard(1, 2), other, Settings()):
        pass
    with Survey.open(folder) as survey:
        assert merge(survey) == 12


def test_one_process_works_on_a_part(tmp_path: Path) -> None:
    with (
        Survey.create(tmp_path / "s", MODEL) as survey,
        open_part(survey.folder, Shard(1, 2), MODEL, Settings()),
        pytest.raises(DataError, match=r"part 1/2 .* another process"),
        open_part(survey.folder, Shard(1, 2), MODEL, Settings()),
    ):
        pass


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "1/0", "1", "-1/4", "1/99999999"])
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)


SLURM = {"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_ID": "3"}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, None),
        (SLURM, Shard(3, 4, "SLURM's array")),
        ({**SLURM, "SLURM_ARRAY_TASK_MIN": "0"}, Shard(4, 4, "SLURM's array")),
        (
            {**SLURM, "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_ID": "30", "SLURM_ARRAY_TASK_STEP": "10"},
            Shard(3, 4, "SLURM's array"),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Shard(2, 2, "torchrun")),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({**SLURM, "RANK": "1", "WORLD_SIZE": "2"}, Shard(6, 8, "SLURM's array and torchrun")),
        ({"SLURM_ARRAY_TASK_COUNT": "x", "SLURM_ARRAY_TASK_ID": "1"}, None),
    ],
)
def test_shards_are_taken_from_slurm_and_torchrun(environment: Mapping[str, str], shard: Shard | None) -> None:
    assert shard_from(environment) == shard


def test_an_array_with_gaps_is_refused() -> None:
    with pytest.raises(UsageError, match="gaps"):
        shard_from({**SLURM, "SLURM_ARRAY_TASK_ID": "9"})
