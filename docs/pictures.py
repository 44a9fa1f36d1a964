"""Draw the pictures of the report that README and tutorial show: run the demo in a new directory, and look at it.

    python -m docs.pictures

Run from the checkout, as `make pictures` does, on a machine that does nothing else: the page says how long it took.
"""

from __future__ import annotations

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


def main() -> None:
    """Run, open, draw."""
    with tempfile.TemporaryDirectory(prefix="rayjobs-pictures-") as name:
        place = Path(name)
        (place / "examples").mkdir()  # the job's paths are relative to it
        gather(place / "out/demo-inputs")
        run = [sys.executable, "-m", "rayjobs", "run", str(JOB), "--base", str(place / "examples")]
        subprocess.run([*run, "--output", str(place / "out/demo")], check=True)
        with chromium() as browser:
            draw(browser, place / "out/demo/report/index.html", TARGET)


def draw(browser: Browser, report: Path, target: Path) -> None:
    """The page as it opens, in light; and one image large, between before and after, in dark."""
    with opened(browser, report, "#q=photographs", width=WIDTH, height=900) as page:
        _picture(page, target / "report-summary.png")
    with opened(browser, report, "#q=photographs", width=WIDTH, height=800, dark=True) as page:
        page.locator(".card", has_text="rocket.jpg").locator(".open").click()
        until(page, "!document.querySelector('#compare').hidden")
        _picture(page, target / "report-images.png")


def _picture(page: Page, file: Path) -> None:
    until(page, "[...document.images].every((image) => image.complete)")
    page.screenshot(path=file)


if __name__ == "__main__":
    main()
