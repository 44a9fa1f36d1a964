"""Workers that make no progress are ended from outside: their input fails alone, all others are done, the job ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.leaks import output_left, wait_until
from tests.long import LONG
from tests.runs import ROOT, attempts, check_outputs, environment, manifest, rayjobs, write_job, write_photographs

COUNT = 24
LIMIT_S = 8
"""Well above what a fresh worker on a busy machine needs for its first picture."""
FREEZER = Path("/sys/fs/cgroup/freezer")
PLUGIN = """
import ctypes, os, signal, subprocess
from pathlib import Path
from rayjobs.plugins import ProcessorExtension

class Stopper(ProcessorExtension):
    '''Does to its process what the colour of the picture says.'''

    def process(self, image, config):
        colour = tuple(int(v) for v in image[0, 0, :3]) if image.min() == image[0, 0].min() else None
        mark = Path(os.environ["STOPPER_MARK"])
        if colour == (255, 0, 0):
            os.kill(os.getpid(), signal.SIGSTOP)
        elif colour == (0, 255, 0) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        elif colour == (0, 0, 255):
            subprocess.Popen(["sh", "-c", f"sleep 1.5; kill -CONT {os.getpid()}"])
            os.kill(os.getpid(), signal.SIGSTOP)
        elif colour == (0, 255, 255):
            ctypes.PyDLL(None).sleep(600)  # in C, with the interpreter's lock
        elif colour == (255, 255, 0):
            group = Path(os.environ["STOPPER_FREEZER"])
            (group / "cgroup.procs").write_text(str(os.getpid()))
            (group / "freezer.state").write_text("FROZEN")  # from here on not even SIGKILL has an effect
        return image

    def get_name(self):
        return "stopper"

    def get_supported_configs(self):
        return []
"""
COLOURS = {
    "red-for-good": (255, 0, 0),
    "green-once": (0, 255, 0),
    "blue-for-a-while": (0, 0, 255),
    "cyan-locked": (0, 255, 255),
}


def prepare(root: Path, colours: dict[str, tuple[int, int, int]], **changes: object) -> Path:
    """A job over photographs and pictures of one colour."""
    write_photographs(root / "photos", COUNT)
    for name, colour in colours.items():
        Image.new("RGB", (64, 48), colour).save(root / f"photos/photo-0010-{name}.png")
    site = root / "site"
    (site / "stopper-1.0.dist-info").mkdir(parents=True)
    (site / "stopper_plugin.py").write_text(PLUGIN)
    (site / "stopper-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: stopper\nVersion: 1.0\n")
    (site / "stopper-1.0.dist-info/entry_points.txt").write_text(
        "[rayjobs.processors]\nstopper = stopper_plugin:Stopper\n"
    )
    return write_job(
        root,
        plugins=["stopper"],
        operations=["stopper"],
        analyses=["statistics"],
        export={"images": {"format": "png"}, "data": ["parquet"]},
        **changes,
    )


def variables(root: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{root / 'site'}{os.pathsep}{ROOT}", "STOPPER_MARK": str(root / "mark")}


def by_name(output: Path) -> dict[str, dict[str, object]]:
    return {Path(row["input"]).stem.removeprefix("photo-0010-"): row for row in manifest(output)}


@pytest.mark.parametrize("stages", ["fused", pytest.param("staged", marks=LONG)])
def test_stopped_for_good_fails_or_is_done_by_another_try_and_for_a_while_costs_nothing(
    tmp_path: Path, stages: str
) -> None:
    """The job ends within 200 s: at worst three times limit, grace, a look, and the start of a worker."""
    job = prepare(tmp_path, COLOURS, limits={"item_timeout": f"{LIMIT_S}s", "attempts": 2, "workers": 2}, stages=stages)
    begun = time.monotonic()
    done = rayjobs("run", job, "--json", "--allow-plugin", "stopper", home=tmp_path, **variables(tmp_path))
    assert time.monotonic() - begun < 200
    assert done.code == 2, done.err
    rows = by_name(tmp_path / "out")
    assert len(rows) == COUNT + len(COLOURS)
    failed = {name: row["reason"] for name, row in rows.items() if row["status"] != "done"}
    assert failed == {"red-for-good": "timeout", "cyan-locked": "timeout"}
    assert all(f"limits.item_timeout ({LIMIT_S} s)" in str(rows[name]["message"]) for name in failed)
    check_outputs(tmp_path / "out", manifest(tmp_path / "out"))
    outcomes: dict[int, list[str]] = {}
    for number, _, outcome in attempts(tmp_path / "out"):
        outcomes.setdefault(number, []).append(outcome)
    # two tries of those that fail, a second one of green, and nothing charged to blue or to any other
    told = Counter(tuple(each) for each in outcomes.values())
    assert told == {("done",): COUNT + 1, ("crashed", "done"): 1, ("crashed", "failed"): 2}


@contextmanager
def freezer() -> Iterator[Path]:
    """A control group whose processes can be frozen; what is in it is ended afterwards."""
    group = FREEZER / f"rayjobs-test-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        (group / "freezer.state").write_text("THAWED")
        for number in (group / "cgroup.procs").read_text().split():
            os.kill(int(number), signal.SIGKILL)
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.skipif(
    not (FREEZER / "cgroup.procs").exists() or not os.access(FREEZER, os.W_OK),
    reason="needs the freezer of control groups, version 1, and to be root",
)
def test_one_that_the_kernel_does_not_end_is_abandoned_and_the_others_go_on(tmp_path: Path) -> None:
    """The job ends within 150 s."""
    colours = {"yellow-frozen": (255, 255, 0)}
    job = prepare(tmp_path, colours, limits={"item_timeout": f"{LIMIT_S}s", "attempts": 3, "workers": 2})
    begun = time.monotonic()
    with freezer() as group:
        where = variables(tmp_path) | {"STOPPER_FREEZER": str(group)}
        done = rayjobs("run", job, "--json", "--allow-plugin", "stopper", home=tmp_path, **where)
    assert time.monotonic() - begun < 150
    assert done.code == 2, done.err
    rows = by_name(tmp_path / "out")
    assert [name for name, row in rows.items() if row["status"] != "done"] == list(colours)
    frozen = rows["yellow-frozen"]
    assert frozen["reason"] == "timeout"
    assert "the kernel doesn't end its process" in str(frozen["message"])
    check_outputs(tmp_path / "out", manifest(tmp_path / "out"))
    assert len(attempts(tmp_path / "out")) == COUNT + 1


HANGING_IMPORT = """
import sys, time
from rayjobs.plugins import ProcessorExtension

if any("default_worker" in word for word in sys.orig_argv):
    time.sleep(100_000)

class Hanging(ProcessorExtension):
    def process(self, image, config):
        return image

    def get_name(self):
        return "stopper"

    def get_supported_configs(self):
        return []
"""
QUICK = """
import sys
import rayjobs.run.ray_session as session
session.before_importing_ray()
import rayjobs.run.ray_workers as workers
workers.QUIET_S = 4
from rayjobs.command_line.cli import main
sys.exit(main())
"""


def test_workers_that_hang_before_they_start_an_image_end_the_job(tmp_path: Path) -> None:
    """With a patience of 4 s instead of 120 s the job ends within 120 s: three streams, and one image alone."""
    job = prepare(tmp_path, {}, limits={"item_timeout": f"{LIMIT_S}s", "workers": 2})
    (tmp_path / "site/stopper_plugin.py").write_text(HANGING_IMPORT.replace("Hanging", "Stopper"))
    done = subprocess.run(
        [sys.executable, "-c", QUICK, "run", str(job), "--json", "--allow-plugin", "stopper"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment(tmp_path, **variables(tmp_path)),
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["status"] == "failed"
    assert "workers end, or do nothing, before they start an image" in told["error"]
    assert "(raylet)" not in done.stderr + done.stdout
    assert output_left(tmp_path / "out") == []
