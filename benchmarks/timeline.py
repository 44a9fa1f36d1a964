"""A timeline of one run, process by process, from ``execve`` to exit: ``make timeline``.

    python -m benchmarks.timeline [--images N] [--to FILE]

Starts are the kernel's; ends, processor times and titles are looked up every 50 ms; what the threads of Python's
processes do, every 10 ms from inside (``probe/sitecustomize.py``). The job has run once before, so that code and
kernels are compiled as they are on any machine in use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command_line import run, start, write_job
from benchmarks.drawing import Drawing, number
from benchmarks.photographs import CACHE, SMALL_PICTURE, photographs
from benchmarks.processes import IDLE, Life, watch

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "timeline.svg"
WIDTH, LEFT, TOP, ROW = 1100, 176, 64, 30
SHORTEST_S = 0.03
"""What a thread does for less isn't drawn: three looks."""
ROLES = {
    "import": "import",
    "load kernels": "import",
    "Ray": "ray",
    "images": "work",
    "plan": "result",
    "tables": "result",
}


@dataclass(frozen=True, slots=True)
class Span:
    """What a thread did from a moment to another."""

    thread: str
    doing: str
    start: float
    end: float


def spans_of(life: Life, folder: Path) -> list[Span]:
    """What the threads of a process did, by the notes of the probe; empty for what isn't Python."""
    notes = folder / str(life.pid)
    open_: dict[str, tuple[str, float]] = {}
    spans = []
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("]")]
    for now, thread, doing in [*events, *([life.end, thread, ""] for thread in {event[1] for event in events})]:
        before, since = open_.get(thread, ("", now))
        if before and now - since >= SHORTEST_S:
            spans.append(Span(thread, before, since, now))
        open_[thread] = (doing, now)
    return spans


def lanes(lives: Sequence[Life], folder: Path) -> Iterator[tuple[Life, str, list[Span]]]:
    """A row for each process, and one for each further thread of it that did something of its own."""
    for life in lives:
        spans = spans_of(life, folder)
        main = [span for span in spans if span.thread == "MainThread"]
        yield life, life.name or IDLE, main
        for thread in sorted({span.thread for span in spans} - {"MainThread"}):
            own = [span for span in spans if span.thread == thread]
            if sum(span.end - span.start for span in own) >= 5 * SHORTEST_S:
                yield life, f"  thread {thread}", own


def groups_of(spans: Sequence[Span]) -> Iterator[tuple[str, list[Span]]]:
    """Neighbours of one colour, and that."""
    group: list[Span] = []
    for span in spans:
        if group and (_role(span) != _role(group[0]) or span.start - group[-1].end > 3 * SHORTEST_S):
            yield _role(group[0]), group
            group = []
        group.append(span)
    if group:
        yield _role(group[0]), group


def _role(span: Span) -> str:
    return next((role for start, role in ROLES.items() if span.doing.startswith(start)), "other")


def label_of(group: Sequence[Span], room: int) -> str:
    """What took longest, and as much of the rest as there is room for; "import" is said once."""
    seconds: dict[str, float] = {}
    for span in group:
        seconds[span.doing] = seconds.get(span.doing, 0.0) + span.end - span.start
    label = ""
    for doing in sorted(seconds, key=lambda doing: -seconds[doing]):
        longer = f"{label}, {doing.removeprefix('import ')}" if label else doing
        if len(longer) > room:
            break
        label = longer
    return label or ("imports" if room >= 7 and group[0].doing.startswith("import ") else "")


def draw(lives: Sequence[Life], prompt: float, folder: Path, images: int) -> str:
    """The picture: beams are lives, what is written in them is what Python did, strips below are load."""
    begin, rows = lives[0].start, list(lanes(lives, folder))
    end = max(life.end for life in lives)
    scale = (WIDTH - LEFT - 16) / (end - begin)
    size = " x ".join(map(str, SMALL_PICTURE))
    title = f"A run of {images} pictures of {size}: {prompt - begin:.1f} s from Enter to prompt"
    said = "; ".join(f"{name.strip()}: {life.start - begin:.2f} to {life.end - begin:.2f} s" for life, name, _ in rows)
    drawing = Drawing(WIDTH, TOP + ROW * len(rows) + 12, title, said)
    drawing.text(16, 24, title, size=16)
    step = next(step for step in (1, 2, 5, 10, 60, 600) if step * scale >= 40)
    for second in range(0, int(end - begin) + 1, step):
        x = LEFT + second * scale
        drawing.line(f"M{number(x)} {TOP - 8}V{TOP + ROW * len(rows)}", "rule")
        drawing.text(x, TOP - 12, f"{second} s", "dim", anchor="middle", size=11)
    for place, (life, name, spans) in enumerate(rows):
        y = TOP + ROW * place
        drawing.text(16, y + 14, name if len(name) <= 26 else f"{name[:25]}…", size=11)
        if not name.startswith(" "):
            drawing.rectangle(
                LEFT + (life.start - begin) * scale, y + 2, (life.end - life.start) * scale, 16, "other", hollow=True
            )
            for (since, before), (now, spent) in zip(life.load, life.load[1:], strict=False):
                share = min((spent - before) / (now - since), 1.0)
                if share > 0.05:
                    drawing.rectangle(
                        LEFT + (since - begin) * scale, y + 20, (now - since) * scale, 4, "text", opacity=share
                    )
        for role, group in groups_of(spans):
            for span in group:
                x = LEFT + (span.start - begin) * scale
                drawing.rectangle(x, y + 2, (span.end - span.start) * scale, 16, role)
            width = (group[-1].end - group[0].start) * scale
            if label := label_of(group, int(width / 6.2)):
                drawing.text(LEFT + (group[0].start - begin) * scale + 3, y + 14, label, size=11)
    x = LEFT + (prompt - begin) * scale
    drawing.line(f"M{number(x)} {TOP - 8}V{TOP + ROW * len(rows)}", "bad", 2)
    drawing.text(x - 4, 44, "prompt", "bad", anchor="end", size=11)
    return drawing.svg()


def main(argv: Sequence[str] | None = None) -> int:
    """Run, watch, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timeline", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100, help="pictures of 640 x 427 px (100)")
    parser.add_argument("--to", type=Path, default=PICTURE, metavar="FILE", help="where the picture goes")
    arguments = parser.parse_args(argv)
    CACHE.mkdir(parents=True, exist_ok=True)
    files = photographs(arguments.images, SMALL_PICTURE).files
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        scratch = Path(name)
        notes, home = scratch / "notes", scratch / "home"
        notes.mkdir()
        run(write_job(files, scratch / "before"), home=home)
        probe = os.pathsep.join([str(Path(__file__).parent / "probe"), os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        )
        job = write_job(files, scratch / "timeline")
        environment = {"PYTHONPATH": probe, "RAYJOBS_TIMELINE": str(notes)}
        process = start(job, home=home, said=job.with_suffix(".ray"), environment=environment)
        lives, prompt = watch(process)
        arguments.to.write_text(draw(lives, prompt, notes, arguments.images), encoding="utf-8")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
