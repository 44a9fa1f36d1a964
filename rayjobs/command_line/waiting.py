"""What moves on a terminal from the start, while the program itself is loaded: that takes a second.

Needs the standard library alone; it goes away before anything else is written.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Sequence

from rayjobs.command_line.program import before_output

WAITED_FOR = {
    **dict.fromkeys(("run", "resume", "retry-failed"), "starting"),
    "plan": "planning",
    "up": "starting Ray",
    "submit": "submitting",
    "logs": "asking the cluster",
    "results": "writing tables",
    "verify": "comparing",
    "rebuild": "rebuilding",
}
"""Commands that take a while before they say something -> what they do then."""
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def show_waiting(words: Sequence[str]) -> None:
    """Turn a spinner if a person waits for one of these commands."""
    what = WAITED_FOR.get(words[0]) if words else None
    fitting = os.environ.get("TERM", "dumb") != "dumb" and (sys.stderr.encoding or "").lower().startswith("utf")
    if what is None or "--json" in words or not fitting or not sys.stderr.isatty():
        return
    over = threading.Event()
    thread = threading.Thread(target=_turn, args=(what, over), daemon=True)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join(1)

    before_output(stop)


def _turn(what: str, over: threading.Event) -> None:
    begun = time.monotonic()
    for frame in itertools.cycle(FRAMES):
        waited = int(time.monotonic() - begun)
        if not _shown(f"\r\x1b[36m{frame}\x1b[0m {what}{f', {waited} s' * (waited > 0)}"):
            return
        if over.wait(0.1):
            break
    _shown("\r\x1b[2K")


def _shown(text: str) -> bool:
    try:
        return os.write(2, text.encode()) > 0
    except OSError:  # nobody looks any more
        return False
