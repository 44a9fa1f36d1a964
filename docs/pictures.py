"""Draw the pictures of the report that README and tutorial show: run the demo in a new directory, and look at it.

    python -m docs.pictures

Run from the checkout, as `make pictures` does, on a machine that does nothing else: the page says how long it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page

from examples.demo_inputs import gather
from tests.browser import chromium, opened, until

ROOT = Path(__file__).resolve().parents[1]
JOB = ROOT / "examples" / "demo.yaml"
TARGET = ROOT / "docs" / "images"
WIDTH = 1200
NAMED_FROM_HERE = """(place) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(place, "");
}"""
"""Leaves the directory of a run out of the paths that its page shows."""


def main() -> None:
    """Run, open, draw."""
    with tempfile.TemporaryDirectory(prefix="rayjobs-pictures-") as name:
        place = Path(name)
        (place / "examples").mkdir()  # the job's paths are relative to it
        gather(place / "out/demo-inputs")
        run = [sys.executable, "-m", "rayjobs", "run", str(JOB), "--base", str(place / "examples")]
        home = {"RAYJOBS_HOME": str(place / "home")}  # nothing comes from the cache, and no list of jobs has this one
        subprocess.run([*run, "--output", str(place / "out/demo")], check=True, env={**os.environ, **home})
        with chromium() as browser:
            draw(browser, place / "out/demo/report/index.html", TARGET)


def draw(browser: Browser, report: Path, target: Path) -> None:
    """The page as it opens, in light; and one image large, between before and after, in dark."""
    with opened(browser, report, "#q=photographs", width=WIDTH, height=900) as page:
        _picture(page, report, target / "report-summary.png")
    with opened(browser, report, "#q=photographs", width=WIDTH, height=800, dark=True) as page:
        page.locator(".card", has_text="rocket.jpg").locator(".open").click()
        until(page, "!document.querySelector('#compare').hidden")
        half = "slider => { slider.value = 50; slider.dispatchEvent(new Event('input')); }"
        page.locator("#cut").evaluate(half)
        _picture(page, report, target / "report-images.png")


def _picture(page: Page, report: Path, file: Path) -> None:
    page.evaluate(NAMED_FROM_HERE, f"{report.resolve().parents[3]}/")
    until(page, "[...document.images].every((image) => image.complete)")
    page.screenshot(path=file)


if __name__ == "__main__":
    main()
