"""What ``exclude`` leaves out: patterns of names and paths, asked name by name on the way down a directory tree.

A pattern without a slash is a name, wherever it is. One with a slash is a path: below the directory that the input
pattern starts from, or, when its first part is a plain name, relative to the job; an absolute one, or one that begins
with ``~``, is just that. What a pattern takes of directories goes with everything below it; with a slash at the end it
takes nothing but directories.

A name that exists is that name before it is a pattern: a path that is there means nothing else, and a name that a
directory has means nothing else in that directory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.errors import JobError
from rayjobs.inputs.glob_patterns import Glob, Places, is_pattern
from rayjobs.job.path_spelling import spelled


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """One pattern of the job."""

    text: bytes
    """As the user wrote it, without ``./`` before and ``/`` behind."""
    path: bytes
    """The same as an absolute path: of the home directory, or relative to the job."""
    glob: Glob | None
    """For paths below a root; None when the pattern is absolute. Of a bare name: for the name."""
    from_top: Glob | None
    """For absolute paths; None when it isn't read as one."""
    is_bare: bool
    only_directories: bool


@dataclass(slots=True)
class Excluded:
    """What is left out in one directory of a tree."""

    directory: bytes
    whole: bool
    """Whether all of it is."""
    bare: tuple[_Pattern, ...]
    exact: frozenset[bytes]
    """Absolute paths."""
    running: tuple[tuple[Glob, Places, bool], ...]
    """Patterns of paths, the places that they have reached here, and whether they take nothing but directories."""
    _here: dict[bytes, bool] = field(default_factory=dict)
    """Whether this directory has an entry of a pattern's literal name."""

    def takes(self, name: bytes, *, is_directory: bool) -> bool:
        """Whether an entry of the directory is left out."""
        if self.exact and os.path.join(self.directory, name) in self.exact:
            return True
        for pattern in self.bare:
            if (is_directory or not pattern.only_directories) and self._is_meant(pattern, name):
                return True
        return any(
            _takes(glob, glob.step(places, name), is_directory)
            for glob, places, only_directories in self.running
            if is_directory or not only_directories
        )

    def enter(self, name: bytes) -> Excluded:
        """The same for a directory in it that isn't left out."""
        stepped = ((glob, glob.step(places, name), only) for glob, places, only in self.running)
        return Excluded(
            directory=os.path.join(self.directory, name),
            whole=False,
            bare=self.bare,
            exact=self.exact,
            running=tuple(entry for entry in stepped if entry[0].goes_on(entry[1])),
        )

    def _is_meant(self, pattern: _Pattern, name: bytes) -> bool:
        if name == pattern.text:
            return True
        if pattern.glob is None or not pattern.glob.matches(name):
            return False
        if pattern.text not in self._here:
            self._here[pattern.text] = os.path.lexists(os.path.join(self.directory, pattern.text))
        return not self._here[pattern.text]


class Exclusions:
    """The job's patterns.

    Raises
    ------
    JobError
        A pattern is no path, or too large.
    """

    def __init__(self, patterns: Sequence[str], base: bytes) -> None:
        found = [_parsed(pattern, base) for pattern in patterns]
        self._bare = tuple(pattern for pattern in found if pattern.is_bare)
        self._paths = [pattern for pattern in found if not pattern.is_bare]
        self._latest: Excluded | None = None

    def below(self, root: bytes) -> Excluded:
        """What is left out below an absolute directory from which an input pattern starts."""
        exact: set[bytes] = set()
        running: list[tuple[Glob, Places, bool]] = []
        whole = False
        for pattern in self._paths:
            literal = {pattern.path} if pattern.glob is None else {pattern.path, os.path.join(root, pattern.text)}
            there = {path for path in map(os.path.normpath, literal) if os.path.lexists(path)}
            exact |= there
            whole = whole or any(_is_in(root, path) for path in there)
            if not there and pattern.glob is not None:
                running.append((pattern.glob, pattern.glob.start, pattern.only_directories))
            if not there and pattern.from_top is not None:
                places, taken = _down(pattern.from_top, root)
                whole = whole or taken
                running.append((pattern.from_top, places, pattern.only_directories))
        return Excluded(root, whole, self._bare, frozenset(exact), tuple(running))

    def take_file(self, path: bytes, relative: bytes) -> bool:
        """Whether a file that is named itself, or in a list, is left out: it, or a directory of its relative path."""
        if not self._bare and not self._paths:
            return False
        if not path.endswith(b"/" + relative):
            relative = os.path.basename(path)
        root = path[: -len(relative)].rstrip(b"/") or b"/"
        if self._latest is None or self._latest.directory != root:  # most of a list is below one directory
            self._latest = self.below(root)
        here = self._latest
        if here.whole:
            return True
        *directories, name = relative.split(b"/")
        for directory in directories:
            if here.takes(directory, is_directory=True):
                return True
            here = here.enter(directory)
        return here.takes(name, is_directory=False)


def _parsed(typed: str, base: bytes) -> _Pattern:
    start, raw = spelled(typed, what="exclude", base=base)
    text = raw.rstrip(b"/") or raw
    is_bare = b"/" not in text and start == base
    while text.startswith(b"./"):
        text = text[2:].lstrip(b"/")
    absolute = text.startswith(b"/") or start != base
    plain_start = not is_bare and not is_pattern(text.split(b"/")[0])
    try:
        return _Pattern(
            text=text,
            path=os.path.normpath(os.path.join(start, text)),
            glob=None if absolute else Glob.parse(text),
            from_top=_from_top(start, text) if absolute or plain_start else None,
            is_bare=is_bare,
            only_directories=raw.endswith(b"/"),
        )
    except JobError as error:
        raise JobError(f"exclude: {typed[:80]!r}: {error}") from error


def _from_top(start: bytes, text: bytes) -> Glob:
    if text.startswith(b"/"):
        return Glob.parse(text)
    while text.startswith(b"../"):
        start, text = os.path.dirname(start), text[3:].lstrip(b"/")
    return Glob.parse(text, below=start)


def _takes(glob: Glob, places: Places, is_directory: bool) -> bool:
    return glob.accepts(places) or (is_directory and glob.takes_all_below(places))


def _down(glob: Glob, root: bytes) -> tuple[Places, bool]:
    """The places that a pattern for absolute paths has reached in a directory, and whether it takes one on the way."""
    places, taken = glob.start, False
    for name in root.split(b"/"):
        if name:
            places = glob.step(places, name)
            taken = taken or _takes(glob, places, is_directory=True)
    return places, taken


def _is_in(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
