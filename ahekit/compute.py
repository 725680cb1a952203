"""Which device, precision and memory format a run computes in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ahekit.depthwise import quicken_depthwise
from ahekit.errors import UsageError
from ahekit.spec import RuntimeSpec

# Names of mallopt's settings in glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """A resolved runtime: where tensors live and in which precision the network runs."""

    device: torch.device
    bf16: bool
    channels_last: bool

    def place(self, module: Network) -> Network:
        """A network on the device, in the run's memory format, ready to be trained there; moved in place."""
        if self.device.type == "cpu":
            quicken_depthwise(module)
        return module.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]

    def prepare(self, images: Tensor) -> Tensor:
        """Images or maps `(B, C, H, W)` on the device, in the run's memory format; vectors `(B, D)` as they are."""
        layout = self.memory_format if images.ndim == 4 else torch.preserve_format
        return images.to(self.device, memory_format=layout, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def casts_kept(self) -> AbstractContextManager[object]:
        """A context within which the forward passes share the weights' bf16 copies, instead of making each its own.

        torch keeps them until the outermost autocast context ends, even if that one casts nothing.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=False) if self.bf16 else nullcontext()

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def resolve_runtime(spec: RuntimeSpec, *, local_world: int = 1) -> RuntimeSpec:
    """The spec with every "auto" decided on this machine, so that it can be recorded and repeated.

    Args:
        local_world: Processes on this machine that work together, each on a device of its own.

    Raises:
        UsageError: The device isn't there, or is one where each process needs its own.
    """
    device = spec.device
    if device == "auto":
        # Without a number: of several processes each has a card of its own, in this run and when it is repeated.
        device = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    if device.startswith("cuda"):
        _check_cuda(device, local_world)
    if device == "mps" and not _has_mps():
        raise UsageError("runtime.device: mps asked for, but torch finds no Metal device; use --device cpu")
    precision = spec.precision
    if precision == "auto":
        precision = "bf16" if multiplies_bf16(torch.device(device)) else "fp32"
    # How sums are split over threads decides how they are rounded: the number belongs to what repeats a run.
    # Beside a GPU the processor has small operations only, which are done before other threads have woken up.
    threads = spec.threads or (torch.get_num_threads() if device == "cpu" else 1)
    return spec.model_copy(update={"device": device, "precision": precision, "threads": threads})


def _check_cuda(device: str, local_world: int) -> None:
    if not torch.cuda.is_available():
        raise UsageError(f"runtime.device: {device} asked for, but torch finds no CUDA device; use --device cpu")
    cards = torch.cuda.device_count()
    number = device.partition(":")[2]
    if number and int(number) >= cards:
        last = f"cuda:{cards - 1}"
        raise UsageError(f"runtime.device: {device} asked for, but the last CUDA device is {last}")
    if number and local_world > 1:
        raise UsageError(
            f"runtime.device: {device} asked for by {local_world} processes, of which each needs a card of its own; "
            "use --device cuda"
        )
    if local_world > cards:
        raise UsageError(
            f"runtime.device: {local_world} processes, but {cards} CUDA device(s), and each process needs one of its "
            f"own; start torchrun with --nproc-per-node {cards}, or use --device cpu"
        )


def open_compute(spec: RuntimeSpec, *, local_rank: int = 0) -> Compute:
    """Set the process up for a resolved runtime.

    Args:
        local_rank: Of this process among those on this machine, which is the number of its card where the spec names
            none.
    """
    if spec.threads:
        torch.set_num_threads(spec.threads)
    if spec.device == "cpu":
        keep_freed_memory()
    device = torch.device(spec.device)
    if device.type == "cuda":
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        _set_up_card(device, is_exact=spec.precision == "fp32")
    return Compute(device, spec.precision == "bf16", spec.channels_last)


def _set_up_card(device: torch.device, *, is_exact: bool) -> None:
    """Let a card compute the same each time, and in the precision that was asked for.

    A kernel that adds in the order in which its threads happen to end rounds differently each time. Where an operation
    has no other, torch warns of it, and the same run may end in slightly other weights.
    """
    # Its random state and its memory are those that torch tells when it isn't asked for a card by number.
    torch.cuda.set_device(device)
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling what is about to be written anyhow would cost a pass over each new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # torch lets convolutions round their inputs to the 10 bits of TF32 unless it is told not to.
    torch.backends.cudnn.allow_tf32 = not is_exact


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free, for the next ones; does nothing outside glibc.

    glibc hands every freed block of some size back to the kernel, which fills it with zeros, page by page, when the
    next tensor asks for it. In a training step on the processor that costs about a third of the time.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        # No block through mmap, which is returned when freed; and the heap's end is never trimmed.
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory(device: torch.device) -> int | None:
    """The most memory in bytes that this process has held at a time, of a GPU its tensors; None where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration):
        # getrusage's figure is no use here: a process takes over the peak of the one that started it.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices natively; elsewhere bf16 is emulated and slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    capabilities = _capabilities()
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _capabilities() -> dict[str, object]:
    """What torch knows of the processor; nothing where torch is too old to be asked (2.10)."""
    ask = getattr(torch.cpu, "get_capabilities", dict)
    return dict(ask())


def hardware() -> dict[str, object]:
    """What a report says of the machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _capabilities().get("cpu_name") or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": gpu,
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
