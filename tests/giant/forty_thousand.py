"""A TIFF of 40,000 x 40,000 RGB pixels (4.8 GB) within 1 GiB of process memory: rendered, analysed, drawn, published.

It takes minutes, so it is no part of ``make test``: ``make test-giant`` runs it. A smaller one is in
``tests/unit/stages/test_giant_images.py``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from pipelines.image_io import ReadPolicy, open_source
from pipelines.image_io.tiff_blocks import open_tiff_blocks
from pipelines.operations import apply_operations
from tests.unit.stages.test_giant_images import OPERATIONS, SCOPES

SIDE = 40_000
TILE = 512
MEMORY = 1 << 30

# Run by a process of its own, whose every allocation counts against the limit from the first one on.
SCRIPT = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
from pathlib import Path
import numpy as np
from tests.unit.stages.test_giant_images import SCOPES, done, recipe
charted = tuple(scope.name for scope in SCOPES)
status, results = done(Path(sys.argv[2]), Path(sys.argv[3]), recipe(memory_per_image=2 << 30, charted=charted))
numbers = {
    f"{name}.{key}": value.astype(np.int64).tolist() if isinstance(value, np.ndarray) else value
    for name, columns in results.items()
    for key, value in columns.items()
}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outputs = [(output.path, output.sha256) for output in status.outputs]
row = {"status": status.status, "message": status.message, "seconds": status.seconds, "outputs": outputs}
print(json.dumps({**row, "numbers": numbers, "peak_kib": peak}))
"""


def tile_at(row: int, column: int) -> NDArray[np.uint8]:
    """A tile of a picture whose colours drift over its whole width and height, with a fine pattern in them."""
    rows, columns = np.mgrid[row : row + TILE, column : column + TILE]
    pattern = (rows // 16 + columns // 16) % 7 * 3
    planes = [rows * 180 // SIDE, columns * 180 // SIDE, (rows + columns) * 90 // SIDE]
    return np.stack([(20 + plane + pattern).astype(np.uint8) for plane in planes], axis=-1)


def write_giant(path: Path) -> None:
    places = [(row, column) for row in range(0, SIDE, TILE) for column in range(0, SIDE, TILE)]
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            (tile_at(*place) for place in places),
            shape=(SIDE, SIDE, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="rgb",
            compression="zstd",
            predictor=True,
            metadata=None,
            maxworkers=1,
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("giant")
    path, output = directory / "giant.tif", directory / "out"
    write_giant(path)
    command = [sys.executable, "-c", SCRIPT, str(MEMORY), str(path), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield output, json.loads(done.stdout)
    for written in (path, output / "images/a.tif"):
        written.unlink(missing_ok=True)  # gigabytes that no later look needs


@pytest.mark.timeout(3600)
def test_everything_is_made(run: tuple[Path, dict[str, Any]]) -> None:
    output, row = run
    assert row["status"] == "done", row["message"]
    assert [path for path, _ in row["outputs"]] == [
        "images/a.tif",
        *(f"charts/{scope.name}/a.png" for scope in SCOPES),
    ]
    for path, sha256 in row["outputs"]:
        with (output / path).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == sha256
    assert row["peak_kib"] * 1024 < MEMORY


@pytest.mark.timeout(3600)
def test_every_pixel_is_counted(run: tuple[Path, dict[str, Any]]) -> None:
    """Histogram and statistics against numpy, over the written image."""
    output, row = run
    counts = np.zeros((3, 256), np.int64)
    with open_source(bytes(output / "images/a.tif")) as source, open_tiff_blocks(source, ReadPolicy()) as blocks:
        assert (blocks.header.width, blocks.header.height) == (SIDE, SIDE)
        for block in blocks:
            for channel in range(3):
                counts[channel] += np.bincount(block[..., channel].reshape(-1), minlength=256)
    numbers = row["numbers"]
    for channel, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(numbers[f"color_histogram.{name}"], counts[channel])
        mean = float(counts[channel] @ np.arange(256)) / SIDE**2
        assert numbers[f"statistics.{name}_mean"] == pytest.approx(mean, rel=1e-12)
    for counted in ("luma_waveform.counts", "saturation_histogram.counts", "lab_chromaticity.counts"):
        assert np.sum(numbers[counted]) == SIDE**2
    assert np.sum(numbers["hue_histogram.counts"]) + numbers["hue_histogram.achromatic"] == SIDE**2


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, SIDE - TILE), (19_968, 19_968), (SIDE - TILE, SIDE - TILE)])
def test_pixels_are_those_of_the_chain(run: tuple[Path, dict[str, Any]], row: int, column: int) -> None:
    """A place of the image, cut from a larger surrounding that was rendered in one piece."""
    output, _ = run
    around = 64
    top, left = max(0, row - around), max(0, column - around)
    bottom, right = min(SIDE, row + TILE + around), min(SIDE, column + TILE + around)
    source = np.concatenate(
        [
            np.concatenate(
                [tile_at(r, c) for c in range(left - left % TILE, right, TILE)],
                axis=1,
            )
            for r in range(top - top % TILE, bottom, TILE)
        ]
    )[top % TILE :, left % TILE :][: bottom - top, : right - left]
    expected = apply_operations(np.ascontiguousarray(source), OPERATIONS).pixels
    with tifffile.TiffFile(output / "images/a.tif") as file:
        page = file.pages[0]
        assert page.is_tiled
        found = np.empty((TILE, TILE, 3), np.uint8)
        across = -(-SIDE // page.tilewidth)
        for r in range(row // 256, -(-(row + TILE) // 256)):
            for c in range(column // 256, -(-(column + TILE) // 256)):
                index = r * across + c
                file.filehandle.seek(page.dataoffsets[index])
                tile, _, _ = page.decode(file.filehandle.read(page.databytecounts[index]), index)
                y, x = r * 256 - row, c * 256 - column
                skip_y, skip_x = max(0, -y), max(0, -x)
                part = tile[0, skip_y : TILE - y, skip_x : TILE - x]
                part = part[: SIDE - row, : SIDE - column]
                target = found[y + skip_y :, x + skip_x :][: part.shape[0], : part.shape[1]]
                target[:] = part[: target.shape[0], : target.shape[1]]
    np.testing.assert_array_equal(found, expected[row - top : row - top + TILE, column - left : column - left + TILE])
