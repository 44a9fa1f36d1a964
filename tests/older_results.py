"""What version e3965d9 made of plain images, kept as digests in ``tests/data/results-of-format-2.json``.

    PYTHONPATH=CHECKOUT_OF_E3965D9 python -P tests/older_results.py > tests/data/results-of-format-2.json

Runs on that version and on this one: only what both have is used.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from skimage import data

from pipelines.analyses import AnalysisCalculator
from pipelines.charts import ChartOptions, draw_chart
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations.chain import apply_operations

SCOPES = (
    "color_histogram",
    "luma_waveform",
    "rgb_parade",
    "hue_histogram",
    "saturation_histogram",
    "lab_chromaticity",
)
ANALYSES = (*SCOPES, "statistics", "sharpness", "texture", "image_hash")
OPERATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("unsharp_mask", {}),
    ("unsharp_mask", {"radius": 0.3, "amount": 2}),
    ("unsharp_mask", {"radius": 1.5, "amount": 0.6, "threshold": 0.01}),
    ("unsharp_mask", {"radius": 2, "amount": 0.5}),
    ("gaussian", {}),
    ("gaussian", {"sigma": 0.5}),
    ("gaussian", {"sigma": 2}),
    ("gaussian", {"sigma": 3}),
    ("resize", {"max_side": 300}),
    ("resize", {"max_side": 97}),
    ("resize", {"width": 211, "height": 120, "mode": "fill"}),
    ("resize", {"width": 640, "height": 480, "mode": "exact"}),
    ("median", {}),
    ("median", {"radius": 3}),
    ("denoise", {}),
    ("autocontrast", {}),
    ("autocontrast", {"low": 1, "high": 99}),
    ("equalize", {}),
    ("clahe", {}),
    ("white_balance", {}),
    ("edges", {}),
    ("threshold", {}),
    ("morphology", {}),
)


def images() -> Iterator[tuple[str, np.ndarray]]:
    yield "astronaut", data.astronaut()
    yield "cat", np.ascontiguousarray(data.chelsea()[3:290, 5:411])
    yield "camera", data.camera()
    yield "noise", np.random.default_rng(0).integers(0, 256, (200, 311, 3), dtype=np.uint8)


def digest(value: Any) -> str:
    """Of a number, a text or an array, as it was computed."""
    if isinstance(value, np.ndarray):
        text: bytes = f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    else:
        text = repr(value.item() if isinstance(value, np.generic) else value).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def results() -> dict[str, dict[str, str]]:
    """What was made -> digests of its columns, or of its pixels."""
    found: dict[str, dict[str, str]] = {}
    for name, image in images():
        for analysis in ANALYSES:
            result = AnalysisCalculator().calculate_analyses(image, [AnalysisRequest(analysis, {})])[analysis]
            found[f"{name}: {analysis}"] = {column: digest(value) for column, value in result.items()}
            if analysis in SCOPES:
                chart = draw_chart(analysis, result, title=name, options=ChartOptions(format="png", engine="fast"))
                pixels = np.asarray(PillowImage.open(io.BytesIO(chart)))
                found[f"{name}: chart of {analysis}"] = {"file": digest(chart), "pixels": digest(pixels)}
        for operation, parameters in OPERATIONS:
            pixels = np.asarray(apply_operations(image, [ImageOperation(operation, parameters)]).pixels)
            found[f"{name}: {operation} {json.dumps(parameters)}"] = {"pixels": digest(pixels)}
    return found


if __name__ == "__main__":
    print(json.dumps(results(), indent=1))  # noqa: T201 - a script
