"""From what a plug-in gives to what the rest of the program uses: checked, named, and never failing more than an image.

Covers the shape of each kind of extension and the guard around every call of foreign code. Finding, allowing and
loading packages: ``extension_manager``.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, JsonValue, PydanticUserError, create_model

from pipelines.analyses.registry import ANALYSES, ROWS, Analysis, Column, Result, of_analysis
from pipelines.charts.data import ChartData
from pipelines.charts.options import ChartOptions
from pipelines.charts.registry import CHARTABLE, ENGINES, ChartBuilder, ChartEngine
from pipelines.contracts import RESOURCES, TASK_TYPES, ProcessorExtension, ResourceProvider, TaskHandler
from pipelines.errors import FailedReason, ImageError, JobError, is_out_of_memory
from pipelines.operations.registry import OPERATIONS, Image, Operation, Scale
from pipelines.registry import NamesFile, Parameters, Registry

T = TypeVar("T")
Undo = Callable[[], None]

GROUP = "plug-ins"
"""The group of operations that come from plug-ins."""
NO_VERSION = ("", "0", "unknown")
"""What stands for the version of an extension that has none."""
NAME = re.compile(r"(?!(?:y|yes|n|no|on|off|true|false|null)\Z)[a-z][a-z0-9_]{0,63}")
"""Names as they stand in a job file, without quotes."""
NAME_RULE = "small letters, digits and _, a letter first, and no word that YAML takes for another, such as on or null"


class ExtensionError(JobError):
    """An extension can't be used; the text says which one, where it comes from, and what to do."""


class ExtensionKind(StrEnum):
    """What an extension adds."""

    PROCESSOR = "processor"
    ANALYSIS = "analysis"
    CHART = "chart"
    RESOURCE = "resource"
    TASK = "task"

    @property
    def group(self) -> str:
        """The entry-point group of this kind."""
        return "rayjobs.analyses" if self is ExtensionKind.ANALYSIS else f"rayjobs.{self}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an extension comes from."""

    name: str
    distribution: str
    version: str
    digest: str = ""
    """Of the package's source files: edits count as another version even when the number stays."""

    def __str__(self) -> str:
        return f"plug-in {self.name!r} ({self.distribution} {self.version})"

    @property
    def has_version(self) -> bool:
        """Whether it says which one it is, so that results of another day are known to be its own."""
        return self.version not in NO_VERSION

    @property
    def key(self) -> str:
        """What goes into cache keys and provenance."""
        return f"{self.distribution} {self.version}{f' {self.digest}' if self.digest else ''}"


def registries(kind: ExtensionKind) -> tuple[Registry[Any], ...]:
    """The tables in which an extension of this kind may be looked up."""
    tables: dict[ExtensionKind, tuple[Registry[Any], ...]] = {
        ExtensionKind.PROCESSOR: (OPERATIONS,),
        ExtensionKind.ANALYSIS: (ANALYSES,),
        ExtensionKind.CHART: (CHARTABLE, ENGINES),
        ExtensionKind.RESOURCE: (RESOURCES,),
        ExtensionKind.TASK: (TASK_TYPES,),
    }
    return tables[kind]


def install(kind: ExtensionKind, found: object, origin: Origin) -> Undo:
    """Make an extension usable by its name; the returned function takes it out again.

    ``found`` is what its entry point names: for processors a ``ProcessorExtension`` or an ``Operation``, for analyses
    an ``Analysis``, for charts a ``ChartEngine`` or a function that turns a result into ``ChartData``, for resources a
    ``ResourceProvider``, for tasks a ``TaskHandler``; an instance of these, or a class that needs no arguments.

    Raises
    ------
    ExtensionError
        It is something else, calls itself otherwise, or its name is taken.
    """
    made = _made(found, origin)
    match kind:
        case ExtensionKind.PROCESSOR:
            return OPERATIONS.register(origin.name, operation_of(made, origin))
        case ExtensionKind.ANALYSIS:
            return ANALYSES.register(origin.name, analysis_of(made, origin))
        case ExtensionKind.CHART if hasattr(made, "draw"):
            return ENGINES.register(origin.name, GuardedEngine(made, origin))
        case ExtensionKind.CHART:
            return CHARTABLE.register(origin.name, chart_of(made, origin))
        case ExtensionKind.RESOURCE:
            if not isinstance(made, ResourceProvider):
                raise _unfit(made, "a ResourceProvider", origin)
            return RESOURCES.register(origin.name, made)
        case ExtensionKind.TASK:
            if not isinstance(made, TaskHandler):
                raise _unfit(made, "a TaskHandler", origin)
            return _register_all(TASK_TYPES, made.get_supported_task_types(), made)


def _made(found: object, origin: Origin) -> object:
    if not NAME.fullmatch(origin.name):
        raise ExtensionError(f"{origin}: that can't be its name: {NAME_RULE}")
    return found() if isinstance(found, type) else found


def own_operation(found: object, origin: Origin) -> Operation:
    """The operation of an extension that isn't installed for the whole process; see ``Registry.lent``.

    Raises
    ------
    ExtensionError
        As ``install``; an operation of everybody's has that name.
    """
    made = _made(found, origin)
    if origin.name in OPERATIONS:
        raise ExtensionError(f"{origin}: there is an operation {origin.name!r} already; give it another name")
    return operation_of(made, origin)


def operation_of(found: object, origin: Origin) -> Operation:
    """An operation for job files.

    A ``ProcessorExtension`` gets every image whole and with its alpha. Its keys take plain values (numbers, texts,
    booleans, lists, mappings); one that is left out, or null, is not in the ``config`` that it gets.
    """
    if isinstance(found, Operation):
        _check_name(found.name, origin)
        guarded = functools.wraps(found.function)(_guarded(found.function, origin))
        _check_needs(found.requires, origin)
        return replace(found, group=GROUP, function=guarded, version=origin.key)
    if not isinstance(found, ProcessorExtension):
        raise _unfit(found, "a ProcessorExtension or an Operation", origin)
    extension = found
    _check_name(extension.get_name(), origin)

    def config_of(params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: copy.deepcopy(value) for key, value in params.items() if value is not None}

    def process(image: Image, **params: Any) -> Image:
        return extension.process(image, config_of(params))

    def scale(before: Scale, size: tuple[int, int], **params: Any) -> Scale | None:
        with _Guard(origin):
            times = extension.get_pixel_scale(config_of(params))
            if times is None:
                return None
            if not isinstance(times, int | float) or not 0 < times < math.inf:
                raise TypeError(f"get_pixel_scale() gave {times!r}, not a number above 0")
            return before[0] * times, before[1] * times

    process.__name__ = origin.name
    process.__doc__ = inspect.getdoc(type(extension)) or f"Operation of the {origin}."
    return Operation(
        name=origin.name,
        group=GROUP,
        function=functools.wraps(process)(_guarded(process, origin)),
        parameters=_parameters(extension.get_supported_configs(), extension.get_file_configs(), origin),
        reach="geometry",  # nothing is known of it, so it gets the whole image and may change its shape
        handles_alpha=True,
        scale=scale,
        version=origin.key,
        requires=_check_needs(extension.get_required_resources(), origin),
    )


def analysis_of(found: object, origin: Origin) -> Analysis:
    """An analysis whose results have exactly the columns that it declares, of objects as well."""
    if not isinstance(found, Analysis):
        raise _unfit(found, "an Analysis", origin)
    _check_name(found.name, origin)
    _check_needs(found.requires, origin)
    try:
        found.parameters.model_rebuild()  # built when first used otherwise, and then the mistake would be a job's
    except PydanticUserError as error:
        raise ExtensionError(f"{origin}: its parameters can't be checked: {error.message}") from error
    function, columns, row_columns = found.function, found.columns, found.row_columns

    @functools.wraps(function)
    def measure(image: Image, *geometry: Any, **params: Any) -> Result:
        with _Guard(origin):
            result = function(_read_only(image), *geometry, **params)
            declared = [column.name for column in columns(**params)]
            _check_columns(result, declared if row_columns is None else [*declared, ROWS], "the columns")
            if row_columns is not None:
                rows = result[ROWS]
                _check_columns(rows, [column.name for column in row_columns(**params)], f"the columns of {ROWS!r}")
                if len({len(values) for values in rows.values()}) > 1:
                    raise TypeError(f"returned columns of {ROWS!r} that differ in length")
            _check_values(found.name, result, columns(**params), row_columns(**params) if row_columns else None)
            return result

    return replace(found, group="measurements", function=measure, version=origin.key)


def _check_needs(found: Mapping[str, float], origin: Origin) -> Mapping[str, float]:
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(units, int | float) and units > 0 for name, units in found.items()
    ):
        raise ExtensionError(f"{origin}: what it requires is units by name, such as {{'gpu': 1}}, not {found!r}")
    return dict(found)


def _check_columns(found: object, declared: list[str], what: str) -> None:
    if not isinstance(found, Mapping) or sorted(found) != sorted(declared):
        given = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise TypeError(f"returned {given}, declared are {what} {declared}")


def _check_values(name: str, result: Result, columns: Sequence[Column], rows: Sequence[Column] | None) -> None:
    from pipelines.tables import check_results, rows_schema
    from pipelines.tables.schema import column_field, columns_schema

    schema = columns_schema(column_field(of_analysis(column, name)) for column in columns)
    row_schemas = {} if rows is None else {name: rows_schema(rows)}
    check_results({name: result}, schema, row_schemas)


def chart_of(found: object, origin: Origin) -> ChartBuilder:
    """What to plot of the analysis that has the extension's name."""
    if not callable(found):
        raise _unfit(found, "a ChartEngine or a function", origin)
    builder: Callable[..., Any] = found

    def build(result: Result, title: str, options: ChartOptions) -> ChartData:
        with _Guard(origin):
            return _returned(builder(result, title, options), ChartData)

    return build


@dataclass(frozen=True, slots=True)
class GuardedEngine:
    """A plug-in's chart engine."""

    engine: ChartEngine
    origin: Origin

    def draw(self, chart: ChartData, options: ChartOptions) -> bytes:
        """What the plug-in draws."""
        with _Guard(self.origin):
            return _returned(self.engine.draw(chart, options), bytes)


class _Guard:
    """Foreign code runs inside: whatever it raises is this image's ``plugin_error``, naming the plug-in."""

    __slots__ = ("origin",)

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImageError):
            raise ImageError(error.reason, f"{self.origin}: {error}") from error
        if error is not None and not is_out_of_memory(error):  # SystemExit and its like as well
            text = f"{self.origin}: {type(error).__name__}: {_text_of(error)}"
            raise ImageError(FailedReason.PLUGIN_ERROR, text) from error


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - foreign code, too
        return "(its text can't be told)"


def _guarded(function: Callable[..., Any], origin: Origin) -> Callable[..., Image]:
    def run(image: Image, *shares: Any, **params: Any) -> Image:
        with _Guard(origin):
            result = _returned(function(_read_only(image), *shares, **params), np.ndarray)
            if result.dtype != image.dtype:
                raise TypeError(f"returned {result.dtype} for {image.dtype}")
            if not (result.size and (result.ndim == 2 or (result.ndim == 3 and result.shape[2] in (3, 4)))):
                raise TypeError(f"returned the shape {result.shape}: images are (M, N), (M, N, 3) or (M, N, 4)")
            return np.ascontiguousarray(result)

    return run


def _read_only(image: Image) -> Image:
    view = image.view()
    view.flags.writeable = False
    return view


def _returned(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"returned {_kind_of(value)} instead of {kind.__name__}")
    return value


def _parameters(keys: object, files: object, origin: Origin) -> type[Parameters]:
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise ExtensionError(f"{origin}: get_supported_configs() gives a list of names, not {keys!r}")
    for key in keys:
        if not key.isidentifier() or key.startswith("_") or hasattr(BaseModel, key):
            raise ExtensionError(f"{origin}: {key!r} can't be the name of a parameter; choose another")
    if not isinstance(files, list | tuple) or not set(files) <= set(keys):
        raise ExtensionError(f"{origin}: get_file_configs() gives some of {keys}, not {files!r}")
    file = Annotated[JsonValue, NamesFile()]
    fields: dict[str, Any] = {key: (file if key in files else JsonValue, None) for key in keys}
    model: type[Parameters] = create_model(origin.name, __base__=_PluginParameters, **fields)
    return model


class _PluginParameters(Parameters, protected_namespaces=()):
    """Any plain value under the names that the plug-in knows."""


def _register_all(registry: Registry[T], names: list[str], entry: T) -> Undo:
    with ExitStack() as undoing:
        for name in names:
            undoing.callback(registry.register(name, entry))
        return undoing.pop_all().close


def _unfit(found: object, expected: str, origin: Origin) -> ExtensionError:
    return ExtensionError(f"{origin}: expected {expected}, found {_kind_of(found)}")


def _check_name(name: str, origin: Origin) -> None:
    if name != origin.name:
        raise ExtensionError(f"{origin}: calls itself {name!r}; its entry point must have the same name")


def _kind_of(value: object) -> str:
    return "None" if value is None else f"{type(value).__module__}.{type(value).__qualname__}"
