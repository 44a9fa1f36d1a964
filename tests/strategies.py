"""Images for tests: one deterministic picture with everything in it, and a Hypothesis strategy of arbitrary ones.

Every array is read-only, as arrays from the object store are. Covers pixels only, not files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import DTypeLike, NDArray


def example_image(dtype: DTypeLike, channels: int, shape: tuple[int, int] = (37, 53), seed: int = 0) -> NDArray[Any]:
    """A read-only picture with gradients, noise, a saturated, a black and a gray area; the same on every call.

    ``channels`` 1 gives shape (M, N), 3 gives (M, N, 3), 4 gives (M, N, 4) with alpha from a level of 255 to full;
    uint8, uint16 or float32 in 0..1.
    """
    height, width = shape
    random = np.random.default_rng(seed)
    row = np.linspace(0, 1, height)[:, None]
    column = np.linspace(0, 1, width)[None, :]
    planes = [row + 0 * column, column + 0 * row, (row + column) / 2]
    picture = np.stack(planes, axis=-1) * 0.8 + 0.1 + random.normal(0, 0.03, (height, width, 3))
    block_height, block_width = max(height // 4, 1), max(width // 4, 1)
    picture[:block_height, :block_width] = (1, 0, 0)
    picture[:block_height, -block_width:] = 1
    picture[-block_height:, :block_width] = 0
    picture[-block_height:, -block_width:] = 0.5
    if channels == 1:
        picture = picture.mean(axis=-1)
    elif channels == 4:
        alpha = np.clip(1.2 * (1 - row) * (0.2 + column), 1 / 255, 1)
        picture = np.concatenate([picture, alpha[:, :, None]], axis=-1)
    return _read_only(_as_dtype(np.clip(picture, 0, 1), np.dtype(dtype)))


@st.composite
def images(
    draw: st.DrawFn,
    dtypes: Sequence[str] = ("uint8", "uint16", "float32"),
    channels: Sequence[int] = (1, 3, 4),
    min_side: int = 1,
    max_side: int = 24,
) -> NDArray[Any]:
    """Read-only images of any size, dtype and number of channels among the given ones; float32 lies in 0..1.

    Every pixel is visible: its alpha is at least a level of 255. What is invisible: ``test_alpha_rules``.
    """
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    side = st.integers(min_side, max_side)
    height, width, count = draw(side), draw(side), draw(st.sampled_from(channels))
    shape = (height, width) if count == 1 else (height, width, count)
    elements = st.floats(0, 1, width=32) if dtype.kind == "f" else None
    image = draw(hnp.arrays(dtype, shape, elements=elements))
    if count == 4:
        image[..., 3] = np.maximum(image[..., 3], 1 / 255 if dtype.kind == "f" else np.iinfo(dtype).max // 255)
    return _read_only(image)


def _as_dtype(picture: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return np.asarray(picture, dtype)
    return np.asarray(np.rint(picture * np.iinfo(dtype).max), dtype)


def _read_only(image: NDArray[Any]) -> NDArray[Any]:
    image.flags.writeable = False
    return image
