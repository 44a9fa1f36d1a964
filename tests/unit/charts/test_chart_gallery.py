"""The committed gallery is what the code draws today.

Byte for byte, which holds for the versions of matplotlib, Pillow, imagecodecs and scikit-image pinned in
``constraints.txt``; with others the test is skipped. When it fails after a wanted change of looks, run
``make gallery`` and look at the pictures.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from pipelines.charts import CHARTABLE, ENGINES, gallery
from pipelines.charts.gallery import READING, gallery_files, main, write_gallery
from pipelines.errors import JobError
from rayjobs.command_line import cli

ROOT = Path(__file__).resolve().parents[3]
DRAWN_WITH = ("matplotlib", "pillow", "imagecodecs", "numpy", "opencv-python-headless", "scikit-image")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def test_the_committed_gallery_is_drawn_by_this_code() -> None:
    other = [name for name in DRAWN_WITH if version(name) != pinned()[name]]
    if other:
        pytest.skip(f"drawn with other versions of {', '.join(other)}")
    files = gallery_files()
    differing = [name for name, content in files.items() if (ROOT / "docs" / name).read_bytes() != content]
    assert differing == []
    assert {f"gallery/{path.name}" for path in (ROOT / "docs" / "gallery").glob("*.png")} == set(files) - {"charts.md"}


def test_the_page_explains_and_shows_every_chart() -> None:
    page = (ROOT / "docs" / "charts.md").read_text(encoding="utf-8")
    assert tuple(READING) == tuple(CHARTABLE)
    assert all(f"(gallery/{name}_{engine}.png)" in page for name in CHARTABLE for engine in ENGINES)


def test_the_gallery_wants_one_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "OUT_DIR" in capsys.readouterr().err


def test_the_command_lists_charts_and_draws_the_gallery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["charts", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed["charts"]] == list(CHARTABLE)
    assert listed["engines"] == list(ENGINES)
    assert cli.main(["charts", "--gallery", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "charts.md")
    assert {path.name for path in (tmp_path / "gallery").iterdir()} == {
        path.name for path in (ROOT / "docs" / "gallery").iterdir()
    }


@pytest.fixture
def small_gallery(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What the gallery has in the tests below, so that nothing needs to be drawn."""
    files = {"charts.md": b"page", "gallery/a.png": b"picture a", "gallery/b.png": b"picture b"}
    monkeypatch.setattr(gallery, "gallery_files", lambda: files)
    return files


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_gallery_can_be_drawn_again_where_it_is_and_completed(
    tmp_path: Path, small_gallery: dict[str, bytes]
) -> None:
    write_gallery(tmp_path / "docs")
    (tmp_path / "docs/gallery/b.png").unlink()
    assert write_gallery(tmp_path / "docs") == tmp_path / "docs/charts.md"
    assert contents(tmp_path / "docs") == small_gallery


@pytest.mark.parametrize("name", ["charts.md", "gallery/b.png"])
def test_the_command_draws_no_gallery_over_what_is_there(
    name: str, tmp_path: Path, small_gallery: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_bytes(b"X" * len(small_gallery[name]))
    assert cli.main(["charts", "--gallery", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rayjobs: {mine}: in the way of the gallery")
    assert contents(tmp_path) == {name: b"X" * len(small_gallery[name])}


def test_many_files_in_the_way_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "gallery_files", lambda: {f"{n}.png": b"new" for n in range(9)})
    for n in range(9):
        (tmp_path / f"{n}.png").write_bytes(b"old")
    with pytest.raises(JobError, match=r"0\.png, .*1\.png, .*2\.png and 6 more: in the way"):
        write_gallery(tmp_path)


@pytest.mark.usefixtures("small_gallery")
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", ["charts.md", "gallery/a.png", "gallery"])
def test_links_inside_of_the_directory_are_in_the_way_and_never_followed(
    name: str, replace: bool, tmp_path: Path
) -> None:
    elsewhere, docs = tmp_path / "elsewhere", tmp_path / "docs"
    (docs / name).parent.mkdir(parents=True)
    if name == "gallery":
        elsewhere.mkdir()
    else:
        elsewhere.write_bytes(b"page" if name == "charts.md" else b"picture a")  # the same bytes make it no better
    (docs / name).symlink_to(elsewhere)
    before = contents(tmp_path)
    with pytest.raises(JobError, match=f"{docs / name}: in the way"):
        write_gallery(docs, replace=replace)
    assert contents(tmp_path) == before


def test_the_directory_itself_may_be_a_link(tmp_path: Path, small_gallery: dict[str, bytes]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "docs").symlink_to("real")
    write_gallery(tmp_path / "docs")
    assert contents(tmp_path / "real") == small_gallery


def test_the_projects_own_gallery_is_drawn_over_the_one_before(tmp_path: Path, small_gallery: dict[str, bytes]) -> None:
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery/a.png").write_bytes(b"a longer picture of an earlier version")
    assert main([str(tmp_path)]) == 0
    assert contents(tmp_path) == small_gallery


def test_a_gallery_that_could_not_be_written_to_its_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "gallery_files", lambda: {"charts.md": b"page", f"{'x' * 300}.png": b"picture"})
    with pytest.raises(OSError, match="too long"):
        write_gallery(tmp_path)
    assert contents(tmp_path) == {}
