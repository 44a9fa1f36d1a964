"""What runs the tasks of a job: the task types of the program itself, and those that plug-ins offer.

``render``, ``analyze`` and ``export`` do for one image, named in the task's configuration, what a job does for all of
its images: by the same stages, and with the same custody of files. Handlers run in Ray workers; values that they return
are plain. Tasks of a handler that raises are failed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipelines.analyses import ANALYSES, Analysis, expand_analyses, with_defaults
from pipelines.analyses.calculator import GROUPS
from pipelines.cache_keys import step_key
from pipelines.charts import ENGINES, ChartOptions, charts_of
from pipelines.contracts import TASK_TYPES, TaskHandler
from pipelines.errors import ImageError, RayjobsError
from pipelines.extensions.extension_manager import load_extensions
from pipelines.image_io import EncodeOptions, ReadPolicy, format_of
from pipelines.models import AnalysisRequest, ImageOperation, Output, WorkItem
from pipelines.operations import OPERATIONS, Operation
from pipelines.registry import named_files
from pipelines.result_codec import plain
from pipelines.stages.image_stages import Rendered, analyze, export, render
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe, Results
from pipelines.stages.worker_journal import WorkerJournal
from pipelines.storage.local_files import time_of
from pipelines.tables import readable_path
from pipelines.tasks import ExtensibleTask, Task, TaskResult, TaskStatus
from rayjobs.job.mistakes import dotted, model_mistakes
from rayjobs.job.path_spelling import expanded


def _as_list(steps: Any) -> Any:
    """As in a job file, one may stand where a list may be."""
    return [steps] if isinstance(steps, str | Mapping) else steps


Steps = Annotated[list[Any], BeforeValidator(_as_list)]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str
    """Path of the image."""
    operations: Steps = Field(default_factory=list)
    """As in a job file."""
    known: dict[str, str] = Field(default_factory=dict)
    """Absolute path -> sha256 of files that may be replaced: what the job's tasks wrote there in an earlier run."""
    extensions: dict[str, str] = Field(default_factory=dict)
    """Plug-in -> version, of those that may be used: what the driver allowed."""


SET_BY_THE_RUN = ("known", "extensions")
"""Keys of a configuration that no job file may have."""


class RenderConfig(_Config):
    """Configuration of a ``render`` task."""

    output: str
    """Path of the file to write; its suffix says the format."""
    quality: int = Field(90, ge=1, le=100, strict=True)


class AnalyzeConfig(_Config):
    """Configuration of an ``analyze`` task."""

    analyses: Steps = Field(default_factory=lambda: list[Any](["scopes"]))


class ExportConfigOfImage(AnalyzeConfig):
    """Configuration of an ``export`` task."""

    output: str
    """Directory of the charts, one file for each analysis that can be drawn."""
    format: Literal["png", "svg", "jpeg"] = "png"
    engine: str = "fast"


class ImageTaskHandler(TaskHandler):
    """Runs ``render``, ``analyze`` and ``export`` tasks."""

    _CONFIGS: ClassVar[Mapping[str, type[RenderConfig | AnalyzeConfig]]] = {
        "render": RenderConfig,
        "analyze": AnalyzeConfig,
        "export": ExportConfigOfImage,
    }

    _STAGES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "render": ("render", "export_io"),
        "analyze": ("render", "analyze"),
        "export": ("render", "analyze", "export_io"),
    }

    def get_supported_task_types(self) -> list[str]:
        return list(self._CONFIGS)

    def stages(self, task_type: str) -> tuple[str, ...]:
        """Resources of the stages that a task goes through, as nodes may declare them."""
        return self._STAGES[task_type]

    def check(self, task_type: str, config: Mapping[str, Any]) -> RenderConfig | AnalyzeConfig:
        """The configuration of a task, complete.

        Raises
        ------
        RayjobsError
            With every mistake, those of operations and analyses included.
        """
        model = self._CONFIGS[task_type]
        try:
            found = model.model_validate(dict(config))
            mistakes = [*_step_mistakes(found), *_output_mistakes(found)]
        except ValidationError as error:
            mistakes = list(_said(error, model))
        if mistakes:
            raise RayjobsError(f"config of the {task_type} task: {'; '.join(mistakes)}")
        return found

    def located(self, config: Mapping[str, Any], base: Path) -> dict[str, Any]:
        """A configuration with whole paths, since the working directory of a worker is any.

        ``base`` is what relative ones are relative to, those of files that operations name included.

        Raises
        ------
        JobError
            One of them can't be meant as a path.
        """
        found = {**config, **_whole({key: config[key] for key in ("input", "output") if key in config}, base)}
        for key, registry in _STEPS.items():
            steps = _as_list(config.get(key))
            if isinstance(steps, list | tuple):
                found[key] = [_located_step(step, registry, base) for step in steps]
        return found

    def outputs(self, task_type: str, config: Mapping[str, Any]) -> tuple[str, ...]:
        """What a task writes, so that no two write it at once: a file, or what stands for the charts of an image.

        Raises
        ------
        RayjobsError
            With every mistake in its configuration.
        """
        match self.check(task_type, config):
            case RenderConfig(output=output):
                return (output,)
            case ExportConfigOfImage(output=output, input=source):
                return (os.path.join(output, Path(source).stem),)
            case _:
                return ()

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        load_extensions(task.config.get("extensions") or {})
        value = _value(self.check(task.task_type, task.config))
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=value)


def with_stages(task: Task, declared: Collection[str]) -> Task:
    """One of our own tasks with a unit of each of its stages, of those that nodes declare, as a job's tasks hold it."""
    units = {name: 1.0 for name in OWN_TASKS.stages(task.task_type) if name in declared}
    needs = replace(task.resources, custom={**units, **task.resources.custom})
    return replace(task, resources=needs)


def named_contents(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Digests of what the files contain that the operations of one of our own tasks name, where there is any."""
    found = []
    steps = _as_list(config.get("operations"))
    for step in steps if isinstance(steps, list | tuple) else ():
        with suppress(RayjobsError, ValidationError):  # the task will say what is wrong
            found.append(step_key(ImageOperation.of(step))[1])
    return [contents for contents in found if contents]


_STEPS: Mapping[str, Mapping[str, Operation | Analysis]] = {"operations": OPERATIONS, "analyses": ANALYSES}
_KINDS: Mapping[str, type[ImageOperation | AnalysisRequest]] = {
    "operations": ImageOperation,
    "analyses": AnalysisRequest,
}


def _step_mistakes(config: RenderConfig | AnalyzeConfig) -> Iterator[str]:
    """What is wrong with the names and parameters of a configuration's steps."""
    for key, registry in _STEPS.items():
        for number, written in enumerate(getattr(config, key, ())):
            try:
                step = _KINDS[key].of(written)
                if isinstance(step, AnalysisRequest) and step.name in GROUPS:
                    expand_analyses([step])
                    continue
                model = registry[step.name].parameters
                model(**step.params)
            except ValidationError as error:
                yield from (f"{key}[{number}].{step.name}.{text}" for text in _said(error, model))
            except (RayjobsError, TypeError) as error:
                yield f"{key}[{number}]: {error}"


def _output_mistakes(config: RenderConfig | AnalyzeConfig) -> Iterator[str]:
    """What can't be written, or drawn."""
    try:
        if isinstance(config, RenderConfig):
            format_of(Path(config.output).suffix)
    except RayjobsError as error:
        yield f"output: {error}"
    if isinstance(config, ExportConfigOfImage) and config.engine not in ENGINES:
        known = f"; known: {', '.join(sorted(ENGINES))}"
        yield f"engine: unknown chart engine {config.engine!r}{ENGINES.hint(config.engine)}{known}"


def _said(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    return (f"{dotted(mistake.location)}{mistake.message}" for mistake in model_mistakes(error, model))


def _whole(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The texts among values as whole paths."""
    return {
        key: str(base / expanded(value, what=key, base=base)) if isinstance(value, str) and value else value
        for key, value in values.items()
    }


def _located_step(step: Any, registry: Mapping[str, Operation | Analysis], base: Path) -> Any:
    if not isinstance(step, Mapping) or len(step) != 1:
        return step
    ((name, params),) = step.items()
    if name not in registry or not isinstance(params, Mapping):
        return step
    files = named_files(registry[name].parameters).keys() & params.keys()
    return {name: {**params, **_whole({key: params[key] for key in files}, base)}}


OWN_TASKS = ImageTaskHandler()  # one object, so that it is sent to the cluster once


def task_handlers(registered: Mapping[str, TaskHandler]) -> dict[str, TaskHandler]:
    """Every task type that can be run, with its handler: registered ones before plug-ins before our own."""
    return {
        **dict.fromkeys(OWN_TASKS.get_supported_task_types(), OWN_TASKS),
        **{name: TASK_TYPES[name] for name in TASK_TYPES},
        **registered,
    }


def _value(config: RenderConfig | AnalyzeConfig) -> dict[str, Any]:
    """What a task makes, and says: a job's stages for one image, with names of its own for what they publish."""
    recipe = _recipe(config)
    root, names = _places(config, recipe)
    item = _item(config, root)
    try:
        rendered = render(item, recipe)
        results = analyze(rendered, recipe)
    except ImageError as error:
        raise ImageError(error.reason, f"{config.input}: {error}") from error
    outputs = _published(item, rendered, results, recipe, root, names) if names else []
    files = [{"path": str(root / each.path), "sha256": each.sha256, "bytes": each.bytes} for each in outputs]
    match config:
        case RenderConfig():
            height, width = rendered.pixels.shape[:2]
            written = {"output": config.output, **{key: files[0][key] for key in ("sha256", "bytes")}}
            return {**written, "width": width, "height": height, "files": files}
        case ExportConfigOfImage():
            paths = {name: str(Path(config.output) / names[f"chart:{name}"]) for name in recipe.charted}
            return {"charts": paths, "files": files}
        case _:
            return {name: plain(result) for name, result in results.items()}


def _recipe(config: RenderConfig | AnalyzeConfig) -> Recipe:
    operations = tuple(map(ImageOperation.of, config.operations))
    if isinstance(config, RenderConfig):
        image = EncodeOptions(format=format_of(Path(config.output).suffix), quality=config.quality)
        return Recipe(id=0, operations=operations, read=ReadPolicy(), image=image)
    requests = tuple(map(with_defaults, expand_analyses(config.analyses)))
    if not isinstance(config, ExportConfigOfImage):
        return Recipe(id=0, operations=operations, read=ReadPolicy(), analyses=requests)
    charted = charts_of(requests)
    return Recipe(
        id=0,
        operations=operations,
        read=ReadPolicy(),
        analyses=tuple(request for request in requests if request.name in charted),
        charts=ChartOptions(format=config.format, engine=config.engine),
        charted=charted,
    )


def _places(config: RenderConfig | AnalyzeConfig, recipe: Recipe) -> tuple[Path, dict[str, str]]:
    """The directory that a task writes to, absolute, and by product the names of its files there."""
    match config:
        case RenderConfig():
            output = Path(os.path.abspath(config.output))
            return output.parent, {"image": output.name}
        case ExportConfigOfImage():
            start = Path(config.input).stem
            names = {f"chart:{name}": f"{start}.{name}.{config.format}" for name in recipe.charted}
            return Path(os.path.abspath(config.output)), names
        case _:
            return Path(), {}


def _item(config: _Config, root: Path) -> WorkItem:
    path = os.fsencode(config.input)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # a NUL in it is a ValueError
        raise RayjobsError(f"{config.input}: {getattr(error, 'strerror', None) or error}") from error
    real = os.path.realpath(root)
    known = [(Path(earlier), sha256) for earlier, sha256 in config.known.items()]
    return WorkItem(
        id=0,
        path=path,
        size=status.st_size,
        mtime_ns=time_of(status),
        name=Path(config.input).stem,
        title=readable_path(path),
        recipe=0,
        known=tuple((path.name, sha256) for path, sha256 in known if os.path.realpath(path.parent) == real),
    )


def _published(
    item: WorkItem, rendered: Rendered, results: Results, recipe: Recipe, root: Path, names: Mapping[str, str]
) -> list[Output]:
    for name in names.values():
        if os.path.exists(root / name) and os.path.samefile(root / name, item.path):
            raise RayjobsError(f"{root / name} is the task's own input; give another output")
    root.mkdir(parents=True, exist_ok=True)
    try:
        # Beside what it becomes: a task may write to any file system.
        with (
            TemporaryDirectory(prefix=".rayjobs-task-", dir=root) as temporary,
            closing(WorkerJournal(Path(temporary))) as journal,
        ):
            publisher = Publisher(root, Path(temporary), journal)
            return export(item, rendered, results, recipe, publisher, names=names)
    except ImageError as error:
        raise ImageError(error.reason, f"{root}: {error}") from error
