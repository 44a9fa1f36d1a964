"""The README as a newcomer follows it, in a directory whose path has a space; `make newcomer` does so from a clone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from docs.pictures import TARGET, draw
from tests.browser import chromium, needs_chromium
from tests.newcomer import commands_of, copy, follow, look_at, reports_in
from tests.runs import ROOT, golden_tree, manifest

README = (ROOT / "README.md").read_text(encoding="utf-8")
SCOPES = {
    *("color_histogram", "hue_histogram", "lab_chromaticity", "luma_waveform", "rgb_parade", "saturation_histogram"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every block of the README was followed."""
    made = tmp_path_factory.mktemp("newcomer") / "a new directory"
    copy(made)
    follow(made, commands_of(README))
    return made


def test_the_readme_leads_to_reports_that_one_can_look_through(place: Path) -> None:
    reports = [str(path.relative_to(place)) for path in reports_in(place)]
    assert "out/demo/report/index.html" in reports


@needs_chromium
def test_reports_have_pictures_to_sort_search_and_compare(place: Path) -> None:
    with chromium() as browser:
        assert all("before and after" in look_at(browser, report) for report in reports_in(place))


@needs_chromium
def test_the_pictures_in_the_readme_are_what_one_sees(place: Path, tmp_path: Path) -> None:
    with chromium() as browser:
        draw(browser, place / "out/demo/report/index.html", tmp_path)
    for drawn in tmp_path.iterdir():
        seen, shown = (np.asarray(Image.open(path).convert("RGB")) for path in (drawn, TARGET / drawn.name))
        assert seen.shape == shown.shape
        difference = np.abs(blurred(seen) - blurred(shown)).max(axis=2)
        assert difference.mean() < 2, f"{drawn.name}: `make pictures` draws it anew"


def blurred(picture: np.ndarray) -> np.ndarray:
    """Means of 20 x 20 px: other fonts and times move some text, a lost picture or line is far more."""
    rows, columns, _ = picture.shape
    return picture.reshape(rows // 20, 20, columns // 20, 20, 3).mean(axis=(1, 3))


def test_the_demo_shows_everything_and_changes_nothing_when_it_runs_again(place: Path) -> None:
    output = place / "out/demo"
    before = golden_tree(output)
    follow(place, "make demo\n")
    assert golden_tree(output) == before
    rows = manifest(output)
    files = [path for path in (place / "out/demo-inputs").rglob("*") if path.is_file()]
    assert len(rows) == len(files) >= 20
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 3
    assert all(row["reason"] and row["message"] for row in failed)
    good = [row for row in rows if row["status"] == "done"]
    assert len(good) == len(rows) - 3
    assert pq.read_table(output / "data/analyses.parquet").num_rows == len(good)
    assert len(list((output / "images").rglob("*.jpg"))) == len(good)
    charts = list((output / "charts").rglob("*.png"))
    assert {scope for scope in SCOPES if any(scope in str(path.relative_to(output)) for path in charts)} == SCOPES
    assert len(charts) >= len(good) * len(SCOPES)
    page = (output / "report/index.html").read_text(encoding="utf-8")
    assert all(row["reason"].replace("_", " ") in page for row in failed)
    data = (output / "report/data/block-00000.js").read_text(encoding="ascii")
    assert all(f'"{Path(row["input"]).name}"' in data for row in rows)
    assert len(list((output / "report/thumbnails").iterdir())) == len(good)
    assert "http://" not in page
    assert "https://" not in page


def test_blocks_are_followed_by_their_kind() -> None:
    text = "```sh\nmake demo  # a\n```\n```yaml\nname: a\n```\n```\nx\n```\n```python\nprint(1)\n```\n"
    assert commands_of(text) == "make demo  # a\n.venv/bin/python <<'END'\nprint(1)\nEND\n"
    with pytest.raises(ValueError, match="block of 'ruby'"):
        commands_of("```ruby\nputs 1\n```\n")
