"""One process or several: the few exchanges that training needs, which do nothing in a single process.

Started by `torchrun --nproc-per-node N -m ahekit train …`, which sets RANK, WORLD_SIZE and LOCAL_RANK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ahekit.errors import AhekitError, TrainingError
from ahekit.training.launch import read_launch

TIMEOUT = timedelta(minutes=10)
_BROKEN_LINE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|timed out|broken pipe", re.IGNORECASE)


@dataclass(frozen=True)
class Processes:
    """This process among those that train one run."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and speaks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module to train: DistributedDataParallel over several processes, else itself."""
        return DistributedDataParallel(module) if self.world > 1 else module

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The module under `wrap`."""
        module = model.module if isinstance(model, DistributedDataParallel) else model
        assert isinstance(module, nn.Module)
        return module

    def no_sync(self, module: nn.Module) -> Callable[[], AbstractContextManager[object]]:
        """The context under which a wrapped module keeps its gradients to itself."""
        return module.no_sync if isinstance(module, DistributedDataParallel) else nullcontext

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        with _explained():
            dist.all_reduce(total)
        return [float(value) for value in total]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        with _explained():
            dist.all_gather_object(values, value)
        return values

    def exchange(self) -> AbstractContextManager[object]:
        """The context of a forward and backward pass, in which a wrapped module exchanges buffers and gradients."""
        return _explained() if self.world > 1 else nullcontext()

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the main one's buffers (BatchNorm statistics), which each gathered from its own images."""
        if self.world > 1:
            with _explained():
                for buffer in module.buffers():
                    dist.broadcast(buffer, src=0)

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every process the main one's values of tensors."""
        if self.world > 1:
            with _explained():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What the main process alone does; the others go on when it is done, and fail where it failed.

        Raises:
            TrainingError: In the others: the main process failed.
        """
        failure: BaseException | None = None
        try:
            yield
        except AhekitError as error:
            failure = error
        if self.world > 1:
            told = self.agree(None if failure is None else str(failure))
            if told is not None and failure is None:
                raise TrainingError(f"the main process failed: {told}")
        if failure is not None:
            raise failure

    def agree(self, value: Any) -> Any:
        """The main process's value, everywhere."""
        return self.gather(value)[0]


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the other processes that torchrun started, if it did; leave them at the end."""
    launch = read_launch()
    if launch.world == 1:
        yield Processes()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # Which card is this process's own is decided when the run's device is known (`ahekit.compute.open_compute`).
    with _explained():
        dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield Processes(launch.rank, launch.world, launch.local_rank, launch.local_world)
    finally:
        dist.destroy_process_group()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        # gloo and torch's reducer raise plain RuntimeErrors; every other one is a bug and keeps its traceback.
        if not isinstance(error, dist.DistError) and not _BROKEN_LINE.search(str(error)):
            raise
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(f"another training process is gone or out of step ({reason})") from error
