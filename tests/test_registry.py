"""Plugins by name, from made-up distributions, files and classes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from ahekit import plugin_files, protocols
from ahekit.errors import PluginError, UnknownNameError, UsageError
from ahekit.registry import MODELS, REGISTRIES, REPORTERS, Registry

Install = Callable[..., None]
Models = Registry[Any]

TINY = '''
from pydantic import BaseModel

class Tiny:
    """A tiny net."""
    image_size = 8
    class Params(BaseModel):
        width: int = 3
    def build(self, params, *, num_classes, image_size):
        return (params.width, num_classes, image_size)
'''

FAMILY = """
from pydantic import BaseModel

class Member:
    Params, image_size = BaseModel, 8
    def __init__(self, name): self.name = name
    def build(self, params, *, num_classes, image_size): ...

class Family:
    def names(self): return ["resnet18", "resnet34"]
    def resolve(self, name): return Member(name) if name in self.names() else None
"""

pytestmark = pytest.mark.usefixtures("no_plugin_files")


@pytest.fixture
def models() -> Models:
    """A kind of plugin that nothing but these tests provides."""
    return Registry("model", "example.models", needs=MODELS.needs)


def test_an_installed_plugin_is_listed_from_metadata_and_imported_only_when_asked_for(
    install: Install, models: Models
) -> None:
    install("nets", {"example.models": {"tiny": "tiny_nets:Tiny"}}, version="2.5", tiny_nets=TINY)
    listed = [entry for entry in models.entries() if entry.name == "tiny"]
    assert [(entry.provider, entry.package) for entry in listed] == [("nets 2.5", "tiny_nets")]
    assert "tiny" in models.names()
    assert "tiny_nets" not in sys.modules
    plugin: Any = models.get("tiny")
    assert plugin.build(plugin.Params(), num_classes=10, image_size=8) == (3, 10, 8)


def test_a_package_installed_after_a_first_look_is_found(install: Install, models: Models) -> None:
    assert "late" not in models.names()
    install("late-nets", {"example.models": {"late": "tiny_nets:Tiny"}}, tiny_nets=TINY)
    assert "late" in models.names()


def test_the_own_plugins_come_through_entry_points_like_everybodys() -> None:
    providers = {entry.provider.split()[0] for entry in MODELS.entries() if entry.name == "cnn5"}
    assert providers == {"ahekit"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_library\nclass Tiny: ...", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Other: ...", "AttributeError: module 'bad_nets' has no attribute 'Tiny'"),
        ("class Tiny:\n    def __init__(self): 1 / 0", "ZeroDivisionError: division by zero"),
        ("class Tiny:\n    Params = dict", "it has no image_size and no build"),
        ("class Tiny:\n    Params, image_size, build = dict, 8, print", "its Params is no pydantic model"),
        ("Tiny = None", "TypeError: 'NoneType' object is not callable"),
    ],
)
def test_a_broken_plugin_is_listed_and_says_why_in_one_line_when_asked_for(
    install: Install, source: str, reason: str, models: Models
) -> None:
    install("bad", {"example.models": {"bad-net": "bad_nets:Tiny"}}, bad_nets=source)
    assert "bad-net" in models.names()
    with pytest.raises(PluginError) as caught:
        models.get("bad-net")
    assert str(caught.value) == f"model 'bad-net' of bad 1.0 is broken: {reason}"


def test_a_broken_plugin_keeps_no_other_from_loading(install: Install, models: Models) -> None:
    install("bad", {"example.models": {"bad-net": "gone:Net"}})
    install("nets", {"example.models": {"tiny": "tiny_nets:Tiny"}}, tiny_nets=TINY)
    assert type(models.get("tiny")).__name__ == "Tiny"


def test_two_distributions_of_one_name_are_both_listed_and_named_in_the_error(install: Install, models: Models) -> None:
    install("first", {"example.models": {"tiny": "tiny_nets:Tiny"}}, tiny_nets=TINY)
    install("second", {"example.models": {"tiny": "tiny_nets:Tiny"}}, version="3.1")
    assert [entry.provider for entry in models.entries() if entry.name == "tiny"] == ["first 1.0", "second 3.1"]
    with pytest.raises(PluginError) as caught:
        models.get("tiny")
    assert (
        str(caught.value) == "two model plugins are named 'tiny': of first 1.0 and of second 3.1; remove or rename one"
    )


def test_one_name_in_two_kinds_is_no_clash(install: Install, models: Models) -> None:
    reporter = TINY.replace("image_size = 8", "order = 1").replace("build", "report")
    install("nets", {"example.models": {"both": "m:Tiny"}, "example.reporters": {"both": "r:Tiny"}}, m=TINY, r=reporter)
    assert type(models.get("both")).__module__ == "m"
    reporters: Registry[Any] = Registry("reporter", "example.reporters")
    assert type(reporters.get("both")).__module__ == "r"


def test_an_unknown_name_gets_near_names_all_names_and_the_two_ways_to_add_more(
    install: Install, models: Models
) -> None:
    install("nets", {"example.models": {"kernels": "n:K", "saliency": "n:S"}})
    with pytest.raises(UnknownNameError) as caught:
        models.get("kernel")
    message = str(caught.value)
    assert message.startswith("no model named 'kernel'; did you mean kernels? Known: ")
    assert "kernels, saliency" in message
    assert message.endswith(
        "A package adds more through the entry-point group 'example.models', a file through --plugin."
    )
    assert "\n" not in message


def test_a_family_resolves_names_no_plugin_has_with_and_without_its_prefix(install: Install, models: Models) -> None:
    install("zoo", {"example.models": {"zoo/*": "zoo_models:Family"}}, zoo_models=FAMILY)
    for name in ("resnet18", "zoo/resnet18"):
        plugin: Any = models.get(name)
        assert plugin.name == "resnet18"
    assert "zoo/*" not in models.names()


def test_a_family_is_not_imported_when_a_plain_name_matches(install: Install, models: Models) -> None:
    install("zoo", {"example.models": {"zoo/*": "zoo_models:Family"}}, zoo_models=FAMILY)
    install("nets", {"example.models": {"resnet18": "tiny_nets:Tiny"}}, tiny_nets=TINY)
    assert type(models.get("resnet18")).__name__ == "Tiny"
    assert "zoo_models" not in sys.modules


def test_an_unknown_name_is_compared_with_the_families_names_too(install: Install, models: Models) -> None:
    install("zoo", {"example.models": {"zoo/*": "zoo_models:Family"}}, zoo_models=FAMILY)
    with pytest.raises(UnknownNameError, match=r"did you mean resnet\d\d or resnet\d\d\?.*zoo/\*") as caught:
        models.get("resnet")
    assert "resnet34," not in str(caught.value), "a family's many names are not all listed"


def test_a_name_that_two_families_resolve_needs_its_prefix(install: Install, models: Models) -> None:
    for name in ("one", "two"):
        install(name, {"example.models": {f"{name}/*": f"{name}_zoo:Family"}}, **{f"{name}_zoo": FAMILY})
    with pytest.raises(PluginError, match=r"of one 1\.0 and of two 1\.0"):
        models.get("resnet18")
    assert type(models.get("two/resnet18")).__module__ == "two_zoo"


def test_a_broken_family_is_named_when_a_name_is_not_found(install: Install, models: Models) -> None:
    install("zoo", {"example.models": {"zoo/*": "zoo_models:Family"}}, zoo_models="class Family: ...")
    with pytest.raises(UnknownNameError, match=r"model 'zoo/\*' of zoo 1.0 is broken: it has no names and no resolve"):
        models.get("resnet18")


def test_a_class_registers_itself_and_a_cell_run_again_replaces_it() -> None:
    registry: Registry[Any] = Registry("model", "example.models")
    for answer in (1, 2):
        registry.register("mine")(type("Mine", (), {"answer": answer}))
    assert registry.get("mine").answer == 2
    assert [entry.provider for entry in registry.entries()] == [__name__]


def test_a_class_may_not_take_the_name_of_another_modules_class() -> None:
    registry: Registry[Any] = Registry("model", "example.models")
    registry.register("mine")(type("Mine", (), {}))
    with pytest.raises(PluginError, match=r"two model plugins are named 'mine': of .* and of elsewhere"):
        registry.register("mine")(type("Mine", (), {"__module__": "elsewhere"}))


def test_a_class_that_takes_an_installed_name_is_a_clash(install: Install, models: Models) -> None:
    install("nets", {"example.models": {"tiny": "tiny_nets:Tiny"}}, tiny_nets=TINY)
    models.register("tiny")(type("Mine", (), {}))
    with pytest.raises(PluginError, match="two model plugins are named 'tiny'"):
        models.get("tiny")


FILE_PLUGIN = """
from __future__ import annotations
from typing import Literal
from pydantic import BaseModel
from ahekit.registry import MODELS

@MODELS.register("from-file")
class FromFile:
    "Registers itself."
    image_size = 8
    class Params(BaseModel):
        mode: Literal["a", "b"] = "a"
    def build(self, params, *, num_classes, image_size): ...
"""


def test_a_file_is_run_when_a_plugin_is_first_asked_for_and_is_its_provider(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text(FILE_PLUGIN)
    plugin_files.announce([file, file])
    assert not MODELS._local
    assert "from-file" in MODELS.names()
    assert [entry.provider for entry in MODELS.entries() if entry.name == "from-file"] == [f"file {file}"]
    # Annotations are strings in that file; pydantic finds their names through the module.
    assert MODELS.get("from-file").Params.model_validate({"mode": "b"}).model_dump() == {"mode": "b"}


def test_two_files_of_one_name_in_two_folders_are_two_providers(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nets.py").write_text(FILE_PLUGIN)
    plugin_files.load(tmp_path / "a" / "nets.py")
    with pytest.raises(PluginError, match="two model plugins are named 'from-file'"):
        plugin_files.load(tmp_path / "b" / "nets.py")


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("gone.py", None, UsageError, "no such file"),
        ("notes.txt", "hello", UsageError, "not a .py file"),
        ("broken.py", "def f(:", PluginError, "is broken: SyntaxError"),
        ("exits.py", "raise SystemExit", PluginError, "is broken: SystemExit"),
    ],
)
def test_a_plugin_file_that_does_not_run_never_breaks_listing_only_asking(
    tmp_path: Path, name: str, content: str | None, kind: type[Exception], message: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    plugin_files.announce([file])
    assert "cnn5" in MODELS.names()
    (problem,) = plugin_files.broken().values()
    assert message in problem
    assert "\n" not in problem
    with pytest.raises(kind, match=message):
        MODELS.get("cnn5")
    assert not [module for module in sys.modules if module.startswith("_ahekit_plugin_file_" + file.stem)]


def test_what_a_registry_needs_is_what_the_protocol_of_its_kind_declares() -> None:
    for registry, protocol in zip(REGISTRIES, (protocols.ModelPlugin, protocols.VisualizerPlugin), strict=False):
        assert set(registry.needs) == members_of(protocol)
    common = members_of(protocols.ReporterPlugin)
    kinds = (protocols.RunReporter, protocols.ComparisonReporter, protocols.MetricReporter)
    tasks = [members_of(kind) - common for kind in kinds]
    one_of = " or ".join(name for names in tasks for name in names)
    assert set(REPORTERS.needs) == {*common, one_of}


def members_of(protocol: type) -> set[str]:
    members = inspect.getmembers(protocol, lambda member: inspect.isfunction(member) or isinstance(member, property))
    return {name for name, _ in members if not name.startswith("_")}


def test_a_reporter_has_one_of_its_two_tasks_at_least(install: Install) -> None:
    body = "\n    Params = BaseModel\n    order = 1\n    "
    source = "from pydantic import BaseModel\n" + "".join(
        f"class {name}:{body}{task}\n" for name, task in (("One", "def compare(self): ..."), ("None_", "pass"))
    )
    install("sections", {"ahekit.reporters": {"one": "sections:One", "none": "sections:None_"}}, sections=source)
    assert hasattr(REPORTERS.get("one"), "compare")
    with pytest.raises(PluginError, match=r"'none' of sections 1.0 is broken: it has no report or compare"):
        REPORTERS.get("none")


def test_a_plugin_without_settings_uses_the_model_that_has_none() -> None:
    assert issubclass(protocols.NoParams, BaseModel)
    assert not protocols.NoParams.model_fields
