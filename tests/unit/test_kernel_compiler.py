"""What kernels are compiled for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMPILED_FOR = """
from numba.core.registry import cpu_target
from pipelines.analyses import scope_kernels
print(cpu_target.target_context.codegen().magic_tuple()[2])
"""


@pytest.mark.parametrize("chosen", [{}, {"NUMBA_CPU_NAME": "haswell"}, {"NUMBA_CPU_FEATURES": "+avx512vbmi"}])
def test_vectors_are_long_where_the_processor_is_fast_with_them_and_the_user_named_none(chosen: dict[str, str]) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")}
    command = [sys.executable, "-c", COMPILED_FOR]
    told = subprocess.run(command, env={**plain, **chosen}, stdout=subprocess.PIPE, text=True, check=True).stdout
    features = told.strip().split(",")
    assert ("-prefer-256-bit" in features) == ("+avx512vbmi" in features and not chosen)
