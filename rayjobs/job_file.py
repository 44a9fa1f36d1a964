"""Reading a job file: YAML that is data only, and every mistake at once, each with its place and what to do.

Covers syntax, positions and messages; names, types and ranges come from ``job_spec`` and the registries.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.analyses import ANALYSES, expand_analyses
from pipelines.charts import ENGINES
from pipelines.contracts import RESOURCES, TASK_TYPES
from pipelines.errors import JobError, RayjobsError
from pipelines.extension_manager import process_extensions
from pipelines.image_io import EncodeOptions
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS
from pipelines.registry import Registry
from rayjobs.job_spec import Export, ImageExport, JobSpec, JobTask
from rayjobs.task_handlers import OWN_TASKS

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

Location = tuple[str | int, ...]


class JobFileError(JobError):
    """A job file has mistakes; the text has a line for each."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a job file."""

    location: Location
    message: str


def load_job(path: Path) -> JobSpec:
    """Read and check a job file.

    Raises
    ------
    JobFileError
        With every mistake in it.
    JobError
        The file can't be read.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}; give the path of a job file (`rayjobs init` writes one)") from error
    if data is None:
        raise JobError(
            f"{path}: larger than {MAX_BYTES:,} bytes; long lists of inputs go into a file: inputs: [@list.txt]"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: not UTF-8 text (byte {error.start})") from error
    return parse_job(text, name=str(path), base=path.resolve().parent)


def parse_job(text: str, *, name: str = "job", base: Path = Path()) -> JobSpec:
    """The job in a text; ``name`` is what messages call it, ``base`` what paths in it are relative to."""
    root = _compose(text, name)
    raw = _construct(root)
    if not isinstance(raw, dict):
        raise JobFileError(f"{name}:1:1: a job file is a mapping such as `name: my-job`; `rayjobs init` writes one")
    plugins = raw.get("plugins")
    mistakes = list(_load_plugins(plugins))
    operations = list(_operations(raw.pop("operations", None), base, mistakes))
    analyses = list(_analyses(raw.pop("analyses", None), mistakes))
    tasks = list(_tasks(raw.pop("tasks", None), mistakes))
    mistakes += _requires_mistakes(raw.get("requires"), plugins)
    used = [o.name for o in operations] + [a.name for a in analyses] + [t.name for t in tasks]
    mistakes += _unnamed_plugins(used, plugins)
    spec: JobSpec | None = None
    try:
        steps = {"operations": tuple(operations), "analyses": tuple(analyses), "tasks": tuple(tasks)}
        spec = JobSpec.model_validate({**raw, **steps})
        mistakes += _export_mistakes(spec)
    except ValidationError as error:
        mistakes += _model_mistakes(error)
    if spec is None or mistakes:
        places = {mistake: _place(root, mistake.location) for mistake in mistakes}
        lines = [
            f"{name}:{line}:{column}: {_dotted(mistake.location)}{mistake.message}"
            for mistake, (line, column) in sorted(places.items(), key=lambda entry: entry[1])
        ]
        raise JobFileError("\n".join(lines))
    images_said = isinstance(raw.get("export"), dict) and "images" in raw["export"]
    return spec if images_said else _with_default_images(spec)


def _with_default_images(spec: JobSpec) -> JobSpec:
    images = ImageExport() if spec.operations else None
    export = Export.model_construct(**{**dict(spec.export), "images": images})
    return spec.model_copy(update={"export": export})


# ---- plug-ins --------------------------------------------------------------------------------------------------------


def _load_plugins(names: Any) -> Iterator[Mistake]:
    listed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    problems = process_extensions().load(listed)
    yield from (Mistake(("plugins", index), problems[name]) for index, name in enumerate(listed) if name in problems)


def _unnamed_plugins(used: Sequence[str], plugins: Any) -> Iterator[Mistake]:
    # An extension that another job of this process uses is loaded already; the workers of this job wouldn't know it.
    for name in dict.fromkeys(used):
        if name in process_extensions().versions() and name not in (plugins or []):
            yield Mistake(("plugins",), f"{name!r} comes from a plug-in: name it here")


def _installed_plugin(name: str) -> str:
    found = [extension for extension in process_extensions().discover() if extension.name == name]
    return f"; the plug-in of that name ({found[0].distribution}) must be named in `plugins`" if found else ""


# ---- operations and analyses: checked against the registries ---------------------------------------------------------


def _operations(raw: Any, base: Path, mistakes: list[Mistake]) -> Iterator[ImageOperation]:
    for location, name, params in _steps(raw, "operations", OPERATIONS, (), mistakes):
        if name == "lut3d" and isinstance(params.get("path"), str):
            file = base / params["path"]
            if not file.is_file():
                mistakes.append(Mistake((*location, "path"), f"{file} is no file"))
            params["path"] = str(file)
        checked = _checked(OPERATIONS[name].parameters, params, location, mistakes)
        if checked is not None:
            yield ImageOperation(name, checked)


def _analyses(raw: Any, mistakes: list[Mistake]) -> Iterator[AnalysisRequest]:
    found: list[AnalysisRequest | str] = []
    for location, name, params in _steps(raw, "analyses", ANALYSES, ("scopes", "all"), mistakes):
        if name not in ANALYSES:
            found.append(name)
            continue
        checked = _checked(ANALYSES[name].parameters, params, location, mistakes)
        if checked is not None:
            found.append(AnalysisRequest(name, checked))
    named: dict[str, AnalysisRequest] = {}
    for request in expand_analyses(found):
        entry = replace(request, params=_dumped(ANALYSES[request.name].parameters(**request.params)))
        if named.setdefault(entry.name, entry) != entry:
            mistakes.append(Mistake(("analyses",), f"{entry.name} is asked for twice, with different parameters"))
    yield from named.values()


def _tasks(raw: Any, mistakes: list[Mistake]) -> Iterator[JobTask]:
    for location, name, params in _steps(raw, "tasks", TASK_TYPES, OWN_TASKS.get_supported_task_types(), mistakes):
        if name not in TASK_TYPES:
            try:
                OWN_TASKS.check(name, params)
            except RayjobsError as error:
                mistakes.append(Mistake(location, str(error)))
        yield JobTask(name, params)


def _requires_mistakes(raw: Any, plugins: Any) -> Iterator[Mistake]:
    # What nodes declare is known once Ray is there; what an installed plug-in offers is known now.
    for name in raw if isinstance(raw, dict) else ():
        if name in RESOURCES:
            yield from _unnamed_plugins([name], plugins)
        elif not RESOURCES.is_explained(str(name)) and (hint := _installed_plugin(str(name))):
            yield Mistake(("requires", str(name)), f"unknown resource {name!r}{hint}")


def _steps(
    raw: Any, key: str, registry: Registry[Any], shorthands: Sequence[str], mistakes: list[Mistake]
) -> Iterator[tuple[Location, str, dict[str, Any]]]:
    """(location, name, parameters) of every step whose name is known."""
    if raw is None:
        return
    for index, step in enumerate(raw if isinstance(raw, list) else [raw]):
        location: Location = (key, index) if isinstance(raw, list) else (key,)
        if isinstance(step, str):
            name, params = step, dict[str, Any]()
        elif isinstance(step, dict) and len(step) == 1 and isinstance(next(iter(step)), str):
            name, params = next(iter(step.items()))
            location = (*location, name)
            params = {} if params is None else params
        else:
            mistakes.append(Mistake(location, f"expected a name, or one name with its parameters: {_example(key)}"))
            continue
        if not isinstance(params, dict):
            mistakes.append(Mistake(location, f"parameters are written as a mapping: {_example(key)}"))
        elif name in registry or name in shorthands:
            yield location, name, params
        elif not registry.is_explained(name):  # then the mistake is at `plugins`
            hint = _installed_plugin(name) or registry.hint(name)
            command = "extensions" if key == "tasks" else key
            mistakes.append(Mistake(location, f"unknown {registry.kind} {name!r}{hint} (see `rayjobs {command}`)"))


_EXAMPLES = {
    "operations": "`- gaussian: {sigma: 2}`",
    "analyses": "`- statistics`",
    "tasks": '`- export: {input: photo.jpg, output: "{output}/extra"}`',
}


def _example(key: str) -> str:
    return _EXAMPLES[key]


def _checked(
    model: type[BaseModel], params: Mapping[str, Any], location: Location, mistakes: list[Mistake]
) -> dict[str, Any] | None:
    """The parameters with their defaults, or None and a mistake for each that is wrong."""
    try:
        return _dumped(model(**params))
    except ValidationError as error:
        known = list(model.model_fields)
        mistakes += [Mistake((*location, *m.location), m.message) for m in _model_mistakes(error, known)]
    except TypeError:  # keys that are no names
        mistakes.append(Mistake(location, "parameter names are words"))
    return None


def _dumped(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")


# ---- exports: what their fields say together -------------------------------------------------------------------------


def _export_mistakes(spec: JobSpec) -> Iterator[Mistake]:
    images, charts = spec.export.images, spec.export.charts
    if images is not None:
        for field in ("bit_depth", "compression"):
            try:
                EncodeOptions(format=images.format, **{field: getattr(images, field)})
            except RayjobsError as error:
                yield Mistake(("export", "images", field), str(error))
    if images is not None and images.layout == "beside":
        if images.on_conflict == "overwrite":
            text = "images beside their sources never replace files that aren't the job's; rename, skip or error"
            yield Mistake(("export", "images", "on_conflict"), text)
        if "{relpath}" in images.name:
            yield Mistake(("export", "images", "name"), "beside its source an image has no {relpath}; use {stem}")
    if charts is None or ENGINES.is_explained(charts.engine):  # then the mistake is at `plugins`
        return
    if charts.engine in ENGINES:
        yield from _unnamed_plugins([charts.engine], spec.plugins)
    else:
        hint = _installed_plugin(charts.engine) or f"{ENGINES.hint(charts.engine)}; known: {', '.join(sorted(ENGINES))}"
        yield Mistake(("export", "charts", "engine"), f"unknown chart engine {charts.engine!r}{hint}")


# ---- messages --------------------------------------------------------------------------------------------------------


def _model_mistakes(error: ValidationError, known: Sequence[str] = ()) -> Iterator[Mistake]:
    for entry in error.errors(include_url=False):
        location = tuple(part for part in entry["loc"] if not _is_internal(part))
        yield Mistake(location, _message(entry, location, known))


def _is_internal(part: str | int) -> bool:
    """Parts of a location that name a choice inside pydantic, not a key of the file."""
    return isinstance(part, str) and ("[" in part or part in ("ImageExport", "ChartExport", "int", "float", "str"))


def _message(entry: Any, location: Location, known: Sequence[str]) -> str:
    match entry["type"]:
        case "extra_forbidden":
            names = known or _fields_at(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), names, n=2, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; known: {', '.join(names)}"
            return f"unknown key{hint}"
        case "missing":
            return "is required"
        case "value_error":
            return str(entry["ctx"]["error"])
        case _:
            text = str(entry["msg"])
            return f"{text[:1].lower()}{text[1:]}, not {_shown(entry['input'])}"


def _fields_at(location: Location) -> list[str]:
    model: Any = JobSpec
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        options = [
            option for option in getattr(annotation, "__args__", (annotation,)) if hasattr(option, "model_fields")
        ]
        model = options[0] if options else model
    return list(model.model_fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(location: Location) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{text.removeprefix('.')}: " if text else ""


# ---- YAML as data ----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML without aliases and tags, so that a small file stays small, and without surprises by YAML 1.1."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="aliases (& and *) are not allowed", problem_mark=event.start_mark)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise yaml.MarkedYAMLError(problem=f"tags ({tag}) are not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _compose(text: str, name: str) -> yaml.Node:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise JobFileError(f"{name}:{line}:1: a character that no text has: {error.character!r}") from error
    try:
        root = loader.get_single_node()
        if root is None:
            raise JobFileError(f"{name}:1:1: the file is empty; `rayjobs init` writes an example")
        _check_tree(root, 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise JobFileError(f"{name}:{place}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise JobFileError(f"{name}:1:1: not YAML: {error}") from error
    except RecursionError as error:
        raise JobFileError(f"{name}:1:1: nested deeper than {MAX_DEPTH} levels") from error
    finally:
        loader.dispose()
    return root


def _check_tree(node: yaml.Node, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_tree(child, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="keys are words", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands here twice", problem_mark=key.start_mark)
            seen.add(key.value)
            _check_tree(value, depth + 1)


def _construct(root: yaml.Node) -> Any:
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_document(root)
    except (yaml.YAMLError, ValueError) as error:
        raise JobFileError(f"not a job file: {error}") from error


def _place(root: yaml.Node, location: Location) -> tuple[int, int]:
    """Line and column, from 1, of the deepest node on the way that exists."""
    node, mark = root, root.start_mark
    for part in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    found, mark = value, key.start_mark
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            mark = found.start_mark
        if found is None:
            break
        node = found
    return mark.line + 1, mark.column + 1
