"""What the environment says of processes that train together."""

from __future__ import annotations

import pytest

from ahekit.errors import UsageError
from ahekit.training.launch import Launch, read_launch

NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
WHOLE = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "launch"),
    [
        ({}, Launch()),
        ({"RANK": "3"}, Launch()),
        ({"WORLD_SIZE": "", "RANK": "x"}, Launch()),
        ({"WORLD_SIZE": "1", "RANK": "x"}, Launch()),
        (WHOLE, Launch(rank=3, world=4, local_rank=1, local_world=2)),
    ],
)
def test_a_process_knows_its_place(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], launch: Launch) -> None:
    set_environment(monkeypatch, variables)
    assert read_launch() == launch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE=abc: no number from 1 to 100000; torchrun sets them all"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: no number"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2: no number"),
        ({"WORLD_SIZE": "²"}, "WORLD_SIZE=²: no number"),
        ({"RANK": "4"}, "RANK=4: no number from 0 to 3"),
        ({"RANK": ""}, "RANK isn't set, but WORLD_SIZE=4 is"),
        ({"LOCAL_RANK": "one"}, "LOCAL_RANK=one: no number from 0 to 3"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK isn't set"),
        ({"MASTER_PORT": ""}, "MASTER_PORT isn't set"),
    ],
)
def test_a_variable_that_is_missing_or_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    set_environment(monkeypatch, WHOLE | changes)
    with pytest.raises(UsageError) as caught:
        read_launch()
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("unset WORLD_SIZE to train in one process")
