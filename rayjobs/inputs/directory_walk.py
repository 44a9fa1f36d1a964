"""One walk down a directory tree: the files that one input pattern takes, and notes of all that it doesn't.

Depth first, entry by entry: neither the number of files nor that of directories makes it hold more, and no depth is too
deep. Directories in which the pattern can't match, that are left out, or are ``.rayjobs``, are not entered.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from actors.ledger.staged_inputs import FoundInput
from pipelines.errors import JobError, SkippedReason
from pipelines.tables.cells import readable_path
from rayjobs.inputs.exclusions import Excluded, Exclusions
from rayjobs.inputs.found_files import listed_file, looks_like_image, named_file, skipped
from rayjobs.inputs.glob_patterns import Glob, Places
from rayjobs.inputs.input_order import natural_key
from rayjobs.inputs.left_out_results import CONTROL, LeftOutResults, Zone

MOST_OPEN = 64
"""Directories that are open at a time; what lies deeper is listed at once, as descriptors are few."""
MOST_KINDS = 1_000
"""Kinds of ignored files that are counted apart."""
MOST_PROBLEMS = 100
"""That are told one by one."""
OTHERS = "(others)"


@dataclass(slots=True)
class WalkNotes:
    """What the walks of a job came upon beside inputs."""

    ignored: Counter[str] = field(default_factory=Counter)
    """Extension -> number of files that don't look like images."""
    excluded_directories: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What a person has to do something about."""
    more_problems: int = 0

    def ignore(self, kind: str, number: int) -> None:
        self.ignored[kind if kind in self.ignored or len(self.ignored) < MOST_KINDS else OTHERS] += number

    def exclude(self, directory: bytes) -> None:
        self.excluded_directories.append(readable_path(directory))

    def complain(self, text: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)
        else:
            self.more_problems += 1


@dataclass(slots=True, kw_only=True)
class _Directory:
    """A directory that is being read."""

    path: bytes
    relative: bytes
    """Below the root, with a slash at the end; empty for the root."""
    real: bytes
    places: Places
    excluded: Excluded
    zone: Zone
    listing: Iterator[os.DirEntry[bytes]]
    close: Callable[[], None]


@dataclass(slots=True, kw_only=True)
class DirectoryWalk:
    """The inputs that one pattern finds below one directory."""

    typed: str
    """The pattern as the user wrote it, for messages."""
    root: bytes
    """Where it starts; absolute."""
    glob: Glob
    """What it takes, by the path below the root."""
    only_images: bool
    """Whether files that don't look like images are passed over and counted."""
    order: bytes
    """Beginning of the inputs' sort keys."""
    numbered: bool = True
    """Whether they get any."""
    exclusions: Exclusions
    results: LeftOutResults
    notes: WalkNotes
    _open: list[_Directory] = field(default_factory=list, init=False)
    """From the root to the one that is being read."""
    _real: bytes = field(default=b"", init=False)
    """The root without links."""
    _ignored: Counter[str] = field(default_factory=Counter, init=False)
    _matching_directories: int = field(default=0, init=False)
    _has_complained: bool = field(default=False, init=False)

    def inputs(self) -> Iterator[FoundInput]:
        """What the pattern takes, in no particular order; a walk that takes nothing is noted as a problem."""
        excluded = self.exclusions.below(self.root)
        if excluded.whole:
            self.notes.exclude(self.root)
            self._complain(f"{readable_path(self.root)} is left out by `exclude`: take it out of one of the two")
            return
        self._real = os.path.realpath(self.root)
        results, excluded_directories = self.results.counts.total(), len(self.notes.excluded_directories)
        any_found = False
        try:
            self.results.start(self.root, self._real, self._takes)
            self._enter(self.root, b"", self.glob.start, excluded)
            while self._open:
                found = self._next()
                if found is not None:
                    any_found = True
                    yield found
            if not any_found and not self._has_complained:
                left_out = len(self.notes.excluded_directories) - excluded_directories
                self._complain(self._nothing_found(self.results.counts.total() - results, left_out))
        finally:
            for directory in self._open:
                directory.close()
            for kind, number in self._ignored.items():
                self.notes.ignore(kind, number)

    def _takes(self, relative: bytes) -> bool:
        return self.glob.matches(relative) and not (self.only_images and not looks_like_image(relative))

    def _enter(self, path: bytes, relative: bytes, places: Places, excluded: Excluded) -> None:
        above = self._open[-1] if self._open else None
        real = self._real if above is None else os.path.join(above.real, os.path.basename(path))
        try:
            zone = self.results.enter(path, real, None if above is None else above.zone)
            listing, close = _listing(path, at_once=len(self._open) >= MOST_OPEN)
        except JobError as error:
            self._complain(str(error))
        except (OSError, ValueError) as error:
            self._complain(self._cant_list(path, error))
        else:
            self._open.append(
                _Directory(
                    path=path,
                    relative=relative,
                    real=real,
                    places=places,
                    excluded=excluded,
                    zone=zone,
                    listing=listing,
                    close=close,
                )
            )

    def _next(self) -> FoundInput | None:
        """Go on by one entry; None when it is no input."""
        here = self._open[-1]
        try:
            entry = next(here.listing, None)
        except OSError as error:
            self._complain(self._cant_list(here.path, error))
            entry = None
        if entry is None:
            self._open.pop().close()
            return None
        kind = _kind(entry)
        if kind is _Kind.DIRECTORY:
            self._directory(entry, here)
            return None
        if kind is _Kind.LINKED_DIRECTORY:
            return self._linked_directory(entry, here)
        return self._file(entry, here, is_link=kind is _Kind.LINK)

    def _directory(self, entry: os.DirEntry[bytes], here: _Directory) -> None:
        places = self.glob.step(here.places, entry.name)
        self._matching_directories += self.glob.accepts(places)
        if entry.name == CONTROL or not self.glob.goes_on(places):
            return
        if here.excluded.takes(entry.name, is_directory=True):
            self.notes.exclude(entry.path)
            return
        relative = here.relative + entry.name + b"/"
        self._enter(entry.path, relative, places, here.excluded.enter(entry.name))

    def _linked_directory(self, entry: os.DirEntry[bytes], here: _Directory) -> FoundInput | None:
        """One row says that what lies behind a link isn't searched, where it would have been."""
        places = self.glob.step(here.places, entry.name)
        if entry.name == CONTROL or not (self.glob.goes_on(places) or self.glob.accepts(places)):
            return None
        if here.excluded.takes(entry.name, is_directory=True):
            self.notes.exclude(entry.path)
            return None
        return self._skipped(entry, here, SkippedReason.SYMLINK, "a link to a directory is not followed")

    def _file(self, entry: os.DirEntry[bytes], here: _Directory, *, is_link: bool) -> FoundInput | None:
        if not self.glob.accepts(self.glob.step(here.places, entry.name)):
            return None
        is_wanted = not self.only_images or looks_like_image(entry.name)
        try:
            if self.results.takes(here.zone, entry.path, counted=is_wanted):
                return None
            if not is_wanted:
                self._ignore(entry.name)
                return None
            if here.excluded.takes(entry.name, is_directory=False):
                return self._skipped(entry, here, SkippedReason.EXCLUDED, "left out by `exclude`")
            return self._link(entry, here) if is_link else listed_file(entry, *self._keys(entry, here))
        except JobError as error:
            self._complain(str(error))
            return None

    def _link(self, entry: os.DirEntry[bytes], here: _Directory) -> FoundInput | None:
        target = os.path.realpath(entry.path)
        if not target.startswith(self._real.rstrip(b"/") + b"/"):
            return self._skipped(entry, here, SkippedReason.SYMLINK, "a link that leads out of the input directory")
        if self.results.takes_target(target, self._real):
            return None
        return named_file(entry.path, *self._keys(entry, here))

    def _skipped(self, entry: os.DirEntry[bytes], here: _Directory, reason: SkippedReason, message: str) -> FoundInput:
        return skipped(entry.path, *self._keys(entry, here), reason, message)

    def _keys(self, entry: os.DirEntry[bytes], here: _Directory) -> tuple[bytes, bytes]:
        relative = here.relative + entry.name
        return relative, self.order + natural_key(relative) if self.numbered else b""

    def _ignore(self, name: bytes) -> None:
        kind = readable_path(os.path.splitext(name)[1].lower()) or "(no extension)"
        self._ignored[kind if kind in self._ignored or len(self._ignored) < MOST_KINDS else OTHERS] += 1

    # ---- what to say ---------------------------------------------------------------------------------------------

    def _complain(self, text: str) -> None:
        self._has_complained = True
        self.notes.complain(f"{self.typed!r}: {text}")

    def _cant_list(self, path: bytes, error: OSError | ValueError) -> str:
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            return f"the directory {readable_path(path)} can't be listed ({text}): make it readable, or exclude it"
        if self._open:
            return f"the directory {readable_path(path)} vanished while it was searched: run it again, or exclude it"
        return f"the directory {readable_path(path)} doesn't exist ({text}): mount it, or correct the path"

    def _nothing_found(self, results: int, excluded_directories: int) -> str:
        hints = []
        if self._ignored:
            counts = ", ".join(f"{count} {kind}" for kind, count in self._ignored.most_common(3))
            hints.append(f"files that don't look like images: {counts}; a glob takes any file")
        if results:
            hints.append(f"results of jobs, which are no inputs: {results:,}")
        if excluded_directories:
            hints.append(f"directories that `exclude` leaves out: {excluded_directories:,}")
        if self._matching_directories and not self.only_images:
            hints.append(f"directories that match: {self._matching_directories:,}; with a / at the end they are meant")
        told = f" ({'; '.join(hints)})" if hints else ""
        return f"matches no image below {readable_path(self.root)}{told}: correct it, or take it out"


class _Kind(Enum):
    DIRECTORY = auto()
    LINKED_DIRECTORY = auto()
    LINK = auto()
    FILE = auto()
    """Or anything else; and what can't be told: whoever asks for more gets the reason."""


def _kind(entry: os.DirEntry[bytes]) -> _Kind:
    try:
        if entry.is_dir(follow_symlinks=False):
            return _Kind.DIRECTORY
        if not entry.is_symlink():
            return _Kind.FILE
    except OSError:
        return _Kind.FILE
    return _Kind.LINKED_DIRECTORY if os.path.isdir(entry.path) else _Kind.LINK


def _listing(path: bytes, *, at_once: bool) -> tuple[Iterator[os.DirEntry[bytes]], Callable[[], None]]:
    """The entries of a directory, and how to close it."""
    entries = os.scandir(path)
    if not at_once:
        return entries, entries.close
    with entries:
        return iter(list(entries)), entries.close
