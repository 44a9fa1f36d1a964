"""``compiled``, the decorator of kernels, and the processor that it compiles for.

Imports numba, without SciPy's linear algebra, which numba imports only to see that it is there. That is a third of what
it takes to load; a kernel that multiplies matrices imports it when it needs it. Importing this says what all of numba
compiles for in this process, a user's own functions included: numba knows one processor, and asks once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from numba.core import config
from numba.core.codegen import get_host_cpu_features
from numba.np import linalg

from pipelines import kernel_cache_locator  # noqa: F401 - every process names the kernels that it keeps alike

_check = linalg.ensure_blas
linalg.ensure_blas = lambda: None  # SciPy is always there
try:
    import numba.np.arraymath
finally:
    linalg.ensure_blas = _check

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def compiled(function: Function, /) -> Function: ...
@overload
def compiled(**options: Any) -> Callable[[Function], Function]: ...
def compiled(function: Any = None, **options: Any) -> Any:
    """``njit`` with these options, whose code is kept on disk and runs without Python's lock."""
    return numba.njit(function, cache=True, nogil=True, **options)


def _use_long_vectors() -> None:
    """Have kernels use vectors of 512 bits; a processor that the user has named stays.

    LLVM avoids them on Xeons, whose first ones with AVX-512 lowered their clock for it. Those that have VBMI (Ice Lake
    and later) hardly do. AMD's use them anyway. Where somebody has had numba compile before, it is too late, and
    kernels take the shorter ones.
    """
    features = get_host_cpu_features()
    if config.CPU_NAME is None and config.CPU_FEATURES is None and "+avx512vbmi" in features.split(","):
        config.CPU_FEATURES = f"{features},-prefer-256-bit"


_use_long_vectors()
