"""``requires`` in a job file: units of a provider or of a node bound how many images are worked on, over all jobs.

Where only one stage needs a unit, it is held by that stage's work alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.leaks import wait_until
from tests.ray_clusters import HeadNode, head_node, in_checkout
from tests.runs import ROOT, attempts, check_outputs, command, final_rows, manifest, write_job, write_photographs

CPUS, SEATS, IMAGES = 4, 2, 24
PLUGINS = ("watched", "looked", "seat", "pen", "tape")
SITE = {
    "seats.py": f'''
import os, signal, time
from pathlib import Path
from rayjobs.plugins import (
    Analysis, Column, ProcessorExtension, RayjobsError, ResourceAllocation, ResourceInfo, ResourceProvider,
    parameters_of,
)

def note(log, begun):
    with open(log, "a") as file:
        file.write(f"{{begun}} {{time.monotonic()}}\\n")

def wait_for(until, begun):
    """Say that one is under way, and wait for a file."""
    if not os.path.exists(until):
        with open(until + ".begun", "a") as file:
            file.write("begun\\n")
    while not os.path.exists(until) and time.monotonic() < begun + 120:
        time.sleep(0.02)

class Watched(ProcessorExtension):
    """Leaves the image as it is, and notes when it was worked on; ends its process once if it finds a file."""
    def get_name(self):
        return "watched"
    def get_supported_configs(self):
        return ["log", "seconds", "poison", "until"]
    def process(self, image, config):
        begun = time.monotonic()
        wait_for(config.get("until", "/"), begun)
        time.sleep(config["seconds"])
        try:
            os.unlink(config.get("poison", "/nowhere"))
        except FileNotFoundError:
            note(config["log"], begun)
            return image
        note(config["log"], begun)
        os.kill(os.getpid(), signal.SIGKILL)

def looked(image, *, log: str = "/dev/null", until: str = "/") -> dict:
    """Looks at the image until a file exists, and notes when."""
    begun = time.monotonic()
    wait_for(until, begun)
    time.sleep(0.05)
    note(log, begun)
    return {{"seen": 1}}

LOOKED = Analysis(
    name="looked", group="measurements", function=looked, parameters=parameters_of(looked),
    columns=lambda **_: (Column("seen", "int64", "1", "That it was looked at"),),
)

class Seats(ResourceProvider):
    name, total = "seat", {SEATS}
    def __init__(self):
        self.free = self.total
    def get_available_resources(self):
        return ResourceInfo(total={{self.name: self.total}}, available={{self.name: self.free}})
    def allocate(self, amount):
        if amount > self.free:
            raise RayjobsError(f"{{self.free}} of {{self.name}} are free")
        self.free -= amount
        return ResourceAllocation(
            allocation_id=os.urandom(8).hex(), resource_type=self.name, amounts={{self.name: amount}}
        )
    def release(self, allocation):
        self.free += int(allocation.amounts[self.name])

class Pens(Seats):
    name, total = "pen", 1

class Tapes(Seats):
    name, total = "tape", 1
''',
    "seats-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: seats\nVersion: 1.0\n",
    "seats-1.0.dist-info/entry_points.txt": (
        "[rayjobs.processors]\nwatched = seats:Watched\n[rayjobs.analyses]\nlooked = seats:LOOKED\n"
        "[rayjobs.resources]\nseat = seats:Seats\npen = seats:Pens\ntape = seats:Tapes\n"
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("requires")
    for name, text in SITE.items():
        (root / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "site" / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[HeadNode]:
    with head_node(place, cpus=CPUS, takes_jobs=False, PYTHONPATH=f"{place / 'site'}:{ROOT}") as node:
        yield node


def job(
    place: Path,
    name: str,
    log: Path,
    *,
    seconds: float = 0.05,
    images: int = IMAGES,
    until: Path = Path("/"),
    **changes: object,
) -> Path:
    """A job whose every image takes ``seconds``, once ``until`` exists, and leaves a line in ``log``."""
    (place / name).mkdir()
    write_photographs(place / name / "photos", images)
    watched = {"log": str(log), "seconds": seconds, "until": str(until)}
    steps = {"operations": [{"watched": watched}], "analyses": []}
    keys = {**steps, "export": {"images": {"format": "png"}}, "plugins": ["watched", "seat"], **changes}
    return write_job(place / name, name=name, **keys)


def start(cluster: HeadNode, file: Path) -> subprocess.Popen[str]:
    arguments = command("run", file, "--json", *(f"--allow-plugin={name}" for name in PLUGINS))
    variables = {**cluster.variables, "RAY_ADDRESS": cluster.address}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def finish(process: subprocess.Popen[str], output: Path, images: int = IMAGES) -> None:
    _, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    rows = manifest(output)
    assert [row["status"] for row in rows] == ["done"] * images
    check_outputs(output, rows)


def spans_of(*logs: Path) -> list[tuple[float, float]]:
    """When images were worked on: (from, to), by the machine's clock."""
    lines = [line.split() for log in logs if log.exists() for line in log.read_text().splitlines()]
    return [(float(begun), float(ended)) for begun, ended in lines]


def most_at_once(*logs: Path) -> int:
    """How many images were worked on at the same time."""
    spans = spans_of(*logs)
    return max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans)


def when_so_many_are_under_way(until: Path, count: int) -> None:
    """Let images that wait for a file go on."""
    begun = until.with_name(f"{until.name}.begun")
    try:
        wait_until(lambda: begun.exists() and begun.read_text().count("\n") >= count, timeout_s=120)
    finally:
        until.touch()


def test_two_jobs_share_the_units_of_a_provider(cluster: HeadNode, place: Path) -> None:
    log, go = place / "shared.log", place / "go-shared"
    files = [job(place, name, log, until=go, requires={"seat": 1}) for name in ("one", "two")]
    processes = [start(cluster, file) for file in files]
    when_so_many_are_under_way(go, SEATS)
    for process, file in zip(processes, files, strict=True):
        finish(process, file.parent / "out")
    assert most_at_once(log) == SEATS
    assert len(log.read_text().splitlines()) >= 2 * IMAGES


def test_without_requires_all_cpus_work(cluster: HeadNode, place: Path) -> None:
    """What the other tests would see if nothing bounded them."""
    go = place / "go-free"
    file = job(place, "free", place / "free.log", until=go, plugins=["watched"])
    process = start(cluster, file)
    when_so_many_are_under_way(go, SEATS + 1)
    finish(process, file.parent / "out")
    assert most_at_once(place / "free.log") > SEATS


def two_stages(place: Path, name: str, render: str, analyze: str | None = None, **more: str) -> Path:
    """A job that renders with a unit of one provider and analyses with one of another, or without, and notes when."""
    logs = {stage: str(place / f"{name}-{stage}.log") for stage in ("render", "analyze")}
    until = {"until": more.pop("until")} if "until" in more else {}
    return job(
        place,
        name,
        place,
        operations=[{"watched": {"log": logs["render"], "seconds": 0.02, **more}}],
        analyses=[{"looked": {"log": logs["analyze"], **until}}],
        requires={"render": {render: 1}, **({"analyze": {analyze: 1}} if analyze else {})},
        plugins=["watched", "looked", *filter(None, (render, analyze))],
        limits={"workers": CPUS // 2},
    )


def test_a_unit_is_free_for_another_job_while_images_are_analysed_and_exported(cluster: HeadNode, place: Path) -> None:
    """No image of either is done before both have rendered, and there is one unit."""
    go = place / "go"
    files = [two_stages(place, name, "pen", until=str(go)) for name in ("one-pen", "other-pen")]
    logs = [place / f"{file.parent.name}-render.log" for file in files]
    processes = [start(cluster, file) for file in files]
    try:
        wait_until(lambda: all(map(spans_of, logs)), timeout_s=120)
        assert [final_rows(file.parent / "out") for file in files] == [0, 0]
    finally:
        go.touch()
    for process, file in zip(processes, files, strict=True):
        finish(process, file.parent / "out")
    assert most_at_once(*logs) == 1
    assert [len(spans_of(log)) for log in logs] == [IMAGES, IMAGES]


def test_jobs_that_need_the_same_units_the_other_way_round_both_end(cluster: HeadNode, place: Path) -> None:
    """Also when a process that holds a unit dies."""
    poison = place / "poison"
    poison.touch()
    there = two_stages(place, "there", "pen", "tape", poison=str(poison))
    back = two_stages(place, "back", "tape", "pen")
    processes = [start(cluster, file) for file in (there, back)]
    for process, file in zip(processes, (there, back), strict=True):
        finish(process, file.parent / "out")
    assert not poison.exists()
    assert most_at_once(place / "there-render.log", place / "back-analyze.log") == 1
    assert most_at_once(place / "there-analyze.log", place / "back-render.log") == 1


@pytest.mark.parametrize("stages", ["fused", "staged"])
def test_what_nodes_declare_is_held_per_image_too(cluster: HeadNode, place: Path, stages: str) -> None:
    log = place / f"{stages}.log"
    file = job(place, stages, log, images=8, stages=stages, requires={"export_io": CPUS / 2 + 1}, plugins=["watched"])
    finish(start(cluster, file), file.parent / "out", 8)
    assert most_at_once(log) == 1


def test_a_killed_driver_gives_its_units_back(cluster: HeadNode, place: Path) -> None:
    go = place / "go-held"
    held = job(place, "held", place / "held.log", until=go, requires={"render": {"seat": SEATS}})
    killed = start(cluster, held)
    wait_until(go.with_name("go-held.begun").exists, timeout_s=120)  # it has all seats, and keeps them
    waiting = job(place, "waiting", place / "waiting.log", images=2, requires={"seat": 1})
    other = start(cluster, waiting)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    go.touch()
    finish(other, waiting.parent / "out", 2)
    finish(start(cluster, held), held.parent / "out")
    assert [outcome for _, _, outcome in attempts(held.parent / "out")].count("done") == IMAGES


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ({"seat": SEATS + 1}, f"requires: a task of type 'image' asks for 3 of 'seat', its provider has {SEATS}"),
        ({"scanner": 1}, "requires: a task of type 'image' asks for 1 of 'scanner', nothing offers 'scanner'"),
        ({"gpu": 1}, "requires: a task of type 'image' asks for 1 GPU, the largest node"),
    ],
    ids=["too many", "unknown", "gpu"],
)
def test_what_can_never_be_had_is_said_in_one_line(
    cluster: HeadNode, place: Path, tmp_path: Path, requires: dict[str, float], words: str
) -> None:
    file = job(tmp_path, "never", place / "never.log", images=1, requires=requires)
    process = start(cluster, file)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert words in error
    assert "Traceback" not in error
    status = in_checkout(*command("status", file.parent / "out"), variables=cluster.variables)
    assert words in status.stdout
