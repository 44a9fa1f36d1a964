"""Analyses: pure functions array -> named columns, by name in ``ANALYSES``.

scopes.py      the six scopes of the colourist         statistics.py  numbers per channel
sharpness.py, noise.py, texture.py                     objects.py     one row per object
image_hash.py  perceptual hashes and duplicate groups  calculator.py  several analyses, shared passes

Importing this package fills ``ANALYSES`` and stays light: OpenCV, numba and SciPy are imported when an analysis first
needs them.
"""

from __future__ import annotations

from pipelines.analyses import image_hash, noise, objects, scopes, sharpness, statistics, texture
from pipelines.analyses.calculator import AnalysisCalculator, expand_analyses, with_defaults
from pipelines.analyses.registry import ANALYSES, ROWS, Accumulator, Analysis, Column, Result, analysis, of_analysis

__all__ = [
    "ANALYSES",
    "ROWS",
    "Accumulator",
    "Analysis",
    "AnalysisCalculator",
    "Column",
    "Result",
    "analysis",
    "expand_analyses",
    "image_hash",
    "noise",
    "objects",
    "of_analysis",
    "scopes",
    "sharpness",
    "statistics",
    "texture",
    "with_defaults",
]
