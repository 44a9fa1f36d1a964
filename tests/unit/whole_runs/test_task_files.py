"""Files of single-image tasks are in custody like all others: nothing that somebody has is written over."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import RayjobsError
from pipelines.resources import ResourceEstimate
from pipelines.tasks import ExtensibleTask, Task
from rayjobs.job.job_check import check_job
from rayjobs.job.job_tasks import planned_tasks, task_files
from rayjobs.job.task_handlers import OWN_TASKS, named_contents, with_stages
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
        with pytest.raises(RayjobsError, match=r"b\.png exists and is not this job's.*; move it away"):
            run("render", input=str(source), output=str(target), known=known)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in target.parent.iterdir()] == ["b.png"]


def test_the_same_again_is_no_trouble_and_other_bytes_replace_only_what_the_job_wrote(tmp_path: Path) -> None:
    source, target = picture(tmp_path / "a.png", 9), tmp_path / "out/b.png"
    first = run("render", input=str(source), output=str(target))
    assert run("render", input=str(source), output=str(target))["sha256"] == first["sha256"]
    look: dict[str, Any] = {"input": str(source), "output": str(target), "operations": ["invert"]}
    with pytest.raises(RayjobsError, match="is not this job's"):
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


def test_a_task_makes_what_a_job_makes(place: Place) -> None:
    place.run(images={"name": "{stem}"})
    look = {"input": str(place.base / "in/p1.png"), "operations": ["invert"]}
    run("render", output=str(place.base / "other/p1.PNG"), **look)
    assert (place.base / "other/p1.PNG").read_bytes() == (place.out / "images/p1.png").read_bytes()
    drawn = run("export", output=str(place.base / "other"), analyses=["color_histogram", "statistics"], **look)
    (chart,) = drawn["charts"].values()
    assert Path(chart).read_bytes() == (place.out / "charts/color_histogram/p1.png").read_bytes()
    assert [entry.name for entry in (place.base / "other").iterdir() if entry.is_dir()] == []


def test_what_a_task_measures_is_plain(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", 200)
    found = run("analyze", input=str(source), analyses=[{"objects": {"polarity": "dark"}}, "color_histogram"])
    assert json.loads(json.dumps(found)).keys() == {"objects", "color_histogram"}


def test_a_file_that_was_written_through_a_link_is_known_again(tmp_path: Path) -> None:
    source, target = picture(tmp_path / "a.png", 9), tmp_path / "linked/b.png"
    (tmp_path / "out").mkdir()
    (tmp_path / "linked").symlink_to("out")
    first = run("render", input=str(source), output=str(target))
    real = str(tmp_path / "out/b.png")  # as the job's record has it
    run("render", input=str(source), output=str(target), operations=["invert"], known={real: first["sha256"]})
    assert hashlib.sha256(target.read_bytes()).hexdigest() != first["sha256"]


def test_a_task_is_another_one_when_its_look_changes(tmp_path: Path) -> None:
    def digest() -> str:
        task = {"render": {"input": "a", "output": "{output}/b.png", "operations": [{"lut3d": {"path": str(look)}}]}}
        spec = check_job({"name": "a", "inputs": ["in"], "output": "out", "tasks": [task]})
        return planned_tasks(spec, tmp_path, tmp_path / "out")[0].digest

    look = tmp_path / "look.cube"
    before = digest()
    look.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    assert digest() != before


def test_results_of_a_job_are_no_inputs_of_its_exports(place: Place) -> None:
    look = {"format": "jpeg", "layout": "beside", "name": "{stem}_look"}
    job = {**JOB, "output": ".", "export": {**JOB["export"], "images": look}}
    run_here(request(place.base, job))
    assert len(list((place.base / "in").iterdir())) == 8
    export = request(place.base, {**JOB, "output": "exports/1", "export": {"images": False, "data": ["csv"]}})
    assert run_here(replace(export, source=place.base)).total == 4


def test_a_task_holds_what_nodes_declare_for_its_stages_and_what_it_asks_for_itself() -> None:
    task = Task(task_id="t", task_type="render", resources=ResourceEstimate(cpus=2, custom={"export_io": 3, "seat": 1}))
    held = with_stages(task, {"render", "analyze", "export_io"}).resources
    assert held == ResourceEstimate(cpus=2, custom={"render": 1, "export_io": 3, "seat": 1})
    assert with_stages(task, ()) == task


def job_with(tmp_path: Path, **task: Any) -> dict[str, Any]:
    """The configuration with which the one task of a job in ``tmp_path`` runs."""
    job = {"name": "a", "inputs": ["in"], "output": "out", "analyses": ["statistics"], "tasks": [task]}
    spec = check_job(job, base=tmp_path)
    return dict(planned_tasks(spec, tmp_path, tmp_path / "out")[0].config)


def test_relative_paths_and_tilde_mean_in_a_task_what_they_mean_in_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "look.cube").write_text("LUT_1D_SIZE 2\n1 1 1\n0 0 0\n")
    picture(tmp_path / "a.png", 9)
    look = [{"lut3d": {"path": "look.cube"}}]
    config = job_with(tmp_path, render={"input": "a.png", "output": "~/b.png", "operations": look})
    run("render", **config)
    look = [{"lut3d": {"path": str(tmp_path / "look.cube")}}]
    run("render", input=str(tmp_path / "a.png"), output=str(tmp_path / "c.png"), operations=look)
    assert (tmp_path / "home/b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"render": {"input": "a.png", "output": "s3://bucket/b.png"}}, "object stores are not supported"),
        ({"analyze": {"input": "$HOME/a.png"}}, "variables such as"),
        ({"render": {"input": "a", "output": "b.png", "operations": ["invrt"]}}, "did you mean 'invert'"),
        (
            {"render": {"input": "a", "output": "b.png", "operations": [{"gaussian": {"sigma": -1}}]}},
            r"\[0\].gaussian.si",
        ),
        (
            {"analyze": {"input": "a", "analyses": [{"objects": {"polarity": "dim"}}]}},
            r"analyses\[0\].objects.polarity",
        ),
        ({"export": {"input": "a", "output": "b", "engine": "fats"}}, "did you mean 'fast'"),
        ({"render": {"input": "a", "output": "b.gif"}}, "gif"),
        ({"render": {"input": "a", "output": "b.png", "quality": True}}, "quality"),
        ({"render": {"input": "a", "output": "b.png", "known": {"/x/b.png": "0"}}}, "known: is the run's to say"),
        ({"analyze": {"input": "a", "extensions": {"x": "1"}}}, "extensions: is the run's to say"),
        ({"render": {"input": "a", "output": "b.png", "operations": None}}, "operations: give a list"),
        ({"analyze": {"input": "a", "analyses": [{"scopes": {"luma": "bt601"}}]}}, "each by its own name"),
    ],
)
def test_what_is_wrong_in_a_task_is_told_with_the_job(tmp_path: Path, task: dict[str, Any], said: str) -> None:
    with pytest.raises(RayjobsError, match=said):
        job_with(tmp_path, **task)


@pytest.mark.parametrize("key", ["operations", "analyses"])
@pytest.mark.parametrize("params", ["wide", 5, 0, False, "", [], [["max_side", 5]], {5: "wide"}])
def test_parameters_that_are_no_mapping_are_refused_where_they_stand(tmp_path: Path, key: str, params: Any) -> None:
    name = {"operations": "resize", "analyses": "objects"}[key]
    config = {"input": "a.png", key: [{name: params}]}
    with pytest.raises(RayjobsError, match=rf"{key}\[0\]: {name}: give a mapping of its parameters, such as {{"):
        OWN_TASKS.check("analyze", config)
    with pytest.raises(RayjobsError, match=rf"{key}.*{name}"):
        job_with(tmp_path, analyze=config)


@pytest.mark.parametrize("step", [5, None, False, [], [["max_side", 5]], {}, {"resize": {}, "invert": {}}, {5: {}}])
def test_what_is_no_step_is_refused_where_it_stands(step: Any) -> None:
    for key in ("operations", "analyses"):
        with pytest.raises(RayjobsError, match=rf"{key}\[0\]: give a name, (or|such) .* not "):
            OWN_TASKS.check("analyze", {"input": "a.png", key: [step]})


def test_parameters_may_be_left_out(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.png", 200)
    steps: list[Any] = ["invert", {"invert": None}, {"invert": {}}]
    assert len({json.dumps(run("analyze", input=str(source), operations=[step])) for step in steps}) == 1
    assert run("analyze", input=str(source), analyses={"scopes": None}) == run("analyze", input=str(source))


def test_a_lone_operation_that_names_a_file_is_looked_into_as_well(tmp_path: Path) -> None:
    look = tmp_path / "look.cube"
    look.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    step = {"lut3d": {"path": str(look)}}
    assert named_contents({"operations": step}) == named_contents({"operations": [step]}) != []
    assert named_contents({"operations": None}) == named_contents({"operations": [{"lut3d": "x"}, 5]}) == []
