"""What runs the tasks of a job: the task types of the program itself, and those that plug-ins offer.

``render``, ``analyze`` and ``export`` do for one image, named in the task's configuration, what a job does for all of
its images. Handlers run in Ray workers; values that they return are plain. Tasks of a handler that raises are failed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.contracts import TASK_TYPES, TaskHandler
from pipelines.errors import RayjobsError
from pipelines.storage.local_files import TakenError, appear, own_file
from pipelines.tasks import ExtensibleTask, TaskResult, TaskStatus


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str
    """Path of the image."""
    operations: list[str | dict[str, Any]] = Field(default_factory=list)
    """As in a job file."""
    known: dict[str, str] = Field(default_factory=dict)
    """Absolute path -> sha256 of files that may be replaced: what the job's tasks wrote there in an earlier run."""


class RenderConfig(_Config):
    """Configuration of a ``render`` task."""

    output: str
    """Path of the file to write; its suffix says the format."""
    quality: int = Field(90, ge=1, le=100)


class AnalyzeConfig(_Config):
    """Configuration of an ``analyze`` task."""

    analyses: list[str | dict[str, Any]] = Field(default_factory=lambda: list[str | dict[str, Any]](["scopes"]))


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

    def get_supported_task_types(self) -> list[str]:
        return list(self._CONFIGS)

    def check(self, task_type: str, config: Mapping[str, Any]) -> RenderConfig | AnalyzeConfig:
        """The configuration of a task, complete.

        Raises
        ------
        RayjobsError
            With every mistake.
        """
        try:
            return self._CONFIGS[task_type].model_validate(dict(config))
        except ValidationError as error:
            mistakes = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()]
            raise RayjobsError(f"config of a {task_type} task: {'; '.join(mistakes)}") from None

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        checked = self.check(task.task_type, task.config)
        match checked:
            case RenderConfig():
                value = _render(checked)
            case ExportConfigOfImage():
                value = _export(checked)
            case AnalyzeConfig():
                value = _analyze(checked)
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=value)


OWN_TASKS = ImageTaskHandler()  # one object, so that it is sent to the cluster once


def task_handlers(registered: Mapping[str, TaskHandler]) -> dict[str, TaskHandler]:
    """Every task type that can be run, with its handler: registered ones before plug-ins before our own."""
    return {
        **dict.fromkeys(OWN_TASKS.get_supported_task_types(), OWN_TASKS),
        **{name: TASK_TYPES[name] for name in TASK_TYPES},
        **registered,
    }


def _rendered(config: _Config) -> Any:
    from pipelines.decoder_reduction import decode_and_apply
    from pipelines.image_io import ReadPolicy, probe_header, read_bytes

    policy = ReadPolicy()
    data = read_bytes(os.fsencode(config.input), max_bytes=policy.max_file_bytes)
    operations = [_named(step) for step in config.operations]
    source, result = decode_and_apply(data, probe_header(data, policy), policy, operations)
    return result, source


def _render(config: RenderConfig) -> dict[str, Any]:
    from pipelines.image_io import EncodeOptions, encode_image

    rendered, source = _rendered(config)
    suffix = Path(config.output).suffix.lower().lstrip(".")
    formats = {
        "jpg": "jpeg",
        "jpeg": "jpeg",
        "png": "png",
        "tif": "tiff",
        "tiff": "tiff",
        "webp": "webp",
        "avif": "avif",
    }
    if suffix not in formats:
        raise RayjobsError(f"{config.output}: no format for {suffix!r}; give one of {', '.join(formats)}")
    options = EncodeOptions(format=cast("Any", formats[suffix]), quality=config.quality)
    data = encode_image(rendered.pixels, options, source=source, orientation=rendered.orientation)
    written = _write(Path(config.output), data, config)
    height, width = rendered.pixels.shape[:2]
    sizes = {"bytes": len(data), "width": width, "height": height}
    return {"output": config.output, "sha256": written["sha256"], **sizes, "files": [written]}


def _analyze(config: AnalyzeConfig) -> dict[str, Any]:
    return {
        name: {column: _plain(value) for column, value in result.items()} for name, result in _measured(config).items()
    }


def _measured(config: AnalyzeConfig) -> Mapping[str, Any]:
    from pipelines.analyses import AnalysisCalculator
    from pipelines.models import AnalysisRequest

    asked = [step if isinstance(step, str) else AnalysisRequest(*_pair(step)) for step in config.analyses]
    rendered, _ = _rendered(config)
    return AnalysisCalculator(asked).calculate_analyses(rendered.pixels)


def _export(config: ExportConfigOfImage) -> dict[str, Any]:
    from pipelines.charts import CHARTABLE, ChartOptions, draw_chart

    options = ChartOptions(format=config.format, engine=config.engine)
    title = Path(config.input).name
    charts, files = {}, []
    for name, result in _measured(config).items():
        if name in CHARTABLE:
            path = Path(config.output) / f"{Path(config.input).stem}.{name}.{config.format}"
            files.append(_write(path, draw_chart(name, result, title=title, options=options), config))
            charts[name] = str(path)
    return {"charts": charts, "files": files}


def _named(step: str | Mapping[str, Any]) -> Any:
    from pipelines.models import ImageOperation

    return ImageOperation(step) if isinstance(step, str) else ImageOperation(*_pair(step))


def _pair(step: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if len(step) != 1:
        raise RayjobsError(f"{dict(step)}: give a name, or one name with its parameters")
    name, params = next(iter(step.items()))
    return name, dict(params or {})


def _plain(value: Any) -> Any:
    """Arrays and numbers as JSON has them."""
    return value.tolist() if hasattr(value, "tolist") else value


def _write(path: Path, data: bytes, config: _Config) -> dict[str, Any]:
    """Write a file whole or not at all, and never in the place of what isn't the job's; says what was written."""
    import hashlib

    sha256 = hashlib.sha256(data).hexdigest()
    if os.path.exists(path) and os.path.samefile(path, config.input):
        raise RayjobsError(f"{path} is the task's own input; give another output")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with own_file(path) as temporary:
            with temporary.open("xb") as file:
                file.write(data)
            earlier = config.known.get(os.path.abspath(path))
            appear(temporary, path, sha256, known=() if earlier is None else (earlier,))
    except TakenError:
        text = f"{path} exists and isn't what this task wrote; move it away, or give another output"
        raise RayjobsError(text) from None
    return {"path": os.path.abspath(path), "sha256": sha256, "bytes": len(data)}
