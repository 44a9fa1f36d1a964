r"""Finding the inputs: directories, globs, files and lists of files, over bytes, so that no name is lost.

Streams; memory does not grow with the number of inputs. The same file named twice is one input (the ledger sees to
that). Files of a directory that don't look like images are no inputs: they are only counted, by extension.

- A directory gives all image files below it. Links to directories are not followed. A link to a file is followed when
  its target lies in the same directory tree, else it is skipped (``symlink``).
- A glob knows ``*``, ``?``, ``[abc]`` and ``**`` (any number of directories). A file whose exact name it is wins.
- ``@list.txt`` names one path per line (or separated by NUL bytes if there are any), relative to the list.
- A file that is named itself, or in a list, and isn't there is an input that fails (``missing``).
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.input_plan import FoundInput
from pipelines.errors import FailedReason, JobError, SkippedReason
from pipelines.tables.cells import readable_path

IMAGE_EXTENSIONS = frozenset(b".jpg .jpeg .jpe .jfif .png .tif .tiff .btf .webp .avif .bmp .dib .gif".split())
MAX_LIST_BYTES = 2**30
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://")


@dataclass(slots=True)
class Discovery:
    """Finds the inputs of one job; ``inputs`` is read once, the counts are complete after it."""

    patterns: Sequence[str]
    base: Path
    """What relative patterns are relative to."""
    exclude: Sequence[str] = ()
    """Globs on the path below the input root, and on the bare name."""
    output: Path | None = None
    """Never an input, wherever it lies."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Extension -> number of files that don't look like images."""
    unreadable: list[str] = field(default_factory=list)
    """Directories that can't be listed, with the reason."""

    def inputs(self) -> Iterator[FoundInput]:
        """Every input, in no particular order.

        Raises
        ------
        JobError
            A pattern matches nothing, a list can't be read, or an address is not supported.
        """
        excluded = [_compile(os.fsencode(pattern)) for pattern in self.exclude]
        output = None if self.output is None else os.fsencode(self.output.resolve())
        for pattern in self.patterns:
            empty = True
            for found in self._expand(pattern, output):
                empty = False
                yield _excluded(found, excluded)
            if empty and not self.unreadable:
                raise JobError(f"inputs: {pattern!r} matches no image below {self.base}{self._ignored_text()}")

    def _expand(self, pattern: str, output: bytes | None) -> Iterator[FoundInput]:
        if _REMOTE.match(pattern):
            raise JobError(f"inputs: {pattern!r}: object stores are not supported yet; mount it, or copy the files")
        if pattern.startswith("@"):
            yield from self._listed(self.base / pattern[1:])
            return
        path = os.path.normpath(os.path.join(os.fsencode(self.base), os.fsencode(pattern)))
        if os.path.isdir(path):
            yield from self._walk(path, path, None, output)
        elif os.path.lexists(path) or not _is_glob(pattern):
            yield _named_file(path, os.path.basename(path))
        else:
            root, rest = _split_glob(path)
            yield from self._walk(root, root, _compile(rest), output)

    def _walk(
        self, directory: bytes, root: bytes, pattern: re.Pattern[bytes] | None, output: bytes | None
    ) -> Iterator[FoundInput]:
        """Depth first without recursion, so that no depth of directories is too deep."""
        waiting = [directory]
        while waiting:
            here = waiting.pop()
            try:
                with os.scandir(here) as entries:
                    listed = list(entries)
            except OSError as error:
                self.unreadable.append(f"{readable_path(here)}: {error.strerror}")
                continue
            for entry in listed:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != b".rayjobs" and (output is None or os.path.realpath(entry.path) != output):
                        waiting.append(entry.path)
                    continue
                relative = os.path.relpath(entry.path, root)
                if pattern is not None and not pattern.fullmatch(relative):
                    continue
                if pattern is None and not _looks_like_image(entry.name):
                    self.ignored[readable_path(os.path.splitext(entry.name)[1].lower()) or "(no extension)"] += 1
                    continue
                found = _entry(entry, relative, root)
                if found is not None:
                    yield found

    def _listed(self, file: Path) -> Iterator[FoundInput]:
        for raw in _read_list(file):
            path = os.path.normpath(os.path.join(os.fsencode(file.parent), raw))
            yield _named_file(path, os.path.basename(path) if os.path.isabs(raw) else _inside(raw))

    def _ignored_text(self) -> str:
        if not self.ignored:
            return ""
        counts = ", ".join(f"{count} {extension}" for extension, count in self.ignored.most_common(3))
        return f" (files that don't look like images: {counts}; a glob takes any file)"


def _entry(entry: os.DirEntry[bytes], relative: bytes, root: bytes) -> FoundInput | None:
    """One directory entry that is no directory; None when it vanished meanwhile."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if os.path.isdir(target):
            return _skipped(entry.path, relative, SkippedReason.SYMLINK, "a link to a directory is not followed")
        if not _is_below(target, os.path.realpath(root)):
            return _skipped(entry.path, relative, SkippedReason.SYMLINK, "a link that leads out of the input directory")
        return _named_file(entry.path, relative)
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _from_stat(entry.path, relative, status)


def _named_file(path: bytes, relative: bytes) -> FoundInput:
    try:
        status = os.stat(path)
    except OSError as error:
        reason = FailedReason.MISSING if isinstance(error, FileNotFoundError) else FailedReason.PERMISSION
        if not isinstance(error, FileNotFoundError | PermissionError):
            reason = FailedReason.NAME_INVALID
        text = error.strerror or str(error)
        return FoundInput(path=path, relative=relative, status="failed", reason=reason, message=text)
    return _from_stat(path, relative, status)


def _from_stat(path: bytes, relative: bytes, status: os.stat_result) -> FoundInput:
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        return _skipped(path, relative, SkippedReason.NOT_REGULAR, f"{kind}, not a file")
    return FoundInput(path=path, relative=relative, size=status.st_size, mtime_ns=status.st_mtime_ns)


def _skipped(path: bytes, relative: bytes, reason: SkippedReason, message: str) -> FoundInput:
    return FoundInput(path=path, relative=relative, status="skipped", reason=reason, message=message)


def _excluded(found: FoundInput, patterns: Iterable[re.Pattern[bytes]]) -> FoundInput:
    name = os.path.basename(found.relative)
    for pattern in patterns:
        if pattern.fullmatch(found.relative) or pattern.fullmatch(name):
            return _skipped(found.path, found.relative, SkippedReason.EXCLUDED, "left out by `exclude`")
    return found


def _looks_like_image(name: bytes) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def _split_glob(path: bytes) -> tuple[bytes, bytes]:
    """The directory before the first wildcard, and the rest."""
    parts = path.split(b"/")
    first = next(i for i, part in enumerate(parts) if any(c in part for c in (b"*", b"?", b"[")))
    return b"/".join(parts[:first]) or b"/", b"/".join(parts[first:])


def _compile(pattern: bytes) -> re.Pattern[bytes]:
    """A glob as a regular expression; ``*`` and ``?`` stop at ``/``, ``**/`` is any number of directories."""
    out, place = b"", 0
    while place < len(pattern):
        rest = pattern[place:]
        if rest.startswith(b"**/"):
            out, place = out + rb"(?:[^/]+/)*", place + 3
        elif rest.startswith(b"**"):
            out, place = out + rb".*", place + 2
        elif rest.startswith(b"*"):
            out, place = out + rb"[^/]*", place + 1
        elif rest.startswith(b"?"):
            out, place = out + rb"[^/]", place + 1
        elif match := re.match(rb"\[(!?)(\]?[^\]/]+)\]", rest, re.DOTALL):
            inside = re.sub(rb"([\\\[\]^&~|])", rb"\\\1", match[2])
            out, place = out + b"[" + (b"^" if match[1] else b"") + inside + b"]", place + match.end()
        else:
            out, place = out + re.escape(rest[:1]), place + 1
    return re.compile(out, re.DOTALL)


def _read_list(file: Path) -> Iterator[bytes]:
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise JobError(f"inputs: {file} is larger than {MAX_LIST_BYTES:,} bytes")
        with file.open("rb") as lines:
            start = lines.read(65536)
            lines.seek(0)
            if b"\0" in start:
                yield from (part for part in lines.read().split(b"\0") if part)
            else:
                yield from (line for raw in lines if (line := raw.rstrip(b"\r\n")))
    except OSError as error:
        raise JobError(f"inputs: the list {file} can't be read: {error.strerror}") from error


def _inside(raw: bytes) -> bytes:
    """A listed relative path as it is mirrored below the output: without leaving upwards."""
    return b"/".join(part for part in os.path.normpath(raw).split(b"/") if part not in (b"..", b""))


def _is_below(path: bytes, root: bytes) -> bool:
    return path == root or path.startswith(root.rstrip(b"/") + b"/")
