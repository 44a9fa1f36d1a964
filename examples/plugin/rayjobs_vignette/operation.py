"""The operation ``vignette``: darken an image towards its corners."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from rayjobs.plugins import Image, Operation, parameters_of


def render(
    image: Image,
    *,
    strength: Annotated[float, Field(ge=0, le=1, description="What the corners lose: 0 nothing, 1 all light")] = 0.5,
) -> Image:
    """Darken an image towards its corners.

    v' = v * (1 - strength * r ** 2), where r is the distance from the centre, 1 in the corners.
    """
    height, width = image.shape[:2]
    down = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
    right = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    factor = 1 - np.float32(strength) * (down[:, None] ** 2 + right[None, :] ** 2) / 2
    # An array of its own: the input is read-only.
    shaded: Image = image * (factor if image.ndim == 2 else factor[..., None])
    return shaded if image.dtype.kind == "f" else np.rint(shaded).astype(image.dtype)


OPERATION = Operation(
    name="vignette",
    group="plug-ins",
    function=render,  # gets colours only; alpha stays as it is
    parameters=parameters_of(render),
    # What a pixel depends on. "whole": on all of the image, or, as here, on where in it the pixel lies; "point": on
    # itself alone; "local": on pixels up to `halo=lambda *, radius: radius` away; "geometry": size or places change.
    reach="whole",
)
