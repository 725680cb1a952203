"""A run as a model folder: what it holds, that it says what the run says, and what it never overwrites."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from ahekit.data.decode import decode
from ahekit.errors import RunError
from ahekit.export.export import export_run, halved, is_current
from ahekit.model_folder import CARD, FILES, LABELS, NOTES, ONNX, WEIGHTS, ModelFolder, ModelFolderError
from ahekit.opening import find_model, open_folder, open_predictor
from ahekit.prediction.deciding import Rule
from ahekit.run import Run
from ahekit.trained import load_trained, load_trained_folder


def some_pixels(pictures: Path, model: ModelFolder) -> np.ndarray:
    files = sorted((pictures / "test").rglob("*.png"))[::6]
    return np.stack([decode(file, model.preprocessing) for file in files])


def test_the_folder_says_what_the_run_was_and_holds_no_path_of_this_machine(model: ModelFolder, run: Run) -> None:
    notes = model.notes
    assert notes.class_names == ("arch", "beam", "crypt")
    assert (notes.provenance.run, notes.provenance.checkpoint) == (run.name, "step-00000001-epoch-0001")
    assert notes.provenance.images == {"train": 63, "val": 27, "test": 30}
    assert (notes.preprocessing.size, notes.preprocessing.detail) == (16, 12)
    assert {figure.split for figure in notes.figures} == {"val", "test"}
    texts = [(model.path / name).read_text(encoding="utf-8") for name in (NOTES, CARD)]
    assert not any(str(run.path.parents[1]) in text for text in texts)


def test_a_second_export_is_equal_byte_for_byte_also_when_nothing_was_kept(
    model: ModelFolder, run: Run, tmp_path: Path
) -> None:
    shutil.rmtree(run.path / "outputs")
    again = export_run(run, tmp_path / "again")
    for name in (NOTES, *model.notes.files):
        assert (again.path / name).read_bytes() == (model.path / name).read_bytes(), name
    assert again.fingerprint == model.fingerprint


def test_the_predictor_says_what_the_runs_network_says(model: ModelFolder, run: Run, pictures: Path) -> None:
    pixels = some_pixels(pictures, model)
    predictor = open_folder(model, device="cpu")
    logits, embeddings = predictor(pixels)
    built = load_trained(run, device="cpu").built
    mean = torch.tensor(built.preprocessing.mean)
    std = torch.tensor(built.preprocessing.std)
    images = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        assert np.allclose(logits, built.module(images).numpy(), atol=1e-5)
        assert np.allclose(embeddings, built.embed(images).numpy(), atol=1e-2)
    assert (logits.dtype.name, embeddings.dtype.name) == ("float32", "float16")
    decisions = predictor.decider.decide(logits, embeddings, predictor.decider.accept(Rule()))
    assert len(decisions.state) == len(pixels)


def test_a_network_that_no_list_tells_is_built_by_its_plugin(
    model: ModelFolder, run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ahekit.export import export
    from ahekit.export.tracing import UntraceableNetwork

    def refuse(built: object) -> None:
        raise UntraceableNetwork("its path depends on the image")

    monkeypatch.setattr(export, "trace", refuse)
    told: list[str] = []
    other = export_run(run, tmp_path / "other", tell=told.append)
    assert any("its path depends on the image" in line for line in told)
    assert not other.has("network.json")
    pixels = some_pixels(pictures, model)
    assert np.allclose(
        open_folder(other, device="cpu")(pixels)[0], open_folder(model, device="cpu")(pixels)[0], atol=1e-5
    )


def test_weights_in_16_bits_are_rounded_and_the_cost_is_told(model: ModelFolder, run: Run, tmp_path: Path) -> None:
    half = export_run(run, tmp_path / "half", half=True)
    stored = load_file(half.path / WEIGHTS)
    full = load_file(model.path / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
    assert all(torch.equal(stored[name], full[name]) for name, tensor in full.items() if tensor.ndim < 2)
    costs = {cost.figure for cost in half.notes.costs if cost.what == "weights in 16 bits"}
    assert costs == {"accuracy, validation", "log loss, validation", "accuracy, test", "log loss, test"}
    own = load_trained_folder(half, device="cpu").built.module.state_dict()
    assert all(torch.equal(own[name], tensor.to(own[name].dtype)) for name, tensor in stored.items())


def test_what_16_bits_can_not_hold_stays_in_32() -> None:
    assert halved(torch.tensor([[1.0, 1e6]])).dtype == torch.float32
    assert halved(torch.tensor([[1.0, 2.0]])).dtype == torch.float16
    assert halved(torch.tensor([1e-9])).dtype == torch.float32


def test_the_card_has_a_header_that_hubs_read(model: ModelFolder) -> None:
    card = ModelCard.load(model.path / CARD)
    assert card.data.library_name == "ahekit"
    results = {(each.metric_type, each.dataset_split) for each in card.data.eval_results}
    assert results == {("accuracy", "test"), ("f1", "test")}
    for heading in ("## Data", "## Protocol", "## Figures", "## Limits", "## Licences"):
        assert heading in card.text


def test_another_folder_is_never_overwritten_unasked(model: ModelFolder, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "thesis.txt").write_text("mine")
    with pytest.raises(ModelFolderError, match="other files"):
        export_run(run, place, overwrite=True)
    stranger = tmp_path / "stranger"
    shutil.copytree(model.path, stranger)
    notes = (stranger / NOTES).read_text().replace(f"run: {run.name}", "run: another")
    (stranger / NOTES).write_text(notes)
    with pytest.raises(ModelFolderError, match="already; --overwrite"):
        export_run(run, stranger)
    assert (stranger / NOTES).read_text() == notes
    assert export_run(run, stranger, overwrite=True).fingerprint == model.fingerprint


def test_an_export_of_the_same_run_takes_the_place_of_the_one_before(run: Run, tmp_path: Path) -> None:
    export_run(run, tmp_path / "mine", half=True)
    assert export_run(run, tmp_path / "mine").notes.stored_as == "float32"
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}
    assert {path.name for path in (tmp_path / "mine").iterdir()} <= set(FILES)


def test_a_run_is_asked_through_a_model_folder_within_it_that_is_made_once(run: Run, tmp_path: Path) -> None:
    told: list[str] = []
    first = find_model(run.name, root=run.path.parent, tell=told.append)
    assert (first.path, len(told)) == (run.path / "model", 1)
    before = (first.path / NOTES).stat().st_mtime_ns
    assert open_predictor(str(run.path), root=tmp_path, device="cpu").fingerprint == first.fingerprint
    assert (first.path / NOTES).stat().st_mtime_ns == before


def test_a_newer_checkpoint_makes_the_folder_within_the_run_anew(run: Run, model: ModelFolder) -> None:
    assert is_current(model, run)
    older = model.notes.provenance.model_copy(update={"checkpoint": "step-00000000-epoch-0000"})
    changed = ModelFolder(model.path, model.notes.model_copy(update={"provenance": older}), "", "")
    assert not is_current(changed, run)


def test_a_run_without_its_images_says_so(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run.path, moved)
    spec = yaml.safe_load((moved / "spec.yaml").read_text())
    spec["data"]["source"] = str(tmp_path / "gone")
    (moved / "spec.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(RunError, match="images can't be found"):
        export_run(Run(moved), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_onnx_file_takes_pixels_and_says_what_torch_says(
    onnx_model: ModelFolder, model: ModelFolder, pictures: Path, tmp_path: Path
) -> None:
    import onnxruntime

    folder = onnx_model
    assert folder.notes.onnx is not None
    assert folder.notes.onnx.difference < 1e-4
    assert (folder.path / LABELS).read_text().split() == ["arch", "beam", "crypt"]
    pixels = some_pixels(pictures, model)
    session = onnxruntime.InferenceSession(folder.path / ONNX)
    logits, probabilities = session.run(["logits", "probabilities"], {"pixels": pixels})
    assert np.allclose(logits, open_folder(model, device="cpu")(pixels)[0], atol=1e-4)
    scaled = logits / folder.notes.deciding["temperature"]
    assert np.allclose(probabilities, np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True), atol=1e-5)
    predictor = open_predictor(folder.path / ONNX, root=tmp_path)
    assert predictor.engine.startswith("onnxruntime")
    assert np.allclose(predictor(pixels)[0], logits)
    alone = tmp_path / "alone.onnx"
    shutil.copy(folder.path / ONNX, alone)
    with pytest.raises(ModelFolderError, match="lies beside it"):
        open_predictor(alone, root=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_an_onnx_file_may_take_its_weights_from_the_file_beside_it(
    half: bool, run: Run, onnx_model: ModelFolder, model: ModelFolder, pictures: Path, tmp_path: Path
) -> None:
    folder = export_run(run, tmp_path / "shared", half=half, onnx=True, share_weights=True)
    own = {path.stat().st_size for path in (folder.path / ONNX, folder.path / WEIGHTS)}
    # The other holds every weight itself, in single precision either way.
    assert sum(own) < (folder.path / WEIGHTS).stat().st_size + (onnx_model.path / ONNX).stat().st_size
    pixels = some_pixels(pictures, model)
    shared = open_folder(folder, device="cpu", engine="onnxruntime")(pixels)[0]
    assert np.allclose(shared, open_folder(folder, device="cpu", engine="torch")(pixels)[0], atol=1e-4)
    assert str(tmp_path.parents[2]).encode() not in (folder.path / ONNX).read_bytes()
