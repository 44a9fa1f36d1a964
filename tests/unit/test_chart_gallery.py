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

from pipelines.charts import CHARTABLE, ENGINES
from pipelines.charts.gallery import READING, gallery_files, main
from rayjobs import cli

ROOT = Path(__file__).resolve().parents[2]
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
