"""`ahekit plugins`: everything registered is listed, what is broken too, and each can be described."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from ahekit.cli.options import complete_models
from ahekit.cli.plugins import parameters

MODEL = '''
from pydantic import BaseModel, Field

class Net:
    """A net of [brackets].

    More about it.
    """
    image_size = 8
    class Params(BaseModel):
        width: int = Field(3, gt=0, description="channels of [each] layer")
    def build(self, params, *, num_classes, image_size): ...
'''
REPORTER = '''
from pydantic import BaseModel

class Rep:
    """A section."""
    order = 1
    class Params(BaseModel): ...
    def report(self, record, params): ...
'''
FAMILY = """
import made_nets

class Family:
    "Nets by the dozen."
    def names(self): return ["member"]
    def resolve(self, name): return made_nets.Net() if name == "member" else None
"""


@pytest.fixture
def made(install: Callable[..., None]) -> None:
    points = {
        "ahekit.models": {"made": "made_nets:Net", "both": "made_nets:Net", "made/*": "made_family:Family"},
        "ahekit.reporters": {"both": "made_reps:Rep"},
    }
    install("nets", points, version="2.5", made_nets=MODEL, made_reps=REPORTER, made_family=FAMILY)


def rows(out: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["kind"], row["name"]): row for row in json.loads(out)}


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("args", [[], ["list"]])
def test_plugins_are_listed_with_kind_and_provider_and_nothing_is_imported(
    cli: Callable[..., Any], args: list[str]
) -> None:
    done = cli("plugins", *args)
    lines = [line.split() for line in done.out.splitlines()]
    assert (done.code, done.err) == (0, "")
    assert ["made", "model", "nets", "2.5", "found"] in lines
    assert ["both", "model", "nets", "2.5", "found"] in lines
    assert ["both", "reporter", "nets", "2.5", "found"] in lines
    assert any(line[:3] == ["cnn5", "model", "ahekit"] for line in lines)
    assert not {"made_nets", "made_reps", "made_family"} & set(sys.modules)


@pytest.mark.usefixtures("made")
def test_checking_imports_each_and_shows_what_it_does_and_takes(cli: Callable[..., Any]) -> None:
    done = cli("plugins", "--check", "--json")
    listed = rows(done.out)
    assert listed["model", "made"] == {
        "name": "made",
        "kind": "model",
        "provider": "nets 2.5",
        "state": "ok",
        "problem": "",
        "description": "A net of [brackets].",
        "parameters": ["width"],
        "suggested": [],
    }
    assert listed["model", "made/*"]["description"] == "Nets by the dozen."
    assert listed["model", "cnn5"]["parameters"]


def test_the_list_ends_with_the_networks_to_start_with_and_their_sizes(cli: Callable[..., Any]) -> None:
    lines = [line.split() for line in cli("plugins").out.splitlines()]
    assert ["resnet18", "11,181,642", "1,813,566,464", "224"] in lines
    assert ["googlenet", "5,610,154", "1,497,362,432", "224"] in lines
    told = rows(cli("plugins", "--json").out)["model", "timm/*"]["suggested"]
    assert told[0] == {"name": "resnet18", "parameters": 11181642, "multiply_adds": 1813566464, "image_size": 224}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("member,many,2,3", "line 2, parameters: Input should be a valid integer"),
        ("member,1", "line 2, multiply_adds: Input should be a valid integer"),
        ("member,1,2,3,4", "line 2, "),
    ],
)
@pytest.mark.usefixtures("made")
def test_a_table_of_networks_that_is_none_is_one_warning(
    cli: Callable[..., Any], tmp_path: Path, line: str, problem: str
) -> None:
    file = tmp_path / "site-nets" / "made_family.csv"
    file.write_text(f"name,parameters,multiply_adds,image_size\n{line}\n")
    done = cli("plugins")
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert done.err.startswith(f"warning: {file}: no table of suggested models ({problem}")
    assert rows(cli("plugins", "--json").out)["model", "made/*"]["state"] == "broken"
    assert complete_models("resnet1") == []


def test_completion_knows_the_networks_to_start_with() -> None:
    assert complete_models("resnet") == ["resnet18", "resnet34", "resnet50"]
    assert complete_models("cnn") == ["cnn5"]


def test_a_plugin_whose_package_is_gone_is_listed_as_broken(
    cli: Callable[..., Any], install: Callable[..., None]
) -> None:
    install("lost", {"ahekit.models": {"lost-net": "lost_package.nets:Net"}})
    done = cli("plugins")
    assert done.code == 0
    assert ["lost-net", "model", "lost", "1.0", "broken"] in [line.split() for line in done.out.splitlines()]
    assert done.err == "warning: model 'lost-net' of lost 1.0 is broken: no module named 'lost_package'\n"


@pytest.mark.parametrize("target", ["not a module!", ".relative:Net", "os:nothing_like_this"])
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_an_entry_point_that_names_nothing_breaks_no_listing(
    cli: Callable[..., Any], install: Callable[..., None], target: str, check: list[str]
) -> None:
    install("odd", {"ahekit.models": {"odd-net": target}})
    listed = rows(cli("plugins", "list", *check, "--json").out)
    assert listed["model", "cnn5"]["problem"] == ""
    seen_at_once = not target.startswith("os:")
    assert (listed["model", "odd-net"]["state"] == "broken") is (seen_at_once or bool(check))


def test_a_plugin_that_fails_to_import_is_found_by_checking_and_breaks_nothing(
    cli: Callable[..., Any], install: Callable[..., None]
) -> None:
    install("bad", {"ahekit.models": {"bad-net": "bad_nets:Net"}}, bad_nets="import no_such_library")
    assert rows(cli("plugins", "--json").out)["model", "bad-net"]["problem"] == ""
    done = cli("plugins", "list", "--check", "--json")
    assert done.code == 0
    assert rows(done.out)["model", "bad-net"]["problem"] == (
        "model 'bad-net' of bad 1.0 is broken: ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert rows(done.out)["model", "cnn5"]["problem"] == ""
    assert cli("--help").code == 0


def test_two_of_one_name_are_both_listed_as_a_clash(cli: Callable[..., Any], install: Callable[..., None]) -> None:
    install("first", {"ahekit.models": {"twin": "first_nets:Net"}}, first_nets=MODEL)
    install("second", {"ahekit.models": {"twin": "second_nets:Net"}}, second_nets=MODEL)
    twins = [row for row in json.loads(cli("plugins", "--json").out) if row["name"] == "twin"]
    assert [row["state"] for row in twins] == ["clash", "clash"]
    assert [row["problem"] for row in twins] == [
        "model 'twin' of first 1.0 shares its name with the model of second 1.0",
        "model 'twin' of second 1.0 shares its name with the model of first 1.0",
    ]
    done = cli("plugins", "show", "twin")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "two model plugins are named 'twin': of first 1.0 and of second 1.0" in done.err


def test_a_broken_plugin_file_is_listed_with_its_reason(cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("1 / 0")
    done = cli("--plugin", file, "plugins", "--json")
    assert done.code == 0
    row = rows(done.out)["file", "mine.py"]
    assert row["problem"] == f"plugin file {file} is broken: ZeroDivisionError: division by zero"


@pytest.mark.usefixtures("made")
def test_show_tells_provider_description_and_parameters(cli: Callable[..., Any]) -> None:
    out = cli("plugins", "show", "made").out
    assert "made: model of nets 2.5\nA net of [brackets].\n" in out
    assert ["width", "integer", "3", ">", "0", "channels", "of", "[each]", "layer"] in [
        line.split() for line in out.splitlines()
    ]
    assert "--set model.params.width=VALUE" in out


@pytest.mark.usefixtures("made")
def test_show_tells_of_every_kind_that_has_the_name(cli: Callable[..., Any]) -> None:
    done = cli("plugins", "show", "both", "--json")
    shown = [json.loads(line) for line in done.out.splitlines()]
    assert [(one["kind"], one["description"]) for one in shown] == [
        ("model", "A net of [brackets]."),
        ("reporter", "A section."),
    ]
    assert shown[0]["parameters"]["properties"]["width"]["exclusiveMinimum"] == 0


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("name", ["member", "made/member"])
def test_show_asks_families_for_a_name_no_plugin_has(cli: Callable[..., Any], name: str) -> None:
    assert cli("plugins", "show", name).out.startswith(f"{name}: model of nets 2.5\n")


@pytest.mark.usefixtures("made")
def test_show_of_a_family_tells_how_many_names_it_resolves(cli: Callable[..., Any]) -> None:
    out = cli("plugins", "show", "made/*").out
    assert out.startswith("made/*: models of nets 2.5\nNets by the dozen.\n")
    assert "It resolves 1 names" in out
    assert json.loads(cli("plugins", "show", "made/*", "--json").out)["names"] == 1


@pytest.mark.usefixtures("made")
def test_an_unknown_name_is_compared_with_those_of_families_too(cli: Callable[..., Any]) -> None:
    assert "did you mean member" in cli("plugins", "show", "members").err


def test_show_of_an_unknown_name_lists_the_names_of_all_kinds(cli: Callable[..., Any]) -> None:
    done = cli("plugins", "show", "cnn55")
    assert (done.code, done.out) == (2, "")
    assert "did you mean cnn5" in done.err
    assert "curves" in done.err
    for group in ("ahekit.models", "ahekit.visualizers", "ahekit.reporters"):
        assert group in done.err


def test_every_own_plugin_loads_and_describes_itself_and_each_of_its_parameters(cli: Callable[..., Any]) -> None:
    for row in json.loads(cli("plugins", "--check", "--json").out):
        assert not row["problem"]
        assert row["description"]
        for line in cli("plugins", "show", row["name"], "--json").out.splitlines():
            shown = json.loads(line)
            for name, field in shown.get("parameters", {}).get("properties", {}).items():
                assert field.get("description"), f"{row['name']}: {name}"


def test_types_defaults_and_constraints_are_told_in_words() -> None:
    class Params(BaseModel):
        pool: Literal["max", "avg"] = Field("max", description="how")
        widths: list[int] = Field([8, 4], min_length=1, max_length=3)
        rate: float | None = Field(None, ge=0, lt=1)
        name: str = Field(pattern="^[a-z]+$")
        on: bool = True

    assert parameters(Params) == {
        "pool": {"type": "max | avg", "default": "max", "constraint": "", "description": "how"},
        "widths": {
            "type": "list of integer",
            "default": "[8, 4]",
            "constraint": "at least 1 items, at most 3 items",
            "description": "",
        },
        "rate": {"type": "number | none", "default": "none", "constraint": "≥ 0, < 1", "description": ""},
        "name": {"type": "string", "default": "required", "constraint": "matches ^[a-z]+$", "description": ""},
        "on": {"type": "boolean", "default": "true", "constraint": "", "description": ""},
    }
