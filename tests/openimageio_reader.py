"""What OpenImageIO reads, for a process of its own: what it leaves behind at Python's end can end the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # type: ignore[import-not-found,unused-ignore]  # noqa: N813 - as its own pages do
from numpy.typing import NDArray


def read(path: Path) -> NDArray[Any] | None:
    """(height, width, channels) with straight alpha; None if it doesn't read the file."""
    wanted = oiio.ImageSpec()
    wanted["oiio:UnassociatedAlpha"] = 1
    file = oiio.ImageInput.open(str(path), wanted)
    if file is None:
        oiio.geterror()
        return None
    try:
        spec = file.spec()
        pixels = file.read_image(0, 0, 0, spec.nchannels, oiio.TypeDesc(spec.format.basetype))
        return None if file.geterror() or pixels is None else np.asarray(pixels)
    finally:
        file.close()
