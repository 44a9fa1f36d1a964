"""One object per job: its tables, pictures and state, of complete, running, stopped and failed jobs, as outputs say."""

from __future__ import annotations

import base64
import html
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import rayjobs
from actors.ledger.job_ledger import JobLedger
from pipelines.errors import ImageError, JobError
from pipelines.models import ImageStatus
from rayjobs import JobStatus, OpenJob
from rayjobs.managers import contact_sheet as sheets
from rayjobs.run.run_loop import RunEnd
from tests.places import Place, picture
from tests.runs import write_photographs

LUMA = "statistics_luma_mean"
SO_FAR = "these are the results so far"
PICTURE = re.compile(r'<img src="data:image/jpeg;base64,([^"]+)"')


def names(table: Any) -> list[str]:
    return [Path(text).name for text in table["input"].to_pylist()]


def pictures(page: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in PICTURE.findall(page)]


class Tags(HTMLParser):
    """Which tags a page has, and the attributes of each."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, set[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, set()).update(name for name, _ in attrs)


@pytest.fixture
def job(place: Place) -> OpenJob:
    assert place.run().status is JobStatus.COMPLETED
    return rayjobs.open_job(place.out)


def test_tables_are_those_of_the_output(place: Place, job: OpenJob) -> None:
    assert (job.name, job.status, job.complete, job.output) == ("quick", JobStatus.COMPLETED, True, place.out)
    assert job.tables() == ["images", "scopes/color_histogram", "manifest"]
    written = pq.read_table(place.out / "data/analyses.parquet")
    assert job.images().equals(written)
    assert job.images().schema.field(LUMA).metadata[b"label"]
    assert job.images([LUMA]).equals(written.select([LUMA]))
    assert job.scopes("color_histogram").equals(pq.read_table(place.out / "data/scopes/color_histogram.parquet"))
    assert job.manifest().equals(pq.read_table(place.out / "manifest.parquet"))
    assert job.failures().num_rows == 0
    assert job.wait(progress=False) is job


def test_other_libraries_get_the_same_rows(job: OpenJob) -> None:
    expected = job.images().column(LUMA).to_pylist()
    assert job.to_pandas()[LUMA].tolist() == expected
    assert job.to_polars(columns=["input", LUMA])[LUMA].to_list() == expected
    with job.to_duckdb() as connection:
        found = connection.execute(f"SELECT {LUMA} FROM images JOIN manifest USING (input) ORDER BY input").fetchall()
        assert [value for (value,) in found] == expected
        counted = connection.execute(
            "SELECT sum(list_sum(color_histogram_luma)) FROM scopes_color_histogram"
        ).fetchone()
    histograms = job.to_pandas("scopes/color_histogram")["color_histogram_luma"]
    assert counted == (sum(each.sum() for each in histograms),)
    assert counted[0] > 0
    with pytest.raises(JobError, match="Ray isn't connected: "):
        job.to_ray()


def test_an_output_may_have_a_name_that_means_something_to_readers(place: Place) -> None:
    """``key=value`` is a partition to Arrow, and ``*`` and ``?`` are patterns to DuckDB."""
    place.run(job={"output": "dose=3/[a]*?'"})
    job = rayjobs.open_job(place.base / "dose=3/[a]*?'")
    assert "dose" not in job.images().column_names
    with job.to_duckdb() as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchone() == (4,)


def test_an_image_is_what_the_job_made_or_the_original(place: Place, job: OpenJob) -> None:
    original = np.asarray(Image.open(place.base / "in/p1.png"))
    for name in ("p1.png", "in/p1.png", str(place.base / "in/p1.png"), place.base / "in/p1.png"):
        made = job.image(name)
        assert (made.shape, made.dtype) == ((6, 8, 3), np.uint8)
        np.testing.assert_array_equal(made, 255 - original)
        np.testing.assert_array_equal(job.image(name, original=True), original)
    shown = job.pil_image("p1.png")
    assert (shown.mode, shown.size) == ("RGB", (8, 6))
    np.testing.assert_array_equal(np.asarray(shown), 255 - original)


def test_an_image_is_made_now_where_the_job_publishes_none(place: Place) -> None:
    place.run(job={"export": {"images": False, "data": ["parquet"]}})
    original = np.asarray(Image.open(place.base / "in/p2.png"))
    np.testing.assert_array_equal(rayjobs.open_job(place.out).image("p2.png"), 255 - original)


def test_pictures_of_16_bits_are_scaled_from_black_to_white(place: Place) -> None:
    samples = np.array([[0, 257, 65535]], np.uint16)
    Image.fromarray(samples).save(place.base / "in/deep.png")
    place.run(job={"operations": [], "export": {"images": False, "data": ["parquet"]}})
    job = rayjobs.open_job(place.out)
    np.testing.assert_array_equal(job.image("deep.png"), samples)
    shown = job.pil_image("deep.png")
    assert shown.mode == "L"
    assert np.asarray(shown).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("end", [RunEnd.PAUSED, RunEnd.CANCELLED, RunEnd.INTERRUPTED])
def test_a_stopped_job_has_what_was_done_and_says_so(place: Place, end: RunEnd) -> None:
    place.run(most=2, end=end)
    job = rayjobs.open_job(place.out)
    assert (job.status, job.complete) == (JobStatus(end), False)
    with pytest.warns(UserWarning, match=f"quick: {end}, 2 done, 0 failed, 0 skipped of 4; {SO_FAR}") as said:
        assert names(job.images()) == ["p0.png", "p1.png"]
    assert [Path(each.filename).name for each in said] == ["test_open_job.py"]
    with pytest.warns(UserWarning, match=SO_FAR):
        assert job.to_pandas("manifest")["status"].tolist() == ["done"] * 2
    assert job.image("p1.png").shape == (6, 8, 3)
    with pytest.raises(JobError, match=r"p3\.png: is pending; `original=True` reads the input itself"):
        job.image("p3.png")
    assert job.image("p3.png", original=True).shape == (6, 8, 3)
    with pytest.raises(JobError, match="no report yet"):
        job.report()
    page = job._repr_html_()
    assert f"{end}, 2 done, 0 failed, 0 skipped of 4" in page
    assert len(pictures(page)) == 2
    assert "href" not in page


def test_a_running_job_has_what_is_done_and_goes_on(place: Place) -> None:
    def look(row: ImageStatus) -> None:
        if len(place.rows) == 3:
            job = rayjobs.open_job(place.out)
            with pytest.warns(UserWarning, match=f"quick: running, 3 done, .* of 4; {SO_FAR}"):
                seen.append(names(job.images()))
            with pytest.raises(JobError, match=r"quick: still running after 0\.1 s"):
                job.wait(0.1)
            seen.append(pictures(job._repr_html_()))

    seen: list[Any] = []
    assert place.run(after=look).status is JobStatus.COMPLETED
    assert seen[0] == ["p0.png", "p1.png", "p2.png"]
    assert len(seen[1]) == 3
    assert rayjobs.open_job(place.out).images().num_rows == 4


def test_failures_have_their_reasons(place: Place) -> None:
    (place.base / "in/p2.png").write_bytes(b"<svg>")
    (place.base / "in/p3.png").write_bytes((place.base / "in/p1.png").read_bytes()[:60])
    place.run(job={"groups": {"pattern": r"(?P<letter>\w)\d\.png$"}, "max_failures": 9})
    job = rayjobs.open_job(place.out)
    failures = job.failures()
    assert failures.column_names == ["input", "reason", "message", "letter"]
    assert names(failures) == [Path(row["input"]).name for row in job.manifest().to_pylist() if row["status"] != "done"]
    assert failures["letter"].to_pylist() == ["p"] * failures.num_rows
    assert failures.num_rows >= 1
    first = failures.to_pylist()[0]
    name = Path(first["input"]).name
    with pytest.raises(JobError, match=re.escape(f"{name}: is failed: {first['reason']}: {first['message']}; ")):
        job.image(name)
    with pytest.raises(ImageError):
        job.image(name, original=True)
    assert f"failed: {first['reason']}" in job.contact_sheet()._repr_html_()
    assert f"1 {first['reason']}" in job._repr_html_()


@pytest.mark.parametrize(
    ("end", "status"), [(RunEnd.TOO_MANY_FAILURES, "failed"), (RunEnd.NO_SPACE, "interrupted")], ids=str
)
def test_a_job_that_could_not_go_on_says_why(place: Place, end: RunEnd, status: str) -> None:
    stopped = place.run(most=1, end=end)
    job = rayjobs.open_job(place.out)
    assert job.status == status
    assert f"{status}, 1 done, 0 failed, 0 skipped of 4" in job._repr_html_()
    assert html.escape(stopped.error or "") in job._repr_html_()
    assert (stopped.error is None) == (end is RunEnd.TOO_MANY_FAILURES)
    with pytest.warns(UserWarning, match=f"quick: {status}, 1 done, .* of 4; {SO_FAR}"):
        assert job.images().num_rows == 1


def test_a_sheet_shows_what_is_asked_for_in_that_order_with_captions(place: Place, job: OpenJob) -> None:
    table = job.images().sort_by([(LUMA, "descending")])
    for inputs in (table["input"], table.to_pandas()["input"], names(table)):
        sheet = job.contact_sheet(inputs, table[LUMA].to_pylist(), most=3)
        assert [Path(tile.name).name for tile in sheet.tiles] == names(table)[:3]
        levels = [np.asarray(each).mean() for each in pictures(sheet._repr_html_())]
        rendered = [job.image(name).mean() for name in names(table)[:3]]
        np.testing.assert_allclose(levels, rendered, atol=3)
        assert sheet.tiles[0].said == f"{table[LUMA][0].as_py():.3g}"


def test_a_notebook_with_a_job_stays_small(place: Place) -> None:
    write_photographs(place.base / "in", 30, size=(900, 600))
    place.run(job={"export": {"data": ["parquet"]}})
    page = rayjobs.open_job(place.out)._repr_html_()
    shown = pictures(page)
    assert len(shown) == 24
    assert max(max(each.size) for each in shown) == 160
    assert len(page) < 400_000
    assert f'href="{(place.out / "report/index.html").as_uri()}"' in page


def test_names_are_text_whatever_they_are(place: Place) -> None:
    hostile = ["<script>alert(1)<b>.png", "\"><img src=x onerror='alert(2)'>.png", "a&lt;b.png", "\x1b[31m.png"]
    for number, name in enumerate(hostile):
        picture(place.base / "in" / name, 20 * number)
    place.run()
    page = rayjobs.open_job(place.out)._repr_html_()
    assert len(pictures(page)) == 8
    found = Tags()
    found.feed(page)
    assert found.tags == {"p": set(), "strong": set(), "figcaption": set(), "div": {"style"}} | {
        "figure": {"style", "title"},
        "img": {"src", "alt", "style"},
        "a": {"href", "style"},
    }
    assert "a&amp;lt;b.png" in page
    assert "\x1b" not in page


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda job: job.image("p1.pgn"), r"the job has no input 'p1\.pgn'; did you mean 'p1\.png'"),
        (lambda job: job.contact_sheet(["nothing like it"]), "the job has no input 'nothing like it'$"),
        (
            lambda job: job.contact_sheet(["p1.png", "p\ud800\udcff.pgn"]),
            r"no input 'p\\ud800\\udcff\.pgn'",
        ),
        (lambda job: job.image("\0"), r"the job has no input '\\x00'"),
        (lambda job: job.contact_sheet(most=-1), "most is -1; give how many pictures to show, 0 or more$"),
        (
            lambda job: job.contact_sheet(["p1.png"], most=2.5),
            r"most is 2\.5; give how many pictures to show, 0 or more$",
        ),
        (lambda job: job.contact_sheet(most="3"), "most is '3'; give how many pictures to show, 0 or more$"),
        (lambda job: job.images(["statistics_luma_meen"]), f"images has no column .*; did you mean '{LUMA}'"),
        (
            lambda job: job.scopes("color_histgram"),
            "no table 'scopes/color_histgram'; it has images, .*; did you mean 'scopes/color_histogram'",
        ),
        (lambda job: job.objects(), "no table 'objects'; it has images, scopes/color_histogram, manifest"),
    ],
    ids=["input", "no input", "surrogates", "nul", "negative", "part", "text", "column", "scope", "objects"],
)
def test_mistakes_are_told_in_one_line(job: OpenJob, asked: Any, told: str) -> None:
    with pytest.raises(JobError, match=told) as error:
        asked(job)
    assert "\n" not in str(error.value)


def test_a_name_of_several_inputs_needs_more_of_its_path(place: Place) -> None:
    picture(place.base / "in/b/p1.png", 7)
    place.run()
    job = rayjobs.open_job(place.out)
    with pytest.raises(JobError, match=r"2 inputs are called 'p1\.png'; give more of the path: .*in/b/p1\.png, .*"):
        job.image("p1.png")
    assert [tile.shown for tile in job.contact_sheet(["b/p1.png", "in/p1.png"]).tiles] == ["b/p1.png", "in/p1.png"]
    assert [tile.shown for tile in job.contact_sheet(["b/p1.png", "p2.png"]).tiles] == ["p1.png", "p2.png"]
    assert job.image("b/p1.png").mean() == pytest.approx(255 - (7 + 248 + 90) / 3)


def test_many_names_are_found_in_one_reading_of_the_inputs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.base / "in" / os.fsdecode(b"caf\xe9 \\.png")).write_bytes((place.base / "in/p0.png").read_bytes())
    place.run()
    readings: list[int] = []
    read = JobLedger.input_paths

    def counted(ledger: JobLedger) -> Iterator[bytes]:
        readings.append(1)
        return read(ledger)

    monkeypatch.setattr(JobLedger, "input_paths", counted)
    job = rayjobs.open_job(place.out)
    wanted = ["p3.png", r"caf\xe9 \\.png", "in/p1.png", "p3.png", str(place.base / "in/p0.png"), "p2.png"]
    shown = [tile.shown for tile in job.contact_sheet(wanted).tiles]
    assert shown == ["p3.png", r"caf\xe9 \\.png", "p1.png", "p3.png", "p0.png", "p2.png"]
    assert len(readings) == 1
    job.contact_sheet([str(place.base / f"in/p{number}.png") for number in range(4)])
    assert len(readings) == 1
    assert job.contact_sheet(["p1.png"], most=0).tiles == ()
    assert len(job.contact_sheet(most=np.int64(2)).tiles) == 2


DAMAGED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
    "directory": lambda path: (path.unlink(), path.mkdir()),
    "dangling": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("images", [{"format": "png"}, False], ids=["images", "none"])
def test_a_damaged_preview_costs_no_sheet(
    place: Place, damage: str, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "MAKING_S", 60.0)
    job = {"operations": ["invert"], "export": {"images": images, "data": ["csv"]}}
    place.run(job=job)
    before = [np.asarray(each) for each in pictures(rayjobs.open_job(place.out)._repr_html_())]
    for path in (place.out / "report/thumbnails").iterdir():
        DAMAGED[damage](path)
    sheet = rayjobs.open_job(place.out).contact_sheet()
    assert {tile.note for tile in sheet.tiles} == ({""} if images else {sheets.ORIGINAL})
    shown = [np.asarray(each).astype(int) for each in pictures(sheet._repr_html_())]
    for found, known in zip(shown, before, strict=True):
        np.testing.assert_allclose(found, known if images else 255 - known, atol=6)
    gone = next((place.out / "images").iterdir()) if images else place.base / "in/p0.png"
    gone.unlink()
    page = rayjobs.open_job(place.out)._repr_html_()
    assert len(pictures(page)) == 3
    assert "no picture: the file is gone" in page


def test_previews_that_are_not_known_are_not_called_lost(place: Place) -> None:
    """An output of a version before doesn't say what decided its pixels."""
    place.run(job={"operations": ["invert"], "export": {"images": False, "data": ["csv"]}})
    assert {tile.note for tile in rayjobs.open_job(place.out).contact_sheet().tiles} == {""}
    with closing(JobLedger(place.out / ".rayjobs/ledger.sqlite")) as ledger:
        ledger.facts.write(replace(ledger.facts.read(), pixels=""))
    assert {tile.note for tile in rayjobs.open_job(place.out).contact_sheet().tiles} == {sheets.UNKNOWN}


@given(
    st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(lambda way: "/" + "/".join(way)), min_size=1)
)
def test_names_on_a_sheet_are_as_long_as_tells_them_apart(names: set[str]) -> None:
    asked = sorted(names) * 2
    ends = sheets._ends(asked)
    assert len(set(ends)) == len(names)
    for name, end in zip(asked, ends, strict=True):
        assert name == end or name.endswith(f"/{end}")
        shorter = end.partition("/")[2]
        assert not shorter or sum(each == shorter or each.endswith(f"/{shorter}") for each in names) > 1


@pytest.mark.parametrize("end", [None, RunEnd.NO_SPACE])
def test_an_output_whose_name_is_no_text_is_shown(place: Place, end: RunEnd | None) -> None:
    place.run(**({} if end is None else {"end": end, "most": 1}))
    strange = place.base / os.fsdecode(b"odd \xff <b>/out")
    strange.parent.mkdir()
    place.out.rename(strange)
    job = rayjobs.open_job(strange)
    page = job._repr_html_()
    assert len(pictures(page)) == (4 if end is None else 1)
    assert (r"odd \xff &lt;b&gt;/out/report/index.html" in page) == (end is None)
    assert ("/odd%20%FF%20%3Cb%3E/out/report/index.html" in page) == (end is None)
    said = job.contact_sheet(captions=[str(strange)])
    unknown = OpenJob(strange.parent / "never")
    for text in (page, repr(job), said._repr_html_(), repr(unknown), unknown._repr_html_()):
        assert text.encode()
    with pytest.raises(JobError, match=r"its path isn't UTF-8, which tables need; choose another with --output$"):
        Place(strange.parent).run()


def test_a_job_without_tables_says_what_they_need(place: Place) -> None:
    place.run(job={"analyses": [], "export": {"images": {"format": "png"}}})
    with pytest.raises(JobError, match=r"no table 'images'; it has manifest; others need analyses, and parquet among"):
        rayjobs.open_job(place.out).images()


def test_what_is_no_table_among_the_tables_is_told_or_passed_over(place: Place, job: OpenJob) -> None:
    known, data = job.tables(), place.out / "data"
    for foreign in ("empty.parquet", "notes.parquet", "nested.parquet/inner.parquet", "scopes/odd.parquet"):
        (data / foreign).mkdir(parents=True)
    (data / "notes.parquet/readme.txt").write_text("mine")
    for taken in ("images", "manifest"):
        pq.write_table(pa.table({"mine": [1]}), data / f"{taken}.parquet")
    assert job.tables() == known
    assert LUMA in job.images().column_names

    (data / "torn.parquet").write_bytes((data / "analyses.parquet").read_bytes()[:-9])
    (data / "parts.parquet").mkdir()
    shutil.copy(data / "analyses.parquet", data / "parts.parquet/part-0.parquet")
    (data / "parts.parquet/part-1.parquet").write_bytes(b"no table")
    (data / "gone.parquet").symlink_to("nowhere")
    for name, file in (("torn", "torn.parquet"), ("parts", "parts.parquet"), ("gone", "gone.parquet")):
        told = rf"\Aquick: the table {data / file}\S* can't be read: [^\n]+\Z"
        for read in (job.table, job.to_pandas, job.to_polars):
            with pytest.raises(JobError, match=told):
                read(name)
    for name in ("torn", "gone"):
        with pytest.raises(JobError, match="can't be read"):
            job.to_ray(name)
    with pytest.warns(UserWarning, match="left out: ") as warned:
        connection = job.to_duckdb()
    with connection:
        assert connection.execute("SELECT count(*) FROM images").fetchone() == (4,)
        there = {row[0] for row in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    files = [re.findall(r"left out: quick: the table (\S+) can't", str(each.message)) for each in warned]
    left_out = ("gone.parquet", "parts.parquet/part-1.parquet", "torn.parquet")
    assert files == [[str(data / name)] for name in left_out]
    assert "torn" not in there


def test_parts_of_several_schemas_have_that_of_the_first_for_all_readers(place: Place, job: OpenJob) -> None:
    parts = place.out / "data/mixed.parquet"
    parts.mkdir()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), parts / "part-0.parquet")
    pq.write_table(pa.table({"a": [2]}), parts / "part-1.parquet")
    expected = [(1, "x"), (2, None)]
    assert [(row["a"], row["b"]) for row in job.table("mixed").to_pylist()] == expected
    with job.to_duckdb() as connection:
        assert connection.execute("SELECT a, b FROM mixed ORDER BY a").fetchall() == expected


def test_a_damaged_manifest_is_told_in_one_line(place: Place, job: OpenJob) -> None:
    (place.out / "manifest.parquet").write_bytes(b"PAR1")
    for read in (job.manifest, job.failures):
        with pytest.raises(JobError, match=r"\Aquick: the table \S+/manifest.parquet can't be read: [^\n]+\Z"):
            read()


def test_a_directory_without_a_job_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    with pytest.raises(JobError, match="no job has run here; give the output directory of a job"):
        rayjobs.open_job(tmp_path)
    with pytest.raises(JobError, match="no job 'autum': give its output directory, or its id"):
        rayjobs.open_job("autum")


@pytest.mark.parametrize("package", ["polars", "duckdb"])
def test_what_is_not_installed_is_named(job: OpenJob, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        JobError, match=rf"{package} isn't installed: pip install {package}, or 'rayjobs-app\[notebook\]'"
    ):
        getattr(job, f"to_{package}")()


def test_a_job_that_has_not_begun_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    with rayjobs.BatchProcessingHandler() as handler:
        created = handler.create_job("later", ["in/"], ["invert"], output=tmp_path / "out")
        assert handler.create_job("later", ["in/"], ["invert"], output=tmp_path / "out").job_id == created.job_id
        with pytest.raises(JobError, match="does something else"):
            handler.create_job("later", ["in/"], ["grayscale"], output=tmp_path / "out")
        job = handler.open_job(created.job_id)
        assert (job.status, job.complete) == (JobStatus.PENDING, False)
        for asked in (job.wait, job.images, job.state):
            with pytest.raises(JobError, match="hasn't begun yet"):
                asked()
        assert f"{tmp_path / 'out'}: pending" in job._repr_html_()
        assert repr(job) == f"<OpenJob {tmp_path / 'out'}: pending>"
    assert not (tmp_path / "out").exists()
