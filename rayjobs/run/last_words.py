"""The last line of defence: whatever goes wrong is told in one line, and a traceback goes to a file."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from pathlib import Path

from pipelines.errors import JobError, RayjobsError
from pipelines.machine_faults import MachineFaultError, fault_in, without_traceback


def explained(error: Exception) -> RayjobsError:
    """The error as a person is told it: what, where, and where the details lie."""
    if isinstance(error, RayjobsError):
        text = without_traceback(str(error))
        if text == str(error):
            return error
    elif (fault := fault_in(error)) is not None:
        return MachineFaultError(fault)
    elif isinstance(error, OSError):
        text = of_the_system(error)
    else:
        text = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    kept = _keep_details(error)
    return JobError(f"{text}; {kept}" if kept else text)


def of_the_system(error: OSError) -> str:
    """What the system said, about which file."""
    said = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' -> '.join(names)}: {said}" if names else said


def _keep_details(error: Exception) -> str | None:
    """Write the traceback to a file of its own; where it lies, or None when nothing can be written."""
    lines = "".join(traceback.format_exception(error))
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for directory in _places():
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = directory / name
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(lines)
        except OSError:
            continue
        return f"details: {path}"
    return None


def _places() -> list[Path]:
    places = []
    try:
        from actors.home import rayjobs_home

        places.append(rayjobs_home() / "errors")
        places.append(Path(tempfile.gettempdir()) / f"rayjobs-errors-{os.getuid()}")
    except (OSError, RayjobsError):  # no home, or no directory for temporary files
        pass
    return places
