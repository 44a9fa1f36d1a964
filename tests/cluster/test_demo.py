"""The demo as a newcomer runs it: twice, in a directory whose path has a space."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.runs import ROOT, environment, golden_tree, manifest, rayjobs

SCOPES = {
    *("color_histogram", "hue_histogram", "lab_chromaticity", "luma_waveform", "rgb_parade", "saturation_histogram"),
}


def test_the_demo_succeeds_twice_in_a_row(tmp_path: Path) -> None:
    place = tmp_path / "a new directory"
    (place / "examples").mkdir(parents=True)
    shutil.copy(ROOT / "examples/demo.yaml", place / "examples")
    inputs = [sys.executable, str(ROOT / "examples/demo_inputs.py"), str(place / "out/demo-inputs")]
    trees = []
    for _ in range(2):
        subprocess.run(inputs, check=True, cwd=place, env=environment(tmp_path))
        done = rayjobs("run", place / "examples/demo.yaml", "--json", home=tmp_path)
        assert done.code == 0, done.err
        trees.append(golden_tree(place / "out/demo"))
    assert trees[0] == trees[1]
    output = place / "out/demo"
    rows = manifest(output)
    files = [path for path in (place / "out/demo-inputs").rglob("*") if path.is_file()]
    assert len(rows) == len(files) >= 20
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 3
    assert all(row["reason"] and row["message"] for row in failed)
    good = [row for row in rows if row["status"] == "done"]
    assert len(good) == len(rows) - 3
    assert pq.read_table(output / "data/analyses.parquet").num_rows == len(good)
    assert len(list((output / "images").rglob("*.jpg"))) == len(good)
    charts = list((output / "charts").rglob("*.png"))
    assert {scope for scope in SCOPES if any(scope in str(path.relative_to(output)) for path in charts)} == SCOPES
    assert len(charts) >= len(good) * len(SCOPES)
    page = (output / "report/index.html").read_text(encoding="utf-8")
    assert all(row["reason"].replace("_", " ") in page for row in failed)
    data = (output / "report/data/block-00000.js").read_text(encoding="ascii")
    assert all(f'"{Path(row["input"]).name}"' in data for row in rows)
    assert len(list((output / "report/thumbnails").iterdir())) == len(good)
    assert "http://" not in page
    assert "https://" not in page
