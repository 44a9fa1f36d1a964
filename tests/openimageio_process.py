"""OpenImageIO in a process of its own: what it leaves behind at Python's end can end the process that ran it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class OpenImageIO:
    """Reads files as it does."""

    def __init__(self, process: ProcessPoolExecutor) -> None:
        self._process = process

    def read(self, path: Path) -> NDArray[Any] | None:
        """(height, width, channels) with straight alpha; None if it doesn't read the file."""
        return self._process.submit(_read, str(path)).result()


@contextmanager
def openimageio() -> Iterator[OpenImageIO]:
    """Its process, as long as the block lasts."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        yield OpenImageIO(process)


def _read(path: str) -> NDArray[Any] | None:
    import OpenImageIO as oiio  # type: ignore[import-not-found,unused-ignore]  # noqa: N813 - as its own pages do

    wanted = oiio.ImageSpec()
    wanted["oiio:UnassociatedAlpha"] = 1
    file = oiio.ImageInput.open(path, wanted)
    if file is None:
        oiio.geterror()
        return None
    try:
        spec = file.spec()
        pixels = file.read_image(0, 0, 0, spec.nchannels, oiio.TypeDesc(spec.format.basetype))
        return None if file.geterror() or pixels is None else np.asarray(pixels)
    finally:
        file.close()
