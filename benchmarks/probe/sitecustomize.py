"""Notes what every thread of a Python process does, a hundred times a second: for ``benchmarks/timeline.py``.

Python imports a module of this name by itself as it starts; ``PYTHONPATH`` names this folder, and Ray's processes
inherit it. A line is written when a thread turns to something else: ``[seconds since the epoch, thread, what]``.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

EVERY_S = 0.01
PLACES = (
    ("ray/_private/worker.py", "init", "Ray starts"),
    ("ray/_private/worker.py", "shutdown", "Ray ends"),
    ("rayjobs/run/planning.py", "", "plan"),
    ("rayjobs/run/run_loop.py", "run", "images"),
    ("rayjobs/results/", "", "tables, report"),
    ("pipelines/stages/", "", "images"),
    ("numba/", "", "load kernels"),
)
"""End of a file's path or a folder in it, a function (any), and what it means; the innermost counts."""
OWN = ("rayjobs", "actors", "pipelines", "benchmarks")


def frames_of(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost outwards."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def activity(innermost: FrameType) -> str:
    """What a thread does; nothing that has a name is an empty text."""
    found = ""
    for frame in reversed(list(frames_of(innermost))):
        code = frame.f_code
        if code.co_filename == "<frozen importlib._bootstrap>" and code.co_name == "_find_and_load":
            name = str(frame.f_locals.get("name", ""))
            if name.partition(".")[0] not in OWN:
                return "import " + (
                    ".".join(name.split(".")[:2]) if name.startswith("ray.") else name.partition(".")[0]
                )
            found = found if found.startswith("import") else "import rayjobs"
        for place, function, meaning in PLACES:
            if place in code.co_filename and code.co_name != "<module>" and function in ("", code.co_name):
                found = meaning
    return found


def watch(path: str) -> None:
    """Note until Python ends: modules and objects are taken apart, and no thread but the main one runs any more."""
    own, before = threading.get_ident(), dict[str, str]()
    with open(path, "a", encoding="utf-8", buffering=1) as notes:
        while not _ended.is_set():
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            frames = sys._current_frames().items()
            doing = {names.get(ident, str(ident)): activity(frame) for ident, frame in frames if ident != own}
            now = time.time()
            for name in doing.keys() | before.keys():
                if doing.get(name, "") != before.get(name, ""):
                    notes.write(json.dumps([now, name, doing.get(name, "")]) + "\n")
            before = doing
            _ended.wait(EVERY_S)


def note_end(path: str) -> None:
    """The last that a process is asked to do, since it was the first to ask for it."""
    _ended.set()
    with open(path, "a", encoding="utf-8") as notes:
        notes.write(json.dumps([time.time(), "MainThread", "Python ends"]) + "\n")


_ended = threading.Event()
if folder := os.environ.get("RAYJOBS_TIMELINE"):
    own_notes = f"{folder}/{os.getpid()}"
    threading.Thread(target=watch, args=(own_notes,), name="timeline", daemon=True).start()
    atexit.register(note_end, own_notes)
