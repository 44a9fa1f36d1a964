"""Faults of the machine: told once, as what they are, and never as an input's.

A library that can't be imported, a file system that became read-only, no file descriptors left: such an error ends the
work instead of becoming the row of whichever input met it first, and of all after it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from pipelines.errors import FailedReason, ImageError, JobError, is_out_of_memory

_OF_THE_MACHINE = {errno.EROFS, errno.EMFILE, errno.ENFILE}
_FAULT = "fault"
_NUMBA_CACHE = "numba.core.caching"


class MachineFaultError(JobError):
    """What stands in the way is the machine, not an input."""


def fault_in(error: BaseException) -> str | None:
    """What is wrong with the machine, in one line, if that is what an error comes from; None if it isn't.

    What a plug-in can't import is the plug-in's trouble, a want of memory the image's. An import that failed counts if
    the error was raised because of it, not if something went on without the library and then met another trouble.
    """
    errors = list(_chain(error))
    if any(isinstance(each, ImageError) and each.reason is FailedReason.PLUGIN_ERROR for each in errors):
        return None
    if any(map(is_out_of_memory, errors)):
        return None
    because = {id(each) for each in _chain(error, stated=True)}
    for each in errors:
        if isinstance(each, MachineFaultError):
            return str(each)
        text = (_of_an_import(each) if id(each) in because else None) or _of_the_system(each)
        if text is not None:
            return " ".join(text.split())
    return None


def without_traceback(text: str) -> str:
    """What comes before a traceback that an error's text carries, as Ray's do."""
    head, found, _ = text.partition("Traceback (most recent call last)")
    return head.strip().removesuffix("traceback:").rstrip() if found else text


def _chain(error: BaseException | None, *, stated: bool = False) -> Iterator[BaseException]:
    """An error and what it came from; ``stated``: only what it was raised from by its own word."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if stated or error.__suppress_context__ else error.__context__)


def _of_an_import(error: BaseException) -> str | None:
    module = _module_at_import(error.__traceback__)
    of_its_own = type(error) in (ImportError, ModuleNotFoundError)  # codecs that a library lacks have another type
    if module is None and not of_its_own:
        return None
    said = f"{type(error).__name__}: {str(error)[:300]}" if str(error) else type(error).__name__
    name, path = module or ("a library", None)
    if isinstance(error, ImportError):
        name, path = error.name or name, error.path or path
    where = f" ({path})" if path and path not in said else ""
    return f"{name} can't be imported on {socket.gethostname()}: {said}{where}; install it again"


def _module_at_import(traceback: TracebackType | None) -> tuple[str, str] | None:
    """(name, path) of the module whose own code raised an error while it was imported."""
    found = None
    while traceback is not None:
        code, variables = traceback.tb_frame.f_code, traceback.tb_frame.f_globals
        name = str(variables.get("__name__", ""))
        if code.co_name == "<module>" and name != "__main__":
            found = (name, code.co_filename)
        traceback = traceback.tb_next
    return found


def _of_the_system(error: BaseException) -> str | None:
    if not isinstance(error, OSError):
        return None
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    if _passes_through(error.__traceback__, _NUMBA_CACHE):
        return f"{where}compiled code can't be kept: {error.strerror}; set NUMBA_CACHE_DIR to a directory of yours"
    if error.errno in _OF_THE_MACHINE:
        return f"{where}{error.strerror} on {socket.gethostname()}"
    return None


def _passes_through(traceback: TracebackType | None, module: str) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == module:
            return True
        traceback = traceback.tb_next
    return False


# ---- from a worker to its driver -------------------------------------------------------------------------------------


def note_fault(directory: Path, error: Exception) -> None:
    """Leave what stopped a worker in the run's temporary directory, for the driver; the first one counts."""
    text = fault_in(error) or f"a worker on {socket.gethostname()} is broken: {type(error).__name__}: {error}"
    text = without_traceback(text)
    try:
        file = os.open(directory / _FAULT, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:  # told already; or the directory is gone: another driver has taken over, or sees it for itself
        return
    try:
        os.write(file, " ".join(text.split()).encode(errors="backslashreplace"))
    finally:
        os.close(file)


def noted_fault(directory: Path) -> str | None:
    """What a worker of the run left; None: no fault so far."""
    try:
        return (directory / _FAULT).read_bytes().decode() or None
    except FileNotFoundError:
        return None
