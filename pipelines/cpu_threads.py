"""A task uses the CPUs that it was given and no more: the thread pools of OpenCV, numba and BLAS are held to them.

Ray counts CPUs but doesn't stop a task from starting threads, and OpenCV doesn't read ``OMP_NUM_THREADS``.
"""

from __future__ import annotations

import os
import sys

_VARIABLES = (
    "OPENCV_FOR_THREADS_NUM",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def limit_threads(cpus: float = 1.0) -> int:
    """Hold this process' kernels to as many threads as whole CPUs, at least one; return how many that are.

    Libraries that are loaded already are told; those loaded later read the environment. May be called again with
    another number. numba's pool can be told to use less than it started with, never more.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threads = max(int(cpus), 1)
    os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(threads)
    numba = sys.modules.get("numba")
    if numba is None:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    else:
        numba.set_num_threads(min(threads, int(numba.config.NUMBA_NUM_THREADS)))
    threadpool_limits(threads)  # the last: numba's pool may have brought its own OpenMP
    return threads
