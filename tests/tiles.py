"""Running an operation tile by tile, as the processor does with images that are too large for memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import OPERATIONS


def by_tiles(name: str, image: NDArray[Any], tile: int, **given: Any) -> NDArray[Any]:
    """The operation applied to each tile with its halo, and the tiles put together; parameters as in a job file."""
    operation = OPERATIONS[name]
    checked = operation.parameters(**given)
    params = {field: getattr(checked, field) for field in operation.parameters.model_fields}
    assert operation.reach == "local"
    assert operation.halo is not None
    halo = operation.halo(**params)
    parts = []
    for top in range(0, image.shape[0], tile):
        row = []
        for left in range(0, image.shape[1], tile):
            above, before = min(top, halo), min(left, halo)
            cut = image[top - above : top + tile + halo, left - before : left + tile + halo]
            assert not cut.flags.writeable
            done = operation.function(cut, **params)
            row.append(done[above : above + tile, before : before + tile])
        parts.append(np.concatenate(row, axis=1))
    return np.concatenate(parts, axis=0)


def assert_same_pixels(tiled: NDArray[Any], whole: NDArray[Any]) -> None:
    """Equal for integers, within 1e-6 for float32."""
    assert tiled.dtype == whole.dtype
    if whole.dtype.kind == "f":
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(tiled, whole)
