"""From plain values to a checked job: every mistake at once, each with its place and what to do.

Covers steps, files and messages; texts are read by ``job_file``, names, types and ranges come from ``job_spec`` and the
registries. Whoever has a job as values checks it here: job files, managers, stored jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pipelines.analyses import ANALYSES, expand_analyses, with_defaults
from pipelines.analyses.calculator import GROUPS, NO_PARAMETERS
from pipelines.cache_keys import file_digest
from pipelines.charts import ENGINES
from pipelines.contracts import RESOURCES, TASK_TYPES
from pipelines.errors import JobError, RayjobsError
from pipelines.extensions.extension_manager import process_extensions
from pipelines.image_io import EncodeOptions
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS
from pipelines.operations.column_values import column_of
from pipelines.registry import Registry, named_files
from rayjobs.job.column_uses import column_mistakes
from rayjobs.job.job_spec import Export, ImageExport, JobSpec, JobTask
from rayjobs.job.mistakes import EVERYDAY_NAMES, Mistake, dotted, location_of, model_mistakes, shown
from rayjobs.job.path_spelling import expanded
from rayjobs.job.task_handlers import OWN_TASKS, SET_BY_THE_RUN
from rayjobs.job.yaml_data import MAX_DEPTH, Location, is_finite


class JobFileError(JobError):
    """A job has mistakes; the text has a line for each."""


def check_job(
    raw: Any,
    *,
    name: str = "job",
    base: Path = Path(),
    misread: Mapping[Location, str] | None = None,
    place: Callable[[Location], tuple[int, int]] | None = None,
) -> JobSpec:
    """The job that plain values say, complete with defaults.

    Parameters
    ----------
    raw
        A mapping, as a job file has it: of names, numbers, lists and mappings.
    name
        What messages call the job.
    base
        What paths in it are relative to.
    misread
        Values of a text that couldn't be read, and why; see ``yaml_data.construct``.
    place
        Line and column of a location, of a job that is a text.

    Raises
    ------
    JobFileError
        With every mistake.
    """
    if not isinstance(raw, Mapping):
        no_job = Mistake((), "a job file is a mapping such as `name: my-job`; `rayjobs init` writes one")
        raise JobFileError("\n".join(_lines([no_job], name, place)))
    mistakes: list[Mistake] = []
    values: dict[str, Any] = dict(_plain(raw, (), mistakes))
    plugins, images_said = values.get("plugins"), _says_images(values)
    mistakes += _load_plugins(plugins)
    operations = list(_operations(values.pop("operations", None), base, mistakes))
    analyses = list(_analyses(values.pop("analyses", None), base, mistakes))
    tasks = list(_tasks(values.pop("tasks", None), base, mistakes))
    mistakes += _requires_mistakes(values.get("requires"), plugins)
    used = [o.name for o in operations] + [a.name for a in analyses] + [t.name for t in tasks]
    mistakes += _unnamed_plugins(used, plugins)
    spec: JobSpec | None = None
    try:
        steps = {"operations": tuple(operations), "analyses": tuple(analyses), "tasks": tuple(tasks)}
        spec = JobSpec.model_validate({**values, **steps})
        mistakes += _export_mistakes(spec)
        mistakes += [Mistake(*each) for each in column_mistakes(spec)]
    except ValidationError as error:
        mistakes += model_mistakes(error, JobSpec)
    if misread:  # what else would be said there is about the text that stands for the value
        mistakes = [mistake for mistake in mistakes if misread.keys().isdisjoint(_beginnings(mistake.location))]
        mistakes += [Mistake(location, problem) for location, problem in misread.items()]
    if spec is None or mistakes:
        raise JobFileError("\n".join(_lines(mistakes, name, place)))
    return spec if images_said else _with_default_images(spec)


def _lines(
    mistakes: Iterable[Mistake], name: str, place: Callable[[Location], tuple[int, int]] | None
) -> Iterator[str]:
    """What is wrong, in the order of the text if it is one."""
    said = {mistake: f"{dotted(mistake.location)}{mistake.message}" for mistake in mistakes}
    if place is None:
        yield from (f"{name}: {text}" for text in said.values())
        return
    places = {mistake: place(mistake.location) for mistake in said}
    for mistake, (line, column) in sorted(places.items(), key=lambda entry: entry[1]):
        yield f"{name}:{line}:{column}: {said[mistake]}"


def _plain(value: Any, location: Location, mistakes: list[Mistake]) -> Any:
    """A value as a text would have it, of exactly the types that a text is read as."""
    if len(location) > MAX_DEPTH:
        mistakes.append(Mistake(location[:1], f"nested deeper than {MAX_DEPTH} levels"))
    elif isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            mistakes.append(Mistake(location, f"keys are text, not {shown(odd[0])}"))
        return {key: _plain(value[key], (*location, key), mistakes) for key in value if isinstance(key, str)}
    elif isinstance(value, list | tuple):
        if set(map(type, value)) == {str}:  # there may be very many paths
            return list(value)
        return [_plain(entry, (*location, index), mistakes) for index, entry in enumerate(value)]
    elif isinstance(value, str):
        return str.__str__(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if is_finite(value):
            return int(value) if isinstance(value, int) else float(value)
        mistakes.append(Mistake(location, f"{shown(value)} is no finite number, or too large for one"))
    elif value is not None and not isinstance(value, bool):
        mistakes.append(Mistake(location, f"expected a plain value, not {shown(value)}"))
    return value


def _says_images(values: Mapping[str, Any]) -> bool:
    export = values.get("export")
    return isinstance(export, dict) and "images" in export


def _beginnings(location: Location) -> Iterator[Location]:
    return (location[:length] for length in range(len(location) + 1))


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
    found = next((extension for extension in process_extensions().discover() if extension.name == name), None)
    if found is None:
        return ""
    flag = "" if found.allowed else f", and `--allow-plugin {name}` to the command"
    return f"; the plug-in of that name ({found.distribution}) has it: add `plugins: [{name}]` to the job file{flag}"


# ---- operations and analyses: checked against the registries ---------------------------------------------------------


def _operations(raw: Any, base: Path, mistakes: list[Mistake]) -> Iterator[ImageOperation]:
    for location, name, params in _steps(raw, "operations", OPERATIONS, (), mistakes):
        model = OPERATIONS[name].parameters
        columns = {each for each, value in params.items() if column_of(value) is not None} & model.model_fields.keys()
        checked = _checked(model, params, location, base, mistakes, columns)
        if checked is not None:
            yield ImageOperation(name, checked)


def _analyses(raw: Any, base: Path, mistakes: list[Mistake]) -> Iterator[AnalysisRequest]:
    found: list[AnalysisRequest] = []
    for location, name, params in _steps(raw, "analyses", ANALYSES, GROUPS, mistakes):
        if name not in ANALYSES:
            found.append(AnalysisRequest(name))
            if params:
                mistakes.append(Mistake(location, f"{name} {NO_PARAMETERS}"))
            continue
        checked = _checked(ANALYSES[name].parameters, params, location, base, mistakes)
        if checked is not None:
            found.append(AnalysisRequest(name, checked))
    named: dict[str, AnalysisRequest] = {}
    for request in expand_analyses(found):
        entry = with_defaults(request)
        if named.setdefault(entry.name, entry) != entry:
            mistakes.append(Mistake(("analyses",), f"{entry.name} is asked for twice, with different parameters"))
    yield from named.values()


def _tasks(raw: Any, base: Path, mistakes: list[Mistake]) -> Iterator[JobTask]:
    for location, name, params in _steps(raw, "tasks", TASK_TYPES, OWN_TASKS.get_supported_task_types(), mistakes):
        if name not in TASK_TYPES:
            mistakes += [Mistake((*location, key), "is the run's to say") for key in SET_BY_THE_RUN if key in params]
            try:
                OWN_TASKS.check(name, OWN_TASKS.located(params, base))
            except RayjobsError as error:
                mistakes.append(Mistake(location, str(error)))
        yield JobTask(name, params)


def _requires_mistakes(raw: Any, plugins: Any) -> Iterator[Mistake]:
    # What nodes declare is known once Ray is there; what an installed plug-in offers is known now.
    for key, value in raw.items() if isinstance(raw, dict) else ():
        for name in value if isinstance(value, dict) else (key,):
            if name in RESOURCES:
                yield from _unnamed_plugins([name], plugins)
            elif not RESOURCES.is_explained(str(name)) and (hint := _installed_plugin(str(name))):
                yield Mistake(("requires", str(key)), f"unknown resource {name!r}{hint}")


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
            mistakes.append(Mistake(location, _no_step(step, key)))
            continue
        if not isinstance(params, dict):
            mistakes.append(Mistake(location, f"parameters are written as a mapping: {_example(key)}"))
        elif name in registry or name in shorthands:
            yield location, name, params
        elif not registry.is_explained(name):  # then the mistake is at `plugins`
            hint = _installed_plugin(name) or _everyday(name, registry) or registry.hint(name)
            command = "extensions" if key == "tasks" else key
            mistakes.append(Mistake(location, f"unknown {registry.kind} {name!r}{hint} (see `rayjobs {command}`)"))


def _no_step(step: Any, key: str) -> str:
    """What is wrong with what stands where a step should."""
    if isinstance(step, dict) and len(step) > 1:
        first, second = list(step)[:2]
        if step[first] is None:
            return f"{second!r} stands beside {first!r}, not below it: indent it further, or write {_example(key)}"
        return f"{first!r} and {second!r} stand in one step: begin each with a dash, as in {_example(key)}"
    return f"expected a name, or one name with its parameters: {_example(key)}"


def _everyday(name: str, registry: Registry[Any]) -> str:
    meant = EVERYDAY_NAMES.get(name.lower().replace("-", "_"), "")
    return f"; {meant!r} does that" if meant in registry else ""


_EXAMPLES = {
    "operations": "`- gaussian: {sigma: 2}`",
    "analyses": "`- statistics`",
    "tasks": '`- export: {input: photo.jpg, output: "{output}/extra"}`',
}


def _example(key: str) -> str:
    return _EXAMPLES[key]


def _checked(
    model: type[BaseModel],
    params: Mapping[str, Any],
    location: Location,
    base: Path,
    mistakes: list[Mistake],
    columns: Set[str] = frozenset(),
) -> dict[str, Any] | None:
    """The parameters with their defaults, or None and a mistake for each that is wrong.

    Those whose values are in ``columns`` of the inputs are left as they are, and so is what else the job says beside
    them: each input's values are checked once they are known.
    """
    try:
        named = {**params, **dict(_files(model, params, location, base, mistakes))}
        return model(**named).model_dump(mode="json")
    except ValidationError as error:
        late = {location_of(e) for e in error.errors() if columns and e["type"] == "value_error"}  # may be of several
        said = [m for m in model_mistakes(error, model) if m.location not in late]
        found = [m for m in said if columns.isdisjoint(m.location[:1])]
        mistakes += [Mistake((*location, *m.location), m.message) for m in found]
        return None if found or not columns else named
    except TypeError:  # keys that are no names
        mistakes.append(Mistake(location, "parameter names are words"))
    return None


def _files(
    model: type[BaseModel], params: Mapping[str, Any], location: Location, base: Path, mistakes: list[Mistake]
) -> Iterator[tuple[str, str]]:
    """Absolute paths of the files that parameters name; looked at now, so that no job starts in vain."""
    for name, mark in named_files(model).items():
        text = params.get(name)
        if isinstance(text, str) and text:
            try:
                path = str(base / expanded(text, what=mark.what, base=base))
                (mark.check or file_digest)(path)
                yield name, path
            except RayjobsError as error:
                mistakes.append(Mistake((*location, name), str(error)))


# ---- exports: what their fields say together -------------------------------------------------------------------------


def _export_mistakes(spec: JobSpec) -> Iterator[Mistake]:
    images, charts = spec.export.images, spec.export.charts
    if images is not None:
        for field, others in (("bit_depth", ()), ("compression", ()), ("quality", ()), ("chroma", ("quality",))):
            if field == "chroma" and images.quality == "lossless" and images.format == "jpeg":
                continue  # told already
            try:
                EncodeOptions(format=images.format, **{name: getattr(images, name) for name in (field, *others)})
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
