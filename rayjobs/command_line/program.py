"""What the process needs to be the program ``rayjobs``: where code comes from, its streams, its encoding, its terminal.

None of it happens when the packages are imported by somebody else's program. Needs the standard library alone, so that
it can be done before anything else is imported.
"""

from __future__ import annotations

import errno
import io
import os
import sys

TYPE_CHECKING = False  # typing isn't loaded yet, see ``outlive_the_terminal``
if TYPE_CHECKING:
    from collections.abc import Callable

_GONE = {errno.EPIPE, errno.EIO}
"""Nobody listens any more: the pipe was closed, or the terminal."""


def drop_start_directory() -> None:
    """Let no code come from where the program was started.

    Python looks for modules in the script's directory or, for ``python -m``, in the current one before all others.
    What the user put on the path (PYTHONPATH) stays, and so does the place of these packages themselves.
    """
    if sys.flags.safe_path or not sys.path:
        return
    try:
        first = os.path.realpath(sys.path[0])
        start = os.path.realpath("") if sys.argv[0] == "-m" else os.path.dirname(os.path.realpath(sys.argv[0]))
    except OSError:  # the current directory is gone: no code can come from there
        return
    ours = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if first == start != ours:
        del sys.path[0]


def begin_again() -> None:
    """Start the program anew where Python was told to do what it can't work with; Ray's processes inherit the change.

    Names of files are no locale's, so no encoding but UTF-8 will do for them; what is printed keeps the locale's. And
    Ray needs its docstrings, which ``python -OO`` leaves out; ``-O`` remains.
    """
    changes = {}
    words = sys.orig_argv[1:]
    if sys.getfilesystemencoding() != "utf-8":
        changes["PYTHONUTF8"] = "1"
        if sys.stdout is not None:
            changes["PYTHONIOENCODING"] = os.environ.get("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    if sys.flags.optimize > 1:
        changes["PYTHONOPTIMIZE"] = "1"
        words = ["-O" if word.startswith("-OO") else word for word in words[:1]] + words[1:]
    if sys.executable and (words != sys.orig_argv[1:] or any(os.environ.get(k) != v for k, v in changes.items())):
        os.environ.update(changes)
        os.execv(sys.executable, [sys.executable, *words])


def open_streams() -> None:
    """Standard streams that can always be written to, whatever becomes of who reads them.

    One that is closed is opened on nothing: a file that got its number would receive what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.__stdout__ = _patient(sys.stdout, 1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _patient(sys.stderr, 2)  # type: ignore[misc]


def _patient(stream: object, number: int) -> PatientStream:
    if isinstance(stream, io.TextIOWrapper):
        encoding, lines = stream.encoding, stream.line_buffering or number == 2
        at_once = stream.write_through
        buffer = stream.detach()
        return PatientStream(buffer, encoding, "backslashreplace", line_buffering=lines, write_through=at_once)
    raw = open(number, "wb", closefd=False)  # noqa: SIM115 - stays open as long as the process
    return PatientStream(raw, "utf-8", "backslashreplace", line_buffering=number == 2)


class PatientStream(io.TextIOWrapper):
    """A stream whose reader may go away, or its disk fill up, without anybody who writes to it being stopped."""

    problem: OSError | None = None
    """Why what was written since has been lost."""

    def write(self, text: str) -> int:
        while _before_output:
            _before_output.pop()()
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.problem = self.problem or error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


_before_output: list[Callable[[], None]] = []


def before_output(call: Callable[[], None]) -> None:
    """Have something done once, before anything else is written to a standard stream."""
    _before_output.append(call)


def lost_output() -> str | None:
    """Why somebody who waits for the standard output didn't get it; None when they got it, or have gone away."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    problem = getattr(sys.stdout, "problem", None)
    return (
        None if problem is None or problem.errno in _GONE else f"standard output can't be written: {problem.strerror}"
    )


def nobody_listens() -> bool:
    """Whether whoever read the standard output has gone away."""
    return getattr(sys.stdout, "problem", None) is not None


def outlive_the_terminal() -> None:
    """Go on when the terminal is closed, and Ray's processes with us: they inherit it."""
    import signal  # not above: until the start directory is dropped, only what Python has loaded itself may be imported

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
