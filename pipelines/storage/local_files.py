"""Files of a local file system: looking without following links, and every removal, replacement and renaming.

``remove`` and ``replace`` ask ``custody`` with a content that was read just before. Directories are removed when they
are empty. ``discard_directory`` is for the program's own: what lies below ``.rayjobs/tmp`` or in a cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from pipelines.storage.custody import Kind, Present, Standing, Written, is_ours, is_untouched, may_replace, standing

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}
_OF_A_RUN = re.compile(r"\d+|closed-[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_UNFINISHED_DIRECTORY = re.compile(r"\.ledger-[a-z0-9_]{8}")
_BLOCK_BYTES = 2**23
"""Large, so that hashing seldom asks for the interpreter: beside a thread at work, each time may cost 5 ms."""


class TakenError(FileExistsError):
    """A name is borne by something that the job may not replace."""


class LinkInTheWayError(NotADirectoryError):
    """A directory of an output's path is a link, or no directory."""


def time_of(status: os.stat_result) -> int:
    """A file's time of change in nanoseconds, as 64 bits hold it: years beyond 2262 wrap around, and stay distinct."""
    return (status.st_mtime_ns + 2**63) % 2**64 - 2**63


def look(path: str | Path) -> Present:
    """What bears a name. A directory on the way that can't be entered is an OSError."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Present(Kind.NOTHING)
    return Present(
        _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER), status.st_size, time_of(status), status.st_ctime_ns
    )


def sha256_of(path: str | Path) -> str | None:
    """Of a regular file; None when there is none under that name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return digest_of(descriptor)
    finally:
        os.close(descriptor)


def digest_of(descriptor: int) -> str:
    """sha256 of an open file, from where it stands."""
    size = os.fstat(descriptor).st_size + 1  # Python clears a buffer first: 8 MiB take longer than most files
    digest, buffer = hashlib.sha256(), bytearray(min(size, _BLOCK_BYTES))
    view = memoryview(buffer)
    while count := os.readv(descriptor, [buffer]):
        digest.update(view[:count])
    return digest.hexdigest()


def seems_as_written(path: str, size: int, mtime_ns: int | None) -> bool:
    """The short answer for the many files that nobody touched; ``compare`` says what another one is."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    return status.st_size == size and status.st_mtime_ns == mtime_ns and stat.S_ISREG(status.st_mode)


def way_to(root: Path, relative: str) -> Iterator[Path]:
    """The directories on the way to a file below ``root``, from the outermost.

    Of a file beside its source, those that ``..`` leads through are left out: the caller vouches for the place.
    """
    here = root
    for part in PurePosixPath(relative).parts[:-1]:
        here = here / part
        if part != "..":
            yield here


def way_is_clear(root: Path, relative: str) -> bool:
    """Whether no directory on the way to a file below ``root`` is a link, or anything else."""
    return all(look(directory).kind is Kind.DIRECTORY for directory in way_to(root, relative))


def compare(path: str | Path, written: Written, *, deep: bool = False) -> tuple[Standing, Present]:
    """How a file of the record stands; its content is read when size and time don't tell, or always (``deep``)."""
    present = look(path)
    found = standing(present, written)
    if found is Standing.UNSURE or (deep and found is Standing.AS_WRITTEN):
        same = sha256_of(path) == written.sha256
        found = Standing.AS_WRITTEN if same else Standing.CHANGED
    return found, present


def make_way(root: Path, relative: str) -> None:
    """Make the directories of an output's path below ``root``; none of them may be a link.

    Raises
    ------
    LinkInTheWayError
        One is, or is no directory.
    """
    root.mkdir(parents=True, exist_ok=True)
    for here in way_to(root, relative):
        with suppress(FileExistsError):
            here.mkdir()
        kind = look(here).kind
        if kind is not Kind.DIRECTORY:
            raise LinkInTheWayError(errno.ENOTDIR, f"{here} is {kind}, not a directory", str(here))


def appear(
    temporary: Path,
    final: Path,
    sha256: str,
    *,
    known: Collection[str] = (),
    overwrite: bool = False,
    written: Written | None = None,
) -> None:
    """Give a finished file its name: complete or not at all, and never in the place of what isn't the job's.

    The same bytes are adopted: an earlier attempt was killed between publishing and reporting. They need not be read
    of a file that is untouched since it was ``written``, as the record says of it.

    Raises
    ------
    TakenError
        The name is borne by something that stays.
    """
    try:
        _create(temporary, final)
    except FileExistsError:
        present = look(final)
        untouched = written is not None and (
            is_untouched(present, written)
            # to give a file another name, as was just done to this one, changes nothing but the time of that
            or (_is_same(temporary, final) and standing(present, written) is Standing.AS_WRITTEN)
        )
        found = written.sha256 if written is not None and untouched else sha256_of(final)
        if present.kind is Kind.FILE and found == sha256:
            return
        if not may_replace(present, found, known, overwrite=overwrite):
            raise TakenError(errno.EEXIST, "exists and is not this job's", str(final)) from None
        os.replace(temporary, final)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are those of one file."""
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False


def _create(temporary: Path, final: Path) -> None:
    """By a hard link, which fails when the name is taken."""
    try:
        os.link(temporary, final, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links (FAT, some network shares): the check and the rename are two steps there.
        if os.path.lexists(final):
            raise FileExistsError(error.errno, "exists", str(final)) from error
        os.replace(temporary, final)


def link_or_copy(path: Path, target: Path) -> None:
    """Give a file among the job's own a second name, which nothing has yet; its content is never changed after."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(path, target)


def remove(root: Path, relative: str, known: Collection[str]) -> bool:
    """Remove a file that is as the job wrote it; False for whatever else bears the name, which stays.

    One that is reached through a link is somewhere else than the job wrote it.
    """
    path = root / relative
    present = look(path)
    if present.kind is not Kind.FILE or not way_is_clear(root, relative):
        return False
    if not is_ours(present, sha256_of(path), known):
        return False
    path.unlink()
    return True


def remove_cut_off(path: Path, whole: Path) -> bool:
    """Remove a file that is the beginning of another one, the whole: nothing is in it that isn't in that."""
    if look(path).kind is not Kind.FILE:
        return False
    with path.open("rb") as short, whole.open("rb") as long:
        while part := short.read(_BLOCK_BYTES):
            if long.read(len(part)) != part:
                return False
    path.unlink()
    return True


def remove_empty(root: Path, relative: str) -> None:
    """Remove the directories of a removed file below ``root``, from the innermost, as far as nothing is in them."""
    for parent in PurePosixPath(relative).parents:
        if parent.parts and ".." not in parent.parts:
            try:
                (root / parent).rmdir()
            except OSError:
                return


# ---- the program's own: below .rayjobs, in its home and caches ------------------------------------------------------


@contextmanager
def own_file(path: Path) -> Iterator[Path]:
    """A new temporary file of the program in its own directory, gone at the end unless it got a name."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def replace_own(temporary: Path, final: Path) -> None:
    """Give a file its name in a directory of the program's own, replacing what bore it."""
    os.replace(temporary, final)


def remove_own(path: Path) -> None:
    """Remove a file in a directory of the program's own; one that is gone already is no error."""
    path.unlink(missing_ok=True)


def own_directories(temporary: Path) -> list[Path]:
    """The directories of runs below the one for temporary files: real ones, with names that a run gives."""
    if look(temporary).kind is not Kind.DIRECTORY:
        return []
    return [
        path for path in temporary.iterdir() if _OF_A_RUN.fullmatch(path.name) and look(path).kind is Kind.DIRECTORY
    ]


def discard_runs(temporary: Path) -> None:
    """Remove the directories of runs, and the one around them unless something else is in it."""
    for directory in own_directories(temporary):
        discard_directory(directory)
    with suppress(OSError):
        temporary.rmdir()


def remove_unfinished(directory: Path) -> None:
    """Remove what a kill left of files of the program's own that were about to get their names."""
    for path in directory.iterdir():
        kind = look(path).kind
        if _UNFINISHED.fullmatch(path.name) and kind is Kind.FILE:
            remove_own(path)
        elif _UNFINISHED_DIRECTORY.fullmatch(path.name) and kind is Kind.DIRECTORY:
            discard_directory(path)


def close_directory(directory: Path) -> Path:
    """Give a temporary directory another name, so that no worker that outlived its driver finds it any more."""
    return directory.rename(directory.with_name(f"closed-{uuid.uuid4().hex}"))


def move_own(directory: Path, suffix: str, target: Path) -> None:
    """Move the files of that suffix into another directory of the program's own, over those of their names.

    Raises OSError, for instance on a full disk; what wasn't moved then stays where it is.
    """
    for path in directory.glob(f"*{suffix}"):
        target.mkdir(exist_ok=True)
        os.replace(path, target / path.name)


def discard_directory(directory: Path) -> None:
    """Remove a temporary directory of the program and what is in it, without following links.

    Network file systems keep open files; whoever clears up next tries again.
    """
    shutil.rmtree(directory, ignore_errors=True)
