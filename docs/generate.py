"""Make the pages of ``docs/reference`` from the code: registries, job file model, command line, reasons, systems.

    python -m docs.generate [DIR]

Run from the checkout, as `make docs` does. The same code gives the same bytes; a test compares them with the committed
pages. Texts that the code doesn't have are in ``reference_texts``.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.queue.task_pools import POOLS, SHARD_TYPES
from benchmarks.figures_chart import figure_rows, figures_chart, recorded
from benchmarks.many_cpus import process_rows, size_rows
from docs.python_page import python_page
from docs.reference_texts import (
    ANALYSES_INTRODUCTION,
    COLUMNS_INTRODUCTION,
    ENVIRONMENT,
    EVERY_COLUMN,
    FIGURES,
    FLOWS,
    FORMATS_TEXT,
    JOB_FILE_END,
    JOB_FILE_INTRODUCTION,
    JSON_TEXT,
    OPERATIONS_INTRODUCTION,
    REASONS,
    REASONS_INTRODUCTION,
    SHARDS,
    SYSTEMS,
    WHOLE_JOB,
    System,
)
from pipelines.alpha_rules import MEANINGS, AlphaRule
from pipelines.analyses import ANALYSES, with_defaults
from pipelines.charts import CHARTABLE
from pipelines.errors import FailedReason, SkippedReason
from pipelines.models import AnalysisRequest
from pipelines.operations import OPERATIONS
from pipelines.retry_rules import RETRY_RULES, UNBOUNDED, RetryRule
from pipelines.tables import analyses_schema, manifest_schema, scopes_schemas
from pipelines.tables.group_statistics import groups_schema
from pipelines.tables.schema import INPUT_FIELD, column_field, field_shape
from rayjobs.command_line.cli import parser
from rayjobs.command_line.json_outputs import OUTPUTS, form_of, output_schema
from rayjobs.command_line.parameter_texts import Schema, values_of
from rayjobs.command_line.step_examples import ANALYSIS_EXAMPLES, OPERATION_EXAMPLES
from rayjobs.job.job_spec import JobSpec, job_schema

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Made by `make docs`; edit the code, or docs/reference_texts.py. -->\n"
REACH = {
    "point": "each pixel alone",
    "local": "each pixel and its surroundings",
    "whole": "the whole image",
    "geometry": "the place of pixels",
}
GROUPS = {"tone": "Tone", "colour": "Colour", "filters": "Filters", "geometry": "Geometry"}
KINDS = {"scopes": "The six scopes", "measurements": "Measurements"}


# ---- pieces ----------------------------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells may hold anything."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def prose(docstring: str) -> str:
    """A docstring as Markdown: one paragraph per paragraph, code in single backticks."""
    return re.sub(r"``([^`]+)``", r"`\1`", inspect.cleandoc(docstring)) + "\n"


def default_of(name: str, schema: Schema, required: Sequence[str]) -> str:
    """What counts when the key is left out."""
    if name in required:
        return "required"
    value = schema.get("default")
    return "" if value is None or value == {} else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def parameters(schema: Schema) -> str:
    """The table of the parameters of an operation, an analysis or a section of the job file."""
    required = schema.get("required", [])
    rows = [
        [
            f"`{name}`",
            values_of(entry, schema.get("$defs", {})),
            default_of(name, entry, required),
            entry.get("description", ""),
        ]
        for name, entry in schema.get("properties", {}).items()
    ]
    return table(["parameter", "values", "default", "meaning"], rows) if rows else "No parameters.\n"


def columns(fields: Iterable[pa.Field]) -> str:
    """The table of the columns of a result table, from what the Parquet metadata say of each."""
    rows = []
    for field in fields:
        label, unit, meaning = (field.metadata[key].decode() for key in (b"label", b"unit", b"meaning"))
        rows.append([f"`{field.name}`", label, type_text(field), unit, meaning])
    return table(["column", "label", "type", "unit", "meaning"], rows)


def type_text(field: pa.Field) -> str:
    """The type of a column: of an array with its shape, of a list with what it holds."""
    if pa.types.is_list(field.type):
        return f"list of {', '.join(inner.name for inner in field.type.value_type)}"
    shape = field_shape(field)
    return f"{field.type.value_type}[{','.join(map(str, shape))}]" if shape else str(field.type)


def alpha_table(entries: Mapping[str, Any]) -> str:
    """What transparent pixels count, by operation or analysis; the tests hold each to its rule."""
    rows = [
        [f"`{rule}`", MEANINGS[rule], ", ".join(f"`{name}`" for name in names)]
        for rule in AlphaRule
        if (names := [name for name, entry in entries.items() if entry.alpha is rule])
    ]
    return table(["alpha is", "what that means", "for"], rows)


def example(section: str, step: str) -> str:
    """A step as it stands in a job file."""
    return f"```yaml\n{section}:\n  - {step}\n```\n"


# ---- pages -----------------------------------------------------------------------------------------------------------


def operations_page() -> str:
    """``operations.md``."""
    parts = [
        f"{NOTE}\n# Operations\n",
        OPERATIONS_INTRODUCTION,
        alpha_table(OPERATIONS),
        "\n".join(_contents(GROUPS, {name: entry.group for name, entry in OPERATIONS.items()})) + "\n",
    ]
    for group, heading in GROUPS.items():
        parts.append(f"## {heading}\n")
        for name, entry in _members(OPERATIONS, group, OPERATION_EXAMPLES):
            source = entry.function.__module__.replace(".", "/")
            parts += [
                f"### {name}\n",
                prose(entry.function.__doc__ or ""),
                parameters(entry.parameters.model_json_schema()),
                example("operations", OPERATION_EXAMPLES[name]),
                f"Sees {REACH[entry.reach]}. Source: [{source}.py](../../{source}.py)\n",
            ]
    return "\n".join(parts)


def analyses_page() -> str:
    """``analyses.md``."""
    parts = [
        f"{NOTE}\n# Analyses\n",
        ANALYSES_INTRODUCTION,
        alpha_table(ANALYSES),
        "\n".join(_contents(KINDS, {name: entry.group for name, entry in ANALYSES.items()})) + "\n",
    ]
    for group, heading in KINDS.items():
        parts.append(f"## {heading}\n")
        for name, entry in _members(ANALYSES, group, ANALYSIS_EXAMPLES):
            source = entry.function.__module__.replace(".", "/")
            chart = f"Its chart: [charts](../charts.md#{_anchor(name)}). " if name in CHARTABLE else ""
            parts += [
                f"### {name}\n",
                prose(entry.function.__doc__ or ""),
                parameters(entry.parameters.model_json_schema()),
                example("analyses", ANALYSIS_EXAMPLES[name]),
                f"Its [columns](columns.md#{name}). {chart}Source: [{source}.py](../../{source}.py)\n",
            ]
    return "\n".join(parts)


def columns_page() -> str:
    """``columns.md``."""
    parts = [
        f"{NOTE}\n# Columns\n",
        COLUMNS_INTRODUCTION,
        "## manifest.parquet\n",
        columns(manifest_schema()),
        "## Results\n",
        columns([INPUT_FIELD]),
    ]
    for group in KINDS:
        for name, entry in _members(ANALYSES, group, ANALYSIS_EXAMPLES):
            request = with_defaults(AnalysisRequest(name))
            scalars = list(analyses_schema([request]))[1:]
            parts += [f"### {name}\n", *([columns(scalars)] if scalars else [])]
            for schema in scopes_schemas([request]).values():
                parts += [f"`data/scopes/{name}.parquet`, one row per image:\n", columns(list(schema)[1:])]
            if entry.row_columns is not None:
                every = EVERY_COLUMN.get(name, {})
                rows = entry.row_columns(**{**request.params, **every})
                parts += [f"`data/{name}.*`, one row per object:\n", columns(map(column_field, rows))]
    parts += ["### groups\n", "`data/groups.*`, behind the columns of `group_by`:\n", columns(groups_schema([]))]
    parts += ["## What formats leave out\n", FORMATS_TEXT]
    return "\n".join(parts)


def _anchor(name: str) -> str:
    from pipelines.charts.gallery import READING

    return READING[name][0].lower().replace(" ", "-")


def _contents(headings: Mapping[str, str], groups: Mapping[str, str]) -> Iterator[str]:
    for group, heading in headings.items():
        names = [name for name in (*OPERATION_EXAMPLES, *ANALYSIS_EXAMPLES) if groups.get(name) == group]
        yield f"- **{heading}**: {', '.join(f'[{name}](#{name})' for name in names)}"


def _members(registry: Mapping[str, Any], group: str, order: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """The entries of a group in the order of the examples; a name without an example is an error."""
    own = [name for name, entry in registry.items() if entry.group == group]
    return ((name, registry[name]) for name in sorted(own, key=list(order).index))


def job_file_page() -> str:
    """``job-file.md``."""
    schema = JobSpec.model_json_schema()
    definitions = schema["$defs"]
    for key, page in (("operations", ""), ("analyses", ""), ("tasks", "../how-to/")):
        schema["properties"][key] = {
            "type": "array",
            "items": {"type": "string"},
            "description": f"{schema['properties'][key]['description']}; see [{key}]({page}{key}.md)",
        }
    for key in ("inputs", "exclude"):
        schema["properties"][key]["description"] += "; see [inputs](inputs.md)"
    schema["properties"]["requires"]["description"] += "; see [resources](../how-to/resources.md)"
    parts = [
        f"{NOTE}\n# The job file\n",
        JOB_FILE_INTRODUCTION,
        f"```yaml\n{WHOLE_JOB}```\n",
        "## JobSpec\n",
        parameters(schema),
    ]
    for name, kind, default in (
        ("memory_per_image", "size", "2GiB"),
        ("item_timeout", "duration", "120s"),
        ("task_timeout", "duration", "1h"),
        ("max_pixels", "number", "2G"),
    ):
        definitions["Limits"]["properties"][name] |= {"type": "string", "format": kind, "default": default}
    keys = {
        "InputTable": "inputs",
        "NameGroups": "groups",
        "ImageExport": "export.images",
        "Credits": "export.images.set",
        "ChartExport": "export.charts",
    }
    for name in ("InputTable", "NameGroups", "Export", "ImageExport", "Credits", "ChartExport", "Limits", "Read"):
        key = keys.get(name, name.lower())
        section = definitions[name]
        parts += [f"## {name}\n", f"`{key}`: {section['description']}\n", parameters(section)]
    parts.append(JOB_FILE_END)
    return "\n".join(parts)


def cli_page() -> str:
    """``cli.md``."""
    top = parser()
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    parts = [
        f"{NOTE}\n# The command line\n",
        f"{top.description} `python -m rayjobs` is the same program.\n",
        table(["command", "what it does"], [[f"[{name}](#{name})", text] for name, text in summaries.items()]),
        "## Exit codes\n",
        table(
            ["code", "meaning"],
            [
                ["0", "All done, or failures within `max_failures`"],
                ["1", "The job or command could not run: a mistake in the job file or on the command line, no access"],
                [
                    "2",
                    "Finished, but more inputs failed, or a task did; `verify`: the output isn't as it was published",
                ],
                ["130", "Cancelled, paused or interrupted; `rayjobs resume` goes on"],
            ],
        ),
        "## JSON\n",
        JSON_TEXT,
        "## Environment\n",
        table(["variable", "meaning"], [[f"`{name}`", text] for name, text in ENVIRONMENT.items()]),
    ]
    for name, sub in commands.choices.items():
        parts += [f"## {name}\n", f"{summaries[name]}.\n", *_arguments(name, sub), *_printed(name)]
    return "\n".join(parts)


def _printed(name: str) -> Iterator[str]:
    keys = OUTPUTS.get(name)
    if keys is None:
        return
    same = next(command for command in OUTPUTS if OUTPUTS[command] is keys)
    if same != name:
        yield f"`--json` prints {form_of(name)}, as [{same}](#{same}).\n"
        return
    yield f"`--json` prints {form_of(name)}:\n"
    rows = []
    for key, said in keys.items():
        kind, _, meaning = said.partition(" ")
        text = f"{meaning}; may be missing" if key.endswith("?") else meaning
        rows.append([f"`{key.rstrip('?')}`", kind.replace("|", " or "), text])
    yield table(["key", "type", "meaning"], rows)


def output_schema_page() -> str:
    """``output.schema.json``."""
    return json.dumps(output_schema(), indent=1, ensure_ascii=False) + "\n"


def _arguments(name: str, sub: argparse.ArgumentParser) -> Iterator[str]:
    actions = [action for action in sub._actions if not isinstance(action, argparse._HelpAction)]
    usage, rows = [], []
    for action in actions:
        value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
        flag = action.option_strings[-1] if action.option_strings else ""
        text = f"{flag} {value}".strip() if action.nargs != 0 else flag
        optional = (bool(flag) and not action.required) or action.nargs == "?"
        usage.append(f"[{text}]" if optional else text)
        rows.append([f"`{', '.join([*action.option_strings[:-1], text])}`", action.help or ""])
    yield f"```\nrayjobs {' '.join([name, *usage])}\n```\n"
    if rows:
        yield table(["argument", "meaning"], rows)


def reasons_page() -> str:
    """``reasons.md``."""

    def rows(reasons: type[FailedReason] | type[SkippedReason]) -> str:
        return table(
            ["reason", "meaning", "what to do"], [[f"`{reason.value}`", *REASONS[reason.value]] for reason in reasons]
        )

    return "\n".join(
        [
            f"{NOTE}\n# Reasons\n",
            REASONS_INTRODUCTION,
            "## failed\n",
            rows(FailedReason),
            "## skipped\n",
            rows(SkippedReason),
        ]
    )


def systems_page() -> str:
    """``systems.md``."""
    places = _classes()
    rows = [
        [
            f"[{system.name}](../../{places[system.name]})",
            system.role,
            _tests_of(system),
        ]
        for system in SYSTEMS
    ]
    return "\n".join(
        [
            f"{NOTE}\n# Systems\n",
            "The parts that the design names, where each lies, and the tests that hold it to its contract.\n",
            table(["class", "role", "tests"], rows),
            "## What no single class stands for\n",
            table(["", "promise", "tests"], [[f.name, f.role, _tests_of(f)] for f in FLOWS]),
            "## Task types\n",
            "What `TaskCoordinator.set_concurrency_limits` and the queue's status know tasks by; tasks that a program\n"
            "submits itself, and those of plug-ins, have the type that they are submitted with.\n",
            table(["task type", "what it is"], [[f"`{SHARD_TYPES[pool]}`", SHARDS[pool]] for pool in POOLS]),
        ]
    )


def _tests_of(system: System) -> str:
    return ", ".join(f"[{test}](../../tests/{test})" for test in system.tests)


def _classes() -> dict[str, str]:
    """Public class -> file, relative to the checkout."""
    found: dict[str, str] = {}
    for package in ("pipelines", "actors", "rayjobs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, path.relative_to(ROOT).as_posix())
    return found


def retries_table() -> str:
    """What is tried again, for ``reliability.md``."""

    def pause(rule: RetryRule) -> str:
        if not rule.first_pause_s:
            return ""
        doubled = "" if rule.longest_pause_s == rule.first_pause_s else f", doubled up to {rule.longest_pause_s:g} s"
        return f"{rule.first_pause_s:g} s{doubled}"

    def seconds(value: float) -> str:
        return "" if math.isinf(value) else f"{value:g} s"

    return table(
        ["what is tried", "tries in all", "pause", "silent for so long, a try has failed", "within", "who", "then"],
        [
            [
                rule.what,
                "no bound" if rule.tries == UNBOUNDED else str(rule.tries),
                pause(rule),
                seconds(rule.patience_s),
                seconds(rule.within_s),
                ", ".join(f"`{by}`" if "/" in by else by for by in rule.by.split(", ")),
                rule.then,
            ]
            for rule in RETRY_RULES
        ],
    )


def others_table() -> str:
    """What the last recorded benchmarks measured against others, for ``comparison.md``."""
    results, rows = recorded(), []
    for figure, name, against, work, unit in FIGURES:
        if figure not in results:  # not recorded yet
            continue
        measures = {measure["name"]: measure for measure in results[figure].get("measures", ())}
        found = measures[name] if name else results[figure]
        versions = {key.replace("-", "_"): text for key, text in results[figure]["machine"].items()}
        met = "" if found["ok"] else f"; the bar is {found['bar']:g}, and is missed"
        rows.append([against.format_map(versions), work, f"{found['value']:.2g} {unit}{met}"])
    return table(["against", "what runs", "result"], rows)


def figures_table() -> str:
    """Every measure of the last recorded benchmarks with its bar, for ``performance.md``."""
    return table(["figure", "measure", "value", "run before", "bar", ""], figure_rows(recorded()))


def processes_table() -> str:
    """What a job takes beside its workers, for ``performance.md``."""
    return table(["process", "once", "while the job runs", "per image"], process_rows())


def sizes_table() -> str:
    """How many CPUs one driver is good for, for ``performance.md``."""
    return table(["photographs", "a worker per image", "a driver, images/s", "CPUs of one driver"], size_rows())


TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "reliability.md": {"retries": retries_table},
    "comparison.md": {"figures": others_table},
    "performance.md": {"figures": figures_table, "processes": processes_table, "sizes": sizes_table},
}
"""Pages that people write -> the tables in them that the code says, by their names in the marks around them."""
PICTURES: Mapping[str, Callable[[], str]] = {"figures.svg": lambda: figures_chart(recorded())}
"""Pictures in ``docs/images`` that are drawn from data."""


def with_tables(page: str, text: str) -> str:
    """The text of a page with its tables as the code says them."""
    for name, make in TABLES[page].items():
        begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"the marks around the table of {name} are gone"
        text = f"{before}{begin}\n{make()}{end}{after}"
    return text


def job_schema_page() -> str:
    """``job-schema.json``: what ``rayjobs init --schema`` writes."""
    return json.dumps(job_schema(), indent=2) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "operations.md": operations_page,
    "analyses.md": analyses_page,
    "columns.md": columns_page,
    "job-file.md": job_file_page,
    "job-schema.json": job_schema_page,
    "cli.md": cli_page,
    "output.schema.json": output_schema_page,
    "reasons.md": reasons_page,
    "systems.md": systems_page,
    "python.md": lambda: python_page(NOTE),
}


def main(arguments: Sequence[str]) -> int:
    """Write all pages into a directory, by default ``docs/reference``; and the tables in pages that people write."""
    target = Path(arguments[0]) if arguments else ROOT / "docs" / "reference"
    target.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (target / name).write_text(page(), encoding="utf-8")
    for name in TABLES:
        page = ROOT / "docs" / name
        page.write_text(with_tables(name, page.read_text(encoding="utf-8")), encoding="utf-8")
    for name, draw in PICTURES.items():
        (ROOT / "docs" / "images" / name).write_text(draw(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
