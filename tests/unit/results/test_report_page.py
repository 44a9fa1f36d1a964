"""The report in a browser, opened from the disk: what people see, click and type."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from playwright.sync_api import Browser, Error, Page

from actors.ledger.job_ledger import JobLedger
from benchmarks.synthetic_report import synthetic_report
from pipelines.models import AnalysisRequest, ImageStatus
from pipelines.stages.thumbnails import make_thumbnails
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.report import write_report
from rayjobs.results.report_measures import CLIPPED, measures
from rayjobs.results.report_numbers import number_text, share_text
from rayjobs.results.report_rows import ReportRow, ReportSummary
from tests.browser import canvas, chromium, names, needs_chromium, opened, until
from tests.places import Place
from tests.quick_runs import fixed_files

pytestmark = needs_chromium

HOSTILE = "<img src=x onerror=alert(1)>'\"&amp;.png"
JOB = {
    "inputs": ["in/"],
    "groups": {"pattern": "in/(?P<plate>[ab])/"},
    "group_by": ["plate"],
    "operations": [{"brightness_contrast": {"brightness": 0.2}}],
    "analyses": ["rgb_parade", "luma_waveform", "statistics", "sharpness", "image_hash"],
    "export": {"images": {"format": "png"}, "data": ["parquet"], "charts": True},
}
LUMA = "statistics_luma_mean"


def photograph(path: Path, seed: int, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(level, 12, (90, 140, 3))
    exif = Image.Exif()
    exif[315] = "<script>alert(1)</script>"
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path, exif=exif)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures per plate, rising in brightness; two the same, one of a hostile name, two broken."""
    place = Place(tmp_path_factory.mktemp("report page"))
    for path in (place.base / "in").iterdir():
        path.unlink()
    for plate in "ab":
        for number in range(12):
            level = 30 + 12 * number + (plate == "b")
            photograph(place.base / f"in/{plate}/{number:02d}.png", number + 50 * (plate == "b"), level)
    photograph(place.base / "in/b/twin.png", 3, 66)
    photograph(place.base / "in/b" / HOSTILE, 99, 100)
    (place.base / "in/a/broken.png").write_bytes(b"no picture <script>alert(1)</script>")
    (place.base / "in/a/empty.png").write_bytes(b"")
    place.run(job=JOB, images={})
    return place.out / "report/index.html"


@pytest.fixture
def look(browser: Browser, report: Path) -> Iterator[Callable[..., Page]]:
    """Opens the report; every page is closed at the end, and looked at for errors."""
    pages = []

    def at(state: str = "", **options: object) -> Page:
        pages.append(opened(browser, report, state, **options))  # type: ignore[arg-type]
        return pages[-1].__enter__()

    yield at
    for page in pages:
        page.__exit__(None, None, None)


def state(page: Page) -> str:
    return page.evaluate("location.hash")


def test_pictures_stand_under_their_folders_and_are_there(look: Callable[..., Page]) -> None:
    page = look()
    assert page.locator(".line.heading").first.inner_text() == "a · 12"
    assert page.inner_text("#count") == "26 of 28 inputs"
    assert names(page)[:3] == ["00.png", "01.png", "02.png"]
    images = page.locator(".card .open img")
    until(page, "[...document.querySelectorAll('.card .open img')].every((image) => image.complete)")
    assert images.evaluate_all("all => all.every((image) => image.naturalWidth > 0)")
    card = page.locator(".card").first.inner_text()
    assert re.search(r"Brightness\s+8\d(\.\d)?, rather dark", card)
    assert page.locator(".card").first.locator(".strip img").count() == 2
    page.mouse.wheel(0, 20_000)
    page.get_by_text("twin.png").wait_for()


def test_hostile_names_are_shown_as_they_are_and_do_nothing(look: Callable[..., Page]) -> None:
    page = look("#q=onerror")
    assert names(page) == [HOSTILE]
    page.locator(".open").click()
    assert page.locator("#viewer-name").inner_text() == HOSTILE
    until(page, "document.querySelector('#after').naturalWidth > 0")
    assert page.locator("script").count() == 2
    assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0


def test_the_policy_stops_what_a_mistake_of_ours_would_let_in(browser: Browser, report: Path) -> None:
    with pytest.raises(AssertionError, match="requires 'Trusted"), opened(browser, report) as page:  # noqa: PT012
        for attack in (
            "document.body.innerHTML = '<b>x</b>'",
            "document.createElement('script').textContent = 'window.bad = 1'",
            "document.createElement('script').src = 'https://example.org/x.js'",
            "document.createElement('img').setAttribute('onerror', 'window.bad = 1')",
        ):
            with pytest.raises(Error, match="requires 'Trusted"):
                page.evaluate(f"() => {{ {attack}; }}")


def test_search_sort_and_choices_are_in_the_address(look: Callable[..., Page], browser: Browser, report: Path) -> None:
    page = look()
    page.fill("#search", "B/0")
    until(page, "document.querySelector('#count').textContent === '10 of 28 inputs'")
    page.select_option("#sort", LUMA)
    page.click("#direction")
    until(page, "document.querySelector('.name').textContent === '09.png'")
    assert names(page)[:4] == ["09.png", "08.png", "07.png", "06.png"]
    assert page.locator(".heading").count() == 0
    address = state(page)
    with opened(browser, report, address) as other:
        assert names(other)[:4] == ["09.png", "08.png", "07.png", "06.png"]
        assert other.input_value("#search") == "B/0"
    page.fill("#search", "")
    page.select_option("#choices select", label="a")
    until(page, "document.querySelector('#count').textContent === '12 of 28 inputs'")
    assert "g.plate=a" in state(page)
    page.fill("#search", "nothing like it")
    page.get_by_text("Nothing fits").wait_for()
    assert page.locator("#empty").bounding_box()["y"] < 500  # type: ignore[index] - below the controls, where one looks
    page.get_by_role("button", name="Show all pictures").click()
    until(page, "document.querySelector('#count').textContent === '26 of 28 inputs'")


def test_failures_are_chosen_by_their_reasons(look: Callable[..., Page]) -> None:
    page = look()
    page.get_by_role("link", name=re.compile("2 inputs failed")).click()
    page.get_by_text("broken.png").wait_for()
    assert names(page) == ["broken.png", "empty.png"]
    page.select_option("#reason", "empty")
    until(page, "document.querySelectorAll('.card').length === 1")
    assert "0 bytes" in page.locator(".card").inner_text()
    assert state(page) == "#show=failed&reason=empty"


def test_a_file_of_rows_is_read_once_however_many_cards_want_it(browser: Browser, report: Path) -> None:
    asked: list[str] = []
    with opened(browser, report) as page:
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.get_by_role("link", name=re.compile("2 inputs failed")).click()
        page.get_by_text("no picture").or_(page.get_by_text("0 bytes")).first.wait_for()
        page.get_by_role("button", name=re.compile("Pictures")).click()
        page.locator(".open").first.click()
        page.locator("#panel .chart").first.wait_for()
        assert [name for name in asked if name.startswith("rows")] == ["rows-00000.js"]


def test_what_is_missing_is_told_and_read_when_it_is_there_again(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "out/report"
    shutil.copytree(report.parent, copy)
    rows, columns = copy / "data/rows-00000.js", sorted(copy.glob("data/column-*"))
    for path in (rows, *columns):
        path.rename(path.with_suffix(".away"))
    context = browser.new_context()
    page = context.new_page()
    page.goto((copy / "index.html").as_uri())
    page.get_by_text(re.compile(r"^The report isn't whole: data/column-\d+-00000.js is missing")).wait_for()
    for path in columns:
        path.with_suffix(".away").rename(path)
    page.reload()
    page.get_by_role("button", name=re.compile("Failed")).click()
    page.get_by_text("The report isn't whole: data/rows-00000.js is missing").wait_for()
    rows.with_suffix(".away").rename(rows)
    page.get_by_role("button", name=re.compile("Pictures")).click()
    page.get_by_role("button", name=re.compile("Failed")).click()
    page.get_by_text("0 bytes").wait_for()
    assert not page.is_visible("#broken")
    context.close()


def test_numbers_are_said_alike_by_the_page_and_its_script(browser: Browser, tmp_path: Path) -> None:
    known = [0, 4.9e-5, 5.1e-5, 6e-5, 0.000123456, 0.125, 0.5, 1.125, 99.95, 250]
    known += [999.25, 999.5, 999.6, 1000.5, 123456.5, 1e7]
    drawn = 10 ** np.random.default_rng(3).uniform(-6, 8, 120)
    numbers = np.concatenate([known, np.negative(known), drawn, -drawn]).astype(np.float32).astype(float)
    shown = measures([AnalysisRequest("statistics"), AnalysisRequest("lab_chromaticity")])
    places = {measure.name: place for place, measure in enumerate(shown)}
    rows = []
    for number in numbers:
        values = np.full(len(shown), number)
        values[[places[name] for name in CLIPPED]] = np.float32(abs(number) % 1), 0.5
        rows.append(
            ReportRow(input=f"/in/{len(rows):03d}.png", source=b"/in/x.png", key=f"{len(rows):032x}", values=values)
        )
    output = OutputDirectory(tmp_path / "out")
    output.control.mkdir(parents=True)
    summary = ReportSummary(name="numbers", status="completed", done=len(rows), failed=0, skipped=0)
    with closing(JobLedger(output.ledger)) as ledger, fixed_files(ledger, output) as files:
        write_report(files, summary, shown, rows, make_thumbnails=make_thumbnails)
    with opened(browser, output.report, width=2560) as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")  # makes all cards
        said = page.locator(".card").evaluate_all(
            "all => all.map((card) => [...card.querySelectorAll('dd')].map((dd) => dd.firstChild.textContent))"
        )
    assert len(said) == len(numbers)
    for number, (brightness, clipped, cast, _) in zip(numbers, said, strict=True):
        assert brightness == number_text(number)
        assert clipped == f"{share_text(float(np.float32(abs(number) % 1)))} / 50 %"
        assert cast.removeprefix("+") == number_text(number)
        assert cast.startswith("+") == (number >= 5e-5)


def test_a_range_is_brushed_typed_and_dropped(look: Callable[..., Page]) -> None:
    page = look()
    page.select_option("#measure", LUMA)
    bars = page.locator("#histogram rect")
    bars.first.wait_for()
    box = page.locator("#histogram").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 30, steps=4)
    page.mouse.up()
    until(page, "document.querySelector('#count').textContent !== '26 of 28 inputs'")
    assert page.locator("#histogram .brush").count() == 1
    brushed = int(page.inner_text("#count").split()[0])
    assert 8 <= brushed <= 16
    page.fill("#from", "90")
    page.fill("#to", "120")
    page.press("#to", "Enter")
    until(page, "document.querySelector('#chosen').textContent.includes('90 to 120')")
    for name in page.locator(".card .numbers").all_inner_texts():
        assert 90 <= float(re.search(r"Brightness\s+([\d.]+)", name)[1]) <= 120  # type: ignore[index]
    page.fill("#from", "90.1234567")
    page.press("#from", "Enter")
    page.fill("#to", "1234567.25")
    page.press("#to", "Enter")
    assert (page.input_value("#from"), page.input_value("#to")) == ("90.1234567", "1234567.25")
    assert state(page).endswith("90.1234567..1234567.25")
    page.get_by_role("button", name=re.compile("Drop the range")).click()
    until(page, "document.querySelector('#count').textContent === '26 of 28 inputs'")


def test_duplicates_stand_side_by_side(look: Callable[..., Page]) -> None:
    page = look("#show=duplicates")
    assert page.locator(".heading").first.inner_text().startswith("Duplicates, group 1")
    assert len(names(page)) >= 2


def test_keys_lead_through_the_images_and_back(look: Callable[..., Page]) -> None:
    page = look()
    page.locator(".open").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#viewer-name').textContent === '02.png'")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('#place').textContent === '4 of 26'")
    assert state(page).endswith("03.png")
    page.keyboard.press("Home")
    until(page, "document.querySelector('#viewer-name').textContent === '00.png'")
    page.keyboard.press("End")
    until(page, "document.querySelector('#viewer-name').textContent === 'twin.png'")
    assert page.locator("#next").is_disabled()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#viewer').open")
    until(page, "!location.hash.includes('image') && document.activeElement.className === 'open'")
    page.go_back()


def test_one_image_has_scopes_in_order_numbers_and_links_beside_it(look: Callable[..., Page], report: Path) -> None:
    page = look("#image=" + str(report.parent.parent.parent / "in/a/05.png").replace("/", "%2F").replace(" ", "+"))
    page.locator("#panel .chart").first.wait_for()
    assert page.locator("#panel .chart img").evaluate_all("all => all.map((image) => image.alt)") == [
        "RGB parade of 05.png",
        "Luma waveform of 05.png",
    ]
    until(page, "[...document.querySelectorAll('#panel .chart img')].every((image) => image.naturalWidth > 0)")
    text = page.inner_text("#panel")
    assert re.search(r"Row 6 of\s+data/analyses.parquet", text)
    assert "plate" in text
    page.get_by_text("All numbers", exact=True).click()
    table = page.inner_text("#panel table")
    assert re.search(r"Statistics: Luma mean\s+1\d\d level", table)
    assert re.search(r"Statistics: Luma clipped low\s+[\d.]+ %, none", table)
    links = page.locator("#panel .links a").evaluate_all("all => all.map((link) => link.href)")
    assert [link.partition("report%20page")[2].partition("/")[2] for link in links] == [
        "in/a/05.png",
        "out/images/a/05.png",
        "out/data/analyses.parquet",
    ]


def test_before_and_after_are_compared_by_slider_and_key(look: Callable[..., Page]) -> None:
    page = look("#q=a/05")
    page.locator(".open").click()
    until(page, "!document.querySelector('#compare').hidden")
    after = canvas(page)
    within = "(({top, bottom}, canvas) => top >= canvas.top - 1 && bottom <= canvas.bottom + 1)"
    boxes = "(...['#after', '#canvas'].map((each) => document.querySelector(each).getBoundingClientRect()))"
    assert page.evaluate(within + boxes)
    page.locator("#cut").evaluate("slider => { slider.value = 50; slider.dispatchEvent(new Event('input')); }")
    half = canvas(page)
    page.locator("#panel").focus()
    page.keyboard.press("b")
    assert page.locator("#flip").get_attribute("aria-pressed") == "true"
    before = canvas(page)
    middle = after.shape[1] // 2
    rows = slice(after.shape[0] // 3, 2 * after.shape[0] // 3)
    inside = [slice(middle - 9, middle - 2), slice(middle + 3, middle + 10)]
    assert after[rows, inside[0]].mean() - before[rows, inside[0]].mean() > 30  # it was made brighter
    assert np.abs(half - before)[rows, inside[0]].mean() < 6
    assert np.abs(half - after)[rows, inside[1]].mean() < 6
    page.keyboard.press("b")
    assert np.abs(canvas(page) - after)[rows].mean() < 6


def test_what_compares_pictures_waits_for_one(look: Callable[..., Page]) -> None:
    page = look("#q=a/05")
    assert page.evaluate("document.querySelector('#compare').hidden")
    page.locator("#cut").evaluate(
        "slider => { slider.value = 50; slider.dispatchEvent(new Event('input')); }"
    )  # an error would be told


@pytest.fixture
def emptied(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    for path in (place.base / "in").iterdir():
        path.unlink()
    return place


def middle(page: Page, side: int = 0) -> float:
    """What the middle of the large picture looks like, or a place left (-1) or right (1) of it: mean level."""
    until(page, "[...document.querySelectorAll('#canvas img:not([hidden])')].every((image) => image.complete)")
    seen = canvas(page)
    row, column = seen.shape[0] // 2, seen.shape[1] // 2 + side * seen.shape[1] // 8
    return float(seen[row - 1 : row + 2, column - 1 : column + 2].mean())


def test_samples_of_16_bits_are_stretched_until_one_says_no(browser: Browser, emptied: Place) -> None:
    ramp = np.tile(np.linspace(200, 900, 300).astype(np.uint16), (200, 1))
    tifffile.imwrite(emptied.base / "in/dark.tif", ramp)
    Image.fromarray(ramp).save(emptied.base / "in/dark.png")  # which the browser shows, and nobody sees
    emptied.run(job={"operations": [], "analyses": ["statistics"], "export": {"images": False, "data": ["csv"]}})
    with opened(browser, emptied.out / "report/index.html") as page:
        thumbnail = "document.querySelector('.card .open img').src"
        assert "stretched" in page.locator(".card .meta").first.inner_text()
        assert "-stretched.jpg" in page.evaluate(thumbnail)
        page.click("#stretch-all")
        assert "stretched" not in page.evaluate(thumbnail) + page.locator(".card .meta").first.inner_text()
        page.click("#stretch-all")
        for number, plainly in enumerate(("", "preview of 300 px")):
            page.locator(".open").nth(number).click()
            page.get_by_text("preview of 300 px, black and white at 0.5 to 99.5 % of its samples").wait_for()
            assert canvas(page).max() > 240
            page.keyboard.press("s")
            until(page, f"!document.querySelector('#after').hidden && {AFTER}.src.indexOf('-stretched') < 0")
            assert middle(page) < 20
            assert page.inner_text("#remark").rstrip(".").removeprefix("The picture: ") == plainly
            page.keyboard.press("s")
            page.keyboard.press("Escape")


def test_what_a_result_lacks_is_told_on_its_card(browser: Browser, emptied: Place) -> None:
    Image.new("RGBA", (90, 120), (200, 90, 0, 128)).save(emptied.base / "in/half.png")
    emptied.run(job={"operations": [], "analyses": ["statistics"]}, images={"format": "jpeg"})
    with opened(browser, emptied.out / "report/index.html", "#show=lesser") as page:
        page.locator(".card .finding").get_by_text("alpha laid on white").wait_for()


def test_brightness_of_mixed_depths_is_told_with_each_ones_white(browser: Browser, emptied: Place) -> None:
    tifffile.imwrite(emptied.base / "in/deep.tif", np.full((120, 90), 45_000, np.uint16))
    Image.new("L", (90, 120), 30).save(emptied.base / "in/plain.png")
    emptied.run(job={"operations": [], "analyses": ["statistics"], "export": {"images": False, "data": ["csv"]}})
    with opened(browser, emptied.out / "report/index.html") as page:
        said = [" ".join(text.split()) for text in page.locator(".card .numbers div:first-child").all_inner_texts()]
        assert said == ["Brightness 45,000 of 65,535, rather bright", "Brightness 30 of 255, dark"]
        page.select_option("#sort", LUMA)  # as shares of white
        until(page, "document.querySelector('.name').textContent === 'plain.png'")
        page.select_option("#measure", LUMA)
        until(page, "document.querySelector('#high').textContent === '68.7 %'")
        page.fill("#from", "50")
        page.press("#from", "Enter")
        until(page, "document.querySelector('#chosen').textContent.includes('Brightness from 50 %')")
        assert names(page) == ["deep.tif"]
        page.locator(".open").first.click()
        page.get_by_text("All numbers", exact=True).click()
        assert "45,000 of 65,535, rather bright" in page.inner_text("#panel table")


AFTER, BEFORE = (f"document.querySelector('#{side}')" for side in ("after", "before"))


@pytest.mark.parametrize("images", [{"format": "tiff"}, False])
def test_before_and_after_are_compared_where_the_browser_knows_neither(
    browser: Browser, emptied: Place, images: object
) -> None:
    tifffile.imwrite(emptied.base / "in/gray.tif", np.full((200, 300), 200, np.uint8))
    emptied.run(job={"operations": ["invert"], "export": {"images": images, "data": ["csv"]}})
    with opened(browser, emptied.out / "report/index.html") as page:
        page.locator(".open").click()
        until(page, "!document.querySelector('#compare').hidden && !document.querySelector('#after').hidden")
        assert middle(page) == pytest.approx(55, abs=6)
        page.keyboard.press("b")
        assert middle(page) == pytest.approx(200, abs=6)
        page.locator("#cut").evaluate("slider => { slider.value = 50; slider.dispatchEvent(new Event('input')); }")
        assert middle(page, -1) == pytest.approx(200, abs=6)
        assert middle(page, 1) == pytest.approx(55, abs=6)
        assert page.inner_text("#remark") == "Before and after: preview of 300 px."


def test_a_preview_that_cannot_be_made_says_why(browser: Browser, emptied: Place) -> None:
    photograph(emptied.base / "in/a.png", 1, 90)

    def lose(row: ImageStatus) -> None:
        photograph(emptied.base / "in/a.png", 2, 200)
        for path in (emptied.out / ".rayjobs/tmp").rglob("*.jpg"):
            path.unlink()

    job = {"operations": [], "analyses": ["statistics"], "export": {"images": False, "data": ["csv"]}}
    emptied.run(job=job, after=lose)
    told = "the file changed since the job was planned"
    with opened(browser, emptied.out / "report/index.html") as page:
        page.locator(".card .open").get_by_text(told).wait_for()
        assert page.locator(".card .open").inner_text().startswith("no preview")
        page.locator(".open").click()
        page.get_by_text(f"No preview: {told}").wait_for()


def test_what_is_transparent_lies_on_a_checkerboard_on_its_card_and_in_large(browser: Browser, emptied: Place) -> None:
    picture = np.zeros((200, 300, 4), np.uint8)
    picture[:, 150:] = (255, 0, 0, 255)
    Image.fromarray(picture).save(emptied.base / "in/half.png")
    emptied.run(job={"operations": [], "analyses": ["statistics"]}, images={})
    with opened(browser, emptied.out / "report/index.html") as page:
        until(page, "document.querySelector('.card .open img').complete")
        card = np.asarray(Image.open(BytesIO(page.locator(".card .open").screenshot())).convert("RGB")).astype(int)
        page.locator(".open").click()
        until(page, "document.querySelector('#after').naturalWidth > 0")
        large = np.asarray(Image.open(BytesIO(page.locator("#after").screenshot())).convert("RGB")).astype(int)
    for seen in (card, large):
        across = seen.shape[1]
        left, right = (seen[40:-40, slice(*ends)] for ends in ((across // 8, across * 3 // 8), (across * 5 // 8, -60)))
        assert np.ptp(left, axis=2).max() < 12  # grays,
        assert left.min() < 215  # dark ones
        assert left.max() > 240  # and light ones
        assert right.reshape(-1, 3).mean(axis=0) == pytest.approx((254, 0, 0), abs=8)


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1000, True), (2560, False)])
def test_nothing_is_cut_off_or_hard_to_read_at_any_width(look: Callable[..., Page], width: int, dark: bool) -> None:
    page = look(width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    across = page.evaluate(
        "new Set([...document.querySelectorAll('.card')].map((card) => card.getBoundingClientRect().left)).size"
    )
    assert across == {400: 1, 1000: 3, 2560: 8}[width]
    assert page.evaluate(CONTRAST) == []
    page.locator(".open").first.click()
    page.locator("#panel .chart").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRAST) == []


def test_what_is_shown_is_named_in_sight_on_a_narrow_screen(look: Callable[..., Page]) -> None:
    page = look("#show=all", width=400)
    pressed = page.locator(".show[aria-pressed=true]").bounding_box()
    assert pressed
    assert 0 <= pressed["x"] <= 400 - pressed["width"]


def test_a_folder_stands_once_though_others_lie_between_its_files(browser: Browser, emptied: Place) -> None:
    for name in ("b.png", "m/x.png", "z.png"):
        photograph(emptied.base / "in" / name, 1, 90)
    emptied.run(job={"operations": [], "analyses": ["statistics"]}, images={})
    with opened(browser, emptied.out / "report/index.html") as page:
        assert page.locator(".heading").all_inner_texts() == ["Inputs · 2", "m · 1"]
        assert names(page) == ["b.png", "z.png", "x.png"]


def test_keys_alone_reach_the_pictures(look: Callable[..., Page]) -> None:
    page = look("#q=a")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0  # it is seen while it has the focus
    page.keyboard.press("Enter")
    until(page, "document.activeElement === document.querySelector('.open')")
    assert state(page) == "#q=a"  # what is chosen stays
    for _ in range(12):  # back through the controls: where one is can be seen everywhere
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.tagName") in {"BUTTON", "INPUT", "SELECT", "SUMMARY", "A"}
    assert page.evaluate("getComputedStyle(document.querySelector('.open img')).transitionDuration") == "0s"


def test_it_prints_as_a_contact_sheet_in_black_on_white(look: Callable[..., Page]) -> None:
    page = look(width=2560, dark=True)
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page, "document.querySelectorAll('.card').length === 26")
    boxes = page.locator(".card").evaluate_all("all => all.map((card) => card.getBoundingClientRect().toJSON())")
    assert len({box["left"] for box in boxes}) == 4
    boxes += page.locator(".heading h3").evaluate_all("all => all.map((text) => text.getBoundingClientRect().toJSON())")
    rows = sorted({(box["top"], box["bottom"]) for box in boxes})
    assert all(above[1] <= below[0] for above, below in pairwise(rows) if above[0] != below[0])  # none lies on another
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#search").is_visible()
    assert page.evaluate(CONTRAST) == []


def test_a_hundred_thousand_inputs_open_scroll_and_sort(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, synthetic_report(tmp_path / "out", 100_000)) as page:
        until(page, "document.querySelector('#count').textContent === '99,900 of 100,000 inputs'")
        first = names(page)[0]
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        last = "[...document.querySelectorAll('.name')].at(-1).title"
        until(page, f"{last}.endsWith('plate 0416/well 158 field 1.tif')")
        assert page.locator(".card").count() < 100
        page.select_option("#sort", "noise_sigma")
        until(page, "scrollY < 1000 && !document.querySelector('.heading')")
        assert names(page)[0] != first


REFERENCE = Path(__file__).parent.parent.parent / "data/report-page.png"
"""The page as it is meant to look, an eighth of its size; ``RAYJOBS_NEW_PICTURES=1`` draws it anew."""


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_looks_as_it_is_meant_to(look: Callable[..., Page], dark: bool) -> None:
    page = look(dark=dark)
    until(page, "[...document.querySelectorAll('.card .open img')].every((image) => image.complete)")
    seen = np.asarray(Image.open(BytesIO(page.screenshot())).convert("RGB").resize((125, 100), Image.Resampling.BOX))
    path = REFERENCE.with_stem(f"{REFERENCE.stem}-{'dark' if dark else 'light'}")
    if os.environ.get("RAYJOBS_NEW_PICTURES"):
        Image.fromarray(seen).save(path)
    difference = np.abs(seen.astype(float) - np.asarray(Image.open(path), float)).max(axis=2)
    assert difference.mean() < 5  # other fonts and times move some text; a lost picture or line is far more
    assert (difference > 60).mean() < 0.02


CONTRAST = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest("noscript, option, [hidden]") || element.disabled) continue;
    if (!element.getClientRects().length) continue;
    const pair = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${element.className} ${element.textContent.slice(0, 30)}: ${ratio}`);
  }
  for (const field of document.querySelectorAll("[placeholder]")) {
    const style = getComputedStyle(field, "::placeholder");
    const pair = [light(style.color), light(ground(field))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05) * Number(style.opacity);
    if (ratio < 4.5) poor.push(`${field.placeholder}: ${ratio}`);
  }
  for (const control of document.querySelectorAll("button, select, input, a, img, [role=img]")) {
    const name = control.getAttribute("aria-label") ?? control.alt ?? "";
    const inside = control.querySelector("img")?.alt;
    const isMarked = control.tagName === "IMG" && control.hasAttribute("alt");
    const said = name || control.textContent.trim() || control.labels?.length || inside || isMarked;
    if (!said && control.getClientRects().length) poor.push(`${control.tagName} #${control.id} has no name`);
  }
  return poor;
}"""
"""WCAG 2.2, 1.4.3 (text on its ground, 4.5 to 1) and 4.1.2 (every control has a name)."""
