"""``rayjobs doctor``: looks at what usually goes wrong before a job does, and says what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from actors.home import rayjobs_home
from pipelines.errors import RayjobsError
from pipelines.machine_faults import fault_in
from pipelines.quantity_texts import size_text
from rayjobs.run.kept_ray import kept_ray, why_unused

Verdict = Literal["ok", "warning", "problem"]

PACKAGES = ("ray", "numpy", "scikit-image", "pyarrow", "opencv-python-headless", "numba", "Pillow", "tifffile")
LIBRARIES = ("cv2", "PIL.Image", "simplejpeg", "imagecodecs", "tifffile", "scipy.ndimage", "skimage", "numba")
_MIN_RAY = (2, 60)
_MIN_SHM_BYTES = 512 * 2**20
_MIN_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    what: str
    text: str


def diagnose(*, start_ray: bool = True) -> Iterator[Finding]:
    """All findings, one after the other; starting Ray takes some seconds and comes last."""
    checks: list[Callable[[], Finding]] = [
        _python,
        _packages,
        _ours,
        _kernels,
        _temporary_space,
        _shared_memory,
        _home,
        _authentication,
        _kept,
    ]
    if start_ray:
        checks.append(_ray)
    for check in checks:
        yield check()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Finding("ok" if good else "problem", "Python", version if good else f"{version}; use 3.11 to 3.13")


def _packages() -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("problem", "packages", f"missing: {', '.join(missing)}; run `make setup`")
    broken = _broken_library()
    if broken is not None:
        return Finding("problem", "packages", broken)
    version = tuple(int(part) for part in importlib.metadata.version("ray").split(".")[:2])
    if version != _MIN_RAY:
        return Finding("warning", "packages", f"{found[0]} is not the tested version 2.60")
    return Finding("ok", "packages", ", ".join(found))


def _ours() -> Finding:
    """Three packages with generic names: another distribution may have taken one of them."""
    root = Path(__file__).resolve().parent.parent.parent
    strangers = []
    for name in ("pipelines", "actors", "rayjobs"):
        module = importlib.import_module(name)
        place = Path(str(module.__file__)).resolve()
        if not place.is_relative_to(root):
            strangers.append(f"{name} comes from {place.parent}")
    if " " in sys.prefix and not strangers:
        text = f"{sys.prefix} has a space in its path: local runs work, Ray's Jobs API can't start workers from there"
        return Finding("warning", "our packages", text)
    if strangers:
        return Finding("problem", "our packages", "; ".join(strangers) + "; use an environment of its own")
    return Finding("ok", "our packages", str(root))


def _kernels() -> Finding:
    """Compiled kernels are kept beside the source, or else in the user's cache directory."""
    try:
        from pipelines.analyses import scope_kernels
    except Exception as error:  # noqa: BLE001 - a broken library, or no directory that numba may write
        text = fault_in(error) or f"{type(error).__name__}: {error}"
        return Finding("problem", "compiled kernels", f"{text}; or set NUMBA_CACHE_DIR to a writable directory")
    place = scope_kernels.count_bins.stats.cache_path  # type: ignore[attr-defined] # numba's, of what it compiles
    return Finding("ok", "compiled kernels", str(place))


def _broken_library() -> str | None:
    """What reads, computes or writes and can't be imported: a package may be installed and broken."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a broken library raises
            return fault_in(error) or f"{name}: {type(error).__name__}: {error}"
    return None


def _temporary_space() -> Finding:
    place = Path(tempfile.gettempdir())
    usage = shutil.disk_usage(place)
    text = f"{place}: {size_text(usage.free)} free of {size_text(usage.total)}"
    if usage.free < 0.05 * usage.total:
        return Finding("problem", "temporary files", f"{text}; Ray's object store stops at 95 % full, make room")
    return Finding("warning" if usage.free < _MIN_FREE_BYTES else "ok", "temporary files", text)


def _shared_memory() -> Finding:
    place = Path("/dev/shm")
    if not place.is_dir():
        return Finding("warning", "shared memory", "no /dev/shm: Ray's object store falls back to slow files")
    free = shutil.disk_usage(place).free
    text = f"{size_text(free)} free in {place}"
    if free < _MIN_SHM_BYTES:
        return Finding("warning", "shared memory", f"{text}; in a container raise it (docker run --shm-size=2g)")
    return Finding("ok", "shared memory", text)


def _home() -> Finding:
    try:
        home = rayjobs_home()
    except RayjobsError as error:
        return Finding("problem", "RAYJOBS_HOME", str(error))
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        return Finding("problem", "RAYJOBS_HOME", f"{home}: {error.strerror}; set RAYJOBS_HOME to a directory of yours")
    good = os.access(home, os.W_OK)
    return Finding("ok" if good else "problem", "RAYJOBS_HOME", str(home) if good else f"{home} can't be written")


def _authentication() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return Finding("ok", "authentication", "embedded runs use a token of their own; no RAY_ADDRESS is set")
    return authentication_of(address)


def authentication_of(address: str) -> Finding:
    """Whether a cluster's address is used with a token, as far as this side can tell."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "token" or (mode is None and _has_token()):
        return Finding("ok", "authentication", f"{address}, with a token")
    if _is_loopback(address):
        return Finding("warning", "authentication", f"{address} without a token: every user of this machine can use it")
    return Finding(
        "problem",
        "authentication",
        f"{address} is reachable without a token: whoever reaches it can run code there; start its nodes with "
        "RAY_AUTH_MODE=token (`ray get-auth-token --generate`)",
    )


def _kept() -> Finding:
    """Not whether it answers: that is ``_ray``'s."""
    kept = kept_ray()
    if kept is None:
        return Finding("ok", "kept Ray", "none; after `rayjobs up` a job doesn't wait for Ray's start")
    why = why_unused(kept)
    if why is None:
        return Finding("ok", "kept Ray", kept.text())
    return Finding("warning", "kept Ray", f"{kept.text()}; jobs from here don't use it: {why}; `rayjobs down` ends it")


def _ray() -> Finding:
    from rayjobs.run.ray_address import cluster_address
    from rayjobs.run.ray_session import ray_session

    try:
        with ray_session(name="doctor", workers=1) as cluster:
            declared = ", ".join(sorted(cluster.declared)) or "none: CPUs alone decide"
            where = "an embedded Ray starts" if cluster.embedded else f"{cluster_address() or 'the kept one'} answers"
            return Finding("ok", "Ray", f"{where}, {cluster.cpus} CPUs; declared resources: {declared}")
    except RayjobsError as error:
        return Finding("problem", "Ray", str(error))


def _has_token() -> bool:
    return bool(
        os.environ.get("RAY_AUTH_TOKEN")
        or os.environ.get("RAY_AUTH_TOKEN_PATH")
        or os.path.isfile(os.path.expanduser("~/.ray/auth_token"))
    )


def _is_loopback(address: str) -> bool:
    host = urlparse(address if "//" in address else f"//{address}").hostname or ""
    if host in ("auto", "local"):
        return True
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError:
        return False
