"""Jobs of the old batch format as job files, with a note for all that a job file can't say.

Covers the meaning of the old keys: every one is carried over, changed with a note, or left with a note. Operations:
``old_operations``; export settings: ``old_exports``. Reading and writing files: ``migrate``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rayjobs.inputs.discovery import IMAGE_EXTENSIONS
from rayjobs.migration.old_exports import image_export
from rayjobs.migration.old_notes import DRIVE, Note, Reading, read_choice, read_directory
from rayjobs.migration.old_operations import Step, UnreadableOperationError, convert_operation, read_operation

SCOPES = (
    "color_histogram",
    "luma_waveform",
    "rgb_parade",
    "hue_histogram",
    "saturation_histogram",
    "lab_chromaticity",
)
HISTORY = ("job_id", "status", "progress", "result_message", "created_at", "started_at", "completed_at")
"""What became of an old job: not part of what to do."""
LISTED_FROM = 200
"""Inputs from which they go into a list of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraft:
    """A job file to be."""

    slug: str
    job: dict[str, Any]
    """As YAML has it; without ``inputs`` and ``output``, which depend on the other drafts."""
    directory: str
    """The old output directory, with ``/``; may be empty."""
    place: str
    """The old job's own key, with a dot, or empty."""
    inputs: tuple[str, ...]
    listed: bool
    """The inputs go into a file beside it, so that their directories are mirrored."""
    title: str
    """What it was, for the first line."""


def slug_of(name: str, fallback: str) -> str:
    """A name that a job file may have, from any text."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return words[:80] or fallback


def drafts_of(jobs: Sequence[Mapping[str, Any]], places: Sequence[str]) -> tuple[list[JobDraft], list[Note]]:
    """The job files of all old jobs of a file, and the notes."""
    readings = [Reading(place, raw) for place, raw in zip(places, jobs, strict=True)]
    drafts: list[JobDraft] = []
    parts = [_read_job(reading, number) for number, reading in enumerate(readings, start=1)]
    by_id = {str(part.raw_id): part for part in parts}
    for reading, part in zip(readings, parts, strict=True):
        drafts += _drafts(reading, part, by_id)
    return drafts, [note for reading in readings for note in reading.notes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Parts:
    """What a job is made of, before it is known which job files it becomes."""

    place: str
    raw_id: Any
    slug: str
    title: str
    inputs: tuple[str, ...]
    operations: tuple[Step, ...]
    images: dict[str, Any] | None
    directory: str
    mirrored: bool


def _read_job(reading: Reading, number: int) -> _Parts:
    raw = reading.raw
    name = raw.get("name") if isinstance(raw.get("name"), str) else ""
    slug = slug_of(str(name), f"job-{number}")
    if raw.get("name") != slug and "name" in raw:
        reading.note(
            "name", "changed", f"became {slug}: names have letters, digits, dot, dash, underscore", raw["name"]
        )
    for key, value in raw.items():
        if key in HISTORY:
            reading.note(key, "left", "what became of the old job", value)
        elif key.startswith("estimated_"):
            reading.note(key, "left", "memory, time and CPUs are estimated from the images", value)
        elif key not in ("name", "source_paths", "operations", "export_config", "analysis_export"):
            reading.note(key, "left", "unknown key", value)
    inputs = tuple(_inputs(reading))
    operations = tuple(_operations(reading))
    config = raw.get("export_config")
    if config is not None and not isinstance(config, Mapping):
        reading.note("export_config", "left", "not an object", config)
        config = None
    if config is None and "export_config" in raw and operations:
        reading.note("export_config", "changed", "null: no images are written; set export.images to get them", None)
    images, directory = (None, "") if config is None else image_export(reading, config)
    mode = "" if config is None else config.get("output_directory_mode")
    return _Parts(
        place=reading.place,
        raw_id=raw.get("job_id"),
        slug=slug,
        title=f"{name!r}" if name else f"number {number}",
        inputs=inputs,
        operations=operations,
        images=images,
        directory=directory,
        mirrored=mode == "maintain_directory_structure",
    )


def _inputs(reading: Reading) -> Iterator[str]:
    paths = reading.raw.get("source_paths")
    if not isinstance(paths, list):
        if "source_paths" in reading.raw:
            reading.note("source_paths", "left", "not a list of paths", paths)
        return
    for index, path in enumerate(paths):
        key = f"source_paths[{index}]"
        if not isinstance(path, str) or not path.strip() or "\0" in path:
            reading.note(key, "left", "not a path", path)
            continue
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            reading.note(key, "left", "no file can have this name", path)
            continue
        plain = path.replace("\\", "/")
        if DRIVE.match(plain) or plain.startswith("//"):
            text = f"became {plain}, a Windows path: change it to where these files are mounted"
            reading.note(key, "changed", text, path)
        elif plain != path:
            reading.note(key, "changed", f"became {plain}: paths are written with /", path)
        yield plain


def _operations(reading: Reading) -> Iterator[Step]:
    operations = reading.raw.get("operations")
    if not isinstance(operations, list):
        if operations is not None:
            reading.note("operations", "left", "not a list", operations)
        return
    for index, value in enumerate(operations):
        key = f"operations[{index}]"
        try:
            old = read_operation(value)
            new = convert_operation(old)
        except UnreadableOperationError as error:
            reading.note(key, "left", f"{error}; the pictures will lack it", value)
            continue
        for name, rest in old.rest.items():
            reading.note(f"{key}.{name}", "left", "unknown key", rest)
        for name, unused in new.unused.items():
            reading.note(f"{key}.params.{name}", "left", f"{old.name} has no such parameter", unused)
        if new.assumed:
            words = ", ".join(f"{name}: {assumed}" for name, assumed in new.assumed.items())
            reading.note(key, "changed", f"{old.name} without {', '.join(new.assumed)}; taken was {words}", value)
        if not new.steps:
            reading.note(key, "changed", f"{old.name} with these values changes nothing, so there is no step", value)
        elif new.remark:
            reading.note(key, "changed", f"{old.name} {new.remark}", value)
        yield from new.steps


# ---- analyses, and which job files come of it ------------------------------------------------------------------------


def _drafts(reading: Reading, part: _Parts, by_id: Mapping[str, _Parts]) -> Iterator[JobDraft]:
    config = reading.raw.get("analysis_export")
    if config is not None and not isinstance(config, Mapping):
        reading.note("analysis_export", "left", "not an object", config)
        config = None
    if config is None:
        if _has_inputs(reading, part):
            yield _draft(part, part.slug, images=part.images, directory=part.directory)
        return
    section = Reading(f"{reading.place}analysis_export.", config, reading.notes)
    analyses, export, directory = _analysis_export(section)
    chosen = _selected(section, part, by_id)
    together = part in chosen and (part.images is None or directory in ("", part.directory))
    if _has_inputs(reading, part):
        more = (analyses, export) if together else None
        place = directory if together and part.images is None else part.directory
        yield _draft(part, part.slug, images=part.images, directory=place, more=more)
    for other in chosen:
        if not other.inputs or (other is part and together):
            continue
        name = f"{part.slug}-analysis" if other is part else f"{part.slug}-{other.slug}"
        yield _draft(other, name[:90], images=None, directory=directory, more=(analyses, export))


def _has_inputs(reading: Reading, part: _Parts) -> bool:
    if not part.inputs:
        reading.note("source_paths", "left", "no inputs, so no job file was written", reading.raw)
    return bool(part.inputs)


def _selected(section: Reading, part: _Parts, by_id: Mapping[str, _Parts]) -> list[_Parts]:
    ids = section.raw.get("selected_job_ids")
    if not isinstance(ids, list) or not ids:
        if ids not in (None, []):
            section.note("selected_job_ids", "left", "not a list", ids)
        return [part]
    chosen: list[_Parts] = []
    for index, number in enumerate(ids):
        found = by_id.get(str(number))
        if found is None:
            section.note(f"selected_job_ids[{index}]", "left", "no job of this file has this job_id", number)
        elif found not in chosen:
            chosen.append(found)
    return chosen


def _analysis_export(section: Reading) -> tuple[list[str], dict[str, Any], str]:
    raw = section.raw
    known = {"export_path", "selected_analysis_types", "chart_format", "data_format", "include_raw_data"}
    for key, value in raw.items():
        if key == "chart_quality":
            section.note(key, "left", "charts have one quality", value)
        elif key not in (*known, "selected_job_ids"):
            section.note(key, "left", "unknown key", value)
    analyses: list[str] = []
    types = raw.get("selected_analysis_types")
    if types is not None and not isinstance(types, list):
        section.note("selected_analysis_types", "left", "not a list", types)
    for index, name in enumerate(types if isinstance(types, list) else []):
        if name not in SCOPES:
            section.note(f"selected_analysis_types[{index}]", "left", "unknown analysis", name)
        elif name not in analyses:
            analyses.append(name)
    if raw.get("include_raw_data", True) is not True:
        text = "tables always hold the numbers; set export.data: [] for none"
        section.note("include_raw_data", "changed", text, raw["include_raw_data"])
    export: dict[str, Any] = {"data": [read_choice(section, "data_format", ("json", "csv", "xlsx"), "csv")]}
    export["charts"] = {"format": read_choice(section, "chart_format", ("png", "jpeg", "svg"), "png")}
    return analyses, export, read_directory(section, "export_path")


def _draft(
    part: _Parts,
    slug: str,
    *,
    images: dict[str, Any] | None,
    directory: str,
    more: tuple[list[str], dict[str, Any]] | None = None,
) -> JobDraft:
    job: dict[str, Any] = {}
    if part.operations:
        job["operations"] = list(part.operations)
    export: dict[str, Any] = {"images": False if images is None else images}
    if more is not None:
        analyses, extra = more
        if analyses:
            job["analyses"] = analyses
        export |= extra
    files = all(os.fsencode(PurePosixPath(path).suffix.lower()) in IMAGE_EXTENSIONS for path in part.inputs)
    return JobDraft(
        slug=slug,
        job={**job, "export": export},
        directory=directory,
        place=part.place,
        inputs=part.inputs,
        listed=files and (part.mirrored or len(part.inputs) > LISTED_FROM),
        title=part.title,
    )


def rebased(path: str, old: Path, new: Path) -> str:
    """A path of the old file as it is written in the directory ``new``."""
    if path.startswith("/") or DRIVE.match(path):
        return path
    return path if old == new else os.path.relpath(old / path, new)
