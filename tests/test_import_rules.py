"""Who may import whom, what may import torch, and who prints: read from the source, not from what happens to run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parents[1]

# A part of the tool, and the other parts it may import, for types too. A package stands for all its modules unless
# one of them is named by itself.
MAY_IMPORT = {
    "errors": "",
    "files": "errors",
    "preprocessing": "",
    "sections": "",
    "guard": "errors sections",
    "faults": "sections wording",
    "plugin_files": "errors files guard",
    "yaml_text": "",
    "validation": "errors yaml_text",
    "spec": "errors preprocessing validation",
    "notes": "files spec",
    "depthwise": "",
    "compute": "errors spec depthwise",
    "hooks": "errors",
    # The facts of AHE and the seeds' arithmetic, which stand on nothing.
    "data.classes": "",
    "data.random": "",
    "data.editions": "data.classes data",
    "data": "errors files preprocessing spec data.classes data.random wording",
    "sample": "data.classes data.editions data.random",
    "catalog": "errors files data sample",
    "wording": "",
    "model_folder": "errors files preprocessing validation",
    "signals": "",
    "evaluation": "errors files preprocessing sections spec notes validation hooks compute data data.classes",
    "protocols": "errors preprocessing sections evaluation",
    "registry": "errors guard protocols plugin_files wording",
    "models": "errors hooks preprocessing protocols backbones registry validation wording",
    "backbones.params": "protocols",
    "backbones": "errors hooks preprocessing protocols backbones.params",
    # What is installed, for whoever draws.
    "figures.fonts": "",
    "figures": "errors figures.fonts preprocessing sections protocols evaluation data data.classes wording",
    "inspection": "errors hooks preprocessing sections protocols evaluation figures data data.classes data.random",
    "inspection.synthesis": "hooks preprocessing",
    "run": "errors files spec notes validation evaluation data catalog",
    "reporting": "ahekit errors faults sections spec notes validation registry plugin_files evaluation "
    "figures.fonts wording",
    "training": "ahekit errors files preprocessing sections spec notes validation hooks compute data catalog "
    "data.editions data.random evaluation model_folder plugin_files protocols models registry run signals wording",
    "trained": "errors hooks compute spec notes model_folder protocols models run training inspection",
    "visualizing": "errors faults hooks preprocessing sections spec notes validation protocols registry data catalog "
    "data.random evaluation inspection model_folder run reporting trained",
    "teaching": "errors faults protocols registry reporting sections trained validation visualizing wording",
    "testing": "errors faults preprocessing sections spec notes validation hooks protocols backbones models registry "
    "data evaluation reporting training",
    "prediction": "ahekit errors files preprocessing sections notes spec validation hooks compute protocols models "
    "evaluation registry data data.classes data.random figures inspection signals wording",
    "export": "ahekit errors files preprocessing hooks model_folder protocols models data data.classes data.random "
    "catalog evaluation run prediction trained wording",
    "opening": "errors compute spec model_folder registry run prediction export training trained",
    "console": "errors sections wording",
    "cli": "ahekit errors backbones.params files sections spec notes validation protocols registry plugin_files models "
    "compute data catalog data.classes data.editions evaluation inspection run reporting training trained visualizing "
    "teaching prediction model_folder export opening signals wording "
    "console",
    "__main__": "errors guard registry console cli",
    # Its public names stand in a stub and are loaded when first used.
    "ahekit": "",
    "ahekit_plugins": "errors files preprocessing sections protocols hooks spec notes validation compute data "
    "data.classes data.editions data.random evaluation backbones backbones.params figures figures.fonts inspection "
    "inspection.synthesis models prediction sample training wording",
}

# Modules that load on every start of the command line.
LIGHT = {
    "ahekit",
    "__main__",
    "errors",
    "files",
    "guard",
    "notes",
    "model_folder",
    "plugin_files",
    "protocols",
    "validation",
    "yaml_text",
    "spec",
    "registry",
    "run",
    "preprocessing",
    "sections",
    "signals",
    "wording",
    "backbones.params",
    "console",
    "cli",
}
# Of parts that load more: what a list of runs is made of, and what reads a survey.
LIGHT_MODULES = {
    "ahekit.evaluation.record",
    "ahekit.evaluation.facts",
    "ahekit.evaluation.stored",
    "ahekit.prediction.listing",
    "ahekit.prediction.survey",
    "ahekit.prediction.sort_acts",
    "ahekit.prediction.sort_journal",
    "ahekit.prediction.sorting",
    "ahekit.prediction.writing",
}
MAY_LOAD_AT_ONCE = {"filelock", "lazy_loader", "pydantic", "pydantic_core", "rich", "typer", "yaml"}


def module_files() -> list[tuple[str, Path]]:
    """Every module by its import name."""
    named = []
    for package, folder in (("ahekit", ROOT / "ahekit"), ("ahekit_plugins", ROOT / "plugins")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            named.append((".".join([package, *parts]).removesuffix(".__init__"), path))
    return named


def part_of(module: str) -> str:
    """The part of the tool that a module belongs to: the longest name in the table that it starts with."""
    if module.startswith("ahekit_plugins"):
        return "ahekit_plugins"
    inner = module.removeprefix("ahekit").removeprefix(".")
    while inner and inner not in MAY_IMPORT:
        inner = inner.rpartition(".")[0]
    return inner or "ahekit"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(name: str, path: Path, *, only_at_once: bool = False) -> Iterator[tuple[int, str]]:
    """Line and name of every module or name imported, for type checkers alone too.

    Args:
        only_at_once: Leave out what isn't imported when the module is: imports inside functions, and for types.
    """
    waiting: list[ast.AST] = [parsed(path)]
    while waiting:
        node = waiting.pop()
        if only_at_once and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if only_at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name if path.stem == "__init__" else name.rpartition(".")[0]
            source = resolve_name("." * node.level + (node.module or ""), package)
            # `from ahekit import console` imports the module ahekit.console.
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        waiting += ast.iter_child_nodes(node)


MODULES = module_files()


def test_the_table_names_only_parts_that_exist() -> None:
    named = {part_of(name) for name, _ in MODULES}
    assert named == set(MAY_IMPORT)
    allowed = {part for parts in MAY_IMPORT.values() for part in parts.split()}
    assert allowed <= named


def test_a_module_imports_only_what_its_part_may() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {part_of(name)} may not import {part_of(target)} ({target})"
        for name, path in MODULES
        for line, target in imports(name, path)
        if target.split(".")[0] in ("ahekit", "ahekit_plugins")
        and part_of(target) not in (part_of(name), *MAY_IMPORT[part_of(name)].split())
    ]
    assert not wrong


def test_the_parts_import_each_other_in_one_direction() -> None:
    order: list[str] = []
    left = {part: set(parts.split()) for part, parts in MAY_IMPORT.items()}
    while left:
        ready = [part for part, parts in left.items() if parts <= set(order)]
        assert ready, f"these import each other in a circle: {sorted(left)}"
        order += ready
        left = {part: parts for part, parts in left.items() if part not in ready}


def test_no_circle_of_modules_or_of_packages() -> None:
    """Not for types either; a package's front page stands for the package's own modules."""
    for whole in (lambda module: module, lambda module: ".".join(module.split(".")[:2])):
        edges: dict[str, set[str]] = {}
        for name, path in MODULES:
            targets = {whole(_module_of(target)) for _, target in imports(name, path) if _module_of(target)}
            edges.setdefault(whole(name), set()).update(targets - {whole(name)} - _front_pages(whole(name)))
        while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
            edges = {name: targets for name, targets in edges.items() if name not in leaves}
        assert not edges, f"these import each other in a circle: {sorted(edges)}"


def _module_of(target: str) -> str:
    """The module of ours that an imported name is, or stands in; nothing for other libraries'."""
    names = {name for name, _ in MODULES}
    return next((name for name in (target, target.rpartition(".")[0]) if name in names), "")


def _front_pages(module: str) -> set[str]:
    """The packages that a module stands in, which are imported before it whatever it says."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def test_what_loads_on_every_start_loads_only_light_libraries() -> None:
    heavy = [
        f"{path.relative_to(ROOT)}:{line}: {target} on loading"
        for name, path in MODULES
        if part_of(name) in LIGHT or name in LIGHT_MODULES
        for line, target in imports(name, path, only_at_once=True)
        if not _is_light(target)
    ]
    assert not heavy


def _is_light(target: str) -> bool:
    top = target.split(".")[0]
    if top == "ahekit":
        return part_of(target) in LIGHT or _module_of(target) in {
            *LIGHT_MODULES,
            "ahekit.evaluation",
            "ahekit.prediction",
        }
    return top in {*sys.stdlib_module_names, *MAY_LOAD_AT_ONCE}


def test_only_the_console_prints() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for name, path in MODULES
        if part_of(name) != "console"
        for line, what in _printing(name, path)
    ]
    assert not wrong


def _printing(name: str, path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in (
                "print",
                "typer.echo",
                "typer.secho",
                "sys.stdout.write",
                "sys.stderr.write",
                "warnings.warn",
            ):
                yield node.lineno, called
    yield from ((line, target) for line, target in imports(name, path) if target.split(".")[0] == "rich")


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import os.path\nfrom a import b, c\nif TYPE_CHECKING:\n    import d\nelse:\n    import e\n"
        "def f():\n    import g\n    print(1)\nclass H:\n    from i import j\n"
    )
    assert {name for _, name in imports("m", source)} == {"os.path", "a.b", "a.c", "d", "e", "g", "i.j"}
    assert {name for _, name in imports("m", source, only_at_once=True)} == {"os.path", "a.b", "a.c", "e", "i.j"}
    assert list(_printing("m", source)) == [(9, "print")]
