"""A job with inputs larger than the memory for one image: TIFFs are done in bands, others are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from pipelines.analyses import AnalysisCalculator
from pipelines.models import ImageOperation
from pipelines.operations import apply_operations
from tests.runs import check_outputs, manifest, measured, rayjobs, write_job, write_photographs

OPERATIONS = {"gaussian": {"sigma": 1.5}, "curves": {"points": [[0, 0], [0.4, 0.5], [1, 1]]}}
ANALYSES = ["scopes", "statistics"]


def test_giants_are_done_beside_other_images(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    write_photographs(photos, 2)
    random = np.random.default_rng(3)
    coarse = random.integers(60, 200, (28, 23, 3), dtype=np.uint8)
    giant = np.kron(coarse, np.ones((40, 40, 1), np.uint8)) + random.integers(0, 20, (1120, 920, 3), dtype=np.uint8)
    tifffile.imwrite(photos / "giant-packed.tif", giant, photometric="rgb", compression="zstd", metadata=None)
    tifffile.imwrite(photos / "giant-plain.tif", giant, photometric="rgb", metadata=None)
    Image.fromarray(giant).save(photos / "giant.png")
    job = write_job(
        tmp_path,
        operations=[{name: parameters} for name, parameters in OPERATIONS.items()],
        analyses=ANALYSES,
        export={"images": {"format": "tiff"}, "data": ["parquet"], "charts": True},
        limits={"memory_per_image": "1MiB"},
    )
    done = rayjobs("run", job, home=tmp_path)
    assert done.code == 2, done.err  # one failed, none may

    rows = manifest(output)
    check_outputs(output, rows)
    by_name = {Path(row["input"]).name: row for row in rows}
    assert by_name["giant.png"]["reason"] == "too_large"
    assert "PNG isn't read in bands" in by_name["giant.png"]["message"]
    assert [row["status"] for row in rows].count("done") == 4

    expected = apply_operations(giant, [ImageOperation(*pair) for pair in OPERATIONS.items()]).pixels
    numbers = AnalysisCalculator(ANALYSES).calculate_analyses(expected)
    table = measured(output)
    for name in ("giant-packed.tif", "giant-plain.tif"):
        *charts, image = sorted(entry["path"] for entry in by_name[name]["outputs"])
        np.testing.assert_array_equal(tifffile.imread(output / image), expected)
        assert len(charts) == 6
        (row,) = [row for row in table if Path(row["input"]).name == name]
        for analysis, columns in numbers.items():
            for column, value in columns.items():
                np.testing.assert_array_equal(row[f"{analysis}_{column}"], np.ravel(value) if np.ndim(value) else value)
