"""The checks for plugins' authors: each breach of a protocol is an AssertionError that says what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, Metric, NoParams, Params, SurveyFacts
from ahekit.registry import MODELS, REPORTERS
from ahekit.sections import Figure, Section, Table, Visualization
from ahekit.testing import (
    Boom,
    Broken,
    Failing,
    check_model,
    check_reporter,
    check_visualizer,
    check_writer,
    no_trace,
    small_input,
    small_module,
    small_record,
)

FAST: dict[str, dict[str, Any]] = {
    "cnn5": {"channels": (4, 6, 8), "hidden": (8,)},
    "googlenet": {"weights": "none"},
    "timm/test_resnet": {"weights": "none"},
}


def plugin_of(base: type, **attributes: Any) -> Any:
    return type("Mine", (base,), {"__doc__": "Mine.", **attributes})


def body() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Net:
    """A network."""

    Params = NoParams
    image_size = 8

    def build(self, params: Any, *, num_classes: int, image_size: int) -> Any:
        return nn.Sequential(*body().children(), nn.Linear(4, num_classes))


def of_stages(**changes: Any) -> Callable[..., BuiltModel]:
    def build(self: Any, params: Any, *, num_classes: int, image_size: int) -> BuiltModel:
        stages = {"body": body(), "head": nn.Linear(4, num_classes)}
        return replace(BuiltModel.from_stages(stages, preprocessing=Preprocessing(size=image_size)), **changes)

    return build


class Odd(nn.Module):
    """The network with one thing wrong in its `forward`."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.body = body()
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Any:
        if self.what == "in place":
            images.mul_(0.5)
        logits: Tensor = self.head(self.body(images))
        if self.what == "random":
            return logits + torch.randn(3)
        if self.what == "batch":
            return logits - logits.mean(0)
        if self.what == "train" and self.training:
            return logits, logits
        if self.what == "detached" and self.training:
            return logits.detach().requires_grad_()
        return logits


def wrapped(what: str) -> Callable[..., BuiltModel]:
    def build(self: Any, params: Any, *, num_classes: int, image_size: int) -> BuiltModel:
        module = Odd(what)
        return BuiltModel(
            module,
            Preprocessing(size=image_size),
            {"body": (module.body,), "head": (module.head,)},
            {},
            module.body,
            lambda stage: (nn.Identity(), module) if stage == "body" else (module.body, module.head),
        )

    return build


def unseeded(self: Any, params: Any, *, num_classes: int, image_size: int) -> nn.Module:
    net: nn.Module = Net().build(params, num_classes=num_classes, image_size=image_size)
    next(net.parameters()).data += float(np.random.default_rng().normal())
    return net


@pytest.mark.parametrize(("name", "size"), [("cnn5", 16), ("googlenet", 64), ("timm/test_resnet", 32)])
def test_the_own_networks_are_models(name: str, size: int) -> None:
    check_model(MODELS.get(name), params=FAST[name], image_size=size)


def test_a_plain_module_and_a_chain_of_stages_are_models() -> None:
    assert list(check_model(Net).stages) == ["stage1", "head"]
    assert list(check_model(plugin_of(Net, build=of_stages())).stages) == ["body", "head"]


class Undescribed(BaseModel):
    width: int = 3


class Required(Params):
    width: int = Field(description="of the layers")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"__doc__": None}, "Mine needs a docstring"),
        ({"Params": Undescribed}, r"Mine\.Params\.width needs a description"),
        ({"Params": Required}, r"Mine has to work with its defaults alone \(width: required\)"),
        ({"Params": dict}, r"Mine\.Params has to be a pydantic model"),
        ({"image_size": "8"}, "image_size has to be a number of pixels; it is '8'"),
        ({"build": lambda *args, **more: None}, "build returned a NoneType, not a torch module or a BuiltModel"),
        ({"build": of_stages(layers={"conv1": "nowhere"})}, "a layer alias 'conv1' for 'nowhere'"),
        ({"build": of_stages(embed=nn.Identity())}, r"embed has to return one vector for each image, \(B, D\)"),
        ({"build": of_stages(depths={"head.weight": 1})}, "depths, where they are given, have to name every parameter"),
        ({"build": of_stages(split=lambda stage: (nn.Identity(), nn.Identity()))}, "suffix.prefix.images.. has to be"),
        ({"build": unseeded}, "two builds under one torch seed have to begin with the same weights"),
        ({"build": wrapped("in place")}, "the module changed the images it was given"),
        ({"build": wrapped("random")}, "in eval mode the same images have to give the same logits"),
        ({"build": wrapped("batch")}, "in eval mode an image's logits may not depend on the others of its batch"),
        ({"build": wrapped("train")}, "in train mode the module has to return logits"),
        ({"build": wrapped("detached")}, "no gradient reaches any parameter"),
        ({"build": wrapped("copy")}, "a deep copy has to be whole: its cuts are of its own module"),
    ],
)
def test_a_model_that_breaks_its_protocol_is_told_what_it_asks_for(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(Broken, match=message):
        check_model(plugin_of(Net, **attributes))


class Look:
    """The mean of each image."""

    Params = NoParams

    def visualize(self, given: Any, params: Any) -> Visualization:
        given.model.module(given.images)
        figure = Figure("mean", "Mean", "One number an image.", lambda canvas: None)
        return Visualization({"mean": given.images.detach().mean((1, 2, 3)).numpy()}, (figure,))


def looks(work: Callable[[Any], Any]) -> dict[str, Any]:
    def visualize(self: Any, given: Any, params: Any) -> Any:
        returned = work(given)
        return returned if isinstance(returned, dict | Visualization) else Look().visualize(given, params)

    return {"visualize": visualize}


def hooked(given: Any) -> None:
    handle = given.model.module[0].register_forward_hook(lambda *args: None)
    given.model.module(given.images)
    handle.remove()


def changed(**changes: Any) -> Callable[[Any], Any]:
    return lambda given: replace(Look().visualize(given, None), **changes)


NAMELESS = Figure("mean", "Mean", "", lambda canvas: None)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda given: {}, "it returned a dict, not a Visualization"),
        (changed(arrays={"mean": [1]}), "array 'mean' is a list, not a NumPy array"),
        (changed(figures=(NAMELESS,)), "figure 'mean' needs an alt text"),
        (changed(figures=(replace(NAMELESS, alt="a"),) * 2), "figures need a name each; these are"),
        (lambda given: given.images.add_(1.0), "the visualizer changed the images it was given"),
        (lambda given: given.images.requires_grad_(), "the images it was given require gradients now"),
        (lambda given: given.model.module.train(), "left as it was; changed: .*train flag"),
        (lambda given: torch.rand(1), "left as it was; changed: torch's random state"),
        (lambda given: given.model.module[0].weight.data.mul_(2), "left as it was; changed: 0.weight"),
        (lambda given: given.model.module.zero_grad(), "left as it was; changed: .*gradient"),
        (lambda given: setattr(given.model.module[1], "inplace", False), "left as it was; changed: 1: inplace"),
        (hooked, "left as it was; changed: 0: _forward_hooks"),
        (
            lambda given: Visualization({"noise": np.random.default_rng().normal(size=3)}, ()),
            "the same input and seed have to give the same arrays; 'noise' differs the second time",
        ),
    ],
)
def test_a_visualizer_that_breaks_its_protocol_is_told_what_it_asks_for(
    work: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(Broken, match=message):
        check_visualizer(plugin_of(Look, **looks(work)))


class Report:
    """How many images there are."""

    Params = NoParams
    order = 500

    def report(self, record: Any, params: Any) -> Section:
        count = len(record.need_predictions("test").ids)
        return Section("Images", f"There are {count} test images.", values={"count": count})


def reports(make: Callable[[Any], Any]) -> dict[str, Any]:
    return {"report": lambda self, record, params: make(record)}


SECTION = Section("Title", "Reading.")


# These two need a network or a dataset on disk.
WITHOUT_FILES = [name for name in REPORTERS.names() if name not in ("inside", "leaks")]


@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_the_own_reporters_keep_the_protocol(name: str) -> None:
    plugin: Any = REPORTERS.get(name)
    few = {"resamples": 100} if "resamples" in plugin.Params.model_fields else {}
    assert all(section.reading for section in check_reporter(plugin, params=few))


def drop_a_prediction(record: Any) -> Section:
    record.predictions.pop("val", None)
    return SECTION


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"order": "last"}, "order has to be a number; it is 'last'"),
        (reports(lambda record: "text"), "it returned a str, not a Section"),
        (reports(lambda record: replace(SECTION, reading="")), "a section needs a reading"),
        (reports(lambda record: replace(SECTION, tables=(Table("T", (), (("a",),)),))), "row 1 has 1 cells"),
        (reports(lambda record: replace(SECTION, figures=(NAMELESS,))), "figure 'mean' needs an alt text"),
        (reports(drop_a_prediction), "the reporter changed the record it was given"),
        (reports(lambda record: replace(SECTION, values={"noise": np.random.default_rng().normal()})), "same section"),
        (
            reports(lambda record: replace(SECTION, values={"n": len(record.predictions["test"].ids)})),
            r"a run that left nothing has to be a section or a MissingRecord, not a KeyError \('test'\)",
        ),
    ],
)
def test_a_reporter_that_breaks_its_protocol_is_told_what_it_asks_for(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(Broken, match=message):
        check_reporter(plugin_of(Report, **attributes))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (3, "a metric is a int, not a Metric"),
        (Metric("no name", "higher", lambda predictions: 1.0), "a metric has the name 'no name', which is none"),
        (Metric("mine", "up", lambda predictions: 1.0), "has the direction 'up'"),  # type: ignore[arg-type]
        (Metric("mine", "lower", lambda predictions: float("nan")), "metric 'mine' has to be a finite number"),
        (
            Metric("mine", "lower", lambda predictions: np.random.default_rng().normal()),
            "metric 'mine' has to be the same for the same predictions",
        ),
        (
            Metric(
                "mine",
                "lower",
                lambda predictions: float(np.multiply(predictions.logits, 0, out=predictions.logits).sum()),
            ),
            "metric 'mine' changed the predictions it was given",
        ),
    ],
)
def test_a_metric_that_is_none_is_told_what_is_asked_for(metric: Any, message: str) -> None:
    with pytest.raises(Broken, match=message):
        check_reporter(plugin_of(Report, metrics=(metric,)))


def test_a_reporter_that_keeps_it_returns_its_sections() -> None:
    (section,) = check_reporter(Report)
    assert section.reading == "There are 60 test images."
    assert small_record().epochs[-1].epoch == 3


class Lines:
    """Writes names."""

    Params = NoParams

    def write(self, rows: Any, facts: SurveyFacts, params: Any) -> Any:
        text = "\n".join(ascii(row.path) for row in rows)
        (facts.folder / "names.txt").write_text(text)
        return "names in names.txt"


def two_lines(self: Any, rows: Any, facts: SurveyFacts, params: Any) -> str:
    return "\n".join(row.state for row in rows)


def into_a_photo(self: Any, rows: Any, facts: SurveyFacts, params: Any) -> str:
    for row in rows:
        row.file.write_text("tagged")
    return "tagged"


def adding(self: Any, rows: Any, facts: SurveyFacts, params: Any) -> str:
    with (facts.folder / "log").open("a") as log:
        log.writelines(row.state for row in rows)
    return "a log"


def swallowing(self: Any, rows: Any, facts: SurveyFacts, params: Any) -> str:
    with suppress(Exception):
        list(rows)
    return "done"


def line_by_line(self: Any, rows: Any, facts: SurveyFacts, params: Any) -> str:
    with (facts.folder / "list").open("w") as file:
        for row in rows:
            file.write(row.state)
    return "a list"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda *_: None, "has to return a line that says what was written; it returned None"),
        (two_lines, "has to return a line"),
        (into_a_photo, "photos have to stay as they are; changed or gone: photos/"),
        (adding, "a second time has to change nothing"),
        (swallowing, "what the rows raise has to pass"),
        (line_by_line, "rows that break off have to leave every file whole"),
    ],
)
def test_a_writer_that_breaks_its_protocol_is_told_what_is_asked_for(write: Any, message: str) -> None:
    with pytest.raises(Broken, match=message):
        check_writer(plugin_of(Lines, write=write))


def test_a_writer_that_keeps_it_returns_its_files() -> None:
    ((name, content),) = check_writer(Lines).items()
    assert (name, content.count(b"\n")) == ("survey/names.txt", 7)


def test_no_trace_looks_after_an_exception_too() -> None:
    module = small_module()
    with pytest.raises(Boom), no_trace(module):
        raise Boom

    def change_and_fail() -> None:
        with no_trace(module):
            module.eval()
            raise Boom

    with pytest.raises(Broken, match="train flag"):
        change_and_fail()


def test_a_failing_layer_lets_as_many_passes_through_as_it_says() -> None:
    failing = Failing(good_passes=1)
    assert torch.equal(failing(torch.ones(2)), torch.ones(2))
    with pytest.raises(Boom):
        failing(torch.ones(2))
    with pytest.raises(Boom):
        Failing(backward=True)(torch.ones(2, requires_grad=True)).sum().backward()


def test_the_small_network_is_cut_as_its_stages_say() -> None:
    given = small_input()
    given.model.module.eval()
    with torch.no_grad():
        prefix, suffix = given.model.split("head")
        assert torch.equal(suffix(prefix(given.images)), given.model.module(given.images))
        assert given.model.embed(given.images).shape == (3, 5)
