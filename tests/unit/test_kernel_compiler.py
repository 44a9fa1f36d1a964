"""What kernels are compiled for, in a process of its own: numba asks once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ICE_LAKE, SKYLAKE = "+avx2,+avx512f,+avx512vbmi", "+avx2,+avx512f,-avx512vbmi"
NAMED = {"NUMBA_CPU_NAME": "haswell"}
CHOSEN = """
import numba.core.codegen
numba.core.codegen.get_host_cpu_features = lambda: {features!r}
import pipelines.kernel_compiler
print(numba.core.config.CPU_FEATURES)
"""
COMPILED = """
import numpy as np
from numba.core.registry import cpu_target
from pipelines.analyses.scope_kernels import count_bins, luma_of_integers
plane = np.zeros(4096, np.uint8)
luma_of_integers(plane, plane, plane, (0.3, 0.6, 0.1), plane.copy())
(code,) = luma_of_integers.inspect_asm().values()
print("+avx512vbmi" in cpu_target.target_context.codegen().magic_tuple()[2], "zmm" in code)
"""
CACHED = """
from pathlib import Path
import pipelines.kernel_compiler
from numba import njit
scope = {{}}
path = Path({path!r})
exec(compile(path.read_text(), path, "exec"), scope)
print(njit(cache=True)(scope["twice"])(21))
"""


def said(code: str, **chosen: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**plain, **chosen}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("features", "chosen", "used"),
    [
        (ICE_LAKE, {}, f"{ICE_LAKE},-prefer-256-bit"),
        (SKYLAKE, {}, "None"),
        (ICE_LAKE, NAMED, "None"),
        (ICE_LAKE, {"NUMBA_CPU_FEATURES": "+avx2"}, "+avx2"),
    ],
)
def test_vectors_are_long_where_processors_are_fast_with_them_and_the_user_named_none(
    features: str, chosen: dict[str, str], used: str
) -> None:
    assert said(CHOSEN.format(features=features), **chosen) == used


def test_kernels_have_them_where_the_processor_does(tmp_path: Path) -> None:
    able, long = said(COMPILED, NUMBA_CACHE_DIR=str(tmp_path)).split()  # a kept kernel's code can't be looked at
    assert able == long


def test_a_notebooks_own_functions_are_kept_as_ever(tmp_path: Path) -> None:
    cell = tmp_path / "ipykernel_1" / "cell.py"
    cell.parent.mkdir()
    cell.write_text("def twice(value):\n    return 2 * value\n")
    assert said(CACHED.format(path=str(cell))) == "42"
