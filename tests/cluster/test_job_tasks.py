"""``tasks`` in a job file: they follow the results in order, once, and a run that was stopped goes on with the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.leaks import wait_until
from tests.runs import ROOT, Done, command, environment, golden_tree, manifest, rayjobs, write_job, write_photographs

IMAGES = 3
SITE = {
    "notes.py": '''
import time
from pathlib import Path
from rayjobs.plugins import RayjobsError, TaskHandler, TaskResult, TaskStatus

class Notes(TaskHandler):
    """Adds a line to a file once `until` exists, if that is given, and fails as long as `needs` doesn't exist."""
    def get_supported_task_types(self):
        return ["note", "shout"]
    def handle_task(self, task):
        config = task.config
        with open(config["file"], "a") as file:
            file.write(f"begun {config['text']}\\n")
        while "until" in config and not Path(config["until"]).exists():
            time.sleep(0.05)
        if "needs" in config and not Path(config["needs"]).exists():
            raise RayjobsError(f"{Path(config['needs']).name} isn't there")
        text = config["text"].upper() if task.task_type == "shout" else config["text"]
        with open(config["file"], "a") as file:
            file.write(f"{text}\\n")
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value={"text": text})
''',
    "notes-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: notes\nVersion: 1.0\n",
    "notes-1.0.dist-info/entry_points.txt": "[rayjobs.tasks]\nnotes = notes:Notes\n",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    site = tmp_path_factory.mktemp("site")
    for name, text in SITE.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    return f"{site}:{ROOT}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_photographs(tmp_path / "photos", IMAGES)
    return tmp_path


def job(place: Path, *tasks: dict[str, Any], **changes: Any) -> Path:
    more: dict[str, Any] = {"analyses": ["statistics"], "export": {"images": {"format": "png"}}, "plugins": ["notes"]}
    return write_job(place, tasks=list(tasks), **{**more, **changes})


def note(text: str, **more: str) -> dict[str, Any]:
    return {"note": {"file": "{base}/notes.txt", "text": text, **more}}


def run(place: Path, path: str, *arguments: str) -> Done:
    command = arguments or ("run", str(place / "job.yaml"))
    return rayjobs(*command, "--json", "--allow-plugin", "notes", home=place, PYTHONPATH=path)


def notes(place: Path) -> list[str]:
    file = place / "notes.txt"
    return file.read_text().splitlines() if file.exists() else []


def ended(place: Path) -> list[tuple[str, str]]:
    found = json.loads((place / "out/job.json").read_text())["tasks"]
    return [(task["type"], task["status"]) for task in found]


def test_they_follow_in_order_and_only_when_something_changed(place: Path, path: str) -> None:
    shout = {"shout": {"file": "{base}/notes.txt", "text": "{job} in {output}", "needs": "{output}/manifest.parquet"}}
    job(place, note("first"), shout)
    done = run(place, path)
    assert done.code == 0, done.err
    text = f"test-job in {place / 'out'}"
    once = ["begun first", "first", f"begun {text}", text.upper()]
    assert notes(place) == once
    assert ended(place) == [("note", "completed"), ("shout", "completed")]
    facts = json.loads((place / "out/job.json").read_text())["tasks"]
    assert [task["result"] for task in facts] == [{"text": "first"}, {"text": text.upper()}]
    before = golden_tree(place / "out")

    again = rayjobs(
        *("run", place / "job.yaml", "--json", "--allow-plugin", "notes"),
        home=place,
        PYTHONPATH=path,
        RAY_ADDRESS="127.0.0.1:1",  # where no Ray is
    )
    assert (again.code, again.json["status"]) == (0, "completed"), again.err
    assert notes(place) == once

    job(place, note("first"), shout, note("third"))
    assert run(place, path).code == 0
    assert notes(place) == [*once, "begun third", "third"]
    assert golden_tree(place / "out") == before

    write_photographs(place / "photos", IMAGES + 1)
    assert run(place, path).code == 0
    assert notes(place) == [*once, "begun third", "third", *once, "begun third", "third"]
    assert len(manifest(place / "out")) == IMAGES + 1


def test_a_task_that_fails_ends_the_job_and_runs_again_alone(place: Path, path: str) -> None:
    job(place, note("first"), note("second", needs="{base}/key"), note("third"))
    done = run(place, path)
    assert done.code == 2
    assert done.json["status"] == "failed"
    assert done.json["error"] == "task note: RayjobsError: key isn't there"
    assert (done.json["done"], done.json["failed"]) == (IMAGES, 0)
    assert notes(place) == ["begun first", "first", "begun second"]
    assert ended(place) == [("note", "completed"), ("note", "failed")]
    before = golden_tree(place / "out")
    assert len(manifest(place / "out")) == IMAGES

    (place / "key").touch()
    done = run(place, path, "resume", str(place / "out"))
    assert (done.code, done.json["status"]) == (0, "completed"), done.err
    assert "error" not in done.json
    assert notes(place)[3:] == ["begun second", "second", "begun third", "third"]
    assert golden_tree(place / "out") == before


def test_a_task_that_hangs_ends_the_job_with_the_reason(place: Path, path: str) -> None:
    job(place, note("first", until="{base}/never"), limits={"task_timeout": "1s", "attempts": 2})
    done = run(place, path)
    assert (done.code, done.json["status"], done.json["done"]) == (2, "failed", IMAGES)
    assert done.json["error"] == "task note: timed out after 1 s, 2 times"
    assert notes(place) == ["begun first"] * 2


def test_a_failed_task_that_was_taken_out_of_the_file_is_forgotten(place: Path, path: str) -> None:
    job(place, note("first", needs="{base}/key"))
    assert run(place, path).code == 2
    job(place)
    done = run(place, path)
    assert (done.code, done.json["status"]) == (0, "completed"), done.err
    assert ended(place) == []


def started(place: Path, path: str) -> subprocess.Popen[str]:
    arguments = command("run", place / "job.yaml", "--json", "--allow-plugin", "notes")
    variables = environment(place, PYTHONPATH=path)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def test_a_driver_killed_in_a_task_goes_on_with_that_task(place: Path, path: str) -> None:
    job(place, note("first"), note("second", until="{base}/go"))
    process = started(place, path)
    wait_until(lambda: "begun second" in notes(place) or process.poll() is not None, timeout_s=60)
    before = golden_tree(place / "out")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (place / "go").touch()
    assert rayjobs("status", place / "out", "--json", home=place).json["status"] == "interrupted"
    done = run(place, path)
    assert (done.code, done.json["status"]) == (0, "completed"), done.err
    assert notes(place).count("first") == 1
    assert notes(place)[-1] == "second"
    assert golden_tree(place / "out") == before


@pytest.mark.parametrize(("how", "status"), [("signal", "interrupted"), ("cancel", "cancelled")])
def test_a_run_can_be_stopped_in_a_task(place: Path, path: str, how: str, status: str) -> None:
    job(place, note("first", until="{base}/go"))
    process = started(place, path)
    wait_until(lambda: notes(place) == ["begun first"] or process.poll() is not None, timeout_s=60)
    if how == "signal":
        process.send_signal(signal.SIGINT)
    else:
        rayjobs(how, place / "out", home=place)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert json.loads(out.splitlines()[-1])["status"] == status
    (place / "go").touch()
    done = run(place, path)
    assert (done.code, done.json["status"]) == (0, "completed"), done.err
    assert notes(place) == ["begun first", "begun first", "first"]


def test_the_programs_own_types_need_no_plug_in(place: Path, path: str) -> None:
    source = "{output}/images/photo-0000.png"
    job(
        place,
        {"render": {"input": source, "output": "{output}/extra/small.png", "operations": [{"resize": {"width": 30}}]}},
        {"analyze": {"input": source, "analyses": ["statistics"]}},
        plugins=[],
    )
    done = run(place, path)
    assert done.code == 0, done.err
    with Image.open(place / "out/extra/small.png") as small:
        assert small.size == (30, 20)
    _, analyzed = json.loads((place / "out/job.json").read_text())["tasks"]
    with Image.open(place / "out/images/photo-0000.png") as image:
        red = np.asarray(image)[..., 0]
    assert analyzed["result"]["statistics"]["red_mean"] == pytest.approx(red.mean())


def test_mistakes_are_told_before_anything_runs(place: Path, path: str) -> None:
    job(place, {"render": {"input": "a.png"}}, {"nota": {}}, plugins=["notes"])
    done = run(place, path)
    assert done.code == 1
    assert "tasks[0].render: config of the render task: output: is required" in done.err
    assert "tasks[1].nota: unknown task type 'nota'; did you mean 'note'?" in done.err
    assert not (place / "out").exists()
