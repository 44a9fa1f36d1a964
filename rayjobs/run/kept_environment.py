"""What has to be the same where the Ray of ``rayjobs up`` was started and where it is used: its workers inherit it.

An embedded Ray has the environment of its driver. Whoever uses a kept one instead has to get the same results, so all
variables count but those of which it is known that they decide none.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

OF_OTHERS = (
    *("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"),
    *("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"),
)
"""Variables that say which Ray to use, and with which token; a kept Ray has none of them."""
PATHS = (
    *("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("PYTHONHOME", "NUMBA_CACHE_DIR", "TMPDIR", "RAY_TMPDIR", "RAYJOBS_HOME"),
)
"""Variables of directories: the first ones name several."""
_HARMLESS = {
    *OF_OTHERS,
    *("RAYJOBS_HOME", "RAYJOBS_ALLOW_PLUGINS"),  # by the first it was found; jobs tell workers of the second
    # What sessions set, and Ray itself.
    *("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_AUTO_CONNECT", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_CLIENT_MODE"),
    *("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_DATA_METADATA_PREFETCH_ON_THREAD", "PYTHONBREAKPOINT"),
    # What each worker sets for its tasks (`pipelines.cpu_threads`), and where kernels are kept.
    *("OPENCV_FOR_THREADS_NUM", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_LOCATOR_CLASSES"),
    # Of shells and terminals.
    *("_", "PWD", "OLDPWD", "SHLVL", "SHELL", "PS1", "PS2", "PS4", "PROMPT_COMMAND", "LS_COLORS", "MAIL", "MANPATH"),
    *("TERM", "TERMINFO", "COLORTERM", "LINES", "COLUMNS", "TMUX", "TMUX_PANE", "STY", "WINDOW", "WINDOWID"),
    *("WT_SESSION", "WT_PROFILE_ID", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "LESS", "LESSOPEN", "LESSCLOSE"),
    *("HISTFILE", "HISTSIZE", "HISTFILESIZE", "HISTCONTROL", "HISTIGNORE", "HISTTIMEFORMAT", "EDITOR", "VISUAL"),
    *("PAGER", "GIT_PAGER", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"),
    *("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT"),  # which Python it is counts
    *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING"),
    # Of make, of notebooks, and of services.
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR", "MPLBACKEND"),
    *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MANAGERPID"),
}
_HARMLESS_BEGINNINGS = (
    *("TERM_", "LC_TERMINAL", "VTE_", "KONSOLE_", "GNOME_TERMINAL_", "KITTY_", "ITERM_", "WEZTERM_"),
    *("SSH_", "GPG_", "SUDO_", "DBUS_", "XDG_SESSION_", "XDG_SEAT", "XDG_VTNR", "QT_QPA_", "VSCODE_"),
    *("PYTEST_", "JPY_", "JUPYTER", "PYDEVD_"),
)

_NOTES = (".dist-info", ".egg-info", ".egg-link", ".pth")
"""Endings of what installers write beside packages."""


def environment() -> dict[str, str]:
    """What counts, by name; of variables, which are called ``$NAME``, a digest: their values may be secrets."""
    place = Path(__file__).resolve().parents[2]
    variables = {name: value for name, value in os.environ.items() if name not in PATHS} | absolute_paths()
    return {
        "Python": f"{'.'.join(map(str, sys.version_info[:3]))} in {sys.prefix}",
        "Ray": _version("ray"),
        "rayjobs": f"{_version('rayjobs-app')} in {place}",
        "installation": f"of {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(last_change(place)))}",
        "umask": _umask(),
        **{
            f"${name}": hashlib.sha256(os.fsencode(value)).hexdigest()[:16]
            for name, value in sorted(variables.items())
            if name not in _HARMLESS and not name.startswith(_HARMLESS_BEGINNINGS)
        },
    }


def absolute_paths() -> dict[str, str]:
    """Those of ``PATHS`` that are set, so that they mean the same in any directory.

    Without what OpenCV adds to LD_LIBRARY_PATH when it is imported, which is a directory that isn't there.
    """
    found = {}
    for name in PATHS:
        value = os.environ.get(name, "")
        entries = value.split(os.pathsep) if name.endswith("PATH") else [value]
        kept = [os.path.abspath(entry) for entry in entries if entry and "/cv2/../../" not in entry]
        if kept:
            found[name] = os.pathsep.join(kept)
    return found


def difference(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """The first thing that two environments don't have in common, in words; of a variable the name, not the value."""
    for name in {**there, **here}:
        one, other = there.get(name), here.get(name)
        if one == other:
            continue
        if not name.startswith("$"):
            return f"its {name} is {one or 'not set'}, here it is {other or 'not set'}"
        if one is None:
            return f"its {name[1:]} is not set, here it is"
        return f"its {name[1:]} is set, here it is not" if other is None else f"its {name[1:]} has another value"
    return None


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that is on the path
        return "unknown"


@cache
def last_change(place: Path) -> float:
    """Unix seconds of the last change of installed packages, or of a file of ours: workers may have imported both."""
    newest = 0.0
    for path in (*_notes_of_installers(), *_sources(place)):
        with suppress(OSError):  # it has just gone away
            newest = max(newest, os.lstat(path).st_mtime)
    return newest


def _notes_of_installers() -> Iterator[str]:
    """What only those who install change: the directories themselves Python changes as well, for what it compiles."""
    for directory in sys.path:
        if directory.endswith("-packages") and os.path.isdir(directory):
            yield from (entry.path for entry in os.scandir(directory) if entry.name.endswith(_NOTES))


def _sources(place: Path) -> Iterator[str]:
    for package in ("rayjobs", "actors", "pipelines"):
        for directory, _, files in os.walk(place / package):
            yield from (f"{directory}/{file}" for file in files if file.endswith(".py"))


def _umask() -> str:
    """Of this process; to ask for it otherwise is to change it."""
    found = re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return found[1] if found else ""
