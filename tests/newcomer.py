"""The way of a newcomer: every block of the README, in order, in a new directory; then a look at each report.

    python -m tests.newcomer        # what `make newcomer` does: clones what is committed, and sets it up from nothing

`tests/cluster/test_newcomer.py` is the short form: the files as they are now, with the environment that is there.
Blocks of ``sh`` and ``python`` run as they stand, one after the other in one terminal; the first that fails is the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from playwright.sync_api import Browser, Page

from tests.browser import canvas, chromium, names, opened, until
from tests.leaks import wait_until
from tests.runs import ROOT, manifest

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
READ = ("", "text", "yaml")
"""Kinds of blocks that one only reads."""
OURS = ("RAY", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS")
"""Beginnings of variables that a newcomer's terminal doesn't have."""


def commands_of(readme: str) -> str:
    """What a newcomer types, as a script for bash.

    Raises
    ------
    ValueError
        A block is of a kind that nobody knows how to follow.
    """
    typed = []
    for kind, text in BLOCK.findall(readme):
        if kind == "sh":
            typed.append(text)
        elif kind == "python":
            typed.append(f".venv/bin/python <<'END'\n{text}END\n")
        elif kind not in READ:
            raise ValueError(f"the README has a block of {kind!r}: say in tests/newcomer.py how it is followed")
    return "".join(typed)


def clone(place: Path) -> None:
    """What is committed, as anybody gets it."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)


def copy(place: Path) -> None:
    """The files as they are now, and the environment that is there in the place of a new one."""
    known = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(known, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    environment = place / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".installed":
            (environment / path.name).symlink_to(path)
    (environment / ".installed").touch()  # newer than what it depends on: `make` installs nothing


def terminal(place: Path) -> Mapping[str, str]:
    """The environment of a newcomer's shell: this program isn't found by chance."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    path = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != Path(sys.prefix) / "bin"]
    return {**clean, "PATH": os.pathsep.join(path), "RAYJOBS_HOME": str(place.parent / "home")}


def follow(place: Path, script: str) -> None:
    """Type the commands in ``place``; each is shown before it runs, and the first that fails is the end.

    Raises
    ------
    subprocess.CalledProcessError
        A command failed; what it said stands above.
    """
    sys.stdout.flush()
    typed = place.parent / "typed.sh"
    typed.write_text(script, encoding="utf-8")
    subprocess.run(
        ["bash", "-ev", "-o", "pipefail", str(typed)],
        cwd=place,
        env=terminal(place),
        stdin=subprocess.DEVNULL,
        check=True,
    )


def reports_in(place: Path) -> list[Path]:
    """Every report of a job that ran below a directory."""
    return sorted(path.parent / "report/index.html" for path in place.rglob("manifest.parquet"))


def look_at(browser: Browser, report: Path) -> str:
    """Open a report from the disk and use it: pictures, sort, search, before and after; says what was there."""
    rows = [row for row in manifest(report.parent.parent) if row["status"] == "done"]
    with opened(browser, report) as page:
        until(page, "[...document.querySelectorAll('.card .open img')].every((image) => image.complete)")
        widths = page.locator(".card .open img").evaluate_all("all => all.map((image) => image.naturalWidth)")
        assert widths, "no pictures"
        assert all(widths), "a picture isn't there"
        column, numbers = _first_number(page, report)
        _sort(page, column, numbers)
        _filter(page, column, numbers)
        _search(page, [Path(row["input"]).name for row in rows])
        _compare(page)
    return f"{len(rows)} pictures, sorted and filtered by {column}, searched, before and after compared"


def _first_number(page: Page, report: Path) -> tuple[str, dict[str, float]]:
    """The first number that is offered and stands in the table: its name, and file -> value; names occur once there."""
    table = pq.read_table(report.parent.parent / "data/analyses.parquet").to_pydict()
    offered = page.locator("#sort option").evaluate_all("all => all.map((option) => option.value)")
    column = next(name for name in offered if name in table)
    rows = zip(table["input"], table[column], strict=True)
    return column, {Path(name).name: value for name, value in rows if value is not None}


def _sort(page: Page, column: str, numbers: Mapping[str, float]) -> None:
    """Up and down."""
    page.select_option("#sort", column)
    for sign in (1, -1):

        def is_sorted(sign: int = sign) -> bool:
            shown = [numbers[name] for name in names(page) if name in numbers]
            return len(shown) > 1 and all(np.diff(np.float32(shown)) * sign >= 0)

        wait_until(is_sorted)
        page.click("#direction")
    page.select_option("#sort", "")


def _filter(page: Page, column: str, numbers: Mapping[str, float]) -> None:
    """By a range: the upper half is there, and nothing of the other."""
    ordered = sorted(numbers.values())
    half = len(ordered) // 2
    middle = (ordered[half - 1] + ordered[half]) / 2
    page.select_option("#measure", column)
    page.fill("#from", str(middle))
    page.press("#from", "Enter")
    upper = {name for name, value in numbers.items() if value > middle}
    wait_until(lambda: page.inner_text("#count").startswith(f"{len(upper)} of "))
    assert set(names(page)) <= upper
    page.click("#whole")
    page.select_option("#measure", "")
    wait_until(lambda: page.inner_text("#count").startswith(f"{len(numbers)} of "))


def _search(page: Page, files: list[str]) -> None:
    """For a part of a name: those that have it are there, and no others."""
    wanted = Path(files[0]).stem
    page.fill("#search", wanted)
    expected = sorted(name for name in files if wanted.lower() in name.lower())
    wait_until(lambda: sorted(names(page)) == expected)
    page.fill("#search", "")
    wait_until(lambda: len(names(page)) > len(expected))


def _compare(page: Page) -> None:
    """The first picture, large: the slider shows the original left of it, and the result right of it."""
    page.locator(".open").first.click()
    until(page, "!document.querySelector('#compare').hidden")
    until(page, "['#after', '#before'].every((each) => document.querySelector(each).naturalWidth > 0)")

    def with_slider_at(percent: int) -> np.ndarray:
        move = f"slider => {{ slider.value = {percent}; slider.dispatchEvent(new Event('input')); }}"
        page.locator("#cut").evaluate(move)
        return canvas(page)

    after, half, before = (with_slider_at(percent) for percent in (0, 50, 100))
    assert np.abs(before - after).max() > 2, "the original looks like the result"
    middle = after.shape[1] // 2
    left, right = slice(0, middle - 1), slice(middle + 1, None)
    assert np.abs(half - before)[:, left].mean() < np.abs(half - after)[:, left].mean()
    assert np.abs(half - after)[:, right].mean() < np.abs(half - before)[:, right].mean()


def main() -> None:
    """Clone, follow the README, look at the reports; the directory goes only when all went well."""
    place = Path(tempfile.mkdtemp(prefix="rayjobs-")) / "a new directory"
    clone(place)
    print(f"cloned into {place}; what isn't committed is left out")
    follow(place, commands_of((place / "README.md").read_text(encoding="utf-8")))
    reports = reports_in(place)
    assert reports, f"no report in {place}"
    with chromium() as browser:
        for report in reports:
            print(f"{report.relative_to(place)}: {look_at(browser, report)}")
    shutil.rmtree(place.parent)


if __name__ == "__main__":
    main()
