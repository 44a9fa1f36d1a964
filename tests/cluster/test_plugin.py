"""The example plug-ins as a user has it: installed, allowed on the command line, used from a job file on Ray."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.example_plugin import install_example
from tests.runs import ROOT, check_outputs, golden_tree, manifest, rayjobs, write_job, write_photographs

PLUGINS = ["vignette", "licence", "zip_folder"]
ALLOW = tuple(argument for name in PLUGINS for argument in ("--allow-plugin", name))
LOOK = {"vignette": {"strength": 1}}
JOB = {
    "plugins": PLUGINS,
    "operations": [LOOK],
    "analyses": ["vignette"],
    "requires": {"licence": 1},
    "export": {"images": {"format": "png"}, "charts": True},
    "tasks": [
        {"zip_folder": {"folder": "{output}/images", "archive": "{output}/images.zip"}},
        {
            "render": {
                "input": "photos/photo-0000.jpg",
                "output": "{output}/a.png",
                "operations": {"vignette": {"strength": 1}},
            }
        },
    ],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What PYTHONPATH is where the plug-in is installed."""
    return f"{install_example(tmp_path_factory.mktemp('example'))}:{ROOT}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plugin")
    write_photographs(root / "photos", 6)
    return root


@pytest.fixture(scope="module")
def finished(place: Path, path: str) -> Path:
    done = rayjobs("run", write_job(place, **JOB), "--json", *ALLOW, home=place, PYTHONPATH=path)
    assert done.code == 0, done.err
    return place / "out"


def test_images_numbers_and_charts_come_from_the_plug_in(finished: Path, place: Path) -> None:
    rows = manifest(finished)
    assert len(rows) == 6
    check_outputs(finished, rows)
    table = pq.read_table(finished / "data/analyses.parquet")
    ratios = table.column("vignette_corner_ratio").to_numpy()
    assert (ratios < 0.5).all()
    assert len(list((finished / "charts/vignette").iterdir())) == 6
    source = np.asarray(Image.open(place / "photos/photo-0000.jpg"), float)
    shaded = np.asarray(Image.open(finished / "images/photo-0000.png"), float)
    np.testing.assert_allclose(shaded[32, 48], source[32, 48], atol=1)
    assert (shaded[0, 0] <= source[0, 0] * 0.05 + 1).all()


def test_the_task_type_comes_from_the_plug_in(finished: Path) -> None:
    images = {path.name: path.read_bytes() for path in (finished / "images").iterdir()}
    with zipfile.ZipFile(finished / "images.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == images
    task, _ = json.loads((finished / "job.json").read_text())["tasks"]
    assert (task["type"], task["status"], task["result"]["files"]) == ("zip_folder", "completed", 6)


def test_a_task_of_the_program_itself_knows_the_operations_of_the_plug_in(finished: Path) -> None:
    assert (finished / "a.png").read_bytes() == (finished / "images/photo-0000.png").read_bytes()


def test_the_resource_type_comes_from_the_plug_in(finished: Path, place: Path, path: str, tmp_path: Path) -> None:
    """Without a single licence the same job can't run."""
    run = ("run", place / "job.yaml", "--output", tmp_path / "out", *ALLOW)
    none = rayjobs(*run, home=tmp_path, PYTHONPATH=path, RAYJOBS_EXAMPLE_LICENCES="0")
    assert none.code == 1
    assert "asks for 1 of 'licence', its provider has 0 of 'licence'" in none.err
    assert "Traceback" not in none.err


def test_a_plug_in_that_decides_no_pixel_makes_nothing_anew(finished: Path, place: Path, path: str) -> None:
    """Two licences per image instead of one, and no archive: the images are what they were."""
    job = write_job(place, **{**JOB, "requires": {"licence": 2}, "tasks": [], "plugins": PLUGINS[:2]})
    plan = rayjobs("plan", job, "--json", *ALLOW, home=place, PYTHONPATH=path).json
    write_job(place, **JOB)
    assert (plan["to_do"], plan["requires"], plan["tasks"]) == (0, {"licence": 2}, [])


def test_provenance_names_the_package_and_its_version(finished: Path) -> None:
    plugins = json.loads((finished / "job.json").read_text())["plugins"]
    assert sorted(plugins) == sorted(PLUGINS)
    assert plugins["vignette"].startswith("rayjobs-vignette 1.0.0 ")
    assert all(plugins[name].startswith("rayjobs-services 1.0.0 ") for name in PLUGINS[1:])


def test_the_same_job_again_has_nothing_to_do_and_an_edited_plug_in_has(finished: Path, place: Path, path: str) -> None:
    before = golden_tree(finished)
    run = ("run", place / "job.yaml", "--json", *ALLOW)
    again = rayjobs(*run, home=place, PYTHONPATH=path, RAY_ADDRESS="127.0.0.1:1")  # where no Ray is
    assert again.code == 0, again.err
    installed = Path(path.partition(":")[0])
    source = installed / "rayjobs_vignette/operation.py"
    text = source.read_text()
    source.write_text(f"{text}\n# edited\n")
    plan = ("plan", place / "job.yaml", "--json", *ALLOW)
    try:
        assert rayjobs(*plan, home=place, PYTHONPATH=path).json["to_do"] == 6
    finally:
        source.write_text(text)
    assert rayjobs(*plan, home=place, PYTHONPATH=path).json["to_do"] == 0
    assert golden_tree(finished) == before


def test_staged_gives_the_same_bytes(finished: Path, place: Path, path: str) -> None:
    job = write_job(place, **JOB, stages="staged", output="staged")
    done = rayjobs("run", job, "--json", *ALLOW, home=place, PYTHONPATH=path)
    assert done.code == 0, done.err
    assert golden_tree(place / "staged") == golden_tree(finished)


def test_without_being_allowed_it_does_not_run(tmp_path: Path, path: str) -> None:
    write_photographs(tmp_path / "photos", 1)
    done = rayjobs("run", write_job(tmp_path, **JOB), home=tmp_path, PYTHONPATH=path)
    assert done.code == 1
    assert "plug-in 'vignette' (rayjobs-vignette 1.0.0) isn't allowed" in done.err
    assert not (tmp_path / "out").exists()


def test_extensions_are_listed_without_being_loaded(tmp_path: Path, path: str) -> None:
    done = rayjobs("extensions", "--json", "--allow-plugin", "licence", home=tmp_path, PYTHONPATH=path)
    rows = {(row["name"], row["kind"]): row for row in done.json}
    assert rows["licence", "resource"]["allowed"]
    assert not rows["vignette", "processor"]["allowed"]
    assert not any(row["loaded"] for row in rows.values())
