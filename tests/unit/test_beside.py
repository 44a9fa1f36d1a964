"""Images beside their sources: sources and foreign files stay, own images are no inputs, and nothing else may leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from actors.input_plan import seal_inputs
from actors.job_ledger import JobLedger
from actors.product_plan import apply_products
from pipelines.errors import ImageError
from pipelines.image_task import process
from pipelines.models import ImageStatus
from pipelines.publish import Publisher
from pipelines.worker_journal import WorkerJournal, published_files
from rayjobs.beside import image_stem, without_own
from rayjobs.discovery import Discovery
from rayjobs.job_file import JobFileError, parse_job
from rayjobs.job_plan import RecipeBook, naming, wanted_products
from rayjobs.job_results import remove_stale_files
from rayjobs.job_spec import JobSpec
from rayjobs.output_directory import OutputDirectory


def job(policy: str = "rename", *, name: str = "{stem}", format: str = "jpeg", layout: str = "beside") -> JobSpec:
    images = f"{{layout: {layout}, format: {format}, name: '{name}', on_conflict: {policy}}}"
    return parse_job(
        f"name: a\ninputs: [photos]\noutput: out\nanalyses: [luma_waveform]\nread: {{frames: all}}\n"
        f"operations: [invert]\nexport: {{images: {images}, charts: true}}\n"
    )


@dataclass(slots=True)
class Place:
    """A directory with photos and the job's output in it; ``run`` is a job without Ray."""

    base: Path
    ledger: JobLedger
    epoch: int = 0

    @property
    def root(self) -> Path:
        return self.base / "out"

    def files(self) -> set[str]:
        return {str(path.relative_to(self.base)) for path in (self.base / "photos").rglob("*") if path.is_file()}

    def run(self, spec: JobSpec) -> dict[str, ImageStatus]:
        self.epoch += 1
        images = spec.export.images
        self.ledger.put_facts(beside=self.ledger.fact("beside", False) or (images and images.layout == "beside"))
        found = without_own(Discovery(spec.inputs, self.base, (), self.root).inputs(), self.ledger, self.root)
        seal_inputs(self.ledger, found, naming(spec, self.root, self.ledger))
        wanted = wanted_products(spec, {})
        apply_products(self.ledger, wanted)
        book = RecipeBook(spec, wanted, self.ledger, self.root)
        temporary = self.root / ".rayjobs" / "tmp" / str(self.epoch)
        temporary.mkdir(parents=True)
        journal = WorkerJournal(temporary)
        publisher = Publisher(self.root, temporary, journal)
        rows = {}
        for item in book.items(self.ledger.open_inputs(0, 1000)):
            row, _ = process(item, book.recipes[item.recipe], publisher)
            self.ledger.commit([row], epoch=self.epoch)
            rows[os.path.relpath(os.fsdecode(item.path), self.base)] = row
        journal.close()
        remove_stale_files(self.ledger, OutputDirectory(self.root))
        return rows


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    for number, name in enumerate(("a.jpg", "a.png", "sub/b.png", "sub/c.jpg")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), (40 * number, 90, 20)).save(path)
    (tmp_path / "out/.rayjobs").mkdir(parents=True)
    ledger = JobLedger(tmp_path / "out/.rayjobs/ledger.sqlite")
    yield Place(tmp_path, ledger)
    ledger.close()


def contents(place: Place, names: set[str]) -> dict[str, bytes]:
    return {name: (place.base / name).read_bytes() for name in names}


def images_of(rows: dict[str, ImageStatus]) -> dict[str, list[str]]:
    return {name: [output.path for output in row.outputs if output.product == "image"] for name, row in rows.items()}


@pytest.mark.parametrize("policy", ["rename", "error", "skip"])
def test_no_source_is_written_over_whatever_the_policy(place: Place, policy: str) -> None:
    before = contents(place, place.files())
    if policy == "error":
        (place.base / "photos/a.png").unlink()  # two inputs that want one name are refused then, as in any layout
        del before["photos/a.png"]
    rows = place.run(job(policy))
    assert {row.status for row in rows.values()} == {"done"}
    assert contents(place, set(before)) == before
    assert images_of(rows)["photos/sub/b.png"] == ["../photos/sub/b.jpg"]
    for row in rows.values():
        for output in row.outputs:
            assert (place.root / output.path).is_file()
            assert output.path.startswith("../photos/" if output.product == "image" else "charts/")
    assert not (place.root / "images").exists()


def test_own_images_are_no_inputs_of_the_next_run_and_go_when_they_are_not_wanted(place: Place) -> None:
    before = place.files()
    place.run(job(name="{stem}_look"))
    assert len(place.files()) == 2 * len(before)
    assert place.run(job(name="{stem}_look")) == {}
    rows = place.run(job(name="{stem}_look", format="webp"))
    assert set(rows) == before
    assert place.files() == before | {os.path.normpath(f"out/{path}") for (path,) in images_of(rows).values()}
    place.run(job(layout="mirror"))
    assert place.files() == before


def test_a_killed_runs_images_are_replaced_and_no_inputs(place: Place) -> None:
    before = place.files()
    temporary = place.root / ".rayjobs/tmp/9"
    temporary.mkdir(parents=True)
    journal = WorkerJournal(temporary)
    publisher = Publisher(place.root, temporary, journal)
    publisher.publish("image", "../photos/sub/b.jpg", b"earlier", beside=place.base / "photos/sub")
    journal.close()
    place.ledger.add_stale(published_files(temporary))
    place.ledger.put_facts(beside=True)
    rows = place.run(job())
    assert set(rows) == before
    assert images_of(rows)["photos/sub/b.png"] == ["../photos/sub/b.jpg"]
    assert (place.base / "photos/sub/b.jpg").read_bytes() != b"earlier"


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
    assert image_stem(path, "x/a", tmp_path / "out") is None


@pytest.mark.parametrize(
    ("policy", "name", "message"), [("overwrite", "{stem}", "on_conflict"), ("rename", "{relpath}", "use {stem}")]
)
def test_what_can_not_be_beside_is_a_mistake_of_the_job(policy: str, name: str, message: str) -> None:
    with pytest.raises(JobFileError, match=message):
        job(policy, name=name)
