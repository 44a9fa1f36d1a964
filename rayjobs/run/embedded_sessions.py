"""What embedded Ray clusters leave on this machine: their session directories, and the ledgers of their coordinators.

Each cluster that a run starts has a record in ``$RAYJOBS_HOME/sessions``, locked as long as its driver lives: what the
record of a dead driver names can be cleared up, and nothing else ever is. Directories of runs that failed, or were
killed, stay for their logs, the last few of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.coordinator.cluster_ledger import ledger_path, remove_ledger
from actors.home import rayjobs_home
from pipelines.errors import JobError, RayjobsError
from pipelines.storage.custody import Kind
from pipelines.storage.local_files import discard_directory, look, remove_own

KEPT = 3
"""Session directories of failed runs."""
LEAVING_S = 3.0
"""How long the last of Ray's processes may take to leave its directory."""
SOCKET_PATH_BYTES = 107
"""Linux takes no longer one."""


def check_temporary_directory(environment: Mapping[str, str]) -> None:
    """Refuse to start Ray where its sockets would have paths that the system doesn't take.

    Raises
    ------
    JobError
        Naming the variable that says where.
    """
    variable, directory = temporary_directory(environment)
    longest = f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    if len(os.fsencode(directory)) + len(longest) > SOCKET_PATH_BYTES:
        most = SOCKET_PATH_BYTES - len(longest)
        raise JobError(
            f"{variable}={directory}: too long for the sockets of Ray, which take {most} bytes; set RAY_TMPDIR to a "
            "shorter directory, such as /tmp"
        )


def temporary_directory(environment: Mapping[str, str]) -> tuple[str, str]:
    """Below which directory Ray keeps its own, as Ray itself decides, and the variable that says so."""
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    return variable, environment.get(variable, "/tmp")


@dataclass(slots=True)
class EmbeddedSession:
    """The record of one embedded cluster, as long as it runs."""

    name: str
    directory: Path
    """Ray's session directory."""
    home: Path | None
    """``$RAYJOBS_HOME``; None where nothing can be written there."""
    record: int
    """Descriptor of the locked record; -1 without one."""

    @classmethod
    def begin(cls, directory: Path) -> EmbeddedSession:
        """Take note of a cluster that has just been started, and clear up after those whose drivers were killed."""
        try:
            home = rayjobs_home()
            records = home / "sessions"
            records.mkdir(parents=True, exist_ok=True, mode=0o700)
            clear_up(home)
            record = os.open(records / directory.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(record, fcntl.LOCK_EX)
            os.write(record, os.fsencode(directory))
        except (OSError, RayjobsError):  # the run needs no record; a home that can't be written is told elsewhere
            return cls(directory.name, directory, None, -1)
        return cls(directory.name, directory, home, record)

    def end(self, *, failed: bool) -> None:
        """The cluster has been shut down: remove what it left, but the directory of a run that failed."""
        if not failed:
            _remove_session(self.directory)
        if self.home is not None:
            remove_ledger(ledger_path(self.home, self.name))
            if not failed:
                remove_own(self.home / "sessions" / self.name)
            os.close(self.record)
            clear_up(self.home)


def clear_up(home: Path) -> None:
    """Remove ledgers of clusters whose drivers are dead, and all but the last few of their session directories."""
    dead = []
    for path in sorted((home / "sessions").glob("session_*")):  # by the time in their names
        directory = _of_a_dead_driver(path)
        if directory is not None:
            remove_ledger(ledger_path(home, path.name))
            dead.append((path, directory))
    there = [(path, directory) for path, directory in dead if look(directory).kind is Kind.DIRECTORY]
    gone = [entry for entry in dead if entry not in there]
    for path, directory in [*gone, *there[:-KEPT]]:
        _remove_session(directory)
        remove_own(path)


def _of_a_dead_driver(path: Path) -> Path | None:
    """The session directory that a record names, unless its driver lives."""
    try:
        record = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory = Path(os.fsdecode(os.read(record, 4096)))
    except OSError:
        return None
    finally:
        os.close(record)
    return directory if directory.name == path.name and directory.is_absolute() else None


def _remove_session(directory: Path) -> None:
    """Remove Ray's directory of one session, and Ray's link to it."""
    deadline = time.monotonic() + LEAVING_S
    discard_directory(directory)
    while look(directory).kind is Kind.DIRECTORY and time.monotonic() < deadline:
        time.sleep(0.1)  # a process that is ending still writes its last lines
        discard_directory(directory)
    latest = directory.with_name("session_latest")
    if look(latest).kind is Kind.LINK and os.readlink(latest) in (str(directory), directory.name):
        remove_own(latest)
