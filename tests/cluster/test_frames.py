"""Files of several images in a job that reads all of them: an image and charts each, and a row per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.runs import check_outputs, golden_tree, manifest, measured, rayjobs, write_job, write_photographs

PAGES = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("frames")
    photos = [np.asarray(Image.open(path)) for path in write_photographs(root / "photos", PAGES)]
    tifffile.imwrite(root / "photos/scan.tif", np.stack(photos), photometric="rgb")
    frames = [Image.fromarray(photo).quantize(32) for photo in photos[:2]]
    frames[0].save(root / "photos/moving.gif", save_all=True, append_images=frames[1:], duration=100)
    return root


def run(place: Path, output: str, **changes: object) -> Path:
    job = write_job(
        place,
        operations=["invert"],
        analyses=["color_histogram", "statistics"],
        export={"images": {"format": "png"}, "data": ["parquet", "csv"], "charts": True},
        output=output,
        **changes,
    )
    done = rayjobs("run", job, "--json", home=place)
    assert done.code == 0, done.err
    return place / output


def test_every_image_of_a_file_is_rendered_measured_and_drawn(place: Path) -> None:
    output = run(place, "all", read={"frames": "all"})
    rows = {Path(row["input"]).name: row for row in manifest(output)}
    check_outputs(output, list(rows.values()))
    scans = sorted(entry["path"] for entry in rows["scan.tif"]["outputs"] if entry["path"].startswith("images/"))
    assert scans == ["images/scan-p0002.png", "images/scan-p0003.png", "images/scan.png"]
    assert len(rows["scan.tif"]["outputs"]) == 2 * PAGES
    assert len(rows["moving.gif"]["outputs"]) == 2 * 2
    for page in range(PAGES):
        name = "scan" if page == 0 else f"scan-p{page + 1:04d}"
        expected = 255 - np.asarray(Image.open(place / f"photos/photo-{page:04d}.jpg"))
        np.testing.assert_array_equal(np.asarray(Image.open(output / f"images/{name}.png")), expected)
    images = measured(output)
    assert len(images) == PAGES + 2
    frames = measured(output, "frames")
    counted = {(Path(row["input"]).name, row["frame"]) for row in frames}
    assert counted == {("scan.tif", 1), ("scan.tif", 2), ("scan.tif", 3), ("moving.gif", 1), ("moving.gif", 2)}
    by_photo = {Path(row["input"]).name: row for row in images}
    for row in frames:
        if row["input"].endswith("scan.tif"):
            photo = by_photo[f"photo-{row['frame'] - 1:04d}.jpg"]
            assert row["statistics_red_mean"] == photo["statistics_red_mean"]
            assert row["color_histogram_luma"] == photo["color_histogram_luma"]


def test_staged_gives_the_same_and_the_first_image_alone_is_the_default(place: Path) -> None:
    staged = run(place, "staged", read={"frames": "all"}, stages="staged")
    assert golden_tree(staged) == golden_tree(place / "all")
    first = run(place, "all", read=None)
    assert list((first / "images").glob("*-p0*"))  # kept, until they are pruned
    assert rayjobs("prune", first, "--yes", home=place).code == 0
    check_outputs(first, manifest(first))
    assert not list((first / "images").glob("*-p0*"))
    assert not (first / "data/frames.parquet").exists()
