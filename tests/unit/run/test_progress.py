"""What a person sees while a job runs: lines in a log, one live line on a terminal, nothing for programs."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rayjobs.command_line.running import _Interrupted
from rayjobs.run.display import NoDisplay, PlainDisplay, open_display
from rayjobs.run.live_display import ProgressLines
from rayjobs.run.progress import STOPPING, STOPPING_NOW, Rate, Snapshot, numbers_text
from rayjobs.run.signals import stopping_on_signals

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def snapshot(phase: str = "running", **numbers: Any) -> Snapshot:
    return Snapshot(name="autumn", phase=phase, **numbers)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"total": 1200, "done": 30}, "30 of 1,200"),
        ({"total": 1200, "done": 1000, "failed": 2, "skipped": 3}, "1,005 of 1,200, 2 failed, 3 skipped"),
        ({"total": 100, "done": 40, "rate": 12.0}, "40 of 100, 12.0 images/s, 5.0 s left"),
        ({"total": 100, "done": 100, "rate": 12.0}, "100 of 100, 12.0 images/s"),
    ],
    ids=["begun", "failures", "rate", "over"],
)
def test_numbers_say_how_far_how_quick_and_how_long(numbers: dict[str, Any], text: str) -> None:
    assert numbers_text(snapshot(**numbers)) == text


def test_a_rate_is_that_of_the_last_half_minute() -> None:
    rate = Rate(window_s=30)
    assert rate.update(0, 0.0) is None
    assert rate.update(10, 0.1) is None, "too short to say anything"
    assert rate.update(20, 10.0) == 2


def test_the_time_that_loading_takes_is_no_rate() -> None:
    rate = Rate()
    for second in range(20):
        assert rate.update(0, float(second)) is None
    assert rate.update(8, 20.0) is None
    assert rate.update(30, 22.0) == pytest.approx(10)


def test_a_rate_forgets_what_was_more_than_half_a_minute_ago() -> None:
    rate = Rate(window_s=30)
    rate.update(0, 0.0)
    rate.update(20, 10.0)
    for second in range(11, 61):
        found = rate.update(20 + 4 * (second - 10), float(second))
    assert found == pytest.approx(4, rel=0.02)


@given(st.lists(st.tuples(st.floats(0.01, 20), st.integers(0, 50)), min_size=1, max_size=60))
def test_a_rate_is_never_negative_and_never_above_the_quickest_step(steps: list[tuple[float, int]]) -> None:
    rate, now, finished = Rate(), 0.0, 0
    rate.update(0, now)
    quickest = max(images / seconds for seconds, images in steps)
    for seconds, images in steps:
        now += seconds
        finished += images
        found = rate.update(finished, now)
        assert found is None or 0 < found <= quickest * 1.001


def test_a_log_gets_a_line_for_each_phase_and_one_every_few_seconds() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, interval_s=1000)
    display.show(snapshot("planning"))
    for done in range(5):
        display.show(snapshot(total=8, done=done))
    display.show(snapshot("writing tables", total=8, done=8))
    display.close()
    assert stream.getvalue().splitlines() == [
        "autumn: planning",
        "autumn: running, 0 of 8",
        "autumn: writing tables, 8 of 8",
    ]
    stream = io.StringIO()
    display = PlainDisplay(stream, interval_s=0)
    for done in range(3):
        display.show(snapshot(total=8, done=done))
    assert stream.getvalue().splitlines() == [f"autumn: running, {done} of 8" for done in range(3)]


def test_what_is_shown_depends_on_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(open_display(quiet=False), PlainDisplay)
    quiet = open_display(quiet=True)
    assert isinstance(quiet, NoDisplay)
    quiet.show(snapshot(total=8, done=1))
    quiet.close()
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_numbers_fit_the_line_in_whole_parts() -> None:
    full = snapshot(total=1200, done=610, failed=2, skipped=1, rate=10.0)
    assert numbers_text(full, 80) == "613 of 1,200, 2 failed, 1 skipped, 10.0 images/s, 59 s left"
    assert numbers_text(full, 46) == "613 of 1,200, 2 failed, 1 skipped, 59 s left"
    assert numbers_text(full, 40) == "613 of 1,200, 2 failed, 59 s left"
    assert numbers_text(full, 10) == "613 of 1,200"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_terminal_has_at_most_two_live_lines_and_none_is_broken(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    long = Snapshot(name="a-rather-long-name-of-a-job-of-somebody", phase="writing tables and report", total=12_345)
    for shown in (snapshot("planning"), snapshot(total=1200, done=600, failed=2, rate=10.0), long):
        for stopping in ("", STOPPING, STOPPING_NOW):
            drawn = ProgressLines()
            drawn.show(shown)
            drawn.stopping(stopping)
            with console.capture() as captured:
                console.print(drawn)
            lines = captured.get().splitlines()
            assert len(lines) == (2 if shown.total else 1)
            assert all(len(line.rstrip()) <= width for line in lines)
            said = "stopping" if stopping else shown.phase
            assert said[:20] in lines[0]
            assert not stopping or "left" not in captured.get()  # nobody waits for the rest


def test_a_log_says_at_once_that_the_job_is_stopping(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        PlainDisplay(stream).stopping()
        assert (tmp_path / "log").read_text() == f"{STOPPING}\n"
    PlainDisplay(io.StringIO()).stopping()  # no file: nothing to tell there, and no error
    PlainDisplay(stream).stopping()  # closed meanwhile
    closed = io.StringIO()
    closed.close()
    PlainDisplay(closed).stopping()


def test_ctrl_c_is_answered_each_time() -> None:
    said: list[str] = []

    class Seen(NoDisplay):
        def stopping(self, text: str = STOPPING) -> None:
            said.append(text)

    interrupted = _Interrupted(Seen())
    with stopping_on_signals(interrupted):
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert said == [STOPPING, STOPPING_NOW]


def test_a_terminal_has_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real pseudo-terminal, whose screen is empty again at the end."""
    master, slave = pty.openpty()
    screen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            screen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys, "stderr", terminal)
        display = open_display(quiet=False)
        assert type(display).__name__ == "TerminalDisplay"
        display.show(snapshot(total=1200, done=600, failed=2, rate=10.0))
        display._live.refresh()  # type: ignore[attr-defined]
        display.close()
    reader.join()
    os.close(master)
    text = b"".join(screen).decode()
    shown = ESCAPES.sub("", text)
    assert "autumn" in shown
    assert "602 of 1,200, 2 failed, 10.0 images/s, 1 min 00 s left" in shown
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h")), "the line is taken away"
