"""The report, read back as a browser would: parsed, links followed, nothing of a hostile name left alive."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from array import array
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger.job_ledger import JobLedger
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.tables import readable_path
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.report import ReportFailure, ReportImage, ReportSummary, write_report
from rayjobs.results.report_numbers import distribution, distributions, number_text
from tests.quick_runs import fixed_files

JPEG = b"\xff\xd8 thumbnail"
HOSTILE = [
    b"<script>alert(1)</script>.jpg",
    b"quote\"'&amp;.jpg",
    b"#fragment?query=%41%zz.jpg",
    b"caf\xe9.jpg",
    b"two\nlines\t.jpg",
    b"javascript:alert(1).jpg",
    b"{{ 7 * 7 }}.jpg",
    "夕焼け\u202egpj.exe".encode(),
]
SUMMARY = ReportSummary(name="autumn", status="completed", done=3, failed=0, skipped=0)


class Page(HTMLParser):
    """Elements with their attributes, and the text, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data

    def values(self, tag: str, name: str) -> list[str]:
        return [str(attributes[name]) for found, attributes in self.elements if found == tag and name in attributes]

    def links(self) -> list[str]:
        """Links that lead out of the page."""
        return [link for link in (*self.values("a", "href"), *self.values("img", "src")) if not link.startswith("#")]


def report_image(output: Path, name: bytes, **changes: Any) -> ReportImage:
    """A rendered image with a chart, both of them files of the output."""
    image, chart = b"images/" + name, b"charts/luma_waveform/" + name + b".png"
    for path in (image, chart):
        target = os.path.join(os.fsencode(output), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(os.fsdecode(target)).write_bytes(b"pixels")
    return replace(
        ReportImage(
            input=readable_path(name),
            source=b"/photos/" + name,
            key=hashlib.sha256(name).hexdigest(),
            image=os.fsdecode(image),
            charts={"luma_waveform": os.fsdecode(chart)},
            width=1920,
            height=1280,
        ),
        **changes,
    )


def write(output: Path, images: Any, failures: Sequence[ReportFailure] = (), **options: Any) -> Page:
    options = {"make_thumbnail": lambda path: JPEG, **options}
    summary = options.pop("summary", None) or replace(SUMMARY, done=len(images), failed=len(failures))
    with closing(JobLedger(OutputDirectory(output).ledger)) as ledger:
        with fixed_files(ledger, OutputDirectory(output)) as files:
            write_report(files, summary, images, failures, **options)
        files.finish()
    return Page(OutputDirectory(output).report)


def failure(number: int, reason: str = "corrupt") -> ReportFailure:
    return ReportFailure(input=f"broken_{number}.jpg", status="failed", reason=reason, message=f"message {number}")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_text_and_their_links_lead_to_the_files(tmp_path: Path, name: bytes) -> None:
    page = write(tmp_path, [report_image(tmp_path, name)])
    assert readable_path(name) in page.values("div", "title")
    assert readable_path(name).rpartition("/")[2] in page.text
    assert {tag for tag, _ in page.elements} & {"script", "iframe", "object", "form"} == set()
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    files = [link for link in page.links() if "/" in link]
    assert len(files) == 4
    for link in files:
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
    image = report_image(tmp_path, b"a.jpg", degraded=attack, numbers={attack: 1.0})
    failures = [ReportFailure(input=attack, status="failed", reason=attack, message=attack + "\0\x1b")]
    page = write(tmp_path, [image], failures, summary=summary)
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count(attack) >= 10
    assert "\0" not in page.text


def test_pages_need_neither_network_nor_script(tmp_path: Path) -> None:
    page = write(tmp_path, [report_image(tmp_path, b"a.jpg")], [failure(0)])
    policies = [
        attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") and tag == "meta"
    ]
    text = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'; ")
    assert f"'sha256-{digest}'" in policies[0]
    assert "unsafe-inline" not in policies[0]
    assert not re.search(r"https?://|@import|url\(", text)
    assert not [attributes for _, attributes in page.elements if "style" in attributes]


def test_summary_tells_counts_duration_and_what_was_done(tmp_path: Path) -> None:
    summary = ReportSummary(
        name="autumn",
        status="completed_with_failures",
        done=12_345,
        failed=6,
        skipped=7,
        seconds=754.2,
        processed=12_351,
        operations=(ImageOperation("resize", {"max_side": 2048}),),
        versions={"ray": "2.60.0"},
        files=("data/analyses.parquet",),
    )
    page = write(tmp_path, [], summary=summary)
    for text in ("12,345", "12 min 34 s", "16.38", "completed with failures", "resize", "max_side", "2048", "2.60.0"):
        assert text in page.text
    assert "../data/analyses.parquet" in page.links()


def test_failures_can_be_filtered_by_each_reason_that_occurs(tmp_path: Path) -> None:
    failures = [failure(0), failure(1, "truncated"), failure(2), replace(failure(3, "symlink"), status="skipped")]
    page = write(tmp_path, [], failures)
    assert page.values("tr", "data-reason") == ["corrupt", "truncated", "corrupt", "symlink"]
    choices = ["reason-all", "reason-corrupt", "reason-truncated", "reason-symlink"]
    assert page.values("input", "id") == choices == page.values("label", "for")
    text = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert '#reason-corrupt:checked ~ .rows tbody tr:not([data-reason="corrupt"])' in text


def test_of_very_many_failures_the_first_of_each_reason_are_listed(tmp_path: Path) -> None:
    page = write(tmp_path, [], [*(failure(number) for number in range(1000)), failure(1000, "truncated")])
    reasons = page.values("tr", "data-reason")
    assert (reasons.count("corrupt"), reasons.count("truncated")) == (200, 1)
    assert "201 of 1,001 are listed" in page.text


def test_contact_sheet_continues_on_further_pages(tmp_path: Path) -> None:
    images = [report_image(tmp_path, b"%03d.jpg" % number) for number in range(25)]
    write(tmp_path, images, page_images=10)
    pages = [tmp_path / "report" / name for name in ("index.html", "page-0002.html", "page-0003.html")]
    shown = [re.findall(r"\b\d{3}\.jpg\b", Page(path).text) for path in pages]
    assert [len(names) for names in shown] == [10, 10, 5]
    assert [name for names in shown for name in names] == [image.input for image in images]
    for path in pages:
        for link in Page(path).links():
            assert (path.parent / link).is_file()
    assert Page(pages[1]).values("a", "rel") == ["prev", "next"]


def test_large_jobs_show_every_nth_image_but_count_all_for_outliers(tmp_path: Path) -> None:
    images = [
        report_image(tmp_path, b"%03d.jpg" % number, numbers={"mean": 500.0 if number == 31 else number % 7})
        for number in range(50)
    ]
    made: list[Path] = []
    page = write(tmp_path, images, max_images=10, make_thumbnail=lambda path: made.append(path) or JPEG)
    assert "10 of 50 images are shown, one of every 5" in page.text
    assert re.findall(r"\b\d{3}\.jpg\b", page.text) == ["031.jpg", *(f"{number:03d}.jpg" for number in range(0, 50, 5))]
    assert len(made) == 11


def test_outliers_are_named_with_their_distance_farthest_first(tmp_path: Path) -> None:
    values = [100.0 + number % 5 for number in range(40)] + [10.0, 300.0, math.nan]
    images = [report_image(tmp_path, b"%d.jpg" % i, numbers={"luma": value}) for i, value in enumerate(values)]
    page = write(tmp_path, images)
    text = page.text[page.text.index("Images with a number far") :]
    assert text.index("41.jpg") < text.index("40.jpg") < text.index("0.jpg", text.index("40.jpg") + 6)
    assert "luma 300: 133.6 σ above the median 102" in text  # noqa: RUF001
    assert "luma 10: 62.1 σ below the median 102" in text  # noqa: RUF001


def test_even_jobs_have_no_outliers_section(tmp_path: Path) -> None:
    images = [report_image(tmp_path, b"%d.jpg" % i, numbers={"luma": 7, "empty": None}) for i in range(9)]
    page = write(tmp_path, images)
    assert "Outliers" not in page.text
    assert "median 7" in page.text


def test_unreadable_pictures_get_a_placeholder(tmp_path: Path) -> None:
    page = write(tmp_path, [report_image(tmp_path, b"a.jpg")], make_thumbnail=lambda path: None)
    assert "no preview" in page.text


def test_originals_are_shown_when_nothing_was_rendered(tmp_path: Path) -> None:
    asked: list[Path] = []
    image = report_image(tmp_path, b"caf\xe9 1.jpg", image=None)
    page = write(tmp_path, [image], make_thumbnail=lambda path: asked.append(path) or JPEG)
    assert asked == [Path(os.fsdecode(b"/photos/caf\xe9 1.jpg"))]
    assert "file:///photos/caf%E9%201.jpg" in page.links()


def test_known_thumbnails_are_used_again_and_those_not_wanted_are_kept(tmp_path: Path) -> None:
    images = [report_image(tmp_path, b"%d.jpg" % number) for number in range(5)]
    write(tmp_path, images, page_images=2)
    (tmp_path / "report/notes.txt").write_bytes(b"not ours")
    before = tree(tmp_path / "report")
    write(tmp_path, images[:2], page_images=2, make_thumbnail=lambda path: pytest.fail("made again"))
    after = tree(tmp_path / "report")
    assert {path for path in before if after.get(path) != before[path]} == {"index.html"}
    with closing(OutputDirectory(tmp_path).read_ledger()) as ledger:
        kept = {kept.file.path: kept.cause for kept in ledger.files.kept([])}
    others = [f"report/thumbnails/{image.key}.jpg" for image in images[2:]]
    assert kept == dict.fromkeys(["report/page-0002.html", "report/page-0003.html", *others], "unwanted")


def test_a_strangers_file_in_the_report_stays(tmp_path: Path) -> None:
    images = [report_image(tmp_path, b"a.jpg")]
    mine = tmp_path / f"report/thumbnails/{images[0].key}.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    page = write(tmp_path, images)
    assert mine.read_bytes() == b"mine"
    assert f"thumbnails/{images[0].key}.jpg" not in page.values("img", "src")


def test_same_pictures_share_one_thumbnail(tmp_path: Path) -> None:
    images = [report_image(tmp_path, b"%d.jpg" % number, key="0" * 64) for number in range(20)]
    assert set(write(tmp_path, images).values("img", "src")) >= {f"thumbnails/{'0' * 64}.jpg"}


def test_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    for output in (tmp_path / "a", tmp_path / "b"):
        images = [report_image(output, name, numbers={"luma": len(name)}) for name in HOSTILE]
        write(output, images, [failure(0)], page_images=3)
        trees.append(tree(output / "report"))
    assert trees[0] == trees[1]


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "ABCDEF0123", "abc"])
def test_keys_that_are_no_digest_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        write(tmp_path, [report_image(tmp_path, b"a.jpg", key=key)])


def test_iterators_are_refused_because_images_are_read_twice(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="read twice"):
        write(tmp_path, iter([]), summary=SUMMARY)


def test_a_job_without_images_has_a_report(tmp_path: Path) -> None:
    assert "No image was done" in write(tmp_path, []).text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12345, "12,345"), (0.123456, "0.1235"), (4321.5, "4,322"), (None, "–")],  # noqa: RUF001
)
def test_numbers_have_four_digits(value: float | None, text: str) -> None:
    assert number_text(value) == text


class TestDistributions:
    def test_median_and_spread_are_robust(self) -> None:
        found = distribution("x", array("d", [1, 2, 3, 4, 1000]))
        assert (found.median, found.count) == (3, 5)
        assert found.spread == pytest.approx(1 / 0.6745)
        assert found.score(1000) == pytest.approx(997 * 0.6745)

    def test_mean_deviation_serves_when_most_values_are_equal(self) -> None:
        found = distribution("x", array("d", [5] * 9 + [15]))
        assert found.spread == pytest.approx(1.2533)
        assert found.score(15) == pytest.approx(10 / 1.2533)

    def test_values_that_differ_by_rounding_count_as_equal(self) -> None:
        """Lab a* of gray images is 0 but for rounding: that mustn't make an outlier of every colour image."""
        found = distribution("x", array("d", [-1.5e-5, -1.4e-5, -1.4e-5, -1.3e-5, 0, 6, 12, 16, 30]))
        assert all(abs(found.score(value)) < 3.5 for value in (6, 12, 16, 30))

    def test_constant_columns_have_no_outliers(self) -> None:
        assert distribution("x", array("d", [5] * 9)).score(6) == 0

    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
    def test_histogram_counts_every_value_once(self, values: list[float]) -> None:
        assert sum(distribution("x", array("d", values)).bins) == len(values)

    def test_large_jobs_are_sampled(self) -> None:
        rows: list[Mapping[str, float]] = [{"x": float(number)} for number in range(250_000)]
        (found,), count = distributions(rows, len(rows))
        assert count == 250_000
        assert found.count == pytest.approx(83_334)
        assert found.median == pytest.approx(125_000, abs=10)
