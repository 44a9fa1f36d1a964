"""P15: opening the report on 10,000 images in a headless Chromium, and choosing among them.

Times are those of a person at the browser: from asking for the page to the first pictures, from a key or click to what
it brings, the next frame included.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

from benchmarks.bars import measure
from benchmarks.figures import Figure, Scale, rounded, say
from benchmarks.synthetic_report import synthetic_report
from pipelines.errors import RayjobsError

INPUTS = 10_000
SECONDS = {"P15 first pictures": "to the first pictures", "P15 search": "of a search", "P15 sort": "of a sort"}
"""Bar -> what takes them."""
_PICTURES = "[...document.querySelectorAll('.card .open img')].filter((image) => image.naturalWidth > 0).length >= 3"
_ACT = """async ([id, value, kind]) => {
  const first = () => document.querySelector(".card .name")?.textContent + document.querySelector("#count").textContent;
  const before = first(), began = performance.now(), field = document.querySelector(id);
  field.value = value;
  field.dispatchEvent(new Event(kind, {bubbles: true}));
  while (first() === before) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return (performance.now() - began) / 1000;
}"""


def p15(scale: Scale) -> Figure:
    """Seconds until pictures are there, of a search and of a sort; medians of new pages."""
    page = synthetic_report(scale.scratch / "report", scale.share(INPUTS))
    turns = look(page, max(scale.repeat, 3))
    return Figure(
        "P15",
        [
            measure(
                bar,
                f"seconds {name}",
                statistics.median(turns[bar]),
                {"turns": [rounded(each) for each in turns[bar]]},
            )
            for bar, name in SECONDS.items()
        ],
    )


def look(page: Path, turns: int) -> dict[str, list[float]]:
    """What each turn took, by the names of ``SECONDS``.

    Raises
    ------
    RayjobsError
        There is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise RayjobsError("Chromium isn't installed: `make tools`")
    taken: dict[str, list[float]] = {name: [] for name in SECONDS}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for turn in range(turns):
            tab = browser.new_page(viewport={"width": 1400, "height": 900})
            began = time.perf_counter()
            tab.goto(page.resolve().as_uri(), wait_until="commit")
            while not tab.evaluate(_PICTURES):
                time.sleep(0.005)
            seconds = [time.perf_counter() - began]
            while "parts read" in tab.inner_text("#count"):
                time.sleep(0.02)
            seconds.append(tab.evaluate(_ACT, ["#search", "0007/well 03", "input"]))
            tab.evaluate(_ACT, ["#search", "", "input"])
            seconds.append(tab.evaluate(_ACT, ["#sort", "noise_sigma_wavelet", "change"]))
            tab.close()
            for name, each in zip(SECONDS, seconds, strict=True):
                taken[name].append(each)
            say(f"  turn {turn + 1}: {', '.join(f'{name} {rounded(taken[name][-1])}' for name in SECONDS)}")
        browser.close()
    return taken
