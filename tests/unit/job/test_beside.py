"""Images beside their sources: sources and foreign files stay, own images are no inputs, and nothing else may leave."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.errors import ImageError, JobError
from pipelines.models import ImageStatus
from pipelines.stages.publish import Publisher
from pipelines.stages.worker_journal import WorkerJournal
from rayjobs.job.beside import beside_source
from rayjobs.job.job_check import JobFileError
from rayjobs.job.job_file import parse_job
from rayjobs.job.output_directory import OutputDirectory
from tests.quick_runs import Killed, request, run_here


def job(
    policy: str = "rename", *, name: str = "{stem}", format: str = "jpeg", layout: str = "beside"
) -> dict[str, Any]:
    images = {"layout": layout, "format": format, "name": name, "on_conflict": policy}
    return {
        "inputs": ["photos"],
        "analyses": ["luma_waveform"],
        "read": {"frames": "all"},
        "operations": ["invert"],
        "export": {"images": images, "charts": True},
    }


@dataclass(slots=True)
class Place:
    """A directory with photos and the job's output in it; ``run`` is a job without Ray."""

    base: Path

    @property
    def root(self) -> Path:
        return self.base / "out"

    def files(self) -> set[str]:
        return {str(path.relative_to(self.base)) for path in (self.base / "photos").rglob("*") if path.is_file()}

    def run(self, spec: Mapping[str, Any], **options: Any) -> dict[str, ImageStatus]:
        rows: list[ImageStatus] = []
        run_here(request(self.base, spec), rows=rows, **options)
        ledger = OutputDirectory(self.root).read_ledger()
        paths = {final.id: os.path.relpath(os.fsdecode(final.path), self.base) for final in ledger.final_inputs()}
        ledger.close()
        return {paths[row.id]: row for row in rows}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    for number, name in enumerate(("a.jpg", "a.png", "sub/b.png", "sub/c.jpg")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), (40 * number, 90, 20)).save(path)
    return Place(tmp_path)


def contents(place: Place, names: set[str]) -> dict[str, bytes]:
    return {name: (place.base / name).read_bytes() for name in names}


def images_of(rows: dict[str, ImageStatus]) -> dict[str, list[str]]:
    return {name: [output.path for output in row.outputs if output.product == "image"] for name, row in rows.items()}


@pytest.mark.parametrize("policy", ["rename", "skip"])
def test_no_source_is_written_over_whatever_the_policy(place: Place, policy: str) -> None:
    before = contents(place, place.files())
    rows = place.run(job(policy))
    assert {row.status for row in rows.values()} == {"done"}
    assert contents(place, set(before)) == before
    assert images_of(rows)["photos/sub/b.png"] == ["../photos/sub/b.jpg"]
    for row in rows.values():
        for output in row.outputs:
            assert (place.root / output.path).is_file()
            assert output.path.startswith("../photos/" if output.product == "image" else "charts/")
    assert not (place.root / "images").exists()


def test_a_job_that_takes_no_other_name_is_refused_where_its_image_would_be_a_source(place: Place) -> None:
    before = contents(place, place.files())
    (place.base / "photos/a.png").unlink()
    del before["photos/a.png"]
    with pytest.raises(JobError, match=r"image of 2 inputs would take the place of an input: .*choose another output"):
        place.run(job("error"))
    assert contents(place, place.files()) == before
    assert not place.root.exists()


def test_own_images_are_no_inputs_of_the_next_run_and_stay_when_they_are_not_wanted(place: Place) -> None:
    before = place.files()
    place.run(job(name="{stem}_look"))
    looks = place.files() - before
    assert len(looks) == len(before)
    assert place.run(job(name="{stem}_look")) == {}
    rows = place.run(job(name="{stem}_look", format="webp"))
    assert set(rows) == before
    webp = {os.path.normpath(f"out/{path}") for (path,) in images_of(rows).values()}
    assert place.files() == before | looks | webp
    rows = place.run(job(layout="mirror"))
    assert set(rows) == before
    assert place.files() == before | looks | webp


def test_results_beside_sources_are_no_inputs_of_another_job_that_finds_the_output(place: Place) -> None:
    before = place.files()
    place.run(job(name="{stem}_look"))
    assert len(place.files()) == 2 * len(before)
    other = {**job(layout="mirror"), "name": "other", "inputs": ["."], "output": "other"}
    rows: list[ImageStatus] = []
    assert run_here(request(place.base, other), rows=rows).total == len(before)


def test_a_killed_runs_images_are_replaced_and_no_inputs(place: Place) -> None:
    before = place.files()

    def kill(row: ImageStatus) -> None:
        raise Killed

    with pytest.raises(Killed):
        place.run(job(name="{stem}_look"), after=kill)
    assert len(place.files()) == len(before) + 1
    rows = place.run(job(name="{stem}_look"))
    assert set(rows) == before
    assert len(place.files()) == 2 * len(before)


def test_a_file_of_somebody_else_stays(place: Place) -> None:
    foreign = place.base / "photos/sub/b.jpg"
    foreign.write_bytes(b"not an image")
    rows = place.run(job())
    assert foreign.read_bytes() == b"not an image"
    assert images_of(rows)["photos/sub/b.png"] == ["../photos/sub/b-2.jpg"]


def test_nothing_but_the_image_may_leave_the_output(place: Place) -> None:
    temporary = place.root / ".rayjobs/tmp/1"
    temporary.mkdir(parents=True)
    publisher = Publisher(place.root, temporary, WorkerJournal(temporary))
    with pytest.raises(ImageError, match="outside the output"):
        publisher.publish("chart", "../photos/x.png", b"")
    with pytest.raises(ImageError, match="outside the output"):
        publisher.publish("image", "../photos/x.png", b"", beside=place.base / "photos/sub")
    assert not (place.base / "photos/x.png").exists()


def test_a_directory_without_a_readable_name_has_its_images_in_the_output(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe/a.jpg"
    assert beside_source(path, "x/a", tmp_path / "out") is None


@pytest.mark.parametrize(
    ("policy", "name", "message"), [("overwrite", "{stem}", "on_conflict"), ("rename", "{relpath}", "use {stem}")]
)
def test_what_can_not_be_beside_is_a_mistake_of_the_job(policy: str, name: str, message: str) -> None:
    with pytest.raises(JobFileError, match=message):
        parse_job(json.dumps({**job(policy, name=name), "name": "a", "output": "out"}))
