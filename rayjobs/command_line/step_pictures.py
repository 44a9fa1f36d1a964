"""What an operation does, as a picture: a photograph of scikit-image's before it and after it, side by side."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from skimage import data

from pipelines.operations.chain import apply_operations, as_operations
from rayjobs.job.yaml_data import compose, construct

GAP_PX = 8


def before_and_after(example: str) -> bytes:
    """PNG of the photograph and of what a step makes of it, which is written as in a job file."""
    step, _ = construct(compose(example))
    before = data.astronaut()
    after = apply_operations(before, as_operations([step])).pixels
    after = after if after.ndim == 3 else np.repeat(after[:, :, None], 3, axis=2)
    height = max(before.shape[0], after.shape[0])
    sheet = np.full((height, before.shape[1] + GAP_PX + after.shape[1], 3), 255, np.uint8)
    sheet[: before.shape[0], : before.shape[1]] = before
    sheet[: after.shape[0], before.shape[1] + GAP_PX :] = after
    written = io.BytesIO()
    Image.fromarray(sheet).save(written, "png")
    return written.getvalue()
