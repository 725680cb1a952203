"""Whatever a broken plugin does is one line that names it and who provides it, and costs nobody else."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from ahekit.errors import PluginError, UnknownNameError, UsageError
from ahekit.guard import Origin, reason_of
from ahekit.models import build_component
from ahekit.registry import MODELS, REPORTERS, Registry, blame

Install = Callable[..., None]
Cli = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_plugin_files")

BAD = Origin("model", "bad", "nets 1.0")


def recurse() -> None:
    recurse()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("bug", "reason"),
    [
        (partial(sys.exit, 3), "SystemExit: 3"),
        (sys.exit, "SystemExit"),
        (recurse, "RecursionError: it calls itself without end"),
        (lambda: dict[str, int]()["no such key"], "KeyError: 'no such key'"),
        (lambda: next(iter(())), "StopIteration"),
        (lambda: (_ for _ in ()).throw(GeneratorExit), "GeneratorExit"),
        (lambda: int("a\nb\n" * 999), "ValueError: "),
    ],
)
def test_a_bug_is_one_line_and_is_chained(bug: Callable[[], Any], reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        BAD.call(bug)
    assert str(caught.value).startswith(f"model 'bad' of nets 1.0 is broken: {reason}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is not None


def test_what_a_plugin_says_on_purpose_and_ctrl_c_pass() -> None:
    with pytest.raises(UsageError, match=r"^choose another$"), BAD.guarded():
        raise UsageError("choose another")
    with pytest.raises(KeyboardInterrupt):
        BAD.call(interrupt)


def test_bugs_pass_as_they_are_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHEKIT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        BAD.call(lambda: 1 / 0)


def test_an_error_of_ours_is_told_by_what_it_says() -> None:
    assert reason_of(UsageError("a\nb")) == "a b"
    assert reason_of(AssertionError()) == "AssertionError"


def build(make: Callable[[], Any], **attributes: Any) -> Any:
    from ahekit.protocols import NoParams

    body = {"__doc__": "Bad.", "Params": NoParams, "image_size": 8, "build": lambda self, params, **more: make()}
    MODELS.register("bad")(type("Bad", (), {**body, **attributes}))
    return build_component("bad", {}, num_classes=3).built


def flat(out: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, out))


class Returns(nn.Module):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Any) -> Any:
        return self.output


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: None, "its build returned a NoneType, not a torch module or a BuiltModel"),
        (lambda: (n for n in range(3)), "its build returned a generator, not a torch module or a BuiltModel"),
        (lambda: nn.Linear, "its build returned a type, not a torch module"),
        (partial(flat, 5), "its build returned a network whose output for one image is float32 of shape (1, 5), not"),
        (lambda: nn.Conv2d(3, 3, 3), "output for one image is float32 of shape (1, 3, 6, 6), not one logit for each"),
        (lambda: Returns(torch.zeros(1, 3, dtype=torch.int64)), "output for one image is int64 of shape (1, 3)"),
        (lambda: Returns({"logits": 3}), "its build returned a network whose output is a dict, not a tensor of logits"),
        (lambda: nn.Linear(5, 3), "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        (partial(sys.exit, 1), "SystemExit: 1"),
        (recurse, "RecursionError: it calls itself without end"),
    ],
)
def test_a_build_that_is_no_model_is_refused_by_what_it_is(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        build(make)
    assert str(caught.value).startswith(f"model 'bad' of {__name__} is broken: ")
    assert reason in str(caught.value)


def built(**changes: Any) -> Any:
    from dataclasses import replace

    from ahekit.preprocessing import Preprocessing
    from ahekit.protocols import BuiltModel

    stages = {"body": nn.Flatten(), "head": nn.Linear(3 * 8 * 8, 3)}
    return replace(BuiltModel.from_stages(stages, preprocessing=Preprocessing(size=8)), **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"module": 3}, "its build returned an int as module, not a torch module"),
        ({"preprocessing": {}}, "its build returned a dict as preprocessing, not a Preprocessing"),
        ({"stages": {}}, "its build returned no stages"),
        ({"stages": {"head": nn.Flatten()}}, "its build returned stage 'head' that is no tuple of modules"),
        ({"stages": {"head": (nn.Flatten(),)}}, "stages that hold the parameter head.weight 0 times, not once"),
        ({"layers": {"conv1": "body.conv"}}, "a layer alias 'conv1' for 'body.conv', which is no module of"),
    ],
)
def test_a_built_model_that_breaks_its_contract_is_told_of(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        build(partial(built, **changes))
    assert reason in str(caught.value)


@pytest.mark.parametrize("size", ["64", None, 0, 2.5])
def test_an_image_size_that_is_none_is_told_of(size: Any) -> None:
    with pytest.raises(PluginError, match=r"its image_size is .*, not a number of pixels"):
        build(flat, image_size=size)


def test_embedding_cuts_and_pretrained_weights_are_guarded_too_also_in_a_copy() -> None:
    exits = partial(sys.exit, 7)
    model = build(lambda: built(embed=lambda images: exits(), split=lambda stage: exits(), pretrained=exits))
    for each in (model, copy.deepcopy(model)):
        for call in (lambda one=each: one.embed(None), lambda one=each: one.split("head"), each.pretrained):
            with pytest.raises(PluginError, match=r"model 'bad' of .* is broken: SystemExit: 7"):
                call()


@pytest.mark.parametrize("name", [3, "", " ", " padded ", "two\nlines", None, b"bytes"])
def test_a_name_that_is_none_is_refused_when_it_is_registered(name: Any) -> None:
    with pytest.raises(PluginError, match=r"^a model's name is a word, as in @register\('my-model'\); got "):
        MODELS.register(name)


def test_a_decorator_without_a_name_or_over_a_function_says_what_it_wants() -> None:
    with pytest.raises(PluginError, match="a model's name is a word"):
        MODELS.register(Returns)  # type: ignore[arg-type]
    with pytest.raises(PluginError, match=r"@register\('f'\) stands over a class; this is a function"):
        MODELS.register("f")(recurse)  # type: ignore[type-var]


FAMILY = """
import sys
from pydantic import BaseModel

class Member:
    Params, image_size = BaseModel, 8
    def build(self, params, *, num_classes, image_size): ...

class Family:
    def names(self): {names}
    def resolve(self, name): {resolve}
"""
GOOD = FAMILY.format(names='return ["good-net"]', resolve='return Member() if name == "good-net" else None')


@pytest.mark.parametrize(
    ("names", "resolve", "reason"),
    [
        ("return []", "sys.exit()", "SystemExit"),
        ("return []", "raise KeyError(name)", "KeyError: "),
        ("return []", "return self.resolve(name)", "RecursionError: it calls itself without end"),
        ("return [1, 2]", "return None", "its names() holds 1, which is no text"),
        ("return (str(n) for n in iter(int, 1))", "return None", "its names() returned a generator, not a list"),
        ("return None", "return None", "its names() returned a NoneType, not a list of names"),
        ("return 'abc'", "return None", "its names() returned a str, not a list of names"),
        ("raise OSError('no net')", "return None", "OSError: no net"),
        ("return []", "return 3", "it has no Params and no image_size and no build"),
    ],
)
def test_a_broken_family_costs_no_other_its_names(install: Install, names: str, resolve: str, reason: str) -> None:
    models: Registry[Any] = Registry("model", "example.models", needs=MODELS.needs)
    install("zoo", {"example.models": {"zoo/*": "bad_zoo:Family"}}, bad_zoo=FAMILY.format(names=names, resolve=resolve))
    install("good", {"example.models": {"good/*": "good_zoo:Family"}}, good_zoo=GOOD)
    assert type(models.get("good-net")).__module__ == "good_zoo"
    with pytest.raises(PluginError) as caught:
        models.get("zoo/any")
    assert " of zoo 1.0 is broken: " in str(caught.value)
    assert reason in str(caught.value)
    with pytest.raises((UnknownNameError, PluginError)) as unknown:
        models.get("any")
    assert reason in str(unknown.value)


@pytest.mark.parametrize("target", ["__main__:Net", "__main__", "3:Net", "a b:Net", ":", "os.path:nothing.at.all"])
def test_an_entry_point_to_nonsense_costs_itself_alone(install: Install, cli: Cli, target: str) -> None:
    install("odd", {"ahekit.models": {"odd-net": target}})
    for args in (["plugins"], ["plugins", "--check"], ["model", "show", "cnn5"]):
        assert cli(*args).code == 0
    shown = cli("model", "show", "odd-net")
    assert (shown.code, shown.err.count("\n")) == (1, 1)
    assert shown.err.startswith("ahekit: model 'odd-net' of odd 1.0 is broken: ")


@pytest.mark.parametrize("order", ["first", None])
def test_a_reporter_whose_order_is_no_number_is_missing(order: Any) -> None:
    from ahekit.protocols import NoParams
    from ahekit.reporting.build import _section

    body = {"__doc__": "Bad.", "Params": NoParams, "order": order, "report": lambda self, record, params: None}
    REPORTERS.register("bad")(type("Bad", (), body))
    missing: Any = _section("bad", "report", None, {}, is_named=True)  # type: ignore[arg-type]
    assert missing.reason == f"reporter 'bad' of {__name__} is broken: its order is {order!r}, not a number"


def test_an_error_that_no_plugin_had_a_part_in_is_blamed_on_nobody() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert blame(caught.value) is None
