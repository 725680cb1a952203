"""What `torchrun` says in the environment of the processes that it starts; imports no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ahekit.errors import UsageError


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together.

    Attributes:
        rank: Of all, from 0.
        world: How many there are.
        local_rank: Of those on this machine, from 0.
        local_world: How many are on this machine, as far as this process knows.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


def read_launch() -> Launch:
    """Which process this is; one alone where WORLD_SIZE is missing or 1, whatever else a cluster may have set.

    Raises:
        UsageError: A variable is missing or no number that it could be.
    """
    if not os.environ.get("WORLD_SIZE"):
        return Launch()
    world = _number("WORLD_SIZE", least=1)
    if world == 1:
        return Launch()
    rank = _number("RANK", most=world - 1)
    local_rank = _number("LOCAL_RANK", most=rank)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UsageError(f"{name} isn't set, but WORLD_SIZE={world} is: {_ADVICE}")
    # Launchers other than torchrun may leave it out.
    local_world = local_rank + 1
    if os.environ.get("LOCAL_WORLD_SIZE"):
        local_world = _number("LOCAL_WORLD_SIZE", least=local_world, most=world)
    return Launch(rank, world, local_rank, local_world)


_ADVICE = "torchrun sets them all; unset WORLD_SIZE to train in one process"


def _number(name: str, *, least: int = 0, most: int = 100_000) -> int:
    text = os.environ.get(name, "")
    if not text:
        raise UsageError(f"{name} isn't set, but WORLD_SIZE={os.environ['WORLD_SIZE']} is: {_ADVICE}")
    if not re.fullmatch("[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise UsageError(f"{name}={text[:80]}: no number from {least} to {most}; {_ADVICE}")
    return int(text)
