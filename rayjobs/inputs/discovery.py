r"""Finding the inputs: directories, patterns, files and lists of files, over bytes, so that no name is lost.

Streams; memory does not grow with the number of inputs. The same file named twice is one input (the ledger sees to
that).

- A directory gives all image files below it. Files that don't look like images are only counted, by extension. A
  pattern (``glob_patterns``) takes any file that it matches; with a slash at the end it means the directories.
- Only the user's text is a pattern, never the directory that it is relative to. A name that exists is that name before
  it is a pattern: the whole text, or the directories that it begins with.
- Links to directories are not followed: one row (``symlink``) stands for what is behind them. A link to a file is
  followed when its target lies in the same directory tree, else it is skipped (``symlink``).
- ``@list.txt`` names files (``input_lists``), relative to the list.
- A file that is named itself, or in a list, and isn't there is an input that fails (``missing``). One name that isn't
  there and doesn't look like an image is taken for a directory that isn't mounted, unless it has been an input before.
- What ``exclude`` takes of files has a row (``excluded``); directories are left out as a whole (``exclusions``).
- Results of the job itself are never inputs, and named singly they are refused. Those of other jobs are none where a
  directory or pattern comes upon the output as a whole (``left_out_results``). ``.rayjobs`` is never entered.
- Inputs are in the order of the job's patterns, within each in natural order or that of the list (``input_order``).
- A directory that is missing, can't be listed or vanishes, and a pattern that takes nothing, end the job: who goes on
  without knowing what was there would take inputs for gone. All of them are told at once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.ledger.staged_inputs import FoundInput
from pipelines.errors import FailedReason, JobError, SkippedReason
from pipelines.tables.cells import readable_path
from rayjobs.inputs.directory_walk import DirectoryWalk, WalkNotes
from rayjobs.inputs.exclusions import Exclusions
from rayjobs.inputs.found_files import IMAGE_EXTENSIONS, looks_like_image, named_file, skipped
from rayjobs.inputs.found_outputs import FoundOutputs
from rayjobs.inputs.glob_patterns import Glob, components, is_pattern
from rayjobs.inputs.input_columns import InputColumns
from rayjobs.inputs.input_lists import read_list
from rayjobs.inputs.input_order import list_key, natural_key, pattern_key
from rayjobs.inputs.input_tables import InputTableReader, merged_columns
from rayjobs.inputs.left_out_results import CONTROL, LeftOutResults
from rayjobs.job.input_spec import InputTable
from rayjobs.job.path_spelling import encoded, spelled, written_elsewhere

__all__ = ["IMAGE_EXTENSIONS", "Discovery"]

_EVERYTHING = b"**"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """A directory, or a pattern that starts from one."""

    typed: str
    order: bytes
    root: bytes
    glob: Glob
    only_images: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Single:
    """One name."""

    typed: str
    order: bytes
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """A list of names."""

    typed: str
    order: bytes
    file: bytes

    def paths(self) -> Iterator[tuple[bytes, bytes]]:
        """(absolute path, path relative to the list as it is mirrored below the output) of every line."""
        start = os.path.dirname(self.file)
        for raw in read_list(Path(os.fsdecode(self.file))):
            path = _absolute(start, raw)
            if raw.startswith(b"~") and not os.path.lexists(path):
                path = _absolute(start, os.path.expanduser(raw))
            is_relative = path == _absolute(start, raw) and not os.path.isabs(raw)
            yield path, _inside(raw) if is_relative else os.path.basename(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table with a row per input."""

    typed: str
    order: bytes
    reader: InputTableReader


_Source = _Tree | _Single | _List | _Table


@dataclass(slots=True)
class Discovery:
    """Finds the inputs of one job; ``inputs`` is read once, all else is complete after it."""

    patterns: Sequence[str | InputTable]
    base: Path
    """What relative patterns are relative to."""
    exclude: Sequence[str] = ()
    """Names and paths to leave out."""
    outputs: FoundOutputs = field(default_factory=FoundOutputs)
    """Tells results of jobs; knows which of them are this job's own."""
    known: Callable[[bytes], bool] = field(default=lambda path: False, kw_only=True)
    """Whether the job has had exactly this path as an input before."""
    numbered: bool = field(default=True, kw_only=True)
    """Whether somebody asks for the inputs' ``order``; it costs more than finding them."""
    columns: InputColumns = field(default_factory=InputColumns, kw_only=True)
    """Gathers what tables and paths say of the inputs, and what is wrong with it."""
    _notes: WalkNotes = field(default_factory=WalkNotes, init=False)
    _results: LeftOutResults = field(init=False)

    def __post_init__(self) -> None:
        self._results = LeftOutResults(self.outputs)

    @property
    def ignored(self) -> Counter[str]:
        """Extension -> number of files that don't look like images."""
        return self._notes.ignored

    @property
    def results_left_out(self) -> Counter[str]:
        """Output directory of a job -> results in it that would have been inputs."""
        return self._results.counts

    @property
    def excluded_directories(self) -> list[str]:
        """Directories that were not entered because of ``exclude``."""
        return self._notes.excluded_directories

    @property
    def withdrawn(self) -> set[bytes]:
        """Paths that ``inputs`` may have given before they turned out to be results: the caller takes them out."""
        return self._results.withdrawn

    def seen(self) -> set[bytes]:
        """All inputs have been seen: refuse them if rows of tables have mistakes; else ``withdrawn``."""
        self.columns.mistakes.tell()
        return self.withdrawn

    def inputs(self) -> Iterator[FoundInput]:
        """Every input, in no particular order; ``FoundInput.order`` is the order.

        Raises
        ------
        JobError
            At once when a pattern can't be meant or a list can't be read; at the end with all that is missing, can't
            be listed, is no input or matches nothing. What is wrong in the rows of tables is left to
            ``columns.mistakes``.
        """
        base = os.path.abspath(os.fsencode(self.base))
        exclusions = Exclusions(self.exclude, base)
        sources = [self._source(number, typed, base) for number, typed in enumerate(self.patterns)]
        readers = [each.reader for each in sources if isinstance(each, _Table)]
        self.columns.set_tables(merged_columns(readers), {name for each in readers for name in each.file.names})
        yield from self.columns.completed(self._found(sources, exclusions))

    def _found(self, sources: Sequence[_Source], exclusions: Exclusions) -> Iterator[FoundInput]:
        try:
            for source in sources:
                if isinstance(source, _Tree):
                    yield from self._walk(source, exclusions)
                elif isinstance(source, _List):
                    yield from self._listed(source, exclusions)
                elif isinstance(source, _Table):
                    yield from self._tabled(source, exclusions)
                else:
                    yield from self._single(source, exclusions)
            self._keep_named(sources)
        finally:
            self.outputs.close()
        self._tell_problems()

    # ---- what a pattern stands for -------------------------------------------------------------------------------

    def _source(self, number: int, typed: str | InputTable, base: bytes) -> _Source:
        order = pattern_key(number)
        if isinstance(typed, InputTable):
            called = f"inputs[{number}] " if self._same_names(typed) else ""
            reader = InputTableReader(typed, self.base.absolute(), self.columns.used, self.columns.mistakes, called)
            return _Table(typed=typed.table, order=order, reader=reader)
        if not typed.strip():
            raise JobError(f"inputs: {typed!r} names nothing; the job file's own directory is `.`")
        literal = _absolute(base, encoded(typed, what="inputs"))
        if typed.startswith("@"):
            file = _absolute(*spelled(typed[1:], what="inputs", base=base))
            if os.path.exists(file) or not os.path.lexists(literal):
                return _List(typed=typed, order=order, file=file)
        if self.known(literal) and not os.path.isdir(literal):
            return _Single(typed=typed, order=order, path=literal)
        return self._name_or_pattern(typed, order, *spelled(typed, what="inputs", base=base))

    def _same_names(self, table: InputTable) -> bool:
        """Whether another table of the job is called as one is, or is the same file."""
        names = [os.path.basename(each.table) for each in self.patterns if isinstance(each, InputTable)]
        return names.count(os.path.basename(table.table)) > 1

    def _name_or_pattern(self, typed: str, order: bytes, start: bytes, text: bytes) -> _Tree | _Single:
        path = _absolute(start, text)
        if os.path.isdir(path):
            return _tree(typed, order, path, _EVERYTHING, only_images=True)
        if os.path.lexists(path) or not is_pattern(text):
            return _Single(typed=typed, order=order, path=path)
        root, rest = _split(start, text.rstrip(b"/"))
        if not is_pattern(rest):
            return _Single(typed=typed, order=order, path=_absolute(root, rest))
        if text.endswith(b"/"):
            return _tree(typed, order, root, rest + b"/" + _EVERYTHING, only_images=True)
        return _tree(typed, order, root, rest, only_images=False)

    # ---- what it gives -------------------------------------------------------------------------------------------

    def _walk(self, tree: _Tree, exclusions: Exclusions) -> Iterator[FoundInput]:
        walk = DirectoryWalk(
            typed=tree.typed,
            root=tree.root,
            glob=tree.glob,
            only_images=tree.only_images,
            order=tree.order,
            numbered=self.numbered,
            exclusions=exclusions,
            results=self._results,
            notes=self._notes,
        )
        yield from walk.inputs()

    def _single(self, single: _Single, exclusions: Exclusions) -> Iterator[FoundInput]:
        name = os.path.basename(single.path)
        found = self._named(single.typed, single.path, name, single.order + natural_key(name), exclusions)
        if found is None:
            return
        meant_as_file = looks_like_image(name) and not single.typed.endswith("/")
        if not meant_as_file and not os.path.lexists(single.path) and not self.known(single.path):
            self._notes.complain(
                f"{single.typed!r}: there is no {readable_path(single.path)}: mount it, or correct the name"
            )
            return
        yield found

    def _listed(self, source: _List, exclusions: Exclusions) -> Iterator[FoundInput]:
        is_empty = True
        for place, (path, relative) in enumerate(source.paths()):
            is_empty = False
            found = self._named(source.typed, path, relative, source.order + list_key(place), exclusions)
            if found is None:
                continue
            if told := _elsewhere(found):
                raise JobError(f"inputs: {source.typed!r}: {told}")
            yield found
        if is_empty:
            self._notes.complain(f"{source.typed!r}: the list names no file: correct it, or take it out")

    def _tabled(self, source: _Table, exclusions: Exclusions) -> Iterator[FoundInput]:
        for row in source.reader.rows():
            order = source.order + list_key(row.place)
            found = self._named(f"{source.typed} row {row.place}", row.path, row.relative, order, exclusions)
            if found is None:
                continue
            if told := _elsewhere(found):
                self.columns.mistakes.add(row.where, told)
            yield replace(found, cells=row.cells, row=row.where)

    def _named(
        self, typed: str, path: bytes, relative: bytes, order: bytes, exclusions: Exclusions
    ) -> FoundInput | None:
        """A file that is named itself; None when it can't be an input, which is told at the end."""
        if self.outputs.is_own(path):
            self._notes.complain(f"{typed!r}: {readable_path(path)} is a result of this job: take it out")
            return None
        if exclusions.take_file(path, relative):
            return skipped(path, relative, order, SkippedReason.EXCLUDED, "left out by `exclude`")
        return named_file(path, relative, order)

    # ---- at the end ----------------------------------------------------------------------------------------------

    def _keep_named(self, sources: Sequence[_Source]) -> None:
        """A result of another job that is named itself is meant, whatever a directory with it says."""
        for source in sources if self.withdrawn else ():
            if isinstance(source, _Single):
                self.withdrawn.discard(source.path)
            elif isinstance(source, _List):
                self.withdrawn.difference_update(path for path, _ in source.paths())
            elif isinstance(source, _Table):
                self.withdrawn.difference_update(row.path for row in source.reader.rows())

    def _tell_problems(self) -> None:
        if self._notes.problems:
            more = f"; and {self._notes.more_problems:,} more" if self._notes.more_problems else ""
            raise JobError(f"inputs: {'; '.join(self._notes.problems)}{more}")


def _tree(typed: str, order: bytes, root: bytes, pattern: bytes, *, only_images: bool) -> _Tree:
    if CONTROL in os.fsencode(typed).split(b"/") or os.path.basename(os.path.realpath(root)) == CONTROL:
        raise JobError(f"inputs: {typed!r}: .rayjobs holds what a job works with, and no inputs")
    try:
        glob = Glob.parse(pattern)
    except JobError as error:
        raise JobError(f"inputs: {typed[:80]!r}: {error}") from error
    return _Tree(typed=typed, order=order, root=root, glob=glob, only_images=only_images)


def _elsewhere(found: FoundInput) -> str | None:
    """What is wrong with the name of a file that isn't there, if it was written for an object store or Windows."""
    name = os.fsdecode(found.relative)
    told = written_elsewhere(name) if found.reason == FailedReason.MISSING else None
    return f"{name!r}: {told}" if told else None


def _absolute(start: bytes, text: bytes) -> bytes:
    return b"/" + os.path.normpath(os.path.join(start, text)).lstrip(b"/")


def _split(start: bytes, text: bytes) -> tuple[bytes, bytes]:
    """The directory from which a pattern starts, and the rest: whatever comes first and is a name."""
    root = b"/" if text.startswith(b"/") else start
    parts = components(text)
    while len(parts) > 1 and (not is_pattern(parts[0]) or os.path.isdir(os.path.join(root, parts[0]))):
        root = os.path.join(root, parts.pop(0))
    return _absolute(root, b""), b"/".join(parts)


def _inside(raw: bytes) -> bytes:
    """A listed relative path as it is mirrored below the output: without leaving upwards."""
    return b"/".join(part for part in os.path.normpath(raw).split(b"/") if part not in (b"..", b""))
