"""What ``--json`` prints, in one place: for the reference and its JSON Schema, and for the tests, which hold all to it.

A command prints one object, an array of objects (``ARRAYS``), or an object on each line (``LINES``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, str]
"""Key -> JSON type, and what it means; ``?`` after a key: it may be missing. ``|`` between types that may be."""

_PARAMETERS = "object Name -> JSON Schema of the parameter"
_JOB: Fields = {
    "job_id": "string Its id, as all commands take it",
    "name": "string What the job file calls it",
    "status": "string `pending`, `running`, `paused`, `completed`, `completed_with_failures`, `failed`, `cancelled` or "
    "`interrupted`",
    "total": "integer Inputs",
    "done": "integer Inputs that are done",
    "failed": "integer Inputs that failed for good",
    "skipped": "integer Inputs that were left out",
    "output": "string Its output directory",
    "reasons?": "object Reason -> inputs that failed or were left out for it",
    "started?": "number When its first run began, in Unix seconds",
    "finished?": "number When its last run ended, in Unix seconds",
    "error?": "string Why it couldn't go on",
    "unmatched?": "integer Inputs whose path `groups` doesn't match",
    "known?": "integer Analyses that came from the cache",
    "kept?": "integer Files that the job made and doesn't want any more; `rayjobs prune`",
    "unchanged?": "boolean Everything was there as the job wants it; nothing was done",
}
OUTPUTS: Mapping[str, Fields] = {
    **dict.fromkeys(("run", "resume", "retry-failed", "cancel", "pause", "watch"), _JOB),
    "submit": {"job_id": "string As `run`", "submission_id": "string What the cluster calls it"},
    "priority": {**_JOB, "priority": "string The one that it has now"},
    "results": {
        "output": "string As `run`",
        "complete": "boolean Whether these are all results; else they are what was done when it was asked",
        "path": "string The directory with manifest and tables",
        "manifest": "string The manifest",
        "data": "string The directory of the tables",
    },
    "status": {
        **_JOB,
        "images_per_second?": "number Over the last half minute, while it runs",
        "seconds_left?": "number At that rate",
        "last_failure?": "object The last attempt that failed, as `history` prints it",
    },
    "list": {
        **{key if key in ("job_id", "name", "status", "output") else f"{key.rstrip('?')}?": _JOB[key] for key in _JOB},
        "status": "string As `run`; also `removed` and `unreadable`",
        "first_run": "number When it was first run from this account, in Unix seconds",
        "bytes?": "integer Of the files that it made",
    },
    "history": {
        "input": "string Path of the input",
        "epoch": "integer Which run of the job it was, from 1",
        "outcome": "string `done`, `failed`, `skipped`, `released`, or `crashed` when another attempt followed",
        "reason": "string|null Why it failed",
        "message": "string|null The same in words",
        "seconds": "number How long it took",
        "finished": "number When it ended, in Unix seconds",
        "worker": "string Node and process",
    },
    "report": {"report": "string Path of the page", "url": "string The same for a browser"},
    "logs": {
        "submission_id": "string What the cluster calls it",
        "status": "string What the cluster says of it",
        "log": "string What it printed",
    },
    "plan": {
        "name": "string As `run`",
        "output": "string As `run`",
        "total": "integer Inputs",
        "to_do": "integer Inputs that would be worked on",
        "finished": "integer Inputs that have all their products",
        "renamed": "integer Inputs whose output names had to give way",
        "left_out": "array The first inputs that would fail or be skipped: `input`, `status`, `reason`, `message`",
        "reasons": "object Reason -> inputs left out for it",
        "ignored": "object Extension -> files that don't look like images",
        "excluded_directories": "array Directories that `exclude` leaves out",
        "results_left_out": "object Output of a job -> its results among the inputs",
        "columns": "object Column of the inputs -> type",
        "unmatched": "integer As `run`",
        "unmatched_first": "array The first of them",
        "operations": "array Their names",
        "analyses": "array Their names",
        "requires": "object What an image holds while it is worked on",
        "stages": "string `fused` or `staged`",
        "tasks": "array What follows when the results are written",
        "input_bytes": "integer Of the inputs to do",
        "memory_bytes": "integer|null The largest need of one image among those looked at",
        "seconds": "number|null How long a run would take, about",
        "cpus": "integer CPUs that this is said for",
        "losses": "object What written images can't hold -> how many of those looked at",
        "looked_at": "integer Inputs whose headers were read",
        "note": "string|null Why something couldn't be estimated",
        "writes": "array Files that appear, relative to the output",
        "running": "boolean Whether a run is going on there",
        "formats": "object Suffix -> inputs to do",
        "idle": "array What is asked for and comes to nothing",
    },
    "verify": {
        "output": "string As `run`",
        "equal": "boolean Whether every file is as it was published",
        "differences": "array `path` and `standing` of those that aren't",
    },
    "prune": {
        "removed": "boolean Whether they were removed, or only listed",
        "causes": "object Why files aren't wanted any more -> `files` and `bytes`",
        "paths": "array The files, relative to the output",
        "changed": "array Those that somebody changed, so they stay",
    },
    "rebuild": {
        "output": "string As `run`",
        "source": "string `ledger` (it was whole), `copy` or `manifest`",
        "total": "integer Inputs",
        "done": "integer Inputs that are proven to be done",
        "kept_as": "string|null Where the damaged ledger lies now",
    },
    "up": {
        "started": "boolean Whether this has started it; else it was up",
        "address": "string Of its control service",
        "cpus": "integer That jobs may use",
        "since": "number When it was started, in Unix seconds",
        "idle_minutes": "integer How long no job may use it before it ends",
        "holders": "array What uses it, in words",
        "ends": "number|null When it ends unless a job comes; null while one uses it",
    },
    "down": {"ended": "boolean Whether there was one to end"},
    "operations": {
        "name": "string As in a job file",
        "group": "string Its heading in the reference",
        "summary": "string What it does",
        "reach": "string `point`, `local`, `whole` or `geometry`: what a pixel depends on",
        "parameters": _PARAMETERS,
    },
    "analyses": {
        "name": "string As in a job file",
        "group": "string `scopes` or `measurements`",
        "summary": "string What it measures",
        "grain": "string `image` or `object`: what a row of its table is",
        "parameters": _PARAMETERS,
        "columns": "array `name`, `type`, `unit`, `meaning` and `label` of each",
        "object_columns": "array The same of its table of objects",
    },
    "charts": {"charts": "array `name` and `title` of each", "engines": "array What can draw them"},
    "extensions": {
        "kind": "string `processor`, `analysis`, `chart`, `resource` or `task`",
        "name": "string As in a job file and on the allow-list",
        "version": "string Of its package",
        "distribution": "string Its package",
        "allowed": "boolean Whether it may be loaded",
        "loaded": "boolean Whether it is",
        "problem": "string|null Why it can't be used, if that is known",
    },
    "new-plugin": {
        "name": "string Of the plug-in",
        "directory": "string Where the package is",
        "files": "array What was written, relative to it",
    },
    "migrate": {
        "source": "string The old file",
        "jobs": "array The job files",
        "report": "string A file with the notes",
        "notes": "array `key`, `kind`, `text` and `value` of what to look at",
    },
    "init": {"files": "array What was written"},
    "doctor": {
        "verdict": "string `ok`, `warning` or `problem`",
        "what": "string What was looked at",
        "text": "string What was found, and what to do",
    },
}
"""Command -> what an object that it prints has."""
ARRAYS = ("list", "operations", "analyses", "extensions")
LINES = ("watch", "history", "doctor")


def form_of(command: str) -> str:
    """Whether it prints one object, an array, or lines."""
    if command in ARRAYS:
        return "an array of objects"
    return "an object on each line" if command in LINES else "one object"


def output_schema() -> dict[str, Any]:
    """The JSON Schema of all outputs: ``#/$defs/status`` is what ``rayjobs status --json`` prints."""
    found = {}
    for command, keys in OUTPUTS.items():
        schema = _schema_of(keys)
        found[command] = {"type": "array", "items": schema} if command in ARRAYS else schema
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": found}


def _schema_of(keys: Fields) -> dict[str, Any]:
    properties = {}
    for key, said in keys.items():
        types, _, meaning = said.partition(" ")
        kinds = types.split("|")
        properties[key.rstrip("?")] = {"type": kinds if len(kinds) > 1 else types, "description": meaning}
    required = [key for key in keys if not key.endswith("?")]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
