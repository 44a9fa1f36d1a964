"""The operation ``vignette``: darken an image towards its corners."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjobs.plugins import Image, ProcessorExtension


class Vignette(ProcessorExtension):
    """Darken an image towards its corners.

    v' = v * (1 - strength * r ** 2), where r is the distance from the centre, 1 in the corners. ``strength`` is 0..1,
    0.5 unless given. Alpha stays as it is.
    """

    def get_name(self) -> str:
        return "vignette"

    def get_supported_configs(self) -> list[str]:
        return ["strength"]

    def process(self, image: Image, config: dict[str, Any]) -> Image:
        strength = config.get("strength", 0.5)
        if not isinstance(strength, int | float) or not 0 <= strength <= 1:
            raise ValueError(f"strength is a number in 0..1, not {strength!r}")
        height, width = image.shape[:2]
        down = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
        right = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
        factor = 1 - np.float32(strength) * (down[:, None] ** 2 + right[None, :] ** 2) / 2
        result = image.copy()  # the input is read-only
        colours = result if image.ndim == 2 else result[..., :3]
        shaded = colours * (factor if image.ndim == 2 else factor[..., None])
        colours[...] = shaded if image.dtype.kind == "f" else np.rint(shaded)
        return result
