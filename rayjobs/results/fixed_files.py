"""The files of an output whose names are fixed: manifest, job.json, tables and report.

Covers which ones a job needs, whether something that isn't the job's is in their way, and writing them by custody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from actors.ledger.file_record import FIXED, FileRecord, RecordedFile
from actors.ledger.job_ledger import JobLedger
from pipelines.errors import ImageError, JobError
from pipelines.models import Output
from pipelines.stages.publish import Publisher
from pipelines.stages.thumbnails import SUFFIX as THUMBNAIL_SUFFIX
from pipelines.stages.worker_journal import WorkerJournal
from pipelines.storage.custody import Kind, Standing
from pipelines.storage.local_files import (
    compare,
    look,
    remove,
    remove_cut_off,
    remove_empty,
    replace_own,
    seems_as_written,
    way_to,
)
from rayjobs.job.output_directory import OutputDirectory

SHOWN = 10


def check_free(
    output: OutputDirectory,
    names: Iterable[str],
    directories: Iterable[str],
    record: FileRecord,
    *,
    will_change: bool = False,
) -> None:
    """Refuse a job before it starts when something that isn't its own has a name that it needs.

    ``will_change``: what these files hold may be something else, so that none shows whether a shorter one is cut off.

    Raises
    ------
    JobError
        With the list of what is in the way, and what to do.
    """
    blocked = _blocked(output.root, (output.root / directory for directory in directories))
    found = list(dict.fromkeys([*blocked, *_taken(output.root, names, record, will_change)]))
    if found:
        more = f"\n  ... and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
        listed = "".join(f"\n  {line}" for line in found[:SHOWN])
        raise JobError(
            f"output {output.root}: the job needs these names, and they are taken:{listed}{more}\n"
            "  move them away or choose another output; nothing was touched"
        )


def _blocked(root: Path, directories: Iterable[Path]) -> Iterator[str]:
    for directory in directories:
        kind = look(directory).kind
        if kind not in (Kind.NOTHING, Kind.DIRECTORY):
            yield f"{directory.relative_to(root)}: is {kind}, not a directory"


def _taken(root: Path, names: Iterable[str], record: FileRecord, will_change: bool = False) -> Iterator[str]:
    for relative in names:
        yield from _blocked(root, way_to(root, relative))
        yield from _borne(root, relative, record, will_change)


def _borne(root: Path, relative: str, record: FileRecord, will_change: bool) -> Iterator[str]:
    """What bears the name itself and isn't the job's, or may not be."""
    present = look(f"{root}/{relative}")
    if present.kind is Kind.DIRECTORY and record.known_below([f"{relative}/"]):  # a table of several parts
        yield from _strangers_below(root, relative, record, will_change)
    elif present.kind is not Kind.NOTHING and (why := _not_ours(root, relative, record, will_change)):
        yield f"{relative}: {why}"


def _strangers_below(root: Path, relative: str, record: FileRecord, will_change: bool) -> Iterator[str]:
    for directory, names, files in os.walk(root / relative):
        for name in [*names, *files]:
            inside = os.path.relpath(os.path.join(directory, name), root)
            if why := _not_ours(root, inside, record, will_change):
                yield f"{inside}: {why}"


def _not_ours(root: Path, relative: str, record: FileRecord, will_change: bool) -> str | None:
    entry = record.find(relative)
    if entry is None or entry.theirs:
        return "isn't this job's"
    found, present = compare(root / relative, entry)
    if found is not Standing.CHANGED:
        return None
    is_shorter = present.kind is Kind.FILE and present.bytes < entry.bytes
    whole = record.content(relative) if is_shorter else None
    if not is_shorter or (whole is not None and not whole.startswith((root / relative).read_bytes())):
        return "was changed since the job wrote it"
    if will_change and whole is None and present.bytes > 0:
        return "was cut off or shortened since the job wrote it, and may have to change: which of the two can't be told"
    return None  # it may be cut off: that is seen when the whole one is there to compare with


class FixedFiles:
    """Writes the fixed files of a run, each whole or not at all, and never in the place of what isn't the job's."""

    def __init__(
        self,
        ledger: JobLedger,
        output: OutputDirectory,
        journal: WorkerJournal,
        directory: Path,
        *,
        durable: bool,
        top: str,
        before_each: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._top = top
        self._before_each = before_each
        self.root = output.root
        self._directories = (directory, output.thumbnails)
        self._publisher = Publisher(output.root, directory, journal, durable=durable)
        self._written: list[str] = []

    @classmethod
    @contextmanager
    def opened(
        cls,
        ledger: JobLedger,
        output: OutputDirectory,
        *,
        durable: bool = False,
        top: str = "",
        before_each: Callable[[], None] = lambda: None,
    ) -> Iterator[FixedFiles]:
        """For the run whose temporary directory is there.

        ``top`` comes before every name, relative to the output; ``before_each`` is called before each file.
        """
        directory = output.temporary / str(ledger.facts.read().epoch)
        with ExitStack() as closing:
            journal = WorkerJournal(directory)
            closing.callback(journal.close)
            yield cls(ledger, output, journal, directory, durable=durable, top=top, before_each=before_each)

    def new_path(self) -> Path:
        """Where to write a file that ``place`` then gives its name."""
        self._before_each()
        return self._publisher.new_path()

    def left(self, name: str) -> Path | None:
        """A thumbnail that a worker left under that name in this run, or in one before that wasn't finished."""
        found = (path for directory in self._left_in if os.path.isfile(path := f"{directory}/{name}"))
        return next(map(Path, found), None)

    @cached_property
    def _left_in(self) -> list[Path]:
        """Where workers have left thumbnails, now that their work is done; nowhere when no image was worked on."""
        return [each for each in self._directories if any(each.glob(f"*{THUMBNAIL_SUFFIX}"))]

    def write(self, relative: str, data: bytes, *, same_again: bool = False) -> None:
        """A file of these bytes; ``same_again``: the same job makes the same bytes, so they need not be kept."""
        temporary = self.new_path()
        temporary.write_bytes(data)
        self.place(relative, temporary, content=None if same_again else data)

    def place(self, relative: str, temporary: Path, content: bytes | None = None, *, sha256: str | None = None) -> None:
        """Give a finished file its name; ``sha256`` where it is known already.

        Raises
        ------
        JobError
            What bears the name isn't as the job wrote it, and isn't merely cut off.
        """
        name = self._top + relative
        entry = self._ledger.files.find(name)
        self._free_of_cut_off(name, entry, temporary)
        self._note([self._published(name, entry, temporary, sha256)], [content])

    def place_free(self, files: Mapping[str, Path]) -> set[str]:
        """As ``place``, noted all at once, but what isn't the job's, or may not be, keeps its name.

        Returns which of the names are those of the files now.
        """
        names = {self._top + relative: relative for relative in files}
        ways = {os.path.dirname(name): way_to(self.root, name) for name in names}
        blocked = {directory for directory, way in ways.items() if any(_blocked(self.root, way))}
        entries = {entry.path: entry for entry in self._ledger.files.find_all(names)}
        placed = []
        for name, relative in names.items():
            entry, temporary = entries.get(name), files[relative]
            self._free_of_cut_off(name, entry, temporary)
            if os.path.dirname(name) not in blocked and not any(_borne(self.root, name, self._ledger.files, True)):
                placed.append(self._published(name, entry, temporary))
        self._note(placed)
        return {names[output.path] for output in placed}

    def _published(self, name: str, entry: RecordedFile | None, temporary: Path, sha256: str | None = None) -> Output:
        try:
            return self._publisher.publish_file(FIXED, name, temporary, sha256=sha256, written=entry)
        except ImageError as error:
            raise JobError(f"output {self.root}: {error}") from error

    def _note(self, outputs: Sequence[Output], contents: Sequence[bytes | None] = ()) -> None:
        """Files that have their names now; of those that a kill leaves unnoted the journal knows."""
        self._publisher.sync_names(output.path for output in outputs)
        ctimes_ns = [look(f"{self.root}/{output.path}").ctime_ns for output in outputs]
        self._ledger.files.put_job_files(outputs, contents, ctimes_ns)
        self._written.extend(output.path for output in outputs)

    def write_if_free(self, relative: str, data: bytes) -> bool:
        """A file of these bytes, which the same job makes again, as ``place_free``; whether it has the name."""
        temporary = self.new_path()
        temporary.write_bytes(data)
        return bool(self.place_free({relative: temporary}))

    def keep(self, relative: str) -> None:
        """Count a file that is there as it was written to the run's results."""
        self._written.append(self._top + relative)

    def there(self, names: Iterable[str]) -> set[str]:
        """Which of some files are there as the job wrote them."""
        return {
            entry.path.removeprefix(self._top)
            for entry in self._ledger.files.find_all(self._top + name for name in names)
            if seems_as_written(path := f"{self.root}/{entry.path}", entry.bytes, entry.mtime_ns)
            or compare(path, entry)[0] is Standing.AS_WRITTEN
        }

    def remove_parts(self, table: str, but: Sequence[str] = ()) -> None:
        """A table of several parts is replaced as a whole: remove those of its parts that it hasn't any more."""
        kept = {self._top + path for path in but}
        for path, sha256 in self._ledger.files.known_below([f"{self._top}{table}/"]):
            if path not in kept and remove(self.root, path, {sha256}):
                remove_empty(self.root, path)
                self._ledger.files.forget([path])

    def remove_file(self, relative: str) -> None:
        """As ``remove_parts``, of a table that was one file and becomes a directory."""
        relative = self._top + relative
        entry = self._ledger.files.find(relative)
        if entry is not None and remove(self.root, relative, {entry.sha256}):
            self._ledger.files.forget([relative])

    def remove_others(self) -> None:
        """Remove what lies below the ``top`` and wasn't written now."""
        written = set(self._written)
        for path, sha256 in self._ledger.files.known_below([self._top]):
            if path in written:
                continue
            if remove(self.root, path, {sha256}):
                remove_empty(self.root, path)
                self._ledger.files.forget([path])
            elif look(self.root / path).kind is Kind.NOTHING:
                self._ledger.files.forget([path])

    def withdraw_manifest(self, output: OutputDirectory) -> None:
        """While files are replaced, the manifest of the run before wouldn't be true: it waits among the run's own."""
        entry = self._ledger.files.find(output.manifest.name)
        if entry is not None and compare(output.manifest, entry, deep=True)[0] is Standing.AS_WRITTEN:
            replace_own(output.manifest, output.withdrawn_manifest)

    def finish(self) -> None:
        """These are the job's fixed files now; others that it wrote are kept."""
        self._ledger.files.keep_others(FIXED, self._written)

    def _free_of_cut_off(self, relative: str, entry: RecordedFile | None, fresh: Path) -> None:
        """Remove a file of ours that was cut off: there is nothing in it that isn't in what the job writes."""
        if entry is None:
            return
        path = self.root / relative
        present = look(path)
        if present.kind is not Kind.FILE or present.bytes >= entry.bytes:
            return
        content = self._ledger.files.content(relative)
        whole = fresh
        if content is not None:
            whole = self.new_path()
            whole.write_bytes(content)
        remove_cut_off(path, whole)
