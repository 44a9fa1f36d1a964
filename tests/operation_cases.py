"""Every registered operation and analysis with parameters that matter: for tests of what all of them have in common.

Each choice of a ``method`` and the like is a case of its own, so an operation that is added, or a method, is covered.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np

from pipelines.analyses import ANALYSES
from pipelines.operations import OPERATIONS

DTYPES = ("uint8", "uint16", "float32")
Case = tuple[str, dict[str, Any]]

_NEEDED: dict[str, list[dict[str, Any]]] = {
    "auto_orient": [{"orientation": 5}],
    "background": [{"radius": 6}],
    "brightness_contrast": [{"brightness": 0.1, "contrast": 1.2}],
    "clahe": [{"tiles": 3, "clip_limit": 0.05}],
    "color_balance": [{"lift": [0, 0.1, 0], "gain": [1.1, 1, 0.9]}],
    "crop": [{"x": 3, "y": 5, "width": 40, "height": 20}],
    "curves": [{"points": [[0, 0], [0.5, 0.7], [1, 1]], "red": [[0, 0.1], [1, 0.9]]}],
    "exposure": [{"stops": 0.4}],
    "gamma": [{"gamma": 0.8}],
    "gaussian": [{"sigma": 2.0}],
    "hue_saturation": [{"hue": 20, "saturation": 1.3}, {"saturation": 1.3}],
    "levels": [{"in_black": 0.1, "in_white": 0.9}],
    "lut3d": [{"path": str(Path(__file__).parent / "data" / "warm.cube")}],
    "median": [{"radius": 1}, {"radius": 4}],
    "morphology": [{"radius": 2}],
    "pad": [{"left": 3, "bottom": 2}],
    "resize": [
        {"width": 20, "height": 25, "mode": "exact"},
        {"width": 90, "height": 100, "mode": "exact"},
    ],
    "rotate": [{"angle": 13}, {"angle": 90}],
    "sigmoid": [{"gain": 6}],
    "threshold": [{"radius": 9}],
    "unsharp_mask": [{"radius": 1.5, "amount": 1.0}, {"radius": 4, "amount": 0.5}],
    "white_balance": [{"kelvin": 5000}],
}
_CHOSEN = ("method", "kernel", "polarity")


def top_of(dtype: Any) -> float:
    """The sample value of white."""
    return 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)


def operation_cases() -> list[Case]:
    """(name, parameters) of every operation of ours."""
    return [case for name, entry in _ours(OPERATIONS) for case in _cases(name, entry)]


def analysis_cases() -> list[Case]:
    """(name, parameters) of every analysis of ours."""
    return [case for name, entry in _ours(ANALYSES) for case in _cases(name, entry)]


def _ours(registry: Any) -> list[tuple[str, Any]]:
    """Not those of plug-ins that another test may have left for the moment."""
    return [(name, entry) for name, entry in registry.items() if entry.function.__module__.startswith("pipelines.")]


def _cases(name: str, entry: Any) -> list[Case]:
    fields = entry.parameters.model_fields
    choices = {
        key: get_args(fields[key].annotation)
        for key in _CHOSEN
        if key in fields and get_origin(fields[key].annotation) is Literal
    }
    found = []
    for given in _NEEDED.get(name, [{}]):
        for chosen in product(*choices.values()):
            found.append((name, {**given, **dict(zip(choices, chosen, strict=True))}))
    return found
