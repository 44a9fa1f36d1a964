"""``kernel``, the decorator of what numba compiles, and the processor that it compiles for.

Imports numba, without SciPy's linear algebra, which numba imports only to see that it is there. That is a third of what
it takes to load; a kernel that multiplies matrices imports it when it needs it.
"""

# ruff: noqa: E402 - what numba reads when it is imported comes before
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from pipelines.kernel_cache import keep_kernels

keep_kernels()

from numba.np import linalg

_check = linalg.ensure_blas
linalg.ensure_blas = lambda: None  # SciPy is always there
try:
    import numba.np.arraymath
finally:
    linalg.ensure_blas = _check

from numba.core import config
from numba.core.codegen import get_host_cpu_features

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def kernel(function: Function, /) -> Function: ...
@overload
def kernel(**options: Any) -> Callable[[Function], Function]: ...
def kernel(function: Any = None, **options: Any) -> Any:
    """``numba.njit`` with these options, whose code is kept on disk and runs without Python's lock."""
    return numba.njit(function, cache=True, nogil=True, **options)


def _use_long_vectors() -> None:
    """Have kernels use vectors of 512 bits; a processor that the user has named stays.

    LLVM avoids them on Xeons, whose first ones with AVX-512 lowered their clock for it. Those that have VBMI (Ice Lake
    and later) hardly do: standard work takes a fifth less with them. AMD's use them anyway.
    """
    features = get_host_cpu_features()
    if config.CPU_NAME is None and config.CPU_FEATURES is None and "+avx512vbmi" in features.split(","):
        config.CPU_FEATURES = f"{features},-prefer-256-bit"


_use_long_vectors()
