"""Commands that list and look: what there is, with parameters; what is wrong with this machine; what would be done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.analyses import ANALYSES
from pipelines.operations import OPERATIONS
from rayjobs.command_line.cli import main
from tests.runs import rayjobs, write_job, write_photographs

Output = pytest.CaptureFixture[str]


def listed(capsys: Output, *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_operations_are_listed_with_parameters(capsys: Output) -> None:
    rows = {row["name"]: row for row in listed(capsys, "operations")}
    assert rows.keys() == OPERATIONS.keys()
    sigma = rows["gaussian"]["parameters"]["sigma"]
    assert sigma["type"] == "number"
    assert sigma["description"]
    assert main(["operations"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in f"\n{out}" for name in OPERATIONS)
    assert "      sigma " in out


def test_analyses_are_listed_with_columns(capsys: Output) -> None:
    rows = {row["name"]: row for row in listed(capsys, "analyses")}
    assert rows.keys() == ANALYSES.keys()
    columns = {column["name"]: column for column in rows["sharpness"]["columns"]}
    assert columns["sharpness_brenner"]["unit"] == "level²"
    assert rows["objects"]["grain"] == "object"
    assert {column["name"] for column in rows["objects"]["object_columns"]} >= {"label", "area"}
    assert main(["analyses"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in f"\n{out}" for name in ANALYSES)


def test_charts_and_engines_are_listed(capsys: Output) -> None:
    found = listed(capsys, "charts")
    assert [chart["name"] for chart in found["charts"]][:2] == ["color_histogram", "luma_waveform"]
    assert found["engines"] == ["fast", "matplotlib"]
    assert main(["charts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "engines: fast, matplotlib"


def test_without_plug_ins_the_list_says_how_to_write_one(tmp_path: Path) -> None:
    done = rayjobs("extensions", home=tmp_path)
    assert (done.code, done.out) == (0, "no plug-ins are installed; docs/how-to/plugins.md says how to write one\n")


def test_a_healthy_machine_passes(tmp_path: Path) -> None:
    """What the machine can't help, such as little room in /dev/shm, is a warning at most."""
    done = rayjobs("doctor", "--no-ray", "--json", home=tmp_path)
    findings = {row["what"]: row for row in map(json.loads, done.out.splitlines())}
    assert done.code == 0, done.out
    assert findings.keys() == {
        *("Python", "packages", "our packages", "compiled kernels", "temporary files", "shared memory"),
        *("RAYJOBS_HOME", "authentication"),
    }
    assert findings["RAYJOBS_HOME"] == {"verdict": "ok", "what": "RAYJOBS_HOME", "text": str(tmp_path)}


def test_what_is_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = rayjobs(
        "doctor",
        "--no-ray",
        home=tmp_path / "file/home",
        cwd=tmp_path,
        RAY_ADDRESS="192.0.2.1:6379",
        RAY_AUTH_MODE="disabled",
    )
    assert done.code == 1
    lines = dict(line.split(": ", 1) for line in done.out.splitlines())
    assert lines["problem  RAYJOBS_HOME"].endswith("Not a directory; set RAYJOBS_HOME to a directory of yours")
    assert "192.0.2.1:6379 is reachable without a token" in lines["problem  authentication"]
    assert lines.keys() >= {"ok       Python"}


def test_a_plan_says_what_is_left_out_and_why(tmp_path: Path) -> None:
    photos = write_photographs(tmp_path / "photos", 4)
    (tmp_path / "photos/notes.txt").write_text("not an image")
    os.symlink("nowhere.jpg", tmp_path / "photos/broken-link.jpg")
    job = write_job(tmp_path, exclude=["**/photo-0001.jpg"], inputs=["photos/", "missing.jpg"])
    plan = rayjobs("plan", job, "--json", home=tmp_path).json
    assert (plan["total"], plan["to_do"]) == (len(photos) + 2, 3)
    left_out = {Path(entry["input"]).name: (entry["status"], entry["reason"]) for entry in plan["left_out"]}
    assert left_out == {
        "photo-0001.jpg": ("skipped", "excluded"),
        "broken-link.jpg": ("failed", "missing"),
        "missing.jpg": ("failed", "missing"),
    }
    assert plan["ignored"] == {".txt": 1}
    text = rayjobs("plan", job, home=tmp_path).out
    assert "test-job: 6 inputs, 3 to do, 0 finished already" in text
    assert "left out:   1 excluded" in text
    assert "  excluded       " in text
    assert "ignored:    1 files that don't look like images: .txt" in text
    assert not (tmp_path / "out").exists()
