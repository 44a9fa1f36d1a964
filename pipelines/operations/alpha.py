"""Taking alpha off an RGBA image and putting it back. Imports OpenCV: import this module inside functions only."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image

Alpha = NDArray[Any]


def split_alpha(image: Image) -> tuple[Image, Alpha]:
    """New arrays of the colours (M, N, 3) and the alpha (M, N) of an RGBA image."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)), np.asarray(cv2.extractChannel(image, 3))


def join_alpha(colours: Image, alpha: Alpha) -> Image:
    """An RGBA image; gray colours (M, N) become R = G = B."""
    planes = cv2.split(colours) if colours.ndim == 3 else (colours,) * 3
    return np.asarray(cv2.merge([*planes, alpha]))
