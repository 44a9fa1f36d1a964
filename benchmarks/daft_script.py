"""The web export as Daft's users write it: a dataframe of files, its own decoder, resize and encoder, written by a UDF.

``python -m benchmarks.daft_script LIST OUTPUT PIXELS``; Daft takes all CPUs by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import daft


def main(listed: str, output: str, pixels: str) -> None:
    """Run the whole of it. Daft resizes to a given size: all photographs of the set are 3:2."""
    files = Path(listed).read_text(encoding="utf-8").splitlines()
    target, width = Path(output), int(pixels)
    target.mkdir(parents=True)

    @daft.func(return_dtype=daft.DataType.int64())  # type: ignore[untyped-decorator]
    def write(name: str, data: bytes) -> int:
        return (target / Path(name).name).write_bytes(data)

    images = daft.from_pydict({"path": files})
    images = images.with_column("image", images["path"].download().decode_image())
    images = images.with_column("small", images["image"].resize(width, width * 2 // 3).encode_image("jpeg"))
    images.select(write(images["path"], images["small"])).collect()


if __name__ == "__main__":
    main(*sys.argv[1:])
