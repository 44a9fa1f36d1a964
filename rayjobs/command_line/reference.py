"""The commands that say what there is, and what writes a first job file."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shutil
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from pipelines.analyses import ANALYSES, Column, of_analysis
from pipelines.errors import JobError
from pipelines.extensions.extension_manager import process_extensions
from pipelines.operations import OPERATIONS
from pipelines.registry import Registry, named_files
from rayjobs.command_line.exit_codes import EXIT_OK, EXIT_PROBLEM
from rayjobs.command_line.parameter_texts import values_of
from rayjobs.command_line.printing import print_json
from rayjobs.command_line.step_examples import ANALYSIS_EXAMPLES, OPERATION_EXAMPLES
from rayjobs.job.mistakes import EVERYDAY_NAMES

LINE = 100
"""Characters that are read with ease, where a terminal has more."""
LEAST_BESIDE = 40
"""Where there is less room beside names, texts go below them."""


def version_text() -> str:
    """``rayjobs 1.2.3``."""
    return f"rayjobs {metadata.version('rayjobs-app')}"


# ---- reference ---------------------------------------------------------------------------------------------------


def operations(arguments: argparse.Namespace) -> int:
    """``rayjobs operations``."""
    _load_allowed()
    if arguments.picture is not None:
        _draw(arguments.name, arguments.picture)
    entries = [
        {
            "name": name,
            "group": entry.group,
            "summary": entry.summary,
            "reach": entry.reach,
            "parameters": _parameters(entry.parameters),
        }
        for name, entry in _asked(OPERATIONS, arguments.name)
    ]
    if arguments.name and not arguments.json:
        _explain("operations", OPERATIONS[arguments.name], OPERATION_EXAMPLES.get(arguments.name))
        print(f"\nA picture of it: rayjobs operations {arguments.name} --picture {arguments.name}.png")
        return EXIT_OK
    return _print_reference(entries, arguments)


def analyses(arguments: argparse.Namespace) -> int:
    """``rayjobs analyses``."""
    _load_allowed()
    entries = [
        {
            "name": name,
            "group": entry.group,
            "summary": entry.summary,
            "grain": entry.grain,
            "parameters": _parameters(entry.parameters),
            "columns": [
                _described(of_analysis(column, name)) for column in entry.columns(**_defaults(entry.parameters))
            ],
            "object_columns": [
                _described(column)
                for column in (entry.row_columns(**_defaults(entry.parameters)) if entry.row_columns else ())
            ],
        }
        for name, entry in _asked(ANALYSES, arguments.name)
    ]
    if arguments.name and not arguments.json:
        _explain("analyses", ANALYSES[arguments.name], ANALYSIS_EXAMPLES.get(arguments.name))
        for heading, kind in (("Columns", "columns"), ("Columns of objects", "object_columns")):
            if entries[0][kind]:
                print(f"\n{heading}:")
            for column in entries[0][kind]:
                print(_entry(column["name"], 32, column["meaning"] + _in_brackets(column["unit"])))
        return EXIT_OK
    return _print_reference(entries, arguments)


def _described(column: Column) -> dict[str, str]:
    return asdict(replace(column, label=column.title))


def _in_brackets(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _asked(registry: Registry[Any], name: str | None) -> list[tuple[str, Any]]:
    """All entries, or the one of a name, in the words that people have for it."""
    if name is None:
        return list(registry.items())
    if name not in registry:
        meant = EVERYDAY_NAMES.get(name.lower(), "")
        hint = f"; {meant!r} does that" if meant in registry else _of_plugin(name) or registry.hint(name)
        raise JobError(f"unknown {registry.kind} {name!r}{hint or '; there are ' + ', '.join(registry)}")
    return [(name, registry[name])]


def _of_plugin(name: str) -> str:
    found = next((each for each in process_extensions().discover() if each.name == name and not each.allowed), None)
    return f"; the plug-in of that name ({found.distribution}) needs `--allow-plugin {name}`" if found else ""


def _explain(section: str, entry: Any, example: str | None) -> None:
    """What one does, its parameters, and how a job file writes it."""
    print(f"{entry.name}\n")
    print(_paragraphs((inspect.getdoc(entry.function) or "").replace("``", "`")))
    schema = entry.parameters.model_json_schema()
    if schema.get("properties"):
        print("\nParameters:")
    for name, parameter in schema.get("properties", {}).items():
        default = parameter.get("default")
        said = values_of(parameter, schema.get("$defs", {})).replace("`", "")
        more = f"; {default} unless given" if default is not None else ""
        print(_entry(name, 18, f"{said}{more}", parameter.get("description", "")))
    if example is not None:
        print(f"\nIn a job file:\n  {section}:\n    - {example}")


def _room() -> int:
    return max(min(shutil.get_terminal_size().columns, LINE), 20)


def _paragraphs(text: str) -> str:
    """As wide as the terminal; what is laid out (lists, underlined headings) stays as it is."""
    told = text.split("\n\n")
    return "\n\n".join(each if re.search(r"^[\s-]", each, re.M) else _filled(each) for each in told)


def _filled(text: str, indent: str = "") -> str:
    wrapper = textwrap.TextWrapper(
        _room(), initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(text)


def _entry(name: str, width: int, *texts: str) -> str:
    """A name and what is said of it, beside it where there is room for that."""
    head, indent = f"  {name:<{width}} ", " " * (width + 3 if _room() >= width + 3 + LEAST_BESIDE else 6)
    body = "\n".join(_filled(text, indent) for text in texts if text)
    return head + body[len(head) :] if len(head) == len(indent) else f"{head.rstrip()}\n{body}"


def _draw(name: str | None, path: Path) -> None:
    """A photograph and what the example of an operation makes of it, side by side."""
    if name is None or name not in OPERATION_EXAMPLES or named_files(OPERATIONS[name].parameters):
        raise JobError(
            "--picture draws one operation that needs no file: rayjobs operations gaussian --picture gaussian.png"
        )
    from rayjobs.command_line.step_pictures import before_and_after

    picture = before_and_after(OPERATION_EXAMPLES[name])
    try:
        with path.open("xb") as file:
            file.write(picture)
    except FileExistsError:
        raise JobError(f"{path} exists; give another name") from None
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}") from error
    print(path, file=sys.stderr)


def _load_allowed() -> None:
    """Load the plug-ins that the command line allows, so that they are listed as well; say which ones can't be."""
    for name, problem in process_extensions().load_allowed().items():
        print(f"{name}: {problem}", file=sys.stderr)


def charts(arguments: argparse.Namespace) -> int:
    """``rayjobs charts``."""
    from pipelines.charts import CHARTABLE, ENGINES
    from pipelines.charts.gallery import READING, write_gallery

    if arguments.gallery:
        try:
            page = write_gallery(arguments.gallery)
        except OSError as error:
            raise JobError(f"{arguments.gallery}: {error.strerror}; give a directory that can be written") from error
        if not arguments.json:
            print(page)
            return EXIT_OK
    entries = [{"name": name, "title": READING[name][0] if name in READING else name} for name in CHARTABLE]
    if arguments.json:
        print_json({"charts": entries, "engines": list(ENGINES)})
        return EXIT_OK
    for entry in entries:
        print(f"{entry['name']:<22} {entry['title']}")
    print(f"engines: {', '.join(ENGINES)}")
    return EXIT_OK


def extensions(arguments: argparse.Namespace) -> int:
    """``rayjobs extensions``."""
    rows = process_extensions().discover()
    if arguments.json:
        print_json([asdict(row) for row in rows])
        return EXIT_OK
    for row in rows:
        state = row.problem or ("allowed" if row.allowed else "not allowed")
        print(f"{row.name:<24} {row.kind:<10} {row.distribution} {row.version}  {state}")
    if not rows:
        print("no plug-ins are installed; `rayjobs new-plugin NAME` writes one")
    return EXIT_OK


def _parameters(model: Any) -> dict[str, Any]:
    """Name -> type, range, default and meaning, as JSON Schema says them."""
    schema = model.model_json_schema()
    found: dict[str, Any] = schema.get("properties", {})
    return {name: {key: value for key, value in entry.items() if key != "title"} for name, entry in found.items()}


def _defaults(model: Any) -> dict[str, Any]:
    return {name: field.get_default() for name, field in model.model_fields.items() if not field.is_required()}


def _print_reference(entries: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json(entries)
        return EXIT_OK
    group = ""
    for entry in entries:
        if entry["group"] != group:
            group = entry["group"]
            print(f"\n{group}" if entry is not entries[0] else group)
        print(f"  {entry['name']:<22} {entry['summary']}")
        for name, parameter in entry["parameters"].items():
            print(f"      {name:<18} {_parameter_text(parameter)}")
    return EXIT_OK


def _parameter_text(parameter: dict[str, Any]) -> str:
    default = f", default {parameter['default']}" if parameter.get("default") is not None else ""
    return f"{values_of(parameter, {}).replace('`', '')}{default}  {parameter.get('description', '')}".strip()


def init(arguments: argparse.Namespace) -> int:
    """``rayjobs init``."""
    text = (resources.files("rayjobs") / "job_template.yaml").read_text(encoding="utf-8")
    files: dict[Path, str] = {arguments.file: text}
    if arguments.schema and arguments.file.name:  # without a name it is a directory, as is told below
        from rayjobs.job.job_spec import job_schema

        _load_allowed()
        schema: Path = arguments.file.with_suffix(".schema.json")
        files[arguments.file] = f"# yaml-language-server: $schema={schema.name}\n{text}"
        files[schema] = json.dumps(job_schema(), indent=2) + "\n"
    _create(files)
    if arguments.json:
        print_json({"files": [str(path) for path in files]})
        return EXIT_OK
    for path in files:
        print(path)
    return EXIT_OK


def _create(files: dict[Path, str]) -> None:
    """Write files that aren't there yet, all or none."""
    with ExitStack() as undo:
        try:
            for path, text in files.items():
                with path.open("x", encoding="utf-8") as file:
                    undo.callback(path.unlink, missing_ok=True)
                    file.write(text)
        except FileExistsError:
            raise JobError(f"{path} exists; give another name: rayjobs init FILE") from None
        except OSError as error:
            raise JobError(f"{error.filename or path}: {error.strerror}") from error
        undo.pop_all()


def migrate(arguments: argparse.Namespace) -> int:
    """``rayjobs migrate``."""
    from rayjobs.migration.migrate import migrate_file

    done = migrate_file(arguments.file, arguments.output)
    if arguments.json:
        print_json(done.to_json())
    else:
        print("\n".join(done.lines()))
    return EXIT_OK


def doctor(arguments: argparse.Namespace) -> int:
    """``rayjobs doctor``."""
    from rayjobs.command_line.doctor import diagnose

    problems = False
    for finding in diagnose(start_ray=not arguments.no_ray):
        problems |= finding.verdict == "problem"
        if arguments.json:
            print_json({"verdict": finding.verdict, "what": finding.what, "text": finding.text})
        else:
            print(f"{finding.verdict:<8} {finding.what}: {finding.text}", flush=True)
    return EXIT_PROBLEM if problems else EXIT_OK
