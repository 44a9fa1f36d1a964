"""Every recipe of docs/cookbook.md does what it says: it is run on small pictures, and what comes out is looked at."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image, ImageDraw

from rayjobs.job.job_file import load_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.job_tasks import planned_tasks
from rayjobs.run.run_request import request_of
from tests.quick_runs import run_here
from tests.runs import manifest, write_photographs

PAGE = Path(__file__).parents[3] / "docs/cookbook.md"
PARTS = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
RECIPES = {part.partition("\n")[0]: part for part in PARTS if "```yaml" in part}
GPS, COPYRIGHT, ORIENTATION = 0x8825, 0x8298, 0x0112
DISCS = 5
BLUELESS = "LUT_3D_SIZE 2\n" + "".join(f"{r} {g} 0\n" for b in (0, 1) for g in (0, 1) for r in (0, 1))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The directory of somebody who has what the recipes speak of."""
    photos = tmp_path / "photos"
    write_photographs(photos, 3)
    write_photographs(photos / "2024", 2, seed=1)
    write_photographs(photos / "drafts", 1, seed=2)
    shutil.copy(photos / "photo-0000.jpg", photos / "cover.jpg")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[GPS] = {1: "N", 2: (48.0, 51.0, 30.0)}
    Image.open(photos / "photo-0001.jpg").resize((2400, 1600)).save(photos / "large.jpg", exif=exif)
    Image.open(photos / "photo-0002.jpg").resize((64, 48)).save(photos / "small.png")

    levels = np.random.default_rng(5).integers(0, 65536, (40, 60, 3), dtype=np.uint16)
    (tmp_path / "scans").mkdir()
    tifffile.imwrite(tmp_path / "scans/a.tif", levels, photometric="rgb", resolution=(300, 300), resolutionunit=2)
    (tmp_path / "stacks").mkdir()
    tifffile.imwrite(tmp_path / "stacks/three.tif", levels[:30, ..., 0].reshape(3, 10, 60), photometric="minisblack")

    dish = Image.fromarray(np.tile(np.linspace(150, 230, 240).astype(np.uint8), (200, 1)))
    for number in range(DISCS):
        left = 30 + 40 * number
        ImageDraw.Draw(dish).ellipse((left, 90, left + 20, 110), fill=60)
    (tmp_path / "dishes").mkdir()
    dish.save(tmp_path / "dishes/one.png")

    with (tmp_path / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file", "subject", "x0", "y0", "side"], ["photos/photo-0000.jpg", "fox", "8", "4", "32"]]
        )
    (tmp_path / "list.txt").write_text("photos/photo-0000.jpg\nphotos/drafts/photo-0000.jpg\n")
    (tmp_path / "looks").mkdir()
    (tmp_path / "looks/warm.cube").write_text(BLUELESS)
    return tmp_path


def job_of(recipe: str, base: Path) -> JobSpec:
    (text,) = re.findall(r"```yaml\n(.*?)```", RECIPES[recipe], re.DOTALL)
    path = base / "job.yaml"
    path.write_text(text)
    return load_job(path)


def images(output: Path) -> list[Path]:
    return sorted(path for path in (output / "images").rglob("*") if path.is_file())


def table(output: Path, name: str = "analyses") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output / f"data/{name}.parquet").to_pylist()
    return rows


# ---- what came out ---------------------------------------------------------------------------------------------------


def check_web(base: Path, output: Path) -> None:
    assert len(images(output)) == len(list((base / "photos").rglob("*.*")))
    with Image.open(output / "images/large.jpg") as large:
        assert large.size == (1365, 2048)
        exif = large.getexif()
    assert GPS not in exif
    assert exif.get(ORIENTATION, 1) == 1
    assert "A. Photographer" in exif[COPYRIGHT]


def check_thumbnails(base: Path, output: Path) -> None:
    found = images(output)
    assert len(found) == len(list((base / "photos").rglob("*.*")))
    assert [path.name for path in found if not re.search(r"-thumb(-\d)?\.webp$", path.name)] == []
    assert {imagecodecs.imread(path).shape[:2] for path in found} == {(320, 320)}


def check_look(base: Path, output: Path) -> None:
    with Image.open(output / "images/large.jpg") as large:
        red, _, blue = (np.asarray(channel).mean() for channel in large.split())
        assert blue < 0.1 * red
        assert large.getexif().get_ifd(GPS)


def check_archive(base: Path, output: Path) -> None:
    with tifffile.TiffFile(output / "images/a.tif") as file:
        page = file.pages.first
        assert page.dtype == np.uint16
        assert page.compression.name == "ZSTD"
        dots, units = page.tags["XResolution"].value
        per_inch = {2: 1, 3: 2.54}[page.tags["ResolutionUnit"].value]
        assert dots / units * per_inch == pytest.approx(300)
        assert not np.array_equal(page.asarray(), tifffile.imread(base / "scans/a.tif"))


def check_own_formats(base: Path, output: Path) -> None:
    assert {path.suffix for path in images(output)} == {".jpg", ".png", ".tif"}


def check_beside(base: Path, output: Path) -> None:
    assert (base / "photos/2024/photo-0001_look.jpg").is_file()
    assert not (output / "images").exists()


def check_crops(base: Path, output: Path) -> None:
    (crop,) = images(output)
    assert crop.name == "fox_00000.png"
    whole = np.asarray(Image.open(base / "photos/photo-0000.jpg")).astype(int)
    assert np.abs(np.asarray(Image.open(crop)) - whole[4:36, 8:40]).max() <= 4  # decoded by another library


def check_numbers(base: Path, output: Path) -> None:
    columns = " ".join(table(output)[0])
    assert all(f"{name}_" in columns for name in ("statistics", "sharpness", "noise", "texture"))
    assert (output / "data/analyses.csv").is_file()
    assert not (output / "images").exists()


def check_scopes(base: Path, output: Path) -> None:
    for name in ("luma_waveform", "rgb_parade", "lab_chromaticity"):
        assert (output / f"data/scopes/{name}.parquet").is_file()
        assert "<svg" in (output / f"charts/{name}/photo-0000.svg").read_text()


def check_look_through(base: Path, output: Path) -> None:
    assert not (output / "images").exists()
    assert (output / "report/index.html").is_file()


def check_duplicates(base: Path, output: Path) -> None:
    groups = {Path(row["input"]).name: row["image_hash_group"] for row in table(output) if "drafts" not in row["input"]}
    assert groups["cover.jpg"] is not None


def check_shoots(base: Path, output: Path) -> None:
    counts = {row["shoot"]: row["count"] for row in table(output, "groups") if row["column"] == "statistics_luma_mean"}
    assert counts[2024] == 2


def check_colonies(base: Path, output: Path) -> None:
    rows = table(output, "objects")
    assert len(rows) == DISCS
    assert all(row["area"] == pytest.approx(np.pi * 10.5**2 * 2.5**2, rel=0.15) for row in rows)


def check_selected(base: Path, output: Path) -> None:
    rows = {Path(row["input"]).parent.name: (row["status"], row["reason"]) for row in manifest(output)}
    assert rows == {"photos": ("done", None), "drafts": ("skipped", "excluded")}


def check_pages(base: Path, output: Path) -> None:
    assert [path.name for path in images(output)] == ["three-p0002.png", "three-p0003.png", "three.png"]
    assert [row["frame"] for row in table(output, "frames")] == [1, 2, 3]


def check_salvaged(base: Path, output: Path) -> None:
    assert all(row["degraded"] is None for row in manifest(output) if "cut" not in row["input"])
    assert [row["degraded"][:9] for row in manifest(output) if "cut" in row["input"]] == ["truncated"]


def check_slides(base: Path, output: Path) -> None:
    assert tifffile.imread(output / "images/a.tif").shape == (40, 60, 3)


def check_images(base: Path, output: Path) -> None:
    assert images(output)


def check_charts(base: Path, output: Path) -> None:
    assert (output / "data/scopes/rgb_parade.parquet").is_file()


CHECKS: dict[str, Callable[[Path, Path], None]] = {
    "Pictures for the web": check_web,
    "Square thumbnails": check_thumbnails,
    "One look for a series": check_look,
    "Scans to an archive, without loss": check_archive,
    "Each in its own format": check_own_formats,
    "Beside their sources": check_beside,
    "Crops where a table says": check_crops,
    "Numbers only": check_numbers,
    "Scopes as data and as charts": check_scopes,
    "Soft, dark or blown-out pictures": check_look_through,
    "Near duplicates": check_duplicates,
    "Groups from file names": check_shoots,
    "Dark objects on an uneven background": check_colonies,
    "A list of files, some left out": check_selected,
    "Every page of a TIFF": check_pages,
    "Cut-off files": check_salvaged,
    "Images larger than memory": check_slides,
    "In the background of a laptop": check_images,
    "Before all others": check_images,
    "Told when it ends": check_charts,
}
TASKS = "Something done with the results"


def test_every_recipe_is_tried() -> None:
    assert set(RECIPES) == {*CHECKS, TASKS}


@pytest.mark.parametrize("recipe", CHECKS)
def test_recipes_do_what_they_say(
    recipe: str, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if recipe == "Cut-off files":
        whole = (base / "photos/large.jpg").read_bytes()
        (base / "photos/cut.jpg").write_bytes(whole[: len(whole) // 2])
    wanted = request_of(job_of(recipe, base), base, None)
    sources = {path: path.read_bytes() for path in (base / "photos").rglob("*.*")}
    state = run_here(wanted)
    assert state.failed == 0, state.reasons
    assert state.done + state.skipped == state.total > 0
    CHECKS[recipe](base, wanted.output)
    assert {path: path.read_bytes() for path in sources} == sources
    monkeypatch.chdir(base)
    for block in re.findall(r"```python\n(.*?)```", RECIPES[recipe], re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), {})
        assert "photo-" in capsys.readouterr().out


def test_the_task_names_a_picture_and_a_place(base: Path) -> None:
    (task,) = planned_tasks(job_of(TASKS, base), base, base / "out/with-cover")
    assert Path(str(task.config["input"])).is_file()
    assert task.config["output"] == str(base / "out/with-cover/cover.png")
