"""``rayjobs migrate``: jobs of the old batch format become job files, and a report has what they can't say.

Covers reading the old file, choosing names and outputs, and writing. What the keys mean: ``old_jobs``. Nothing is lost:
a value of the old file is in a job file, or in the report with its key; nothing that exists is overwritten, and the old
file stays as it is. Every job file that is written can be loaded.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import JobError
from rayjobs.job.job_check import JobFileError, check_job
from rayjobs.job.job_file import MAX_BYTES
from rayjobs.job.yaml_data import is_text
from rayjobs.migration.old_jobs import JobDraft, drafts_of, rebased
from rayjobs.migration.old_notes import Note


class _Object(dict[str, Any]):
    """A JSON object that remembers values whose key came again."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.hidden = [(key, value) for key, value in pairs if counts[key] > 1 and value is not self[key]]


class _Dumper(yaml.SafeDumper):
    """YAML without aliases, which job files don't have, and with quotes around text that they would read otherwise."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML knows the numbers of YAML 1.1 only: 1e3 and 09 are text there.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if is_text(data) else "'")


_Dumper.add_representer(str, _Dumper.represent_str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What came of an old file."""

    source: Path
    jobs: tuple[Path, ...]
    """The job files."""
    report: Path
    notes: tuple[Note, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the report file has them."""
        return {
            "source": str(self.source),
            "jobs": [str(path) for path in self.jobs],
            "report": str(self.report),
            "notes": [
                {"key": note.key, "kind": note.kind, "text": note.text, "value": _plain(note.value)}
                for note in self.notes
            ],
        }

    def lines(self) -> list[str]:
        """The same for a person: what was written, then what to look at."""
        written = [str(path) for path in self.jobs] or ["no job file could be written"]
        notes = []
        for (kind, text), alike in groupby(self.notes, key=lambda note: (note.kind, note.text)):
            keys = ", ".join(note.key for note in alike)
            notes.append(f"  {keys}: {'not carried over' if kind == 'left' else 'changed'}: {text}")
        return [*written, *notes, f"all values that no job file has are in {self.report}"]


def migrate_file(old: Path, directory: Path | None = None) -> Migration:
    """Turn the jobs of an old file into job files.

    Parameters
    ----------
    directory
        Where they go; beside the old file unless given.

    Raises
    ------
    JobError
        The file can't be read or is no file of the old format, or something would be overwritten.
    """
    old = old.absolute()
    target = old.parent if directory is None else directory.absolute()
    raw = _read(old)
    jobs, places, notes = _jobs_of(raw)
    notes += _hidden(raw, "")
    drafts, more = drafts_of(jobs, places)
    notes += more
    files: dict[Path, bytes] = {}
    written: list[Path] = []
    for draft, slug, output in zip(drafts, _slugs(drafts), _outputs(drafts, old.parent, target, notes), strict=True):
        inputs = [_input(path, draft, old.parent, target) for path in draft.inputs]
        job: dict[str, Any] = {"name": slug, "inputs": inputs, **draft.job, "output": output or f"out/{slug}"}
        if draft.listed:
            job["inputs"] = [f"@{slug}.inputs.txt"]
        text = _yaml(
            job, f"From {old.name!r}, job {draft.title}. What it can't say: {_report_path(old, target).name!r}."
        )
        if problem := _problem(job, text):
            notes.append(Note(draft.place.rstrip(".") or "(file)", "left", f"no job file: {problem}", job))
            continue
        if draft.listed:
            files[target / f"{slug}.inputs.txt"] = _list(inputs)
        files[target / f"{slug}.yaml"] = text.encode()
        written.append(target / f"{slug}.yaml")
    done = Migration(source=old, jobs=tuple(written), report=_report_path(old, target), notes=tuple(notes))
    files[done.report] = (json.dumps(done.to_json(), indent=1) + "\n").encode()
    _write(files)
    return done


def _report_path(old: Path, target: Path) -> Path:
    return target / f"{old.stem}.migration.json"


def _read(old: Path) -> _Object:
    try:
        raw = json.loads(old.read_bytes().decode("utf-8-sig"), object_pairs_hook=_Object)
    except OSError as error:
        raise JobError(f"{old}: {error.strerror}; give the path of a file of the old batch system") from error
    except UnicodeDecodeError as error:
        raise JobError(f"{old}: not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise JobError(f"{old}: not JSON: {error}") from error
    if not isinstance(raw, _Object):
        raise JobError(f"{old}: a file of the old batch system holds a job, or `jobs`; this holds neither")
    return raw


def _jobs_of(raw: _Object) -> tuple[list[Mapping[str, Any]], list[str], list[Note]]:
    """The jobs of a file, the place of each, and notes on what stands beside them."""
    if not isinstance(raw.get("jobs"), list):
        if "source_paths" not in raw and "operations" not in raw:
            raise JobError("neither `jobs` nor `source_paths`: this is no file of the old batch system")
        return [raw], [""], []
    notes = [Note(key, "left", "not part of a job", value) for key, value in raw.items() if key != "jobs"]
    jobs, places = [], []
    for index, job in enumerate(raw["jobs"]):
        if isinstance(job, Mapping):
            jobs.append(job)
            places.append(f"jobs[{index}].")
        else:
            notes.append(Note(f"jobs[{index}]", "left", "not a job", job))
    return jobs, places, notes


def _hidden(value: Any, place: str) -> Iterator[Note]:
    """A note for each value whose key stands twice in its object."""
    if isinstance(value, _Object):
        for key, hidden in value.hidden:
            yield Note(f"{place}{key}", "left", "this key stands twice, and the last one counts", hidden)
        for key, entry in value.items():
            yield from _hidden(entry, f"{place}{key}.")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _hidden(entry, f"{place.rstrip('.')}[{index}].")


def _slugs(drafts: Sequence[JobDraft]) -> list[str]:
    """A name for each job file, no two the same on any file system."""
    taken: set[str] = set()
    slugs = []
    for draft in drafts:
        slug, number = draft.slug, 2
        while slug.casefold() in taken:
            slug, number = f"{draft.slug}-{number}", number + 1
        taken.add(slug.casefold())
        slugs.append(slug)
    return slugs


def _outputs(drafts: Sequence[JobDraft], old: Path, new: Path, notes: list[Note]) -> Iterator[str]:
    """The output directory of each job: its own, since two jobs can't share one."""
    places = [posixpath.normpath(rebased(draft.directory, old, new)) if draft.directory else "" for draft in drafts]
    counts = Counter(places)
    for draft, slug, place in zip(drafts, _slugs(drafts), places, strict=True):
        if place and counts[place] > 1:
            text = f"became {place}/{slug}: several jobs wrote to this directory, and each needs one of its own"
            notes.append(Note(f"{draft.place}output_directory", "changed", text, draft.directory))
            yield f"{place}/{slug}"
        else:
            yield place


def _input(path: str, draft: JobDraft, old: Path, new: Path) -> str:
    own = rebased(path, old, new)
    if draft.listed:  # absolute paths in a list are not mirrored
        return os.path.relpath(own, new) if own.startswith("/") else own
    return f"./{own}" if own.startswith("@") else own


def _list(paths: Sequence[str]) -> bytes:
    odd = any("\n" in path or "\r" in path for path in paths)
    return b"".join(os.fsencode(path) + (b"\0" if odd else b"\n") for path in paths)


def _yaml(job: Mapping[str, Any], comment: str) -> str:
    body = yaml.dump(job, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"# {comment}\n{body}"


def _problem(job: Mapping[str, Any], text: str) -> str | None:
    """Why a job, or the text that says it, is no job file, if so."""
    if len(text.encode()) > MAX_BYTES:
        return f"it would be larger than {MAX_BYTES:,} bytes"
    try:
        check_job(job)
    except JobFileError as error:
        return str(error)
    return None


def _plain(value: Any) -> Any:
    """A value as JSON can write it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _write(files: Mapping[Path, bytes]) -> None:
    """Write all files, or none when one is there already."""
    for path in files:
        if os.path.lexists(path):
            raise JobError(f"{path} exists; move it away, or give another directory with -o")
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}") from error
