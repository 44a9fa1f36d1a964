"""Publishing output files: complete or not at all, never over a file that isn't ours, never outside the output.

A file is written under a temporary name, and appears under its own by a hard link, which fails when the name is
taken. The same bytes are then adopted (an earlier attempt was killed between publishing and reporting); a file of an
earlier plan of this job is replaced; anything else is left alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from pipelines.errors import FailedReason, ImageError
from pipelines.models import Output
from pipelines.worker_journal import WorkerJournal

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


class Publisher:
    """Publishes the outputs of one worker below ``root``; only as long as the directory ``temporary`` is there."""

    def __init__(self, root: Path, temporary: Path, journal: WorkerJournal, *, durable: bool = False) -> None:
        self.root = root.resolve()
        self._temporary = temporary
        self._journal = journal
        self._durable = durable
        self._checked: set[Path] = set()
        """Directories known to lie below the root, so that each is resolved once."""

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
        sha256 = hashlib.sha256(data).hexdigest()
        temporary = self._temporary / uuid.uuid4().hex
        try:
            self._prepare((self.root / relative).parent, relative, beside)
            self._write(temporary, data)
            self._appear(temporary, relative, sha256, known, overwrite)
        except OSError as error:
            raise _as_image_error(error, relative) from error
        finally:
            temporary.unlink(missing_ok=True)
        return Output(product=product, path=relative, sha256=sha256, bytes=len(data))

    @contextmanager
    def draft(self, relative: str, *, beside: Path | None = None) -> Iterator[BufferedRandom]:
        """A file to write what doesn't fit into memory; ``publish_draft`` makes it appear at ``relative``.

        Raises
        ------
        ImageError
            ``write_error``, ``no_space`` or ``name_invalid``, for whatever the system says while it is written.
        """
        temporary = self._temporary / uuid.uuid4().hex
        try:
            self._prepare((self.root / relative).parent, relative, beside)
            with temporary.open("x+b") as file:
                yield file
        except OSError as error:
            raise _as_image_error(error, relative) from error
        finally:
            temporary.unlink(missing_ok=True)

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
        try:
            draft.flush()
            if self._durable:
                os.fsync(draft.fileno())
            size = draft.seek(0, os.SEEK_END)
            draft.seek(0)
            sha256 = hashlib.file_digest(draft, "sha256").hexdigest()
            self._appear(Path(draft.name), relative, sha256, known, overwrite)
        except OSError as error:
            raise _as_image_error(error, relative) from error
        return Output(product=product, path=relative, sha256=sha256, bytes=size)

    def _appear(self, temporary: Path, relative: str, sha256: str, known: Collection[str], overwrite: bool) -> None:
        final = self.root / relative
        self._journal.publishing(relative, sha256)
        try:
            _create(temporary, final)
        except FileExistsError:
            present = _sha256(final)
            if present == sha256:
                return
            if present not in known and not overwrite:
                raise ImageError(
                    FailedReason.WRITE_ERROR,
                    f"{relative} exists and is not this job's; move it away, or set on_conflict: overwrite",
                ) from None
            os.replace(temporary, final)
        if self._durable:
            _sync(final.parent)

    def _prepare(self, directory: Path, relative: str, beside: Path | None) -> None:
        if directory in self._checked:
            return
        directory.mkdir(parents=True, exist_ok=True)
        if not directory.resolve().is_relative_to(self.root if beside is None else beside.resolve()):
            raise ImageError(FailedReason.WRITE_ERROR, f"{relative} would lie outside the output (through a link)")
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


def sha256_of_file(path: Path) -> str | None:
    """The sha256 of a regular file; None when there is none under that name."""
    try:
        return _sha256(path)
    except FileNotFoundError:
        return None


def _create(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links (FAT, some network shares): the check and the rename are two steps there.
        if os.path.lexists(final):
            raise FileExistsError(error.errno, "exists", str(final)) from error
        os.replace(temporary, final)


def _sha256(path: Path) -> str | None:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _as_image_error(error: OSError, relative: str) -> ImageError:
    if error.errno in NO_SPACE:
        return ImageError(FailedReason.NO_SPACE, f"no space left for {relative}")
    if error.errno == errno.EXDEV:
        text = "lies on another file system than the output; choose an output on the same one"
        return ImageError(FailedReason.WRITE_ERROR, f"{relative} {text}")
    if error.errno in _BAD_NAME:
        return ImageError(FailedReason.NAME_INVALID, f"the file system takes no file named {relative!r}")
    return ImageError(FailedReason.WRITE_ERROR, f"{relative}: {error.strerror or error}")
