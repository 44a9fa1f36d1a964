"""The rules that keep the house: layers, Ray at its edge, and that the packages are ours."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("pipelines", "actors", "rayjobs")  # a package imports itself and those before it
MODULES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def may_import_ray(path: Path) -> bool:
    return path.name.startswith("ray_") or path.name == "task_coordinator.py"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    roots = {name.split(".")[0] for name in imported_names(path)}
    assert not roots & set(LAYERS[own + 1 :])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_is_imported_at_the_edge_only(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_names(path)}
    assert "ray" not in roots or may_import_ray(path)


def test_every_other_module_imports_while_ray_is_blocked() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        if not may_import_ray(path) and path.name != "__main__.py"
    ]
    code = "import sys, importlib; sys.modules['ray'] = None\n" + "\n".join(
        f"importlib.import_module({name!r})" for name in names
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", LAYERS)
def test_packages_come_from_this_checkout(package: str) -> None:
    """``actors`` and ``pipelines`` are generic names that a stranger's distribution may bear too."""
    found = Path(str(importlib.import_module(package).__file__)).resolve()
    assert found.is_relative_to(ROOT), f"{package} is shadowed by {found}"
