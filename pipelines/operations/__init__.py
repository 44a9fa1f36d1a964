"""Operations: pure functions array -> array, by name in ``OPERATIONS``.

tone.py      what a pixel's value becomes          colour.py    what a pixel's colour becomes
filters.py   what a pixel's surroundings do to it  geometry.py  where a pixel goes
denoising.py, segmentation.py and background.py are filters as well.

chain.py runs them one after the other. Importing this package fills ``OPERATIONS`` and stays light: OpenCV, numba and
SciPy are imported when an operation first needs them, so that a job with nothing left to do doesn't wait for them.
"""

from __future__ import annotations

from pipelines.operations import background, colour, denoising, filters, geometry, segmentation, tone
from pipelines.operations.chain import (
    ChainError,
    ChainResult,
    apply_operations,
    chain_halo,
    compile_chain,
)
from pipelines.operations.registry import OPERATIONS, Image, Operation

__all__ = [
    "OPERATIONS",
    "ChainError",
    "ChainResult",
    "Image",
    "Operation",
    "apply_operations",
    "background",
    "chain_halo",
    "colour",
    "compile_chain",
    "denoising",
    "filters",
    "geometry",
    "segmentation",
    "tone",
]
