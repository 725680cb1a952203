"""`ahekit viz`, on runs whose weights were never trained."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ahekit.models import build_component
from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.validation import validate

Cli = Callable[..., Any]
CLASSES = ("arch", "beam", "crypt")


def save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    save_file(weights, folder / "model.safetensors")


def write_run(
    root: Path, data: Path, *, channels: tuple[int, ...] = (4, 6, 8), stamp: str | None = None, checkpoint: bool = True
) -> Run:
    """A cnn5 with few channels on pictures of 16 x 16; its best checkpoint and its last differ."""
    params = {"channels": list(channels), "hidden": [8]}
    fields = {
        "model": {"name": "cnn5", "params": params},
        "data": {"source": str(data), "image_size": 16},
        "train": {"average_decay": 0},
    }
    spec = validate(RunSpec, fields)
    splits = {
        split: sorted(path.relative_to(data).as_posix() for path in (data / split).rglob("*.png"))
        for split in ("train", "test")
    }
    manifest = {"class_names": list(CLASSES), "splits": splits}
    run = Run.create(root, spec, manifest)
    if stamp:
        run.path.rename(run.path.with_name(stamp))
        run = Run(root / stamp)
    if checkpoint:
        for number in (1, 2):
            torch.manual_seed(number)
            built = build_component("cnn5", params, num_classes=3, image_size=16).built
            weights = {name: value.contiguous() for name, value in built.module.state_dict().items()}
            run.add_checkpoint(f"step-0000000{number}-epoch-000{number}", partial(save_weights, weights))
    best = {"epoch": 1, "step": 1, "val_f1": 0.5, "checkpoint": "step-00000001-epoch-0001" if checkpoint else ""}
    run.write_status("finished", best=best)
    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_the_command_of_the_tutorial_writes_into_the_newest_run_and_tells_the_paths(
    cli: Cli, runs: Path, class_folder: Path
) -> None:
    write_run(runs, class_folder, stamp="20260101-000000-cnn5-0001")
    newest = write_run(runs, class_folder, stamp="20260102-000000-cnn5-0002")

    outcome = cli("viz", "--layer", "conv3", "--runs", runs)

    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == f"run: {newest.name}, step 1"
    picture, arrays = newest.path / "figures/activations-conv3.png", newest.path / "figures/activations-conv3.npz"
    assert lines[-2:] == [f"png: {picture}", f"npz: {arrays}"]
    with Image.open(picture) as image:
        assert image.format == "PNG"
    with np.load(arrays, allow_pickle=False) as stored:
        assert stored["conv3"].shape == (3, 8, 4, 4)
        assert stored["image_ids"].tolist() == sorted(stored["image_ids"].tolist())
        assert [name.split("/")[1] for name in stored["image_ids"]] == list(CLASSES)
        assert stored["class_names"].tolist() == list(CLASSES)


def test_newer_runs_without_the_layer_are_passed_over_by_name(cli: Cli, runs: Path, class_folder: Path) -> None:
    older = write_run(runs, class_folder, stamp="20260101-000000-cnn5-0001")
    write_run(runs, class_folder, channels=(4, 6), stamp="20260102-000000-cnn5-0002")
    write_run(runs, class_folder, stamp="20260103-000000-cnn5-0003", checkpoint=False)

    outcome = cli("viz", "kernels", "--layer", "conv3", "--runs", runs)

    lines = outcome.out.splitlines()
    assert lines[0].startswith("passed over 20260103-000000-cnn5-0003: ")
    assert "has no checkpoint yet" in lines[0]
    assert lines[1].startswith("passed over 20260102-000000-cnn5-0002: no layer named 'conv3'")
    assert lines[2].startswith(f"run: {older.name}")


def test_best_last_and_named_checkpoints_differ(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    weights = {}
    for name in ("best", "last", "epoch-0002"):
        assert cli("viz", "kernels", "--runs", runs, "--checkpoint", name, "--out", tmp_path / name).code == 0
        with np.load(tmp_path / name / "kernels.npz") as stored:
            weights[name] = stored["conv1"]
    assert not np.array_equal(weights["best"], weights["last"])
    np.testing.assert_array_equal(weights["last"], weights["epoch-0002"])


def test_named_pictures_are_looked_at_and_parameters_are_set(
    cli: Cli, runs: Path, class_folder: Path, tmp_path: Path
) -> None:
    write_run(runs, class_folder)
    gray = tmp_path / "gray.png"
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).save(gray)

    outcome = cli(
        *(
            "viz",
            "activations",
            "-l",
            "conv1",
            "--image",
            gray,
            "--image",
            gray,
            "--runs",
            runs,
            "--format",
            "png,svg",
            "--json",
        ),
        *("--show-units", "3", "--set", "show_units=2", "--out", tmp_path / "out"),
    )

    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert [Path(file).suffix for file in told["files"]] == [".png", ".svg", ".npz"]
    with np.load(tmp_path / "out" / "activations-conv1.npz") as stored:
        assert stored["conv1"].shape[0] == 2
        assert stored["labels"].tolist() == [-1, -1]
    # Text is drawn as outlines, but matplotlib notes each line in a comment.
    svg = " ".join(re.findall("<!-- (.*?) -->", (tmp_path / "out" / "activations-conv1.svg").read_text()))
    assert "2 of 4 units" in svg
    assert "gray.png" in svg


def test_the_same_seed_looks_at_the_same_test_images(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    chosen = []
    for seed in (0, 0, 1, 2, 3):
        cli("viz", "-l", "conv1", "--runs", runs, "--seed", seed, "--out", tmp_path / "out", "--show-units", 1)
        with np.load(tmp_path / "out" / "activations-conv1.npz") as stored:
            chosen.append(tuple(stored["image_ids"].tolist()))
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) > 1


def test_class_names_are_taken_by_target(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    for target in ("beam", "true", "predicted", "vs:crypt"):
        outcome = cli("viz", "gradcam", "--runs", runs, "--target", target, "--out", tmp_path / "out")
        assert (outcome.code, outcome.err) == (0, "")


def test_gray_and_odd_sized_pictures_are_taken_by_every_view_of_a_picture(
    cli: Cli, runs: Path, class_folder: Path, tmp_path: Path
) -> None:
    write_run(runs, class_folder)
    gray = tmp_path / "gray.png"
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).save(gray)
    for name in ("filter-response", "gradcam", "deconvnet", "occlusion"):
        outcome = cli("viz", name, "--image", gray, "--runs", runs, "--out", tmp_path / "out")
        assert (outcome.code, outcome.err) == (0, "")


def test_filter_all_and_the_logit_are_chosen_by_flags(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    flags = ("--layer", "block2.conv", "--filter", "all", "--scalar", "logit", "--target", "vs:beam")
    outcome = cli("viz", "filter-response", *flags, "--runs", runs, "--out", tmp_path / "out")
    assert (outcome.code, outcome.err) == (0, "")
    with np.load(tmp_path / "out" / "filter-response-block2.conv.npz") as stored:
        assert stored["filters"].tolist() == [-1, -1, -1]
        assert stored["maps"].shape == (3, 6, 8, 8)
    assert (tmp_path / "out" / "filter-response-block2.conv-all.png").exists()


def test_checks_are_told_in_tables_and_verdicts_and_kept(
    cli: Cli, runs: Path, class_folder: Path, tmp_path: Path
) -> None:
    write_run(runs, class_folder)

    outcome = cli("viz", "gradcam", "--check", "--runs", runs, "--out", tmp_path / "out")

    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.split("weights:")[0].splitlines())) <= 80
    for told in ("all weights", "insertion", "weights: ", "deletion and insertion: ", "in place and not in place: "):
        assert f"\n{told}" in outcome.out
    with np.load(tmp_path / "out" / "gradcam.npz") as stored:
        assert stored["check_stages"].tolist() == ["head", "dense1", "block3", "block2", "block1"]
        assert stored["check_deletion"].shape == (3, 3, 21)
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_another_run_judges_class_images(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder, stamp="20260101-000000-cnn5-0001")
    write_run(runs, class_folder, channels=(4, 4), stamp="20260102-000000-cnn5-0002")

    outcome = cli(
        *("viz", "class-image", "--runs", runs, "--run", "0001", "--judge", "0002"),
        *("--method", "ascent", "--set", "steps=2", "--out", tmp_path / "out"),
    )

    assert (outcome.code, outcome.err) == (0, "")
    assert "the judge predicts" in outcome.out
    with np.load(tmp_path / "out" / "class-image.npz") as stored:
        assert stored["judge_probability"].shape == (3,)


def test_units_of_a_split_are_told_in_a_table_and_stored_whole(cli: Cli, runs: Path, class_folder: Path) -> None:
    run = write_run(runs, class_folder)

    outcome = cli("viz", "units", "--runs", runs, "--set", "steps=1", "--set", "top=5", "--show-units", 2, "--json")

    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert [Path(file).name for file in told["files"]] == ["units-depth.png", "units-best.png", "units.npz"]
    rows = [[row[0], row[1], row[3]] for row in told["tables"][0]["rows"]]
    assert rows == [["conv1", 4, "3"], ["conv2", 6, "8"], ["conv3", 8, "18"]]
    assert "Units by layer: test split, 14 images" in outcome.err
    with np.load(run.path / "figures" / "units.npz", allow_pickle=False) as stored:
        assert stored["layers"].tolist() == ["conv1", "conv2", "conv3"]
        assert stored["conv2.selectivity"].shape == (6,)
        assert len(stored["image_ids"]) == len(stored["labels"]) == 14
        assert {name.split("/")[0] for name in stored["image_ids"]} == {"test"}


def test_embeddings_of_the_training_images_are_drawn(cli: Cli, runs: Path, class_folder: Path) -> None:
    run = write_run(runs, class_folder)
    outcome = cli(
        *("viz", "embedding", "--runs", runs, "--method", "pca"),
        *("--set", "split=train", "--set", "thumbnails=3"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-2:] == [
        f"png: {run.path / 'figures/embedding-map.png'}",
        f"npz: {run.path / 'figures/embedding.npz'}",
    ]
    with np.load(run.path / "figures" / "embedding.npz", allow_pickle=False) as stored:
        assert stored["embeddings"].shape == (46, 8)
        assert stored["positions"].shape == (46, 2)


@pytest.mark.parametrize("name", ["units", "embedding"])
def test_split_that_is_empty_or_gone_is_one_clear_line(cli: Cli, runs: Path, class_folder: Path, name: str) -> None:
    run = write_run(runs, class_folder)
    empty = cli("viz", name, "--runs", runs, "--set", "split=val")
    assert empty.code == 2
    assert empty.err.startswith("ahekit: the val split has 0 image(s) and at least")
    class_folder.rename(class_folder.with_name("elsewhere"))
    gone = cli("viz", name, "--runs", runs)
    assert gone.code == 1
    assert gone.err.startswith(f"ahekit: {run.name}: its test images can't be found")
    assert len(empty.err.splitlines()) == len(gone.err.splitlines()) == 1


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_class_images_are_animated(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path, form: str) -> None:
    write_run(runs, class_folder)
    outcome = cli(
        *("viz", "class-image", "--runs", runs, "--out", tmp_path / "out", "--set", "steps=4", "--every", 2),
        *("--set", f"animation={form}"),
    )
    file = tmp_path / "out" / f"class-image-robust.{form}"
    assert f"{form}: {file}" in outcome.out
    with Image.open(file) as animation:
        assert (animation.format, animation.n_frames) == (form.upper(), 3)  # type: ignore[attr-defined]
        assert animation.info["loop"] == 0


def test_class_images_of_a_vanished_dataset_lack_the_nearest_training_images_alone(
    cli: Cli, runs: Path, class_folder: Path
) -> None:
    run = write_run(runs, class_folder)
    trained_on = sorted(str(path.relative_to(class_folder)) for path in (class_folder / "train").rglob("*.png"))
    splits = {**run.manifest.splits.model_dump(), "train": trained_on, "val": []}
    run.write_json("manifest.json", {**run.manifest.model_dump(), "splits": splits})
    stored = run.path / "figures" / "class-image.npz"

    assert cli("viz", "class-image", "--runs", runs, "--set", "steps=1").code == 0
    with np.load(stored) as arrays:
        assert set(arrays["nearest_id"].tolist()) <= set(trained_on)
    class_folder.rename(class_folder.with_name("elsewhere"))
    outcome = cli("viz", "class-image", "--runs", runs, "--set", "steps=1")

    assert outcome.code == 0
    assert "the nearest training images are not looked for" in outcome.out
    with np.load(stored) as arrays:
        assert "nearest_id" not in arrays
        assert len(arrays["probability"]) == 3


def test_parts_of_ones_own_work_as_documented(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "class-images.md").read_text(encoding="utf-8")
    file = tmp_path / "stripes.py"
    file.write_text(page.split("```python\n")[1].split("```")[0])

    outcome = cli("viz", "stripes", "--plugin", file, "--runs", runs, "--out", tmp_path / "out")

    assert (outcome.code, outcome.err) == (0, "")
    with np.load(tmp_path / "out" / "stripes.npz") as stored:
        images = stored["images"]
    assert images.shape == (3, 16, 16, 3)
    assert (images == images[:, :1]).all()
    assert images.std() > 1


def test_judge_of_other_classes_is_refused(cli: Cli, runs: Path, class_folder: Path) -> None:
    write_run(runs, class_folder, stamp="20260101-000000-cnn5-0001")
    other = write_run(runs, class_folder, stamp="20260102-000000-cnn5-0002")
    other.write_json("manifest.json", {"class_names": ["arch", "beam", "tower"]})
    outcome = cli("viz", "class-image", "--runs", runs, "--run", "0001", "--judge", "0002", "--set", "steps=1")
    assert outcome.code == 1
    assert outcome.err == f"ahekit: {other.name} can't judge: it doesn't know crypt\n"


@pytest.mark.parametrize("place", [1, -1])
def test_a_strangers_options_are_read_before_and_after_its_name(
    cli: Cli, runs: Path, class_folder: Path, stranger: Path, place: int
) -> None:
    write_run(runs, class_folder)
    words = ["viz", "--rays", "5", "--no-fade", "--grid", "[4, 5]", "--only", "arch", "--only", "1e3", "--colour=cold"]
    words.insert(place if place > 0 else len(words), "rays")
    outcome = cli(*words, "--set", "seed=9", "--seed", "2", "--plugin", stranger, "--runs", runs)
    assert (outcome.code, outcome.err) == (0, "")
    assert "rays=5 colour='cold' fade=False seed=9 grid=(4, 5) only=('arch', '1e3')" in outcome.out
    assert "seed 2" in outcome.out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--layer", "conv9"), "no layer named 'conv9'; did you mean conv"),
        (
            ("filter-response", "--filter", "99", "-l", "conv2"),
            "layer conv2 has 6 filters, 0 to 5; there is no filter 99",
        ),
        (("gradcam", "--target", "bean"), "no class named 'bean'; did you mean beam? Known: arch, beam, crypt"),
        (("gradcam", "--filter", "3"), "no option --filter; "),
        (("gradcam", "--set", "filter=3"), "gradcam.filter: no field named 'filter'"),
        (("kernels", "--check"), "no option --check; did you mean --checkpoint"),
        (
            ("gradcam", "--targt", "beam"),
            "no option --targt; did you mean --target or --data? `ahekit viz gradcam --help`",
        ),
        (("--target", "beam"), "no option --target; did you mean --image or --set? `ahekit viz activations --help`"),
        (("occlusion", "--window", "x"), "invalid value for '--window': must be a valid integer"),
        (("embedding", "--method", "umap"), "invalid value for '--method': 'umap' is not one of 'tsne', 'pca'"),
        (("gradcam", "units"), "got unexpected extra argument"),
        (("activatoins",), "no visualizer named 'activatoins'; did you mean activations?"),
        (("--show-units", "0"), "activations.show_units: must be greater than or equal to 1 (got 0)"),
        (("--set", "show_units"), "--set show_units: write FIELD=VALUE"),
        (("--run", "nowhere"), "no run named 'nowhere'"),
        (("--checkpoint", "epoch-7"), "no checkpoint named 'epoch-7'"),
        (("--checkpoint", "epoch"), "'epoch' fits 2 checkpoints"),
        (("kernels", "--image", "x.png"), "kernels looks at no pictures; leave out --image"),
        (("--device", "cuda"), "runtime.device: cuda asked for"),
        (("class-image", "--every", "0"), "class-image.every: must be greater than or equal to 1 (got 0)"),
        (("class-image", "--unit", "17"), "class-image: a unit needs its layer, one, as in --layer conv4 --unit 17"),
        (("class-image", "-l", "conv2", "--unit", "17"), "layer conv2 has 6 units, 0 to 5; there is no unit 17"),
        (("class-image", "--target", "bean"), "no class named 'bean'; did you mean beam?"),
        (("class-image", "--init", "x.png"), "class-image: init: a picture to start from goes with --method ascent"),
    ],
)
def test_wrong_arguments_get_one_clear_line(
    cli: Cli, runs: Path, class_folder: Path, args: tuple[str, ...], line: str
) -> None:
    write_run(runs, class_folder)
    outcome = cli("viz", "--runs", runs, *args)
    assert outcome.code == 2
    assert outcome.err.startswith(f"ahekit: {line}")
    assert len(outcome.err.splitlines()) == 1


def test_network_without_convolutions_is_one_clear_line(
    cli: Cli, runs: Path, class_folder: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "flat.py"
    plugin.write_text(
        "from torch import nn\nfrom ahekit.protocols import NoParams\n"
        "from ahekit.registry import MODELS\n"
        '@MODELS.register("flat")\nclass Flat:\n    "Flat."\n    Params = NoParams\n    image_size = 16\n'
        "    def build(self, params, *, num_classes, image_size):\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))\n"
    )
    run = write_run(runs, class_folder)
    run.write_json("manifest.json", run.manifest.model_dump())
    spec = (run.path / "spec.yaml").read_text()
    assert "name: cnn5" in spec
    changed = re.sub(r"name: cnn5\n(\s+)params:(\n\1\s+.*)*", r"name: flat\n\1params: {}", spec)
    (run.path / "spec.yaml").write_text(changed)
    weights = {"1.weight": torch.zeros(3, 768), "1.bias": torch.zeros(3)}
    for folder in (run.path / "checkpoints").iterdir():
        save_weights(weights, folder)
    for name in ("activations", "kernels", "gradcam", "filter-response", "deconvnet"):
        outcome = cli("viz", name, "--plugin", plugin, "--runs", runs)
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert outcome.err.startswith("ahekit: the network has no convolution to look at; choose a run whose")


def test_corrupt_picture_is_refused_by_name(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    torn = tmp_path / "torn.png"
    torn.write_bytes(next((class_folder / "test").rglob("*.png")).read_bytes()[:60])
    refused = cli("viz", "class-image", "--runs", runs, "--method", "ascent", "--init", torn)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert refused.err.startswith(f"ahekit: {torn}: truncated or damaged PNG")
    for path, reason in ((torn, "truncated or damaged PNG"), (tmp_path / "none.png", "can't be read")):
        outcome = cli("viz", "--runs", runs, "--image", path)
        assert outcome.code == 1
        assert outcome.err.startswith(f"ahekit: {path}: {reason}")
        assert len(outcome.err.splitlines()) == 1


def test_true_class_of_a_named_picture_is_not_guessed(cli: Cli, runs: Path, class_folder: Path) -> None:
    write_run(runs, class_folder)
    picture = next((class_folder / "test").rglob("*.png"))
    outcome = cli("viz", "gradcam", "--runs", runs, "--image", picture, "--target", "true")
    assert outcome.code == 2
    assert "its true class isn't known; take --target predicted" in outcome.err


def test_without_a_run_the_way_to_one_is_told(cli: Cli, runs: Path) -> None:
    outcome = cli("viz", "--layer", "conv3", "--runs", runs)
    assert outcome.code == 1
    assert outcome.err == f"ahekit: no run in {runs}; `ahekit train` makes one\n"


def test_run_without_a_checkpoint_is_one_clear_line(cli: Cli, runs: Path, class_folder: Path) -> None:
    run = write_run(runs, class_folder, checkpoint=False)
    outcome = cli("viz", "--runs", runs)
    assert outcome.code == 1
    assert outcome.err.startswith(f"ahekit: {run.name} has no checkpoint yet")


def test_a_run_whose_checkpoints_were_taken_away_is_not_to_be_waited_for(
    cli: Cli, runs: Path, class_folder: Path
) -> None:
    run = write_run(runs, class_folder)
    shutil.rmtree(run.path / "checkpoints")
    outcome = cli("viz", "--runs", runs)
    assert outcome.code == 1
    assert outcome.err.startswith(f"ahekit: {run.name}: its checkpoints are gone; put them back")


def test_vanished_dataset_leaves_what_needs_no_images(cli: Cli, runs: Path, class_folder: Path) -> None:
    write_run(runs, class_folder)
    class_folder.rename(class_folder.with_name("elsewhere"))

    refused = cli("viz", "--runs", runs)

    assert refused.code == 1
    assert "its test images can't be found" in refused.err
    assert refused.err.endswith("give pictures with --image\n")
    assert cli("viz", "kernels", "--runs", runs).code == 0


def test_class_without_a_test_image_is_named(cli: Cli, runs: Path, class_folder: Path) -> None:
    write_run(runs, class_folder)
    for path in (class_folder / "test" / "beam").iterdir():
        path.unlink()
    assert "no test image of beam" in cli("viz", "--runs", runs).out


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_folder_that_cannot_be_written_is_named(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    (tmp_path / "locked").mkdir(mode=0o500)
    outcome = cli("viz", "kernels", "--runs", runs, "--out", tmp_path / "locked" / "in")
    assert outcome.code == 1
    assert "can't be written" in outcome.err


def test_plugin_that_returns_something_else_is_named(cli: Cli, runs: Path, class_folder: Path, tmp_path: Path) -> None:
    write_run(runs, class_folder)
    file = tmp_path / "odd.py"
    file.write_text(
        "from ahekit.protocols import NoParams\nfrom ahekit.registry import VISUALIZERS\n"
        '@VISUALIZERS.register("odd")\nclass Odd:\n    "Odd."\n    Params = NoParams\n'
        "    def visualize(self, request, params):\n        return 3\n"
    )
    outcome = cli("viz", "odd", "--plugin", file, "--runs", runs)
    assert outcome.code == 1
    problem = "is broken: it returned an int, not a Visualization"
    assert outcome.err == f"ahekit: visualizer 'odd' of file {file} {problem}\n"


def test_report_looks_into_the_network_and_at_what_viz_left(cli: Cli, runs: Path, class_folder: Path) -> None:
    run = write_run(runs, class_folder)
    cli("viz", "class-image", "--set", "steps=2", "--run", run.path)

    outcome = cli("report", run.path, "--only", "inside", "--format", "json,html,png")

    assert (outcome.code, outcome.err) == (0, "")
    folder = run.path / "report" / "only-inside"
    (section,) = json.loads((folder / "report.json").read_text())["sections"]
    maps, images = section["figures"]
    assert [line[0] for line in maps["data"]["lines"]] == [f"true: {name}" for name in CLASSES]
    assert all(name.startswith(f"test/{label}/") for name, label in zip(maps["data"]["ids"], CLASSES, strict=True))
    assert [line[0] for line in images["data"]["lines"]] == list(CLASSES)
    assert section["values"]["activation_maps"]["method"].startswith("Grad-CAM of ")
    assert (folder / "figures" / "inside-maps.png").is_file()


def test_report_says_why_a_network_cannot_be_looked_into(cli: Cli, runs: Path, class_folder: Path) -> None:
    bare = write_run(runs, class_folder, checkpoint=False)
    homeless = write_run(runs, class_folder)
    shutil.rmtree(class_folder)

    lines = [cli("report", run.path, "--only", "inside", "--format", "json").err for run in (bare, homeless)]

    assert "No class activation maps: " in lines[0]
    assert "has no checkpoint yet" in lines[0]
    assert "its test images can't be found" in lines[1]
