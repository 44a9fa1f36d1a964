"""What the packages offer to ``import *``, and that asking for it loads nothing before."""

from __future__ import annotations

import builtins
import subprocess
import sys

import pytest

PACKAGES = ("rayjobs", "actors", "pipelines")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_star_gives_the_api_and_shadows_nothing(package: str) -> None:
    code = f"""
from {package} import *
found = {{name for name in dir() if not name.startswith("_")}}
import {package}
assert found == set({package}.__all__) == set(dir({package})), found
assert all(not __import__("types").ModuleType is type(globals()[name]) for name in found)
print(*sorted(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert names
    assert not set(names) & set(dir(builtins))


def test_the_session_is_a_function_of_the_package() -> None:
    code = """
import sys, rayjobs
assert "ray" not in sys.modules
assert callable(rayjobs.ray_session) and callable(rayjobs.ray_session)
from rayjobs import ray_session
assert ray_session is rayjobs.ray_session
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
