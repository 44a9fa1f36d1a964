"""The folders are the design: which may import which, no circles, and a door for each that says what is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipelines", "actors", "rayjobs")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
FOLDERS = sorted({name for name, path in FILES.items() if path.name == "__init__.py" and "." in name})

VALUES = {"pipelines.analyses", "pipelines.operations"}
"""What ``pipelines/cache_keys.py`` alone, of the values and contracts at the root of ``pipelines``, looks up."""
MAY_IMPORT: Mapping[str, set[str]] = {
    "pipelines.storage": set(),
    "pipelines.operations": set(),
    "pipelines.analyses": {"operations"},
    "pipelines.charts": {"analyses", "image_io"},
    "pipelines.image_io": {"operations", "storage"},
    "pipelines.tables": {"analyses", "storage"},
    "pipelines.extensions": {"analyses", "charts", "operations", "tables"},
    "pipelines.stages": {"analyses", "charts", "extensions", "image_io", "operations", "storage", "tables"},
    "pipelines.processor": {"analyses", "extensions", "operations"},
    "actors.queue": set(),
    "actors.ledger": {"queue"},
    "actors.cache": set(),
    "actors.resources": {"queue"},
    "actors.coordinator": {"queue", "resources"},
    "rayjobs.job": set(),
    "rayjobs.inputs": {"job"},
    "rayjobs.results": {"job"},
    "rayjobs.run": {"inputs", "job", "results"},
    "rayjobs.managers": {"inputs", "job", "results", "run"},
    "rayjobs.migration": {"inputs", "job"},
    "rayjobs.command_line": {"inputs", "job", "managers", "migration", "results", "run"},
}
"""Which folders of its own package a folder may import; packages below it are open to all."""


def imports_of(name: str) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


def folder_of(name: str) -> str:
    """The folder that a module lies in: ``rayjobs.run.planning`` lies in ``rayjobs.run``."""
    return name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Some circle of a directed graph, as the names on the way round; empty when there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for following in sorted(graph.get(name, ())):
            if found := walk(following, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circle_in({name: set(imports_of(name)) for name in FILES if name not in PACKAGES}) == []


def test_the_search_for_circles_finds_one() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_those_below_it_only(folder: str) -> None:
    package, _, own = folder.partition(".")
    reached = {
        folder_of(other).partition(".")[2]
        for name in FILES
        if folder_of(name) == folder
        for other in imports_of(name)
        if other.partition(".")[0] == package and "." in folder_of(other)
    }
    assert reached - {own} <= MAY_IMPORT[folder]


def test_the_root_of_the_packages_holds_values_and_contracts() -> None:
    reached = {
        folder_of(other)
        for name in FILES
        if folder_of(name) == "pipelines" and name != "pipelines"
        for other in imports_of(name)
        if "." in folder_of(other)
    }
    assert reached == VALUES


def test_the_order_of_the_folders_has_no_circle() -> None:
    for package in PACKAGES:
        graph = {name.partition(".")[2]: below for name, below in MAY_IMPORT.items() if name.startswith(f"{package}.")}
        assert circle_in(graph) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_door_of_a_folder_says_what_is_in_it(folder: str) -> None:
    text = ast.get_docstring(ast.parse(FILES[folder].read_text(encoding="utf-8")))
    assert text is not None
    named = [name for name in FILES if folder_of(name) == folder and name.rpartition(".")[2] in text]
    assert named or folder == "pipelines.operations"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_door_of_a_package_names_what_lies_beside_the_folders(package: str) -> None:
    text = ast.get_docstring(ast.parse(FILES[package].read_text(encoding="utf-8"))) or ""
    beside = {name.partition(".")[2] for name in FILES if folder_of(name) == package and name != package}
    assert beside - set(re.findall(r"\w+", text)) <= {"__main__"}


def test_unit_tests_mirror_the_folders() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {path.name for path in unit.iterdir() if (path / "__init__.py").exists()}
    assert folders == {name.rpartition(".")[2] for name in FOLDERS} | {"whole_runs"}
    alone = {path.stem.removeprefix("test_") for path in unit.glob("test_*.py")}
    at_the_root = {name.partition(".")[2] for name in FILES if name.count(".") == 1 and name not in FOLDERS}
    assert alone - at_the_root == {"docs", "site", "examples", "benchmarks", "leaks", "public_names"}
