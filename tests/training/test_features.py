"""The frozen prefix is computed once, and training on what was kept is training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vgg import VGG
from torch import Tensor, nn

from ahekit.backbones.build import build
from ahekit.backbones.params import BackboneParams
from ahekit.data.random import sample_keys
from ahekit.data.views import PixelViews, going_round, view_names
from ahekit.errors import DataError, TrainingError, UsageError
from ahekit.models import build_component
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import AugmentSpec
from ahekit.training import features as features_module
from ahekit.training.features import open_features
from ahekit.training.loop import fit
from ahekit.training.prefix import HEAD_VIEWS, decide_views, plan_prefix
from ahekit.training.processes import Processes
from ahekit.training.session import Session, start
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps

Make = Callable[..., Setup]

FAMILIES = {
    "resnet18": 48,
    "vgg": 48,
    "inception_v3": 75,
    "mobilenetv3_small_100": 48,
    "tf_efficientnet_lite0": 48,
    "googlenet": 48,
}
UNMIXED: dict[str, Any] = {"mix": {"probability": 0.0}, "loss": {"class_weights": "none"}}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is there before a test."""
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "home"))


def backbone(name: str) -> BuiltModel:
    torch.manual_seed(0)
    if name == "vgg":  # timm's own are all of 100 million weights and more
        net = VGG([8, "M", 8, "M", 16, "M", 16, "M", 16, "M"], num_classes=0, norm_layer=nn.BatchNorm2d, mlp_ratio=0.1)
        ends = [str(info["module"]) for info in net.feature_info]
        own = Preprocessing(size=FAMILIES[name])
        built: BuiltModel = build(
            net, BackboneParams(), name=name, ends=ends, preprocessing=own, num_classes=3, load=None
        )
        return built
    return build_component(name, {"weights": "none"}, num_classes=3, image_size=FAMILIES[name]).built


def resized(setup: Setup, built: BuiltModel) -> Setup:
    """The tiny dataset in pictures of the size that a network takes."""
    size = built.preprocessing.size
    pixels = np.random.default_rng(1).integers(0, 256, (len(setup.dataset.ids), size, size, 3)).astype(np.uint8)
    dataset = replace(setup.dataset, images=pixels, preprocessing=built.preprocessing)
    # An epoch of six steps, so that a few go into the next one.
    splits = replace(setup.splits, train=setup.splits.train[:12])
    return replace(setup, dataset=dataset, built=built, splits=splits)


def planned(setup: Setup) -> Setup:
    """The setup with its views and prefix decided, as `prepare` does."""
    spec = decide_views(setup.spec, setup.freezing)
    return replace(setup, spec=spec, prefix=plan_prefix(spec, setup.built, setup.freezing, setup.splits))


def transferred(make_setup: Make, **transfer: Any) -> Setup:
    return planned(make_setup(**UNMIXED, transfer={"freeze": "backbone", "views": 1, **transfer}))


def prepared(setup: Setup) -> Session:
    """A session about to take its first step, with the prefix computed where the setup says so."""
    session = start(setup, Processes(), fresh=True)
    list(session.compute_prefix())
    session.enter_epoch(1)
    return session


def trained(session: Session, steps: int) -> list[float]:
    """Losses of so many steps, over as many epochs as that takes."""
    windows = (window for epoch in itertools.count(1) for window in session.batches.epoch(epoch))
    done = train_steps(
        session.model,
        itertools.islice(windows, steps),
        session.optimizer,
        compute=session.setup.compute,
        average=session.average_weights,
    )
    return [step.loss for step in done]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["backbone", "early"])
@pytest.mark.parametrize("name", FAMILIES)
def test_steps_on_kept_outputs_are_steps_of_the_whole_network(
    make_setup: Make, monkeypatch: pytest.MonkeyPatch, name: str, freeze: str
) -> None:
    # A random network with BatchNorm on two images is chaotic: one rounding more, as a batch of another size makes it,
    # is a tenth of the loss some steps on. So the prefix is computed in batches of the size that is trained on.
    monkeypatch.setattr(features_module, "BLOCK", 2)

    def setup(gigabytes: float) -> Setup:
        fields = {
            "transfer": {"freeze": freeze, "views": 1, "feature_precision": "single", "feature_cache_gb": gigabytes},
            "optim": {"name": "sgd", "lr": 1e-3, "batch_size": 2, "accumulation_steps": 1},
            "evaluation": {"flip_average": False},
        }
        return planned(resized(make_setup(**UNMIXED, **fields), backbone(name)))

    whole, kept = prepared(setup(0)), prepared(setup(1))
    assert whole.features is None
    assert kept.features is not None
    shape = kept.features.plan.shape
    assert len(shape) == (1 if freeze == "backbone" else 3), "early keeps maps from the middle of the network"

    assert trained(kept, 8) == pytest.approx(trained(whole, 8), rel=1e-3)
    for key, tensor in whole.module.state_dict().items():
        assert torch.allclose(kept.module.state_dict()[key].float(), tensor.float(), rtol=1e-3, atol=1e-4), key
    indices = whole.setup.splits.test
    mine, other = (session.logits(indices, flip_average=False) for session in (kept, whole))
    assert np.allclose(mine, other, rtol=1e-3, atol=1e-3)


def test_a_run_on_kept_outputs_ends_as_one_without(
    make_setup: Make, new_run: Callable[[Setup], Run], watched: Any
) -> None:
    ends = []
    for gigabytes in (0, 1):
        setup = transferred(make_setup, views=3, feature_precision="single", feature_cache_gb=gigabytes)
        run, watcher = new_run(setup), watched()
        status = fit(setup, run, watcher=watcher)
        assert status.state == "finished"
        assert bool(watcher.prefixes) == bool(gigabytes)
        ends.append((run.predictions()["test"].logits, [row["val"]["loss"] for row in watcher.epochs]))
    assert np.allclose(ends[0][0], ends[1][0], atol=1e-5)
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-6)


def test_what_was_computed_is_not_computed_again_whatever_follows_the_prefix(make_setup: Make) -> None:
    session = prepared(transferred(make_setup))
    other = start(transferred(make_setup), Processes(), fresh=True)
    with torch.no_grad():
        other.part.module[-1].weight.zero_()  # type: ignore[index]
    assert list(other.compute_prefix()) == []
    assert other.features is not None
    assert session.features is not None
    assert other.features.folder == session.features.folder


def test_more_views_compute_the_new_ones_alone(make_setup: Make) -> None:
    prepared(transferred(make_setup))
    more = start(transferred(make_setup, views=3), Processes(), fresh=True)
    # Plain and mirror were there for measuring; the third view is of the training images.
    assert [total for _, total in more.compute_prefix()][-1] == len(more.setup.splits.train)


def test_other_weights_pixels_or_precision_are_another_store(make_setup: Make) -> None:
    folders = set()
    for change in ("none", "weights", "fingerprint", "mean", "precision"):
        setup = transferred(make_setup, **({"feature_precision": "single"} if change == "precision" else {}))
        if change == "fingerprint":
            setup = replace(setup, dataset=replace(setup.dataset, fingerprint="e" * 64))
        if change == "mean":
            own = replace(setup.dataset.preprocessing, mean=(0.4, 0.5, 0.5))
            setup = replace(setup, dataset=replace(setup.dataset, preprocessing=own))
        prefix, _ = setup.built.split("head")
        if change == "weights":
            with torch.no_grad():
                next(prefix.parameters()).add_(1)
        assert setup.prefix is not None
        folders.add(open_features(setup, setup.prefix, prefix).folder)
    assert len(folders) == 5


def test_interrupted_computing_goes_on_where_it_was(make_setup: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "BLOCK", 5)
    first = start(transferred(make_setup), Processes(), fresh=True)
    steps = first.compute_prefix()
    assert [next(steps) for _ in range(3)] == [(5, 124), (10, 124), (15, 124)]
    steps.close()
    assert first.features is None

    again = start(transferred(make_setup), Processes(), fresh=True)
    assert list(again.compute_prefix())[-1] == (109, 109)


def test_a_run_that_dies_before_its_predictions_makes_them_of_what_was_kept(
    make_setup: Make, new_run: Callable[[Setup], Run], watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(session: Session, run: Run) -> None:
        raise KeyboardInterrupt

    whole = new_run(transferred(make_setup))
    fit(transferred(make_setup), whole, watcher=watched())
    run = new_run(transferred(make_setup))
    with monkeypatch.context() as patched:
        patched.setattr("ahekit.training.loop._predict", die)
        with pytest.raises(KeyboardInterrupt):
            fit(transferred(make_setup), run, watcher=watched())
    assert fit(transferred(make_setup), run, watcher=watched(), resume=True).state == "finished"
    # In half precision, as in the run that wasn't broken off: made of pixels they would differ in their last digits.
    for split in ("train", "val", "test"):
        file = f"predictions/{split}.safetensors"
        assert (run.path / file).read_bytes() == (whole.path / file).read_bytes()


def test_the_prefix_always_gets_as_many_images(make_setup: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kernels are chosen by that number, and round differently: what is kept must not tell how often it was broken off.
    monkeypatch.setattr(features_module, "BLOCK", 5)
    session = start(transferred(make_setup), Processes(), fresh=True)
    assert session.part.prefix is not None
    sizes = set()
    session.part.prefix.register_forward_pre_hook(lambda module, inputs: sizes.add(len(inputs[0])))
    list(session.compute_prefix())
    assert sizes == {5}


def test_a_stop_while_computing_leaves_a_run_to_resume(
    make_setup: Make, new_run: Callable[[Setup], Run], watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "BLOCK", 5)
    setup, stop = transferred(make_setup), StopRequest()
    run, watcher = new_run(setup), watched()
    watcher.prefix = lambda done, total: setattr(stop, "asked", done == 10)
    assert fit(setup, run, watcher=watcher, stop=stop).state == "interrupted"
    assert fit(transferred(make_setup), run, watcher=watched(), resume=True).state == "finished"

    unbroken = new_run(setup)
    fit(transferred(make_setup), unbroken, watcher=watched())
    assert np.array_equal(run.predictions()["test"].logits, unbroken.predictions()["test"].logits)


def test_views_go_round_by_sample_and_epoch() -> None:
    keys = sample_keys(f"{number}" for number in range(50))

    def number(indices: Any, name: str) -> Tensor:
        return torch.full((len(indices), 1), float(name))

    draw = going_round(number, ("0", "1", "2"), keys)
    epochs = torch.cat([draw(np.arange(50), epoch) for epoch in (1, 2, 3)], dim=1)
    assert (epochs.sort(dim=1).values == torch.tensor([0.0, 1.0, 2.0])).all()
    assert all(0 < int((epochs[:, 0] == view).sum()) < 50 for view in range(3))
    assert torch.equal(draw(np.arange(50), 4), epochs[:, :1])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("size", [None, 16])
def test_fixed_views_drawn_together_are_those_drawn_one_by_one(count: int, size: int | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 24, 24, 3), dtype=np.uint8)
    keys = sample_keys(f"{number}" for number in range(30))
    spec = AugmentSpec(alternating_flip=True)
    views = PixelViews(images, keys, spec, Preprocessing(size=24), seed=0)
    single = going_round(partial(views.named, size=size), view_names(count, spec), keys)
    indices = np.arange(0, 30, 2)
    for epoch in range(1, 4):
        torch.testing.assert_close(views.going_round(indices, epoch, count, size=size), single(indices, epoch))


def test_the_first_view_is_the_plain_image_and_the_second_its_mirror_image() -> None:
    assert view_names(1, AugmentSpec()) == ("plain",)
    assert view_names(4, AugmentSpec()) == ("plain", "mirror", "augmented-1", "augmented-2")
    assert view_names(3, AugmentSpec(flip=0)) == ("plain", "augmented-1", "augmented-2")


def test_views_are_left_open_only_for_a_run_that_trains_the_head_alone(make_setup: Make) -> None:
    for fields, views in (
        ({"transfer": {"freeze": "backbone"}}, HEAD_VIEWS),
        ({"transfer": {"freeze": "backbone", "bn": "batch"}}, 0),
        ({"transfer": {"freeze": "backbone"}, "mix": {"probability": 0.5}}, 0),
        ({"transfer": {"freeze": "none"}}, 0),
    ):
        setup = make_setup(**{**UNMIXED, **fields})
        assert decide_views(setup.spec, setup.freezing).transfer.views == views, fields


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"transfer": {"freeze": "none", "views": 2}}, "views: fixed views are for stages that stay frozen"),
        ({"transfer": {"freeze": "backbone", "bn": "batch", "views": 2}}, "bn frozen or recalibrate"),
        ({"transfer": {"freeze": "backbone", "views": 2}, "mix": {"probability": 0.5}}, "can't be mixed"),
        ({"transfer": {"freeze": "backbone", "views": 2, "feature_cache_gb": 1e-6}}, "raise --feature-cache-gb"),
    ],
)
def test_what_cannot_be_kept_is_one_line(make_setup: Make, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        planned(make_setup(**{**UNMIXED, **fields}))
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_refused_before_anything_is_computed(make_setup: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ahekit.data.pixel_store.free_bytes", lambda cache: 2**29)
    session = start(transferred(make_setup), Processes(), fresh=True)
    with pytest.raises(DataError, match="the features to keep need"):
        list(session.compute_prefix())
    assert not list(open_folder(session).glob("*.bin"))


def open_folder(session: Session) -> Path:
    assert session.setup.prefix is not None
    assert session.part.prefix is not None
    return open_features(session.setup, session.setup.prefix, session.part.prefix).folder


def test_numbers_too_large_for_half_precision_are_told(make_setup: Make) -> None:
    setup = transferred(make_setup)
    norm = next(part for part in setup.built.module.modules() if isinstance(part, nn.BatchNorm2d))
    nn.init.constant_(norm.weight, 1e6)
    with pytest.raises(TrainingError, match="feature_precision=single"):
        list(start(setup, Processes(), fresh=True).compute_prefix())


def test_statistics_measured_anew_are_part_of_the_key(make_setup: Make) -> None:
    folders = {open_folder(start(transferred(make_setup, bn=bn), Processes(), fresh=True)) for bn in FROZEN}
    assert len(folders) == 2


FROZEN = ("frozen", "recalibrate")


def test_kept_maps_come_back_in_the_order_the_network_reads(make_setup: Make) -> None:
    setup = transferred(make_setup, feature_precision="single")
    module = setup.built.module
    assert isinstance(module, nn.Sequential)
    built = replace(
        setup.built,
        stages={"stem": (module[:3],), "rest": (module[3:5],), "head": (module[5:],)},
        split=lambda stage: (module[:3], module[3:]),
        preprocessing=Preprocessing(size=8),
    )
    spec = setup.spec.model_copy(update={"transfer": setup.spec.transfer.model_copy(update={"freeze": "until:rest"})})
    session = prepared(planned(replace(setup, spec=spec, built=built)))
    assert session.features is not None
    assert session.features.plan.shape == (8, 8, 8)
    maps = session.features.named(np.array([5, 1]), "plain")
    assert maps.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        pixels = session.features.pixels.named(np.array([5, 1]), "plain")
        assert torch.allclose(maps, module[:3].eval()(pixels), atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 4, 2)])
def test_outputs_of_any_shape_come_back_as_they_were_written(make_setup: Make, tmp_path: Path, shape: Any) -> None:
    setup = transferred(make_setup, feature_precision="single")
    assert setup.prefix is not None
    features = open_features(setup, replace(setup.prefix, shape=shape), nn.Identity(), cache=tmp_path)
    features.folder.mkdir(parents=True)
    outputs, indices = torch.randn(2, *shape), np.array([61, 3])
    with (features.folder / "plain.bin").open("wb") as store, (features.folder / "plain.done").open("wb") as done:
        store.truncate(62 * features.plan.bytes_per_view)
        features.write(indices, outputs, store, done)
    assert torch.equal(features.named(indices, "plain"), outputs)
    assert features.missing("plain", np.array([2, 3, 61])).tolist() == [2]
