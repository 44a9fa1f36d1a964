"""Where compiled kernels are kept: beside their source or in the user's cache, else in a private directory.

numba refuses to compile what it can't keep anywhere. Where packages are installed read-only and nobody has a home, as
in containers, there is still the directory for temporary files. numba itself isn't imported here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_LOCATOR_CLASSES"
_PRIVATE = "pipelines.kernel_cache_locator.PrivateCacheLocator"


def keep_kernels() -> None:
    """Tell numba, before it is imported, of the private directory; a choice of the user's own stays."""
    usual = ["UserProvidedCacheLocator", "InTreeCacheLocator"]
    if _user_cache() is not None:  # without a home numba would make a directory of the name "~"
        usual.append("UserWideCacheLocator")
    usual += ["IPythonCacheLocator", "ZipCacheLocator"]
    os.environ.setdefault(_VARIABLE, ",".join([*usual, _PRIVATE]))


def private_directory() -> Path:
    """The private directory, made when missing.

    Raises
    ------
    OSError
        It can't be made, or somebody else could write to it: what lies there is run.
    """
    path = Path(tempfile.gettempdir()) / f"rayjobs-kernels-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{path} isn't private to user {os.getuid()}; set NUMBA_CACHE_DIR to a directory that is")
    return path


def unusual_place() -> str | None:
    """Where kernels are kept, and why, if none of the usual places can be written; None: they are where one expects."""
    source = Path(__file__).parent / "operations"
    usual = [os.environ.get("NUMBA_CACHE_DIR"), str(source / "__pycache__"), _user_cache()]
    if any(place and _can_be_written(Path(place)) for place in usual):
        return None
    places = " and ".join(place for place in usual if place)
    return f"compiled kernels are kept in {private_directory()}: {places} can't be written"


def _user_cache() -> str | None:
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if place.startswith("~") else place


def _can_be_written(path: Path) -> bool:
    """Whether a directory can be written, or made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
