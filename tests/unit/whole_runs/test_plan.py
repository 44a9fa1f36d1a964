"""``rayjobs plan`` writes nothing, tells what a run would do and refuse, and survives inputs and plug-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import yaml
from PIL import Image

from pipelines.quantity_texts import size_text
from tests.corpus import tiff
from tests.places import JOB, Place, picture, tree
from tests.runs import Done, manifest, rayjobs

BODIES = {
    "ends": "os.kill(os.getpid(), 9)",
    "exits": "os._exit(3)",
    "raises": "raise ValueError('no idea')",
    "hungry": "bytearray(2**40)",
    "prints": 'print(\'{"what": "done", "seconds": 1e9}\', flush=True)',
}


def plugin(directory: Path, name: str, body: str) -> Path:
    """An installed extension: an operation whose ``process`` has this body."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{name}.py,,\n")
    (info / "entry_points.txt").write_text(f"[rayjobs.processors]\n{name} = {name}:Extension\n")
    (directory / f"{name}.py").write_text(
        "import os\nfrom rayjobs.plugins import ProcessorExtension\n\n\n"
        "class Extension(ProcessorExtension):\n"
        f"    def get_name(self):\n        return {name!r}\n\n"
        "    def get_supported_configs(self):\n        return []\n\n"
        f"    def process(self, image, config):\n        {body}\n        return image\n"
    )
    return directory


def plan(place: Place, *more: str, job: dict[str, Any] | None = None, **env: str) -> Done:
    file = place.base / "job.yaml"
    file.write_text(yaml.safe_dump({"name": "planned", "output": "out", **JOB, **(job or {})}))
    (place.base / "home").mkdir(exist_ok=True)
    return rayjobs("plan", file, *more, home=place.base / "home", **env)


def test_it_says_what_would_be_written_and_writes_nothing(place: Place) -> None:
    done = plan(place)
    assert done.code == 0, done.err
    assert not place.out.exists()
    for line in (
        "images/: 4 images (.png)",
        "charts/color_histogram/: 4 charts (.png)",
        "data/analyses.csv",
        "job.json",
    ):
        assert f"writes:     {line}" in done.out
    size = sum(path.stat().st_size for path in (place.base / "in").iterdir())
    assert f"to read:    {size_text(size)}: 4 png" in done.out
    assert "time:       about" in done.out
    place.run()
    before = tree(place.out)
    again = plan(place, job={"name": "quick"})
    assert "0 to do, 4 finished already" in again.out
    assert "nothing to do" in again.out
    assert "writes:" not in again.out
    assert tree(place.out) == before


@pytest.mark.parametrize("name", BODIES)
def test_it_survives_whatever_a_plug_in_does(place: Place, name: str) -> None:
    path = plugin(place.base / "plug", name, BODIES[name])
    job = {"plugins": [name], "operations": [name]}
    done = plan(place, "--allow-plugin", name, job=job, PYTHONPATH=str(path))
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert "4 inputs, 4 to do" in done.out
    expected = {
        "ends": "the time isn't estimated: the process that tried some inputs ended (signal 9)",
        "exits": "the time isn't estimated: the process that tried some inputs ended (exit code 3)",
        "raises": "the time isn't estimated: of 3 inputs that were tried 3 failed",
        "hungry": "the time isn't estimated: of 3 inputs that were tried 3 failed",
    }
    if name in expected:
        assert f"note:       {expected[name]}" in done.out
    else:
        assert "note:" not in done.out


def test_what_is_loaded_once_is_no_time_of_images_and_it_is_said_when_not_all_were_tried(place: Place) -> None:
    """The plug-in takes 9 s to load, once, and its process ends with the last of three images."""
    body = "os.n = getattr(os, 'n', 0) + 1; os.n == 1 and os.system('sleep 9'); os.n == 4 and os._exit(3)"
    job = {"inputs": ["in/p[0-2].png"], "plugins": ["slow"], "operations": ["slow"], "limits": {"workers": 1}}
    path = plugin(place.base / "plug", "slow", body)
    done = plan(place, "--json", "--allow-plugin", "slow", job=job, PYTHONPATH=str(path))
    assert done.json["cpus"] == 1
    assert 6 < done.json["seconds"] < 12
    assert done.json["note"].startswith("the time is told from 2 of 3 inputs: the process that tried some inputs ended")


def test_files_of_several_images_are_tried_as_a_run_takes_them(place: Place) -> None:
    pages = [Image.new("RGB", (60, 40), (40 * n, 90, 30)) for n in range(3)]
    pages[0].save(place.base / "in/pages.tif", save_all=True, append_images=pages[1:])
    done = plan(place, job={"read": {"frames": "all"}, "inputs": ["in/pages.tif"]})
    assert (done.code, "1 input, 1 to do" in done.out, "note:" in done.out) == (0, True, False)


def test_inputs_that_are_looked_at_are_of_all_kinds_whatever_recurs(place: Place) -> None:
    """As many channels as a plate may have: every fourth file is large."""
    for number in range(96):
        picture(place.base / f"wells/{number:02d}.png", number, size=(8, 6) if number % 4 < 3 else (900, 700))
    need = plan(place, "--json", job={"inputs": ["wells/"]}).json["memory_bytes"]
    assert need == plan(place, "--json", job={"inputs": ["wells/03.png"]}).json["memory_bytes"]
    assert need > 2 * plan(place, "--json", job={"inputs": ["wells/00.png"]}).json["memory_bytes"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"output": "s3://bucket/x"}, "s3://bucket/x"),
        ({"output": "$HOME/x"}, "$HOME"),
        ({"inputs": ["nowhere/"]}, "nowhere"),
        ({"inputs": ["in/*.tif"]}, "in/*.tif"),
        ({"operations": [{"lut3d": {"path": "broken.cube"}}]}, "broken.cube"),
        ({"output": "in/p0.png/x"}, "is not a directory"),
    ],
)
def test_it_refuses_what_a_run_would_refuse(place: Place, change: dict[str, Any], says: str) -> None:
    (place.base / "broken.cube").write_text("LUT_3D_SIZE 2\n0 0 0\n")
    done = plan(place, job=change)
    assert done.code == 1
    assert says in done.err
    assert "Traceback" not in done.err
    assert not place.out.exists()


def test_it_refuses_names_that_are_taken(place: Place) -> None:
    mine = place.out / "data/analyses.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = plan(place)
    assert done.code == 1
    assert "data/analyses.csv: isn't this job's" in done.err


def test_it_tells_what_is_left_out_and_what_would_come_to_nothing(place: Place) -> None:
    place.run(job={"output": "first"})
    picture(place.base / "in/drafts/x.png", 3)
    (place.base / "in/linked").symlink_to(place.base / "in/drafts")
    done = plan(place, job={"inputs": ["."], "exclude": ["drafts"], "output": "second"})
    assert "left out:   1 symlink" in done.out
    assert "in/drafts: the directory is left out by `exclude`" in done.out
    assert "results of the job in" in done.out
    nothing = {"operations": [], "analyses": [], "export": {"images": False, "charts": False}}
    assert "it writes a list of its inputs only" in plan(place, job={**nothing, "output": "third"}).out


def test_what_outputs_cannot_hold_is_said_before_and_after(place: Place) -> None:
    pixels = np.full((6, 8, 4), 30_000, np.uint16)
    (place.base / "in/deep.png").write_bytes(imagecodecs.png_encode(pixels))
    (place.base / "in/deep.tif").write_bytes(tiff(pixels, extrasamples=["unassalpha"]))
    job = {"export": {**JOB["export"], "images": {"format": "jpeg"}}}
    said = ("16 bits written as 8: jpeg is written with no more", "alpha laid on white: jpeg has none")
    done = plan(place, "--json", job=job)
    assert done.code == 0, done.err
    assert json.loads(done.out)["losses"] == dict.fromkeys(said, 2)
    shown = plan(place, job=job)
    for text in said:
        assert f"degraded:   {text} (2 of 6 inputs looked at)" in shown.out
    place.run(job=job)
    rows = {Path(row["input"]).name: row for row in manifest(place.out)}
    assert {name: row["degraded"] for name, row in rows.items() if row["degraded"]} == dict.fromkeys(
        ("deep.png", "deep.tif"), "; ".join(said)
    )
