"""Tables of whole jobs, worked on in this process: objects in order, duplicates numbered, whatever the parts were."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.ledger.input_plan import seal_inputs
from actors.ledger.job_facts import SealedPart
from actors.ledger.job_ledger import JobLedger
from actors.ledger.product_plan import apply_products
from pipelines.analyses import ROWS
from pipelines.analyses.objects import objects
from pipelines.models import AnalysisRequest, WorkItem
from pipelines.stages.block_task import Workspace, render_analyze_export
from rayjobs.inputs.discovery import Discovery
from rayjobs.job.job_file import parse_job
from rayjobs.job.naming import naming
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.product_keys import table_requests, wanted_products
from rayjobs.job.recipes import JobRecipes
from rayjobs.results.job_tables import seal_results, write_tables
from rayjobs.results.results_store import ResultsStore
from tests.quick_runs import fixed_files
from tests.workspaces import prepared

OBJECTS = {"objects": {"smoothing": 0, "properties": ["area", "centroid"], "pixel_size": 0.5}}
SIDE = 40
IMAGES = 11
EMPTY = (3, 7)
"""Images without an object."""
BROKEN = 5

Cut = Callable[[Sequence[WorkItem]], list[Sequence[WorkItem]]]


def all_at_once(items: Sequence[WorkItem]) -> list[Sequence[WorkItem]]:
    return [items]


def one_by_one_backwards(items: Sequence[WorkItem]) -> list[Sequence[WorkItem]]:
    return [[item] for item in reversed(items)]


def in_threes_mixed(items: Sequence[WorkItem]) -> list[Sequence[WorkItem]]:
    mixed = [*items[1::2], *items[::2]]
    return [mixed[start : start + 3] for start in range(0, len(mixed), 3)]


@dataclass(slots=True)
class Job:
    """A job over ``root/in``; what it leaves lies in ``root/<name>``."""

    root: Path
    name: str = "out"
    range_rows: int | None = None
    frames: str = "first"
    epoch: int = 0

    @property
    def output(self) -> OutputDirectory:
        return OutputDirectory(self.root / self.name)

    def run(self, analyses: Sequence[Any], formats: Sequence[str] = ("parquet",), cut: Cut = all_at_once) -> list[str]:
        """Work on what is lacking, write the tables and return their names."""
        self.epoch += 1
        read = {"frames": self.frames}
        job = {"name": "probe", "inputs": ["in/"], "analyses": analyses, "output": self.name, "read": read}
        spec = parse_job(json.dumps(job), base=self.root)
        ledger = JobLedger(self.output.ledger)
        try:
            found = Discovery(spec.inputs, self.root).inputs()
            seal_inputs(ledger, found, naming(spec, self.output.root, ledger))
            wanted = wanted_products(spec, {})
            apply_products(ledger, wanted)
            store = ResultsStore(ledger, self.output, table_requests(spec))
            if self.range_rows:
                store.range_rows = store.file_rows = self.range_rows
            recipes = JobRecipes(spec, wanted, ledger)
            items = recipes.items(ledger.open_inputs(0, IMAGES))
            stop = self.output.temporary / "stop"
            for number, block in enumerate(cut(items)):
                # Another epoch: another worker, as another process would be.
                epoch = 100 * self.epoch + number
                workspace = prepared(Workspace(root=self.output.root, epoch=epoch, stop=stop))
                for rows in render_analyze_export(block, recipes.by_number, workspace):
                    ledger.commit(rows, epoch=self.epoch)
            with fixed_files(ledger, self.output) as files:
                seal_results(store)
                tables = write_tables(files, store, formats)
                files.finish()
            store.remove_unused()
            return tables
        finally:
            ledger.close()

    def attempts(self) -> int:
        ledger = self.output.read_ledger()
        try:
            return sum(
                1 for attempt in ledger.attempts.every() if attempt.epoch == self.epoch and attempt.outcome == "done"
            )
        finally:
            ledger.close()

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.output.data)): path.read_bytes()
            for path in sorted(self.output.data.rglob("*"))
            if path.is_file()
        }

    def rows(self, table: str) -> list[dict[str, Any]]:
        path = self.output.data / f"{table}.parquet"
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
        return [row for each in paths for row in pq.ParquetFile(each).read().to_pylist()]


def picture(number: int) -> np.ndarray[Any, Any]:
    """Squares, as many as the number says; pairs of pictures differ in one pixel's level."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    if number in EMPTY:
        return image
    for square in range(number % 6 + 1):
        row, column = divmod(square, 3)
        image[3 + 12 * row :, 3 + 12 * column :][: 5 + square, : 6 + number % 3] = 200
    return image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(IMAGES):
        path = tmp_path / "in" / f"{number:02d}.png"
        if number == BROKEN:
            path.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        else:
            Image.fromarray(picture(number)).save(path)
    return tmp_path


def expected_rows(root: Path) -> Iterator[dict[str, Any]]:
    for number in range(IMAGES):
        if number == BROKEN:
            continue
        table = objects(picture(number), smoothing=0, properties=("area", "centroid"), pixel_size=0.5)[ROWS]
        for place in range(table["label"].size):
            values = {name: column[place].item() for name, column in table.items()}
            yield {"input": str(root / "in" / f"{number:02d}.png"), **values}


@pytest.mark.parametrize("range_rows", [None, 4])
def test_one_row_per_object_in_the_order_of_the_inputs(root: Path, range_rows: int | None) -> None:
    job = Job(root, range_rows=range_rows)
    assert job.run([OBJECTS], cut=in_threes_mixed) == ["data/analyses.parquet", "data/objects.parquet"]
    assert (job.output.data / "objects.parquet").is_dir() == (range_rows is not None)
    rows = job.rows("objects")
    assert rows == list(expected_rows(root))
    images = job.rows("analyses")
    assert [row["objects_count"] for row in images if Path(row["input"]).stem in ("03", "07")] == [0, 0]
    assert sum(row["objects_count"] for row in images) == len(rows)
    assert len(images) == IMAGES - 1


@pytest.mark.parametrize("range_rows", [None, 4])
@pytest.mark.parametrize("cut", [one_by_one_backwards, in_threes_mixed])
def test_how_the_work_was_cut_changes_no_byte(root: Path, cut: Cut, range_rows: int | None) -> None:
    formats = ("parquet", "csv", "json", "xlsx")
    analyses = [OBJECTS, "image_hash", "noise"]
    whole, other = Job(root, "whole", range_rows), Job(root, "other", range_rows)
    assert whole.run(analyses, formats) == other.run(analyses, formats, cut)
    assert whole.files() == other.files()


def test_every_format_has_the_objects(root: Path) -> None:
    job = Job(root)
    names = job.run([OBJECTS], ("csv", "json", "xlsx"))
    files = ["analyses.csv", "analyses.json", "analyses.xlsx", "objects.csv", "objects.json"]
    assert names == [f"data/{name}" for name in files]
    expected = list(expected_rows(root))
    with (job.output.data / "objects.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [float(row["area"]) for row in csv.DictReader(file)] == [row["area"] for row in expected]
    assert [row["label"] for row in json.loads((job.output.data / "objects.json").read_text())] == [
        row["label"] for row in expected
    ]
    with zipfile.ZipFile(job.output.data / "analyses.xlsx") as workbook:
        text = workbook.read("xl/workbook.xml").decode()
    assert 'name="analyses"' in text
    assert 'name="objects"' in text


def test_the_table_says_what_its_columns_mean(root: Path) -> None:
    job = Job(root)
    job.run([OBJECTS])
    described = json.loads(pq.read_schema(job.output.data / "objects.parquet").metadata[b"columns"])
    assert described["area"] == {"label": "Area", "unit": "um²", "meaning": "Area."}


@pytest.mark.parametrize("range_rows", [None, 4])
def test_one_analysis_more_takes_the_objects_over(root: Path, range_rows: int | None) -> None:
    job, fresh = Job(root, range_rows=range_rows), Job(root, "fresh", range_rows)
    job.run([OBJECTS], cut=in_threes_mixed)
    job.run([OBJECTS, "noise"], cut=one_by_one_backwards)
    assert job.attempts() == IMAGES - 1
    fresh.run([OBJECTS, "noise"])
    assert job.files() == fresh.files()


def test_a_changed_image_is_searched_again_and_the_others_are_not(root: Path) -> None:
    job = Job(root, range_rows=4)
    job.run([OBJECTS])
    Image.fromarray(np.full((SIDE, SIDE + 1), 255, np.uint8)).save(root / "in/06.png")
    job.run([OBJECTS])
    assert job.attempts() == 1
    assert not [row for row in job.rows("objects") if row["input"].endswith("06.png")]
    Image.fromarray(picture(1)).save(root / "in/06.png", compress_level=0)
    job.run([OBJECTS])
    assert len([row for row in job.rows("objects") if row["input"].endswith("06.png")]) == 2
    assert [row for row in job.rows("objects") if not row["input"].endswith("06.png")] == [
        row for row in expected_rows(root) if not row["input"].endswith("06.png")
    ]


def test_objects_go_with_the_wish_and_come_back_without_work(root: Path) -> None:
    job = Job(root)
    job.run([OBJECTS, "noise"])
    before = job.files()
    assert job.run(["noise"]) == ["data/analyses.parquet"]
    job.run([OBJECTS, "noise"])
    assert job.attempts() == 0
    assert job.files() == before


def test_nothing_unused_is_kept(root: Path) -> None:
    job = Job(root)
    job.run([OBJECTS], cut=one_by_one_backwards)
    job.run([OBJECTS, "noise"], cut=one_by_one_backwards)
    assert list(job.output.parts.iterdir()) == []
    (sealed, of_objects) = sorted(job.output.store.iterdir(), key=lambda path: len(path.name))
    assert of_objects.name == f"{sealed.stem}.objects.parquet"


@pytest.mark.parametrize("range_rows", [None, 4])
def test_duplicates_are_numbered_over_the_whole_job(root: Path, range_rows: int | None) -> None:
    for number, source in ((2, 1), (9, 1), (10, 4)):
        Image.fromarray(picture(source)).convert("RGB").save(root / f"in/{number:02d}.png")
    job = Job(root, range_rows=range_rows)
    job.run([{"image_hash": {"max_distance": 0}}], ("parquet", "csv"), in_threes_mixed)
    groups = {Path(row["input"]).stem: row["image_hash_group"] for row in job.rows("analyses")}
    same = {"00": 1, "06": 1, "01": 2, "02": 2, "09": 2, "04": 3, "10": 3}  # the pictures 0 and 6 are one
    assert groups == dict.fromkeys(groups, None) | same
    assert [row["image_hash_hash"] for row in job.rows("analyses") if row["input"].endswith("03.png")] == [None]
    with (job.output.data / "analyses.csv").open(newline="", encoding="utf-8-sig") as file:
        found = {Path(row["input"]).stem: row["image_hash_group"] for row in csv.DictReader(file)}
    assert {name for name, group in found.items() if group == "2"} == {"01", "02", "09"}


@pytest.mark.parametrize("range_rows", [None, 2, 4])
def test_frames_have_the_groups_of_the_whole_job(root: Path, range_rows: int | None) -> None:
    """Two files of several images among others: each image counts once, whatever the table."""
    for number, sources in ((2, (1, 4, 1)), (8, (8, 2))):
        first, *others = (Image.fromarray(picture(source)) for source in sources)
        (root / f"in/{number:02d}.png").unlink()
        first.save(root / f"in/{number:02d}.tif", save_all=True, append_images=others)
    job = Job(root, range_rows=range_rows, frames="all")
    job.run([{"image_hash": {"max_distance": 0}}], ("parquet", "csv", "xlsx"), in_threes_mixed)
    images = {Path(row["input"]).stem: row["image_hash_group"] for row in job.rows("analyses")}
    frames = {(Path(row["input"]).stem, row["frame"]): row["image_hash_group"] for row in job.rows("frames")}
    same = {"00": 1, "06": 1, "01": 2, "02": 2, "04": 3, "10": 3, "08": 4}  # 4 and 10, 8 and 2 are one picture
    assert images == dict.fromkeys(images, None) | same
    assert frames == {("02", 1): 2, ("02", 2): 3, ("02", 3): 2, ("08", 1): 4, ("08", 2): 4}
    with (job.output.data / "frames.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["image_hash_group"] for row in csv.DictReader(file)] == ["2", "3", "2", "4", "4"]


def change_last(root: Path, change: str) -> None:
    last = root / "in" / f"{IMAGES - 1:02d}.png"
    if change == "removed":
        last.unlink()
    else:
        last.write_bytes(b"\x89PNG\r\n\x1a\nnothing")


@pytest.mark.parametrize("change", ["removed", "broken"])
def test_the_row_of_a_last_input_that_is_gone_goes_too(root: Path, change: str) -> None:
    job, fresh = Job(root), Job(root, "fresh")
    job.run(["statistics", OBJECTS])
    change_last(root, change)
    job.run(["statistics", OBJECTS])
    fresh.run(["statistics", OBJECTS])
    assert len(job.rows("analyses")) == IMAGES - 2
    assert job.files() == fresh.files()


WIDE, NARROW = ["luma_waveform", "statistics", OBJECTS], ["statistics", OBJECTS]


@pytest.mark.parametrize("order", [(WIDE, NARROW, WIDE), (NARROW, WIDE, NARROW), (NARROW, WIDE, ["luma_waveform"])])
def test_tables_are_cut_alike_whatever_was_asked_for_before(
    order: Sequence[Sequence[Any]], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pipelines.tables.parquet_table", "rayjobs.results.results_store"):
        monkeypatch.setattr(f"{module}.WIDE_FILE_ROWS", 8)
    job = Job(root)
    for number, analyses in enumerate(order):
        job.run(analyses)
        fresh = Job(root, f"fresh-{number}")
        fresh.run(analyses)
        assert len(job.rows("analyses")) == IMAGES - 1
        assert (job.output.data / "analyses.parquet").is_file()
        was_asked_for = any("luma_waveform" in each for each in order[: number + 1])
        assert (job.output.data / "scopes/luma_waveform.parquet").is_dir() == was_asked_for
        wanted = fresh.files()  # what was asked for before is kept beside it
        assert {name: data for name, data in job.files().items() if name in wanted} == wanted


def test_sealed_parts_of_a_durable_job_are_written_through(root: Path) -> None:
    job = Job(root)
    job.run(["statistics"])
    with closing(JobLedger(job.output.ledger)) as ledger:
        requests = [AnalysisRequest("noise"), AnalysisRequest("statistics")]
        for part in ledger.parts():
            ledger.facts.write_part(part, SealedPart(analyses=(), rows=0, files=None))
        for durable in (False, True):
            seal = ResultsStore(ledger, job.output, requests, durable=durable).to_seal(0)
            assert seal is not None
            assert seal.request.durable == durable
