"""A headless Chromium (Debian: chromium), which opens reports as people do: from a disk, with no server."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("RAYJOBS_REQUIRE_TOOLS"),
    reason="Chromium isn't installed (`make tools`): the report isn't looked at in a browser",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One that is ended at the end."""
    with sync_playwright() as playwright:
        # in a container it has no user namespaces for its sandbox; it opens nothing but our own files
        browser = playwright.chromium.launch(executable_path=CHROMIUM or "chromium", args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, report: Path, state: str = "", *, width: int = 1000, height: int = 800, dark: bool = False
) -> Iterator[Page]:
    """A report's page; whatever its console says in anger fails the test."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(report.resolve().as_uri() + state)
        page.wait_for_selector(".card, .notice:not([hidden])")
        yield page
        assert said == [], "\n".join(said)
    finally:
        context.close()


def until(page: Page, expression: str, *, within_s: float = 20) -> None:
    """Wait till an expression is true; asked from outside, since the page's policy allows it no ``eval``."""
    deadline = time.monotonic() + within_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        time.sleep(0.02)


def names(page: Page) -> list[str]:
    """Of the cards that are there, in order."""
    return page.locator(".card .name").all_inner_texts()


def canvas(page: Page) -> np.ndarray:
    """What is seen there from some distance: means of 8 x 8 px, since browsers scale pictures in several ways."""
    seen = np.asarray(Image.open(BytesIO(page.locator("#canvas").screenshot())).convert("RGB")).astype(float)
    rows, columns = seen.shape[0] // 8, seen.shape[1] // 8
    return seen[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8, 3).mean(axis=(1, 3))
