"""What a job has published against what lies on the disk: the disk is the truth.

Size and time suffice to leave a file alone; where they differ, or when asked to look deeply, contents are compared.
``differences`` only looks; ``take_up`` makes the ledger say what is there, so that the run makes the rest again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.ledger.file_record import FIXED, TASK, RecordedFile, is_fixed_name
from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_format import check_whole, copy_ledger
from actors.ledger.product_plan import CHART, IMAGE
from pipelines.analyses.frames import FRAMES
from pipelines.errors import JobError, RayjobsError
from pipelines.models import Output
from pipelines.stages.worker_journal import published_files
from pipelines.storage.custody import Kind, Standing, Written
from pipelines.storage.local_files import compare, look, remove, remove_empty, seems_as_written, sha256_of
from pipelines.tables import PartFile, part_of
from pipelines.tables.parts import files_as_written
from rayjobs.job.output_directory import OutputDirectory

TABLE = "analyses"
"""Name of the table with a row per image."""
SCOPES = "scopes"
"""Directory of the tables of arrays, below ``data``."""
THUMBNAILS = "report/thumbnails/"
PARTIAL = "partial/"
"""Where manifest and tables of an unfinished job lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A file that isn't as it was published."""

    path: str
    """Relative to the output."""
    standing: Standing
    """``gone`` or ``changed``."""
    file: RecordedFile | None
    """None: a part of the results in ``.rayjobs``."""
    part: str | None = None
    """That part's name."""


def differences(
    ledger: JobLedger, output: OutputDirectory, *, deep: bool = False, touched: list[tuple[str, int]] | None = None
) -> Iterator[Difference]:
    """Every file that is to be there and isn't as it was published, results in ``.rayjobs`` included.

    ``touched`` gathers (path, time) of files that only bear another time.
    """
    root = f"{output.root}/"
    asked = None if deep else lambda path, size, mtime_ns: not seems_as_written(root + path, size, mtime_ns)
    for entry in ledger.files.current(only=asked):
        found, present = compare(output.root / entry.path, entry, deep=deep)
        if found is not Standing.AS_WRITTEN:
            yield Difference(path=entry.path, standing=found, file=entry)
        elif touched is not None and present.mtime_ns != entry.mtime_ns:
            touched.append((entry.path, present.mtime_ns))
    for part in sorted(ledger.parts()):
        sealed = ledger.facts.part(part)
        for written in () if sealed is None else sealed.files or ():
            found, present = compare(output.store / written.path, written, deep=deep)
            if found is not Standing.AS_WRITTEN:
                path = str((output.store / written.path).relative_to(output.root))
                yield Difference(path=path, standing=found, file=None, part=part)
            elif touched is not None and present.mtime_ns != written.mtime_ns:
                _touched(ledger, part, written.path, present.mtime_ns)
        if not part.endswith(".parquet") and not _is_readable(output.parts / part):
            path = str((output.parts / part).relative_to(output.root))
            yield Difference(path=path, standing=Standing.GONE, file=None, part=part)


def _touched(ledger: JobLedger, part: str, name: str, mtime_ns: int) -> None:
    """A file of a sealed part bears another time."""
    sealed = ledger.facts.part(part)
    assert sealed is not None  # it has such a file
    files = [replace(file, mtime_ns=mtime_ns) if file.path == name else file for file in sealed.files or ()]
    ledger.facts.write_part(part, replace(sealed, files=tuple(files)))


def verify(output: OutputDirectory, *, deep: bool) -> list[Difference]:
    """Compare an output with what was published, without writing anything.

    Raises
    ------
    JobError
        It can't be compared: there is no ledger, a run is going on, or a directory can't be read.
    """
    if not output.exists:
        raise JobError(f"{output.root}: no job has run here (no .rayjobs/ledger.sqlite)")
    if output.running:
        raise JobError(f"{output.root}: a run is going on; wait for its end (`rayjobs watch`)")
    check_whole(output.ledger)
    with tempfile.TemporaryDirectory(prefix="rayjobs-verify-") as directory:
        copy = Path(directory) / output.ledger.name
        copy_ledger(output.ledger, copy)
        with closing(JobLedger(copy)) as ledger:
            adopt_older(ledger, output)
            try:
                return list(differences(ledger, output, deep=deep))
            except OSError as error:
                raise JobError(f"{error.filename or output.root}: can't be compared: {error.strerror}") from error


def _is_readable(part: Path) -> bool:
    """Of a part as a worker left it: nobody noted its content yet."""
    try:
        PartFile(part)
    except RayjobsError:
        return False
    return True


def take_up(ledger: JobLedger, output: OutputDirectory) -> bool:
    """Open what lost a file again; a file that somebody changed is theirs from now on.

    Returns whether manifest, tables or pages of the report have to be written again. A file that is gone may come back
    (its directory isn't mounted), so it stays in the record as one that is kept.
    """
    touched: list[tuple[str, int]] = []
    rewrite = False
    parts: set[str] = set()
    lost_of_tasks: set[str] = set()
    for difference in list(differences(ledger, output, touched=touched)):
        file = difference.file
        if file is None:
            assert difference.part is not None
            parts.add(difference.part)
            continue
        is_changed = difference.standing is Standing.CHANGED
        if file.product == FIXED and not file.path.startswith(THUMBNAILS):
            rewrite = True  # one that was changed is in the way, and told when the run is checked
            continue
        rewrite |= file.product == FIXED
        ledger.files.lost(file.path, theirs=is_changed)
        if file.input is not None:
            ledger.lost_files(file.input, file.product)
        elif file.product == TASK and not is_changed:
            lost_of_tasks.add(file.sha256)
    for part in parts:
        ledger.lost_results(part)
    ledger.files.touched(touched)
    if lost_of_tasks:  # those tasks run again
        facts = ledger.facts.read()
        ended = tuple(entry for entry in facts.tasks if not lost_of_tasks & _written_by(entry))
        ledger.facts.write(replace(facts, tasks=ended))
    return rewrite


def _written_by(task: Mapping[str, Any]) -> set[str]:
    """sha256 of what a task says that it wrote; see ``job_tasks.task_files``."""
    result = task.get("result")
    files = result.get("files", []) if isinstance(result, Mapping) else []
    return {entry["sha256"] for entry in files if isinstance(entry, Mapping) and "sha256" in entry}


def adopt_published(ledger: JobLedger, output: OutputDirectory, directory: Path) -> None:
    """Note what processes published, by their journals, that were ended before they could report it."""
    for published in published_files(directory):
        entry = ledger.files.find(published.path)
        if entry is not None and entry.sha256 == published.sha256:
            continue
        path = output.root / published.path
        if sha256_of(path) == published.sha256:
            present = look(path)
            written = Written(
                path=published.path, sha256=published.sha256, bytes=present.bytes, mtime_ns=present.mtime_ns
            )
            product = FIXED if published.input is None else product_of(published.path)
            ledger.files.adopt(written, product=product, input=published.input)


def remove_of_failed(ledger: JobLedger, output: OutputDirectory) -> None:
    """Remove what this run published for inputs that then failed; what earlier runs made of them stays."""
    failed = ledger.failed_inputs()
    if not failed:
        return
    for published in published_files(output.temporary / str(ledger.facts.read().epoch), of=failed):
        entry = ledger.files.find(published.path)
        if entry is not None and entry.sha256 == published.sha256:
            continue
        if remove(output.root, published.path, {published.sha256}):
            remove_empty(output.root, published.path)
            ledger.files.forget([published.path])


def product_of(path: str) -> str:
    """The product of an input that a file is, by its path relative to the output."""
    first, _, rest = path.partition("/")
    return f"{CHART}{rest.partition('/')[0]}" if first == "charts" else IMAGE


def adopt_older(ledger: JobLedger, output: OutputDirectory) -> None:
    """Take over what the record of an older format doesn't list: parts of results, and fixed files.

    The latter only if ``job.json`` names this job.
    """
    facts = ledger.facts.read()
    if facts.record_complete:
        return
    for part in ledger.parts():
        sealed = ledger.facts.part(part)
        if sealed is not None and sealed.files is None:
            names = [path.name for path in output.store.glob("*") if part_of(path.name) == part]
            ledger.facts.write_part(part, replace(sealed, files=files_as_written(output.store, sorted(names))))
            if part not in names:
                ledger.lost_results(part)
    spec = ledger.facts.spec()
    if spec is not None and _names(output, facts.job_id):
        tables = {TABLE, FRAMES, *(name for step in spec["analyses"] for name in step)}
        formats = spec["export"]["data"]
        own = {f"{output.data.name}/{table}.{format}" for table in tables for format in formats}
        own |= {f"{output.data.name}/{SCOPES}/{table}.parquet" for table in tables}
        own |= {f"{PARTIAL}{path}" for path in (output.manifest.name, *own)}
        found = [
            str(path.relative_to(output.root))
            for top in (output.job_json, output.manifest, output.data, output.report.parent, output.root / PARTIAL)
            for path in ([top] if look(top).kind is Kind.FILE else sorted(top.rglob("*")))
        ]
        chosen = [
            path
            for path in found
            if is_fixed_name(path)
            and (
                not path.startswith((f"{output.data.name}/", PARTIAL))
                or any(path == t or path.startswith(f"{t}/") for t in own)
            )
        ]
        ledger.files.put_job_files([entry for path in chosen if (entry := _as_output(output, path)) is not None])
    ledger.facts.write(replace(facts, record_complete=True))


def _names(output: OutputDirectory, job_id: str) -> bool:
    """Whether ``job.json`` is there and is this job's."""
    if look(output.job_json).kind is not Kind.FILE:
        return False
    try:
        said = json.loads(output.job_json.read_bytes())
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("job_id") == job_id


def _as_output(output: OutputDirectory, path: str) -> Output | None:
    sha256 = sha256_of(output.root / path)
    if sha256 is None:
        return None
    present = look(output.root / path)
    return Output(product=FIXED, path=path, sha256=sha256, bytes=present.bytes, mtime_ns=present.mtime_ns)
