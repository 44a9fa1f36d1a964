"""An output on a disk that fills up: the job ends cleanly, nothing visible is torn, and room lets it go on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.runs import attempts, check_outputs, golden_tree, manifest, rayjobs, write_job, write_photographs

COUNT = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with photographs, and a small file system of its own in ``disk``."""
    assert os.geteuid() == 0, "mounting a small file system needs root; CI has it"
    root = tmp_path_factory.mktemp("full")
    (root / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(root / "disk")], check=True)
    write_photographs(root / "photos", COUNT, size=(320, 240))
    write_job(root, export={"images": {"format": "png"}, "data": ["parquet"], "charts": False})
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root / "disk")], check=True)


def test_a_full_disk_ends_the_job_cleanly_and_room_lets_it_go_on(place: Path) -> None:
    output = place / "disk/out"
    full = rayjobs("run", place / "job.yaml", "--output", output, "--json", home=place)
    assert full.code in (1, 2, 130)
    assert "Traceback" not in full.err
    for path in (output / "images").rglob("*.png"):  # what is visible is whole
        with Image.open(path) as image:
            image.load()
    state = rayjobs("status", output, "--json", home=place).json
    assert state["done"] < COUNT
    subprocess.run(["mount", "-o", "remount,size=64m", str(place / "disk")], check=True)
    resumed = rayjobs("resume", output, "--json", home=place)
    assert resumed.code == 0, resumed.err
    assert resumed.json["done"] == COUNT
    rows = manifest(output)
    check_outputs(output, rows)
    outcomes = [outcome for _, _, outcome in attempts(output)]
    assert outcomes.count("done") == COUNT
    elsewhere = rayjobs("run", place / "job.yaml", "--output", place / "roomy", "--json", home=place)
    assert elsewhere.code == 0, elsewhere.err
    assert golden_tree(output) == golden_tree(place / "roomy")


def test_a_job_that_could_never_fit_is_refused_before_it_starts(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=28m", str(place / "disk")], check=True)
    large = place / "large"
    large.mkdir()
    (large / "photos").mkdir()
    with (large / "photos/huge.tif").open("wb") as file:
        file.truncate(200 * 2**20)
    job = write_job(large, inputs=["photos/"])
    done = rayjobs("run", job, "--output", place / "disk/large", home=place)
    assert done.code == 1
    assert "no space" in done.err
    assert "--output" in done.err
    assert not list((place / "disk/large").rglob("*.jpg"))
