"""The report's files, read back: the page parsed, data read as JSON, links followed, no hostile name left alive."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from base64 import b64decode
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

from actors.ledger.job_ledger import JobLedger
from actors.resources import host_usage
from pipelines.errors import FailedReason, ImageError
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.stages.thumbnails import Thumbnails
from pipelines.tables import readable_path
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.report import CLIPPED, SOFT, STRETCHED, write_report
from rayjobs.results.report_files import report_names
from rayjobs.results.report_measures import CardLine, Kinds, card_lines, described, measures
from rayjobs.results.report_numbers import distribution, distributions, number_text
from rayjobs.results.report_rows import ReportRow, ReportSummary
from tests.quick_runs import fixed_files

THUMBNAIL = Thumbnails(plain=b"\xff\xd8 thumbnail")
HOSTILE = [
    b"<script>alert(1)</script>.jpg",
    b"quote\"'&amp;.jpg",
    b"#fragment?query=%41%zz.jpg",
    b"caf\xe9.jpg",
    b"two\nlines\t.jpg",
    b"javascript:alert(1).jpg",
    b"{{ 7 * 7 }}.jpg",
    b"__proto__",
    "夕焼け\u202egpj.exe".encode(),
    "line\u2028separator".encode(),
]
SUMMARY = ReportSummary(name="autumn", status="completed", done=3, failed=0, skipped=0)
REQUESTS = (AnalysisRequest("statistics"), AnalysisRequest("sharpness"))
MEASURES = measures(REQUESTS)
PLACES = {measure.name: place for place, measure in enumerate(MEASURES)}
LUMA, SHARP = "statistics_luma_mean", "sharpness_laplacian_variance"


class Page(HTMLParser):
    """Elements with their attributes, and the text, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def values(**known: float) -> np.ndarray:
    """The measures of an image; those not given are those of an ordinary one in colour."""
    found = np.full(len(MEASURES), 1.0)
    found[PLACES["statistics_achromatic"]] = 0
    for name in ("statistics_luma_clipped_low", "statistics_luma_clipped_high"):
        found[PLACES[name]] = 0
    for name, value in known.items():
        found[PLACES[name]] = value
    return found


def report_row(output: Path, name: bytes, **changes: Any) -> ReportRow:
    """A rendered image with a chart, both of them files of the output."""
    image, chart = b"images/" + name, b"charts/luma_waveform/" + name + b".png"
    for path in (image, chart):
        target = os.path.join(os.fsencode(output), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(os.fsdecode(target)).write_bytes(b"pixels")
    row = ReportRow(
        input=readable_path(b"/photos/" + name),
        source=b"/photos/" + name,
        key=hashlib.sha256(name).hexdigest()[:32],
        image=os.fsdecode(image),
        charts={"luma_waveform": os.fsdecode(chart)},
        values=values(),
        white=255,
        width=1920,
        height=1280,
    )
    return replace(row, **changes)


def failure(number: int, reason: str = "corrupt", status: Any = "failed", **changes: Any) -> ReportRow:
    name = f"broken_{number}.jpg"
    row = ReportRow(input=name, source=name.encode(), status=status, reason=reason, message=f"message {number}")
    return replace(row, **changes)


def write(output: Path, rows: Any, **options: Any) -> Page:
    options = {"make_thumbnails": lambda path, **promised: THUMBNAIL, **options}
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "failed", "skipped")}
    summary = options.pop("summary", SUMMARY)
    with closing(JobLedger(OutputDirectory(output).ledger)) as ledger:
        with fixed_files(ledger, OutputDirectory(output)) as files:
            write_report(files, replace(summary, **counts), options.pop("measures", MEASURES), rows, **options)
        files.finish()
    return Page(OutputDirectory(output).report)


def data(output: Path, name: str) -> Any:
    """The last argument of the call in a file of data."""
    text = (output / f"report/data/{name}.js").read_text(encoding="ascii")
    call = re.fullmatch(r"rayjobs\.[a-z]+\((.*)\);\n", text)
    assert call, text[:80]
    return json.loads(f"[{call[1]}]")[-1]


def column(output: Path, name: str) -> np.ndarray:
    return np.frombuffer(b64decode(data(output, f"column-{PLACES[name]:03d}-00000")), "<f4")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_data_and_their_links_lead_to_the_files(tmp_path: Path, name: bytes) -> None:
    page = write(tmp_path, [report_row(tmp_path, name)])
    block = data(tmp_path, "block-00000")
    assert block["folders"][0] + "/" + block["names"][0] == readable_path(b"/photos/" + name)
    for path in (tmp_path / "report/data").iterdir():
        assert path.read_bytes().isascii()
        assert b"<" not in path.read_bytes()
    assert [tag for tag, _ in page.elements].count("script") == 2
    ((source, image, *_, charts, _, _),) = data(tmp_path, "rows-00000")
    assert unquote_to_bytes(source.removeprefix("file://")) == b"/photos/" + name
    for link in (image, *charts, f"../charts/luma_waveform/{block['charts'][0]}"):
        assert re.fullmatch(r"[A-Za-z0-9%/._~-]+", link)
        assert os.path.isfile(os.path.join(os.fsencode(tmp_path / "report"), unquote_to_bytes(link)))


def test_hostile_texts_of_the_job_are_escaped(tmp_path: Path) -> None:
    attack = '"><script>alert(1)</script>'
    summary = ReportSummary(
        name=attack,
        status=attack,
        done=1,
        failed=1,
        skipped=0,
        finished=attack,
        operations=(ImageOperation(attack, {attack: attack}),),
        analyses=(AnalysisRequest(attack, {attack: {attack: 1}}),),
        versions={attack: attack},
        files=(f"data/{attack}",),
    )
    rows = [
        report_row(tmp_path, b"a.jpg", degraded=attack, cells={attack: attack}),
        report_row(tmp_path, b"b.jpg", cells={attack: attack * 2}),
        failure(1, attack, message=attack),
    ]
    page = write(tmp_path, rows, summary=summary)
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert page.text.count(attack) >= 10
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert data(tmp_path, "job")["groups"] == [[attack, [attack, attack * 2]]]
    assert "<script>alert" not in "".join(path.read_text() for path in (tmp_path / "report").rglob("*.*s"))


def test_the_page_allows_no_script_in_itself_and_no_network(tmp_path: Path) -> None:
    page = write(tmp_path, [report_row(tmp_path, b"a.jpg"), failure(0)])
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    for name in ("index.html", "report.css", "report.js"):
        text = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|innerHTML|eval\(", text)
    assert [attributes["src"] for tag, attributes in page.elements if tag == "script"] == ["report.js", "data/job.js"]
    assert not [attributes for _, attributes in page.elements if "style" in attributes]


def test_the_head_tells_counts_duration_and_what_differs_from_the_defaults(tmp_path: Path) -> None:
    summary = replace(
        SUMMARY,
        status="completed_with_failures",
        seconds=754.2,
        processed=12_351,
        operations=(ImageOperation("resize", {"max_side": 2048}), ImageOperation("gamma", {"gamma": 1.0})),
        versions={"ray": "2.60.0"},
        files=("data/analyses.parquet",),
    )
    page = write(tmp_path, [failure(0)], summary=summary)
    for text in ("12 min 34 s", "16.4", "completed with failures", "resize", "max_side", "2048", "2.60.0"):
        assert text in page.text
    links = [attributes.get("href") for tag, attributes in page.elements if tag == "a"]
    assert "../data/analyses.parquet" in links
    assert "#show=failed" in links


def sentences(page: Page) -> str:
    return " ".join(page.text.partition("How it was made")[0].split())


def test_what_matters_is_said_in_sentences(tmp_path: Path) -> None:
    rows = [
        *(report_row(tmp_path, b"%02d.jpg" % i, values=values(**{SHARP: 1000 + i, LUMA: 100 + i})) for i in range(20)),
        report_row(tmp_path, b"soft.jpg", values=values(**{SHARP: 3, LUMA: 110})),
        report_row(
            tmp_path, b"clipped.jpg", values=values(**{SHARP: 1010, LUMA: 110, "statistics_luma_clipped_high": 0.2})
        ),
        report_row(tmp_path, b"twin1.jpg", values=values(**{SHARP: 1010, LUMA: 110}), twins=1),
        report_row(tmp_path, b"twin2.jpg", values=values(**{SHARP: 1010, LUMA: 110}), twins=1),
        report_row(tmp_path, b"lesser.jpg", values=values(**{SHARP: 1010, LUMA: 110}), degraded="truncated: 63% valid"),
        failure(0),
        failure(1, "not_an_image"),
        failure(2),
    ]
    text = sentences(write(tmp_path, rows))
    for said in (
        "3 inputs failed: 2 corrupt, 1 not an image.",
        "1 image holds less than its file promised.",
        "1 image is unlike the others of its kind.",
        "2 images look the same as another, in 1 group.",
        "1 image has more than 5 % of the luma clipped.",
        "1 image is far softer than the others of its kind.",
    ):
        assert said in text
    block, job = data(tmp_path, "block-00000"), data(tmp_path, "job")
    marked = {name: mark for name, mark in zip(block["names"], block["marks"], strict=True) if mark}
    assert marked == {"soft.jpg": SOFT, "clipped.jpg": CLIPPED, "lesser.jpg": 4}
    assert block["status"] == "d" * 25 + "fff"
    assert job["reasons"] == [["f", "corrupt", 2], ["f", "not_an_image", 1]]
    ((row, finding),) = job["outliers"]
    assert block["names"][row] == "soft.jpg"
    assert re.search(r"Sharpness 3 is very far below 1,01\d, the median of 25 colour", finding)


def test_an_even_job_is_said_to_be_one(tmp_path: Path) -> None:
    page = write(tmp_path, [report_row(tmp_path, b"%d.jpg" % i) for i in range(9)])
    assert "Nothing failed, and no image stands out." in page.text


def test_a_job_without_measures_has_a_report_as_well(tmp_path: Path) -> None:
    page = write(tmp_path, [report_row(tmp_path, b"a.jpg", values=None), failure(0)], measures=[])
    assert "1 input failed: corrupt." in sentences(page)
    assert data(tmp_path, "block-00000")["names"] == ["a.jpg", "broken_0.jpg"]
    assert [row[7] for row in data(tmp_path, "rows-00000")] == ["", ""]


def test_gray_images_are_no_outliers_among_those_in_colour(tmp_path: Path) -> None:
    rows = [
        report_row(tmp_path, b"%02d.jpg" % i, values=values(**{LUMA: 100 + i % 5, "statistics_achromatic": i >= 20}))
        for i in range(32)
    ]
    rows[-1] = replace(rows[-1], values=values(**{LUMA: 250, "statistics_achromatic": 1}))
    rows[3] = replace(rows[3], values=values(**{LUMA: 103, "statistics_achromatic": 0}))
    write(tmp_path, rows)
    ((row, finding),) = data(tmp_path, "job")["outliers"]
    assert row == 31
    assert "of 12 gray images" in finding


def test_at_most_ten_outliers_are_named_farthest_first(tmp_path: Path) -> None:
    rows = [report_row(tmp_path, b"%03d.jpg" % i, values=values(**{LUMA: 100 + i % 5})) for i in range(60)]
    rows += [report_row(tmp_path, b"far%02d.jpg" % i, values=values(**{LUMA: 200.0 + i})) for i in range(12)]
    page = write(tmp_path, rows)
    assert [row for row, _ in data(tmp_path, "job")["outliers"]] == list(range(71, 61, -1))
    assert "12 images are unlike the others of their kind; these are the 10 farthest." in sentences(page)


def test_numbers_arrive_whole_and_rows_without_any_are_nothing(tmp_path: Path) -> None:
    rows = [report_row(tmp_path, b"%d.jpg" % i, values=values(**{LUMA: 100.125 + i})) for i in range(3)]
    write(tmp_path, [rows[0], failure(0), *rows[1:]])
    assert column(tmp_path, LUMA) == pytest.approx([100.125, np.nan, 101.125, 102.125], nan_ok=True)
    told = data(tmp_path, "rows-00000")
    assert [row[4] for row in told] == [1, 0, 2, 3]  # rows of the table
    assert float(told[2][7].split()[PLACES[LUMA]]) == pytest.approx(101.12, abs=0.01)
    assert told[1][2] == "message 0"


def test_large_jobs_have_blocks_and_chunks_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("report", "report_files"):
        monkeypatch.setattr(f"rayjobs.results.{module}.BLOCK_ROWS", 6)
        monkeypatch.setattr(f"rayjobs.results.{module}.CHUNK_ROWS", 3)
    monkeypatch.setattr("rayjobs.results.report.HELD_ROWS", 6)
    for total in (0, 1, 3, 6, 7, 12, 25):
        output = tmp_path / str(total)
        write(output, [report_row(output, b"%03d.jpg" % number) for number in range(total)])
        written = {f"report/{name}" for name in tree(output / "report") if not name.startswith("thumbnails/")}
        assert written == set(report_names(total, len(MEASURES)))
        blocks = [data(output, f"block-{number:05d}") for number in range(-(-total // 6))]
        assert [name for block in blocks for name in block["names"]] == [f"{n:03d}.jpg" for n in range(total)]
        assert [sum(block["runs"]) for block in blocks] == [len(block["names"]) for block in blocks]


def test_values_of_columns_can_be_chosen_by_unless_there_are_too_many(tmp_path: Path) -> None:
    rows = [
        report_row(tmp_path, b"%03d.jpg" % i, cells={"plate": f"P{i % 3}", "serial": str(i), "same": "x", "ok": i > 4})
        for i in range(120)
    ]
    write(tmp_path, rows)
    job, block = data(tmp_path, "job"), data(tmp_path, "block-00000")
    assert job["groups"] == [["plate", ["P0", "P1", "P2"]], ["ok", ["false", "true"]]]
    assert block["groups"][0][:4] == [0, 1, 2, 0]
    assert job["cells"] == ["plate", "serial", "same", "ok"]
    assert data(tmp_path, "rows-00000")[7][6] == ["P1", "7", "x", "true"]


def test_originals_are_shown_when_nothing_was_rendered(tmp_path: Path) -> None:
    asked: list[Any] = []
    row = report_row(tmp_path, b"caf\xe9 1.jpg", image=None, size=7, mtime_ns=9)
    write(tmp_path, [row], make_thumbnails=lambda path, **promised: asked.append((path, promised)) or THUMBNAIL)
    assert asked == [(Path(os.fsdecode(b"/photos/caf\xe9 1.jpg")), {"size": 7, "mtime_ns": 9})]
    told = data(tmp_path, "rows-00000")[0]
    assert told[:2] == ["file:///photos/caf%E9%201.jpg", None]


def test_unreadable_pictures_have_none_but_a_reason_and_stretched_ones_two(tmp_path: Path) -> None:
    both = Thumbnails(plain=b"plain", stretched=b"stretched")
    rows = [report_row(tmp_path, name) for name in (b"none.jpg", b"both.jpg")]

    def make(path: Path, **promised: Any) -> Thumbnails:
        if path.name == "both.jpg":
            return both
        raise ImageError(FailedReason.CORRUPT, "<b>no</b> \udcff picture")

    write(tmp_path, rows, make_thumbnails=make)
    block = data(tmp_path, "block-00000")
    assert block["keys"] == ["", rows[1].key]
    assert block["marks"] == [0, STRETCHED]
    assert [row[2] for row in data(tmp_path, "rows-00000")] == ["<b>no</b> \udcff picture", ""]
    assert (tmp_path / f"report/thumbnails/{rows[1].key}-stretched.jpg").read_bytes() == b"stretched"


def test_what_workers_left_is_taken_and_nothing_is_decoded_again(tmp_path: Path) -> None:
    row = report_row(tmp_path, b"a.jpg")
    output = OutputDirectory(tmp_path)
    with closing(JobLedger(output.ledger)) as ledger, fixed_files(ledger, output) as files:
        directory = output.temporary / str(ledger.facts.read().epoch)
        (directory / f"{row.key}.jpg").write_bytes(b"\xff\xd8plain\xff\xd9")
        (directory / f"{row.key}-stretched.jpg").write_bytes(b"\xff\xd8stretched\xff\xd9")
        write_report(files, SUMMARY, MEASURES, [row], make_thumbnails=lambda path, **_: pytest.fail("made again"))
    assert data(tmp_path, "block-00000")["marks"] == [STRETCHED]
    assert tree(tmp_path / "report/thumbnails") == {
        f"{row.key}.jpg": b"\xff\xd8plain\xff\xd9",
        f"{row.key}-stretched.jpg": b"\xff\xd8stretched\xff\xd9",
    }


@pytest.mark.parametrize("cut", [b"", b"\xff\xd8", b"\xff\xd8pla", bytes(20)])
def test_what_a_power_cut_left_of_a_workers_picture_is_made_anew(tmp_path: Path, cut: bytes) -> None:
    row = report_row(tmp_path, b"a.jpg")
    output = OutputDirectory(tmp_path)
    output.thumbnails.mkdir(parents=True)
    (output.thumbnails / f"{row.key}.jpg").write_bytes(cut)
    write(tmp_path, [row])
    assert (tmp_path / f"report/thumbnails/{row.key}.jpg").read_bytes() == THUMBNAIL.plain


def test_known_thumbnails_are_used_again_and_those_not_wanted_are_kept(tmp_path: Path) -> None:
    rows = [report_row(tmp_path, b"%d.jpg" % number) for number in range(5)]
    write(tmp_path, rows)
    (tmp_path / "report/notes.txt").write_bytes(b"not ours")
    before = tree(tmp_path / "report")
    write(tmp_path, rows[:2], make_thumbnails=lambda path, **_: pytest.fail("made again"))
    after = tree(tmp_path / "report")
    changed = {path for path in before if after.get(path) != before[path]}
    assert changed
    assert not [path for path in changed if path.startswith(("thumbnails/", "notes"))]
    with closing(OutputDirectory(tmp_path).read_ledger()) as ledger:
        kept = {kept.file.path: kept.cause for kept in ledger.files.kept([])}
    assert kept == dict.fromkeys([f"report/thumbnails/{row.key}.jpg" for row in rows[2:]], "unwanted")


def test_a_strangers_file_in_the_report_stays(tmp_path: Path) -> None:
    rows = [report_row(tmp_path, b"a.jpg")]
    mine = tmp_path / f"report/thumbnails/{rows[0].key}.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    write(tmp_path, rows)
    assert mine.read_bytes() == b"mine"
    assert data(tmp_path, "block-00000")["keys"] == [""]
    assert data(tmp_path, "rows-00000")[0][2] == "a file that isn't the job's has its name"


@pytest.mark.parametrize(
    ("cpus", "free_gib", "threads"), [(2, 100, 2), (128, 300, 8), (16, 3.5, 3), (16, 0.2, 1)], ids=str
)
def test_pictures_are_made_by_no_more_threads_than_memory_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, free_gib: float, threads: int
) -> None:
    monkeypatch.setattr(host_usage, "cpu_count", lambda: cpus)
    monkeypatch.setattr(host_usage, "memory_use", lambda: (2**33, 2**33 + int(free_gib * 2**30)))
    lock, at_work, most = threading.Lock(), [0], [0]
    together = threading.Event()

    def make(path: Path, **promised: Any) -> Thumbnails:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        if most[0] >= min(threads, 2):
            together.set()
        together.wait(30)
        time.sleep(0.01)
        with lock:
            at_work[0] -= 1
        return THUMBNAIL

    write(tmp_path, [report_row(tmp_path, b"%02d.jpg" % number) for number in range(40)], make_thumbnails=make)
    assert 1 <= most[0] <= threads
    assert threads == 1 or most[0] > 1


def test_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    for output in (tmp_path / "a", tmp_path / "b"):
        rows = [report_row(output, name, values=values(**{LUMA: len(name)})) for name in HOSTILE]
        write(output, [*rows, failure(0)])
        trees.append(tree(output / "report"))
    assert trees[0] == trees[1]


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "ABCDEF0123", "abc"])
def test_keys_that_are_no_digest_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        write(tmp_path, [report_row(tmp_path, b"a.jpg", key=key)])


def test_iterators_are_refused_because_rows_are_read_twice(tmp_path: Path) -> None:
    output = OutputDirectory(tmp_path)
    with (
        closing(JobLedger(output.ledger)) as ledger,
        fixed_files(ledger, output) as files,
        pytest.raises(TypeError, match="read twice"),
    ):
        write_report(files, SUMMARY, MEASURES, iter([]), make_thumbnails=lambda path, **_: THUMBNAIL)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12345, "12,345"),
        (0.123456, "0.123"),
        (4321.5, "4,322"),
        (-1.5e-5, "0"),
        (6e-5, "0.00006"),
        (-0.000123456, "−0.000123"),  # noqa: RUF001
        (999.4, "999"),
        (999.6, "1,000"),
        (99.95, "100"),
        (1.125, "1.13"),
        (250, "250"),
        (np.int64(12345), "12,345"),
        (np.float32(0.125), "0.125"),
        (None, "–"),  # noqa: RUF001
    ],
)
def test_numbers_have_three_digits_and_next_to_nothing_is_zero(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_extremes_and_counts_of_pixels_are_no_measures() -> None:
    requests = [AnalysisRequest(name) for name in ("statistics", "hue_histogram", "image_hash", "objects")]
    names = [measure.name for measure in measures(requests)]
    assert not [name for name in names if re.search("minimum|maximum|white|bits|hue_histogram|duplicate", name)]
    assert "objects_count" in names


def test_a_card_has_what_people_look_at_first() -> None:
    assert [line.label for line in card_lines(MEASURES)] == ["Brightness", "Clipped", "Sharpness"]
    unknown = measures([AnalysisRequest("texture")])
    unknown = [replace(measure, name=f"other_{place}") for place, measure in enumerate(unknown)]
    assert card_lines(unknown) == [CardLine(label=unknown[n].label, columns=(n,)) for n in range(4)]


@pytest.mark.parametrize(("white", "unit"), [(255, "level"), (65535, "of 65,535"), (1, "level"), (None, "level")])
def test_brightness_of_deep_samples_is_told_with_their_white(white: float | None, unit: str) -> None:
    units = {each["name"]: each["unit"] for each in described(MEASURES, white)}
    assert units["statistics_luma_mean"] == unit
    assert units["statistics_luma_std"] == "level"


class TestDistributions:
    def test_median_and_spread_are_robust(self) -> None:
        found = distribution(np.array([1.0, 2, 3, 4, 1000] * 2))
        assert (found.median, found.count) == (3, 10)
        assert found.spread == pytest.approx(1 / 0.6745)
        assert found.scores(np.array([3.0, 1000])) == pytest.approx([0, 997 * 0.6745])

    def test_mean_deviation_serves_when_most_values_are_equal(self) -> None:
        found = distribution(np.array([5.0] * 9 + [15]))
        assert found.spread == pytest.approx(1.2533)
        assert found.scores(np.array([15.0])) == pytest.approx([10 / 1.2533])

    def test_values_that_differ_by_rounding_count_as_equal(self) -> None:
        """Lab a* of gray images is 0 but for rounding: that mustn't make an outlier of every colour image."""
        found = distribution(np.array([-1.5e-5, -1.4e-5, -1.4e-5, -1.3e-5, 0, 6, 12, 16, 30]))
        assert (abs(found.scores(np.array([6.0, 12, 16, 30]))) < 3.5).all()

    def test_what_is_shown_alike_is_not_far(self, tmp_path: Path) -> None:
        """Of gray images a* is what rounding leaves, which is a little more of white than of black."""
        shown = measures([AnalysisRequest("lab_chromaticity")])
        rounding = [1e-6 * (number % 3) for number in range(20)] + [4e-4, -0.03, 0.04]
        rows = [report_row(tmp_path, b"%d.png" % n, values=np.full(len(shown), a)) for n, a in enumerate(rounding)]
        write(tmp_path, rows, measures=shown)
        assert data(tmp_path, "job")["outliers"] == []
        rows = [replace(row, values=row.values + 3) for row in rows] + [replace(rows[0], values=rows[0].values + 9)]
        write(tmp_path, rows, measures=shown)
        assert [row for row, _ in data(tmp_path, "job")["outliers"]] == [len(rows) - 1]

    def test_constant_columns_and_few_images_have_no_outliers(self) -> None:
        far = np.array([6.0, 1000, np.inf, np.nan])
        assert distribution(np.array([5.0] * 9)).scores(far).tolist() == [0] * 4
        assert distribution(np.array([1.0, 2, 3])).scores(far).tolist() == [0] * 4
        assert distribution(np.arange(9.0)).scores(far).tolist()[2:] == [0] * 2

    @pytest.mark.parametrize("period", [1, 2, 3, 6])
    def test_large_jobs_are_sampled_whatever_recurs_in_them(self, period: int) -> None:
        """Channels of a plate: every n-th image is of one kind, and far from all others."""
        numbers = np.arange(300_000.0).reshape(-1, 1_000, 1)  # in groups
        groups = [
            ({f"{kind}": np.flatnonzero(each[:, 0] % period == kind) for kind in range(period)}, each)
            for each in numbers
        ]
        found = distributions(groups, [0], numbers.size)
        assert found == distributions(groups, [0], numbers.size)
        assert len(found) == period
        for kind in found.values():
            assert kind[0].is_sample
            assert kind[0].count == pytest.approx(100_000 / period, rel=0.03)
            assert kind[0].median == pytest.approx(150_000, rel=0.03)

    def test_that_it_is_a_sample_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rayjobs.results.report_numbers.SAMPLE", 400)
        row = report_row(tmp_path, b"a.jpg")
        rows = [replace(row, values=values(**{LUMA: 100.0 + number % 5})) for number in range(1000)]
        write(tmp_path, [*rows, replace(row, values=values(**{LUMA: 250.0}))])
        ((_, finding),) = data(tmp_path, "job")["outliers"]
        assert re.fullmatch(
            r"Brightness 250 is very far above 102, the median of about (3|4)\d0 randomly chosen colour images", finding
        )

    def test_kinds_are_told_by_hue_and_by_white(self) -> None:
        kinds = Kinds(MEASURES)
        rows = np.array([values(), values(statistics_achromatic=1), values(), values(), values()])
        found = kinds.of(rows, np.array([255, np.nan, 65535, 1, np.nan]))
        told = {kind: places.tolist() for kind, places in found.items()}
        assert told == {"colour": [0, 4], "gray": [1], "16-bit colour": [2], "colour (white 1)": [3]}
