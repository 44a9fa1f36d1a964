"""Files of single-image tasks are in custody like all others: nothing that somebody has is written over."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import RayjobsError
from pipelines.tasks import ExtensibleTask
from rayjobs.job_tasks import task_files
from rayjobs.task_handlers import OWN_TASKS
from tests.places import JOB, Place, picture
from tests.quick_runs import request, run_here


def run(task_type: str, **config: Any) -> dict[str, Any]:
    task = ExtensibleTask(task_id="t", job_id="j", task_type=task_type, config=config)
    value: dict[str, Any] = OWN_TASKS.handle_task(task).value
    return value


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", 9)
    target = tmp_path / "out/b.png"
    target.parent.mkdir()
    target.write_bytes(b"mine")
    for known in ({}, {str(tmp_path / "elsewhere.png"): hashlib.sha256(b"mine").hexdigest()}):
        with pytest.raises(RayjobsError, match="exists and isn't what this task wrote; move it away"):
            run("render", input=str(source), output=str(target), known=known)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in target.parent.iterdir()] == ["b.png"]


def test_the_same_again_is_no_trouble_and_other_bytes_replace_only_what_the_job_wrote(tmp_path: Path) -> None:
    source, target = picture(tmp_path / "a.png", 9), tmp_path / "out/b.png"
    first = run("render", input=str(source), output=str(target))
    assert run("render", input=str(source), output=str(target))["sha256"] == first["sha256"]
    look: dict[str, Any] = {"input": str(source), "output": str(target), "operations": ["invert"]}
    with pytest.raises(RayjobsError, match="isn't what this task wrote"):
        run("render", **look)
    second = run("render", **look, known={str(target): first["sha256"]})
    assert hashlib.sha256(target.read_bytes()).hexdigest() == second["sha256"] != first["sha256"]


def test_a_task_never_writes_over_its_own_input(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", 9)
    (tmp_path / "linked.png").symlink_to(source)
    before = source.read_bytes()
    for target in (source, tmp_path / "linked.png"):
        with pytest.raises(RayjobsError, match="is the task's own input"):
            run("render", input=str(source), output=str(target), operations=["invert"])
    assert source.read_bytes() == before


def test_charts_of_a_task_stand_in_its_record(tmp_path: Path) -> None:
    source, out = picture(tmp_path / "a.png", 9), tmp_path / "out"
    value = run("export", input=str(source), output=str(out / "extra"), analyses=["luma_waveform"])
    (entry,) = task_files({"result": value}, out)
    assert entry.path == "extra/a.luma_waveform.png"
    assert hashlib.sha256((out / entry.path).read_bytes()).hexdigest() == entry.sha256


def test_results_of_a_job_are_no_inputs_of_its_exports(place: Place) -> None:
    look = {"format": "jpeg", "layout": "beside", "name": "{stem}_look"}
    job = {**JOB, "output": ".", "export": {**JOB["export"], "images": look}}
    run_here(request(place.base, job))
    assert len(list((place.base / "in").iterdir())) == 8
    export = request(place.base, {**JOB, "output": "exports/1", "export": {"images": False, "data": ["csv"]}})
    assert run_here(replace(export, source=place.base)).total == 4
