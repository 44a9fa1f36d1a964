"""Who wrote what: which files below an output directory are results of the job whose output it is.

A job's own ledger says so; where that is lost, its manifest and the names that all jobs give to tables and report.
Files that a user put beside results are none. What follows for the inputs is decided in ``discovery``.

At most a few ledgers are open at a time, and nothing is held in memory that grows with them.
"""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.ledger.file_record import is_fixed_name
from actors.ledger.job_ledger import JobLedger
from pipelines.errors import JobError
from pipelines.tables.cells import readable_path
from rayjobs.job.output_directory import OutputDirectory

MOST_OPEN = 8
_UNREADABLE = (OSError, sqlite3.Error, JobError, pa.ArrowException, KeyError, ValueError)


class OwnedFiles(ABC):
    """The files of one job; paths are relative to its output, and begin with ``../`` beside sources elsewhere."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        """Absolute, without links."""

    @abstractmethod
    def knows(self, relative: str) -> bool:
        """Whether the job wrote a file."""

    @abstractmethod
    def relative_outside(self) -> Iterator[str]:
        """The files that lie outside the output."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Call it when no more is asked."""

    def owns(self, relative: bytes) -> bool:
        try:
            return self.knows(relative.decode())  # all names that jobs give are text
        except UnicodeDecodeError:
            return False

    def outside(self) -> Iterator[bytes]:
        """The absolute paths of results that lie outside the output, without links."""
        for relative in self.relative_outside():
            yield os.path.normpath(os.path.join(self.root, os.fsencode(relative)))


class FoundOutputs:
    """The outputs that a walk comes upon, and the one that the job itself writes.

    Parameters
    ----------
    own
        Output of the job whose inputs are looked for; needn't exist. None when results of no job are more its own than
        others.
    ledger
        Its ledger, where that is open already, or a copy is to be asked; stays open.
    """

    def __init__(self, own: Path | None = None, *, ledger: JobLedger | None = None) -> None:
        self.own = None if own is None else os.path.realpath(os.fsencode(own))
        """Without links."""
        self._own_ledger = ledger
        self._own_reaches_out: bool | None = None
        """Whether results of the job itself lie outside its output; None until somebody asks."""
        self._latest: tuple[bytes, bytes | None] | None = None
        """A directory as it was named, and its ``own_prefix``."""
        self._opened: dict[bytes, OwnedFiles] = {}
        """By root without links, the one asked for last at the end."""

    def at(self, root: bytes) -> OwnedFiles:
        """The files of the job whose output ``root`` is; for use at once, as asking for others may close it.

        Raises
        ------
        JobError
            There is an output, but what is in it can't be told apart.
        """
        real = root if root in self._opened else os.path.realpath(root)
        found = self._opened.pop(real, None) or _open(real, self._own_ledger if real == self.own else None)
        self._opened[real] = found
        if len(self._opened) > MOST_OPEN:
            oldest = next(root for root in self._opened if root != self.own)
            self._opened.pop(oldest).close()
        return found

    def own_prefix(self, directory: bytes) -> bytes | None:
        """What comes before a name in a real directory to make it a path relative to the job's own output.

        None where no result of the job itself can be: there, nobody needs to ask.
        """
        if self.own is None:
            return None
        if directory != self.own and not directory.startswith(self.own.rstrip(b"/") + b"/"):
            if self._own_reaches_out is None:
                self._own_reaches_out = next(self.at(self.own).outside(), None) is not None
            if not self._own_reaches_out:
                return None
        relative = os.path.relpath(directory, self.own)
        return b"" if relative == b"." else relative + b"/"

    def is_own(self, path: bytes) -> bool:
        """Whether a file, by any path, is a result of the job itself."""
        if self.own is None or b"\0" in path:
            return False
        directory, name = os.path.split(path)
        if self._latest is None or self._latest[0] != directory:  # most of a list is of a few directories
            self._latest = (directory, self.own_prefix(os.path.realpath(directory)))
        prefix = self._latest[1]
        return prefix is not None and self.at(self.own).owns(prefix + name)

    def close(self) -> None:
        """Close the ledgers; asking again opens them again."""
        while self._opened:
            self._opened.popitem()[1].close()


class _NoFiles(OwnedFiles):
    """Of a run that was never planned."""

    def knows(self, relative: str) -> bool:
        return False

    def relative_outside(self) -> Iterator[str]:
        return iter(())


class _Recorded(OwnedFiles):
    """What a ledger says; as soon as it turns out to be damaged, what the manifest says."""

    def __init__(self, root: bytes, ledger: JobLedger, manifest: Path, *, stays_open: bool) -> None:
        super().__init__(root)
        self._ledger = ledger
        self._stays_open = stays_open
        self._manifest = manifest
        self._instead: OwnedFiles | None = None

    def knows(self, relative: str) -> bool:
        if self._instead is None:
            try:
                return self._ledger.owns(relative)
            except (sqlite3.Error, JobError) as error:
                self._instead = _from_manifest(self.root, self._manifest, error)
        return self._instead.knows(relative)

    def relative_outside(self) -> Iterator[str]:
        return self._ledger.files.outside()

    def close(self) -> None:
        if not self._stays_open:
            self._ledger.close()
        if self._instead is not None:
            self._instead.close()


class _Listed(OwnedFiles):
    """What a manifest says, and the names that every job gives; kept in a table that SQLite puts on disk if large."""

    def __init__(self, root: bytes, manifest: Path) -> None:
        super().__init__(root)
        self._db = sqlite3.connect("")
        try:
            self._db.execute("CREATE TABLE files (path TEXT PRIMARY KEY) WITHOUT ROWID")
            with pq.ParquetFile(manifest) as file:
                for batch in file.iter_batches(columns=["outputs"]):
                    paths = batch.column("outputs").flatten().field("path").to_pylist()
                    self._db.executemany("INSERT OR IGNORE INTO files VALUES (?)", ((path,) for path in paths))
        except BaseException:
            self._db.close()
            raise

    def knows(self, relative: str) -> bool:
        if is_fixed_name(relative):
            return True
        return self._db.execute("SELECT 1 FROM files WHERE path = ?", (relative,)).fetchone() is not None

    def relative_outside(self) -> Iterator[str]:
        for (path,) in self._db.execute("SELECT path FROM files WHERE path >= '../' AND path < '..0'"):
            yield path

    def close(self) -> None:
        self._db.close()


def _open(root: bytes, opened: JobLedger | None) -> OwnedFiles:
    output = OutputDirectory(Path(os.fsdecode(root)))
    if opened is not None or os.path.lexists(output.ledger):
        try:
            return _from_ledger(root, output, opened)
        except _UNREADABLE as error:
            return _from_manifest(root, _manifest(output) or output.manifest, error)
    manifest = _manifest(output)
    if manifest is None:
        return _NoFiles(root)
    try:
        return _from_manifest(root, manifest, None)
    except JobError:
        if os.path.lexists(output.control):
            raise
        return _NoFiles(root)  # some other program's manifest


def _from_ledger(root: bytes, output: OutputDirectory, opened: JobLedger | None) -> OwnedFiles:
    manifest = _manifest(output)
    with ExitStack() as unless_kept:
        ledger = opened or output.read_ledger(copied=True)
        if opened is None:
            unless_kept.callback(ledger.close)
        next(ledger.files.outside(), None)  # a damaged file may show only when it is read
        if ledger.files.is_empty() and manifest is not None:
            # The ledger was lost, and this is a new one: what the job wrote before, the manifest still says.
            with suppress(*_UNREADABLE):
                return _Listed(root, manifest)
        unless_kept.pop_all()
        return _Recorded(root, ledger, manifest or output.manifest, stays_open=opened is not None)


def _manifest(output: OutputDirectory) -> Path | None:
    """The manifest, or the one of the run before while results change; None when there is none."""
    return next((path for path in (output.manifest, output.withdrawn_manifest) if os.path.lexists(path)), None)


def _from_manifest(root: bytes, manifest: Path, problem: Exception | None) -> OwnedFiles:
    """In place of a ledger that has a ``problem``, or isn't there."""
    try:
        return _Listed(root, manifest)
    except _UNREADABLE as error:
        problem, name = problem or error, readable_path(root)
        raise JobError(
            f"which files in {name}, the output of a job, are results can't be told: repair it with `rayjobs rebuild "
            f"{name}`, leave it out with `exclude`, or name the inputs more narrowly ({problem})"
        ) from problem
