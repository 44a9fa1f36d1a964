"""Publishing output files: complete or not at all, never over a file that isn't ours, never outside the output.

A file is written under a temporary name, noted in the journal, and appears under its own; what may be replaced by it is
decided in ``storage.custody``. Driver and workers publish alike: images and charts, tables, manifest and report.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from pipelines.errors import FailedReason, ImageError
from pipelines.models import Output
from pipelines.stages.worker_journal import WorkerJournal
from pipelines.storage.custody import Written
from pipelines.storage.local_files import (
    LinkInTheWayError,
    TakenError,
    appear,
    digest_of,
    look,
    make_way,
    remove_own,
    replace_own,
)

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


class Publisher:
    """Publishes the outputs of one process below ``root``; only as long as the directory ``temporary`` is there."""

    def __init__(self, root: Path, temporary: Path, journal: WorkerJournal, *, durable: bool = False) -> None:
        self.root = root.resolve()
        self._temporary = temporary
        self._journal = journal
        self._durable = durable
        self._checked: set[Path] = set()
        """Directories known to be ours to write in, so that each is looked at once."""

    def publish(
        self,
        product: str,
        relative: str,
        data: bytes,
        *,
        known: Collection[str] = (),
        overwrite: bool = False,
        beside: Path | None = None,
    ) -> Output:
        """Make ``data`` appear at ``relative``; ``known`` are sha256 of files there that this job may replace.

        ``beside`` is the only directory that the file may lie in, or below, instead of below the output.

        Raises
        ------
        ImageError
            ``write_error``, ``no_space`` or ``name_invalid``; nothing has appeared then.
        """
        with self._reported(relative):
            self._prepare(relative, beside)
            temporary = self.new_path()
            try:
                self._write(temporary, data)
                return self._appear(product, relative, temporary, hashlib.sha256(data).hexdigest(), known, overwrite)
            finally:
                remove_own(temporary)

    @contextmanager
    def draft(self, relative: str, *, beside: Path | None = None) -> Iterator[BufferedRandom]:
        """A file to write what doesn't fit into memory; ``publish_draft`` makes it appear at ``relative``.

        Raises
        ------
        ImageError
            ``write_error``, ``no_space`` or ``name_invalid``, for whatever the system says while it is written.
        """
        temporary = self.new_path()
        try:
            with self._reported(relative):
                self._prepare(relative, beside)
                with temporary.open("x+b") as file:
                    yield file
        finally:
            remove_own(temporary)

    def publish_draft(
        self,
        product: str,
        relative: str,
        draft: BufferedRandom,
        *,
        known: Collection[str] = (),
        overwrite: bool = False,
    ) -> Output:
        """Make a draft that is written to its end appear; as ``publish``."""
        with self._reported(relative):
            draft.flush()
            if self._durable:
                os.fsync(draft.fileno())
            os.lseek(draft.fileno(), 0, os.SEEK_SET)
            sha256 = digest_of(draft.fileno())
            return self._appear(product, relative, Path(draft.name), sha256, known, overwrite)

    def publish_file(
        self,
        product: str,
        relative: str,
        temporary: Path,
        *,
        sha256: str | None = None,
        written: Written | None = None,
    ) -> Output:
        """Make a finished file of ``new_path`` appear; as ``publish``, but its name is left to ``sync_names``.

        ``sha256`` where it is known already; ``written``: the record of a file of the job that may be replaced.
        """
        with self._reported(relative):
            self._prepare(relative, None)
            with temporary.open("rb") as file:
                sha256 = sha256 or digest_of(file.fileno())
                if self._durable:
                    os.fsync(file.fileno())
            known = () if written is None else (written.sha256,)
            output = self._appear(product, relative, temporary, sha256, known, written=written, sync=False)
            remove_own(temporary)  # now: taking a name away is a change that the system notes
            return output

    def sync_names(self, relatives: Iterable[str]) -> None:
        """Put the names of published files on disk, if they are to outlive a power cut: once for each directory."""
        if self._durable:
            for directory in {(self.root / relative).parent for relative in relatives}:
                _sync(directory)

    def new_path(self) -> Path:
        """A temporary name of its own."""
        return self._temporary / uuid.uuid4().hex

    def leave(self, name: str, data: bytes) -> None:
        """Leave a file for the driver in the run's temporary directory; one of that name there is replaced."""
        temporary = self.new_path()
        try:
            self._write(temporary, data)
            replace_own(temporary, self._temporary / name)
        finally:
            remove_own(temporary)

    def _appear(
        self,
        product: str,
        relative: str,
        temporary: Path,
        sha256: str,
        known: Collection[str],
        overwrite: bool = False,
        written: Written | None = None,
        *,
        sync: bool = True,
    ) -> Output:
        final = self.root / relative
        self._journal.publishing(relative, sha256)
        appear(temporary, final, sha256, known=known, overwrite=overwrite, written=written)
        if sync:
            self.sync_names([relative])
        present = look(final)
        return Output(product=product, path=relative, sha256=sha256, bytes=present.bytes, mtime_ns=present.mtime_ns)

    def _prepare(self, relative: str, beside: Path | None) -> None:
        directory = (self.root / relative).parent
        if directory in self._checked:
            return
        make_way(self.root, relative)
        if not directory.resolve().is_relative_to(self.root if beside is None else beside.resolve()):
            raise ImageError(FailedReason.WRITE_ERROR, f"{relative} would lie outside the output")
        self._checked.add(directory)

    def _write(self, temporary: Path, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            if self._durable:
                os.fsync(file)
        finally:
            os.close(file)

    @contextmanager
    def _reported(self, relative: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _as_image_error(error, relative) from error


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _as_image_error(error: OSError, relative: str) -> ImageError:
    if isinstance(error, TakenError):
        text = f"{relative} exists and is not this job's, or was changed since; move it away, then run again"
        return ImageError(FailedReason.WRITE_ERROR, text)
    if isinstance(error, LinkInTheWayError):
        return ImageError(FailedReason.WRITE_ERROR, f"{relative}: {error.strerror}; links are not followed on output")
    if error.errno in NO_SPACE:
        return ImageError(FailedReason.NO_SPACE, f"no space left for {relative}")
    if error.errno == errno.EXDEV:
        text = "lies on another file system than the output; choose an output on the same one"
        return ImageError(FailedReason.WRITE_ERROR, f"{relative} {text}")
    if error.errno in _BAD_NAME:
        return ImageError(FailedReason.NAME_INVALID, f"the file system takes no file named {relative!r}")
    return ImageError(FailedReason.WRITE_ERROR, f"{relative}: {error.strerror or error}")
