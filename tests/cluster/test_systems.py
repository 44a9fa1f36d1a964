"""Systems that carry a job's work on a cluster: stages apart, analyses known from another job, who is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ray_clusters import HeadNode, head_node, in_checkout
from tests.runs import ROOT, Done, check_outputs, command, golden_tree, manifest, write_job, write_photographs
from tests.web_hooks import web_hook

CPUS, IMAGES = 4, 16
SITE = {
    "studio.py": '''
import os, time
from rayjobs.plugins import Analysis, Column, Parameters, ProcessorExtension

def note(what, begun):
    with open(os.environ["STUDIO_LOG"], "a") as log:
        log.write(f"{what} {begun} {time.monotonic()}\\n")

class Graded(ProcessorExtension):
    """Leaves the image as it is, and needs the node's grading desk."""
    def get_name(self):
        return "graded"
    def get_supported_configs(self):
        return []
    def get_required_resources(self):
        return {"desk": 1}
    def process(self, image, config):
        begun = time.monotonic()
        time.sleep(0.1)
        note("graded", begun)
        return image

def looked_at(image):
    """Takes long, and needs nothing."""
    begun = time.monotonic()
    time.sleep(0.4)
    note("looked_at", begun)
    return {"mean": float(image.mean())}

COLUMNS = [Column("mean", "float64", "level", "Mean of all samples")]
LOOKED_AT = Analysis("looked_at", "measurements", looked_at, Parameters, lambda **_: COLUMNS)
''',
    "studio-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: studio\nVersion: 1.0\n",
    "studio-1.0.dist-info/entry_points.txt": (
        "[rayjobs.processors]\ngraded = studio:Graded\n[rayjobs.analyses]\nlooked_at = studio:LOOKED_AT\n"
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("systems")
    for name, text in SITE.items():
        (root / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "site" / name).write_text(text)
    write_photographs(root / "photos", IMAGES)
    return root


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[HeadNode]:
    """One node with a single grading desk."""
    variables = {"PYTHONPATH": f"{place / 'site'}:{ROOT}", "STUDIO_LOG": str(place / "log")}
    with head_node(place, cpus=CPUS, resources={"desk": 1}, takes_jobs=False, **variables) as node:
        yield node


def run(cluster: HeadNode, place: Path, name: str, *options: str, **changes: Any) -> Done:
    """Run a job over the photographs with all output in ``place/name``."""
    (place / "log").unlink(missing_ok=True)
    (place / name).mkdir()
    job: dict[str, Any] = {
        "inputs": ["../photos/"],
        "operations": ["graded"],
        "analyses": ["looked_at"],
        "plugins": ["graded", "looked_at"],
        "export": {"images": {"format": "png"}},
    }
    file = write_job(place / name, **{**job, **changes})
    allowed = ("--allow-plugin", "graded", "--allow-plugin", "looked_at")
    done = in_checkout(
        *command("run", file, *allowed, *options), variables={**cluster.variables, "RAY_ADDRESS": cluster.address}
    )
    assert done.returncode == 0, done.stderr
    rows = manifest(place / name / "out")
    assert [row["status"] for row in rows] == ["done"] * IMAGES
    check_outputs(place / name / "out", rows)
    return Done(done.returncode, done.stdout, done.stderr)


def spans(place: Path, what: str) -> list[tuple[float, float]]:
    lines = [line.split() for line in (place / "log").read_text().splitlines()] if (place / "log").exists() else []
    return [(float(begun), float(ended)) for name, begun, ended in lines if name == what]


def most_at_once(found: list[tuple[float, float]]) -> int:
    return max(sum(begun <= moment < ended for begun, ended in found) for moment, _ in found)


def test_what_only_rendering_needs_is_free_while_images_are_analysed(cluster: HeadNode, place: Path) -> None:
    run(cluster, place, "auto", cache="off")
    assert most_at_once(spans(place, "graded")) == 1  # there is one desk
    assert most_at_once(spans(place, "looked_at")) > 1  # it isn't held meanwhile
    tasks = {task["name"] for task in cluster.state()["tasks"]}
    for stage in ("render", "analyze", "export"):
        assert any(f"({stage})" in name for name in tasks), sorted(tasks)


def test_the_same_bytes_come_out_when_every_image_holds_it_to_the_end(cluster: HeadNode, place: Path) -> None:
    run(cluster, place, "fused", stages="fused", cache="off")
    assert most_at_once(spans(place, "looked_at")) == 1
    assert golden_tree(place / "fused" / "out") == golden_tree(place / "auto" / "out")


def test_a_second_job_with_another_output_takes_what_the_first_measured(cluster: HeadNode, place: Path) -> None:
    measured = ["looked_at", "statistics", "color_histogram"]
    first = run(cluster, place, "first", analyses=measured, stages="fused")
    assert "from the cache" not in first.out
    assert len(spans(place, "looked_at")) == IMAGES
    with web_hook(answers=(503, 0)) as received:
        second = run(cluster, place, "second", "--notify", received.url, analyses=measured)  # its stages run apart
    assert spans(place, "looked_at") == []  # nobody looked again
    assert f"; {2 * IMAGES} analyses from the cache" in second.out
    assert json.loads((place / "second/out/job.json").read_text())["known"] == 2 * IMAGES
    assert golden_tree(place / "first" / "out") == golden_tree(place / "second" / "out")
    (told,) = received.events
    assert len(received.requests) == 3
    assert (told["status"], told["done"], told["known"]) == ("completed", IMAGES, 2 * IMAGES)
