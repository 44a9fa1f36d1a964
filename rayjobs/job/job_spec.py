"""A job as a user asks for it: the model of the job file.

Covers names, types, ranges and defaults. Reading YAML: ``job_file``; telling where a mistake is: ``job_check``. What
follows from a job for the workers: ``recipes``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_serializer,
    field_validator,
)

from pipelines import retry_rules
from pipelines.analyses import ANALYSES
from pipelines.analyses.calculator import GROUPS
from pipelines.charts.options import HEIGHT_RANGE_PX, WIDTH_RANGE_PX
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS
from pipelines.operations.column_values import COLUMN
from pipelines.stages.output_names import NamePattern
from rayjobs.job.input_spec import ColumnName, InputTable, NameGroups
from rayjobs.job.quantities import Bytes, Count, Failures, Seconds

IMAGE_WORDS = {"jpg": "jpeg", "tif": "tiff"}
DATA_WORDS = {"excel": "xlsx", "xls": "xlsx"}
CHART_WORDS = {"jpg": "jpeg"}


def _everyday(words: Mapping[str, str]) -> BeforeValidator:
    """What people call a thing stands for its name, in any case: ``JPG`` for ``jpeg``."""
    return BeforeValidator(lambda value: words.get(value.lower(), value.lower()) if isinstance(value, str) else value)


_LISTED = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
"""One text stands for a list of it."""
ImageFormat = Annotated[Literal["jpeg", "png", "tiff", "webp", "avif", "original"], _everyday(IMAGE_WORDS)]
DataFormat = Annotated[Literal["parquet", "csv", "json", "xlsx"], _everyday(DATA_WORDS)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Credits(_Section):
    """Whose picture it is, as outputs say."""

    copyright: str | None = Field(None, min_length=1, max_length=2000, description="In EXIF; in XMP and IPTC if kept")
    artist: str | None = Field(None, min_length=1, max_length=2000, description="In EXIF; in XMP and IPTC if kept")


class ImageExport(_Section):
    """How rendered images are written."""

    format: ImageFormat = Field("jpeg", description="Format; `original` keeps each input's own")
    quality: Literal["lossless"] | Annotated[int, Field(ge=1, le=100)] = Field(
        90, description="Of JPEG, WebP and AVIF; JPEG can't be lossless, PNG and TIFF always are"
    )
    chroma: Literal[444, 420] | None = Field(
        None, description="Colour resolution of JPEG and AVIF, full or half; WebP with loss is always 420"
    )
    compression: str | int | None = Field(None, description="Of PNG (0-9) and TIFF (none, deflate, lzw, zstd, ...)")
    bit_depth: Literal[8, 16] | None = Field(None, description="Bits per sample; as rendered unless given")
    metadata: Literal["strip", "keep", "keep_but_gps"] = Field(
        "strip",
        description="EXIF, XMP, IPTC and resolution of the input; its colour profile stays. A resolution in inches "
        "(dpi) is that of a print and stays at any size; a TIFF's in centimetres measures what is shown, and follows "
        "the scale. "
        "Descriptions by ImageJ, OME-XML and tifffile, which tell what their file holds, are left out, which is told",
    )
    set: Credits = Field(default_factory=Credits, description="What the metadata say, whatever the input says")
    layout: Literal["mirror", "flat", "beside"] = Field(
        "mirror", description="The inputs' tree again, all in one directory, or beside each source"
    )
    name: str = Field(
        "{stem}", description="Name pattern: {stem} {ext} {index:04d} {job} {relpath} {width} {height} {column}"
    )
    on_conflict: Literal["rename", "skip", "overwrite", "error"] = Field(
        "rename", description="When names clash, or a file that isn't the job's is there already"
    )

    @field_validator("name")
    @classmethod
    def _name_is_a_pattern(cls, value: str) -> str:
        NamePattern.parse(value, columns=None)
        return value


class ChartExport(_Section):
    """How charts are drawn."""

    format: Annotated[Literal["png", "svg", "jpeg"], _everyday(CHART_WORDS)] = Field(
        "png", description="Format of the pictures"
    )
    engine: str = Field("fast", description="`fast` or `matplotlib`; both draw the same content")
    scale: Literal["8bit", "10bit", "ire"] = Field("8bit", description="Labels of levels")
    width: int = Field(608, ge=WIDTH_RANGE_PX[0], le=WIDTH_RANGE_PX[1], description="px")
    height: int = Field(344, ge=HEIGHT_RANGE_PX[0], le=HEIGHT_RANGE_PX[1], description="px")


def _switch(model: type[_Section]) -> BeforeValidator:
    """``true`` stands for the defaults, ``false`` for nothing."""
    return BeforeValidator(lambda value: model() if value is True else None if value is False else value)


class Export(_Section):
    """What is written."""

    images: Annotated[ImageExport | None, _switch(ImageExport)] = Field(
        None, description="Rendered images; false for none. Without the key: images if there are operations"
    )
    data: Annotated[list[DataFormat], _LISTED] = Field(["parquet"], description="Table formats of the analyses")
    charts: Annotated[ChartExport | None, _switch(ChartExport)] = Field(
        None, description="A chart per image and analysis; false for none"
    )


class Limits(_Section):
    """Bounds for one image and for the run."""

    memory_per_image: Bytes = Field(2 * 1024**3, description="What one image may need decoded, as its header says")
    item_timeout: Seconds = Field(120.0, description="Time for one image; then it has failed")
    task_timeout: Seconds = Field(3600.0, description="Time for one of `tasks` of a plug-in; then it is interrupted")
    attempts: int = Field(
        retry_rules.INPUT.tries,
        ge=1,
        le=retry_rules.MOST_ATTEMPTS,
        description="How often an image or a task may end its process",
    )
    max_pixels: Count = Field(2_000_000_000, description="Width x height x frames, checked before decoding")
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = Field(
        "auto", description="CPUs of an embedded run"
    )

    @property
    def cpus(self) -> int | None:
        """CPUs of an embedded run; None: all that the machine has."""
        return None if self.workers == "auto" else self.workers


class Read(_Section):
    """How inputs are decoded."""

    truncated: Literal["strict", "salvage", "flag"] = Field("strict", description="What a cut-off file becomes")
    frames: Literal["first", "all"] = Field("first", description="Of files with several images")
    color: Literal["srgb", "keep"] = Field("srgb", description="Convert embedded colour profiles to sRGB, or keep them")


@dataclass(frozen=True, slots=True)
class JobTask:
    """One task after the images: its type and what its handler reads, as in a job file."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


def _name_of_settings(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError(
            "is no name: addresses and commands are defined in the user's settings, or on the command line"
        )
    return name


def _number_as_text(value: Any) -> Any:
    """A whole number is a name as well: ``2026``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _name_of_job(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]*[A-Za-z0-9._-])?", name):
        raise ValueError(
            f"{name!r} is no name for a job: it begins with a letter or a digit, and has letters, digits, spaces, "
            "dots, dashes and underscores"
        )
    return name


def _on_or_off(value: Any) -> Any:
    """YAML reads ``on`` and ``off`` as true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


STAGES = ("render", "analyze", "export")
"""Of an image's way; ``requires`` may say which of them needs something."""
Units = Annotated[float, Field(gt=0)]


def _form_of_need(value: Any) -> str:
    return "[stage]" if isinstance(value, Mapping) else "[units]"


Need = Annotated[
    Annotated[Units, Tag("[units]")] | Annotated[dict[str, Units], Tag("[stage]")], Discriminator(_form_of_need)
]


def _form_of_input(value: Any) -> str:
    return "[table]" if isinstance(value, Mapping | InputTable) else "[text]"


InputSource = Annotated[
    Annotated[str, Tag("[text]")] | Annotated[InputTable, Tag("[table]")], Discriminator(_form_of_input)
]


def _as_list(value: Any) -> Any:
    """One pattern or table may stand alone."""
    return [value] if isinstance(value, str | Mapping | InputTable) else value


class JobSpec(_Section):
    """One job, complete with defaults."""

    name: Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_name_of_job)] = Field(
        max_length=100, description="Letters, digits, spaces, dots, dashes and underscores"
    )
    inputs: Annotated[list[InputSource], BeforeValidator(_as_list)] = Field(
        min_length=1, description="Directories, patterns, files, @lists of files, and tables with a row per image"
    )
    groups: NameGroups | None = Field(None, description="Columns from the inputs' paths")
    group_by: Annotated[list[ColumnName], _LISTED] = Field(
        [],
        max_length=8,
        description="Columns of the inputs: the table `groups` has statistics per group of their values",
    )
    exclude: Annotated[list[str], _LISTED] = Field([], description="Patterns of files and directories to leave out")
    operations: tuple[ImageOperation, ...] = Field((), description="In order; none: the originals are analysed")
    analyses: tuple[AnalysisRequest, ...] = Field((), description='Names, "scopes" or "all"')
    export: Export = Field(default_factory=Export, description="What is written, and how")
    output: str = Field(min_length=1, description="Directory of the results, relative to the job file")
    priority: Literal["urgent", "high", "normal", "low"] = Field(
        "normal", description="Whose turn it is on a shared cluster; urgent ones make others yield between two images"
    )
    limits: Limits = Field(default_factory=Limits, description="Bounds for one image and for the run")
    read: Read = Field(default_factory=Read, description="How inputs are decoded")
    max_failures: Failures = Field(
        0,
        description="A number or a share (5%) of inputs that may fail. 0: run to the end, and exit with 2 if any "
        "failed; else the job stops early as soon as more failed",
    )
    stages: Literal["auto", "staged", "fused"] = Field(
        "auto",
        description="Render, analyse and export as three operators or one; the bytes are the same. `auto`: "
        "three if one needs a GPU, or units of a node or a provider, and another doesn't",
    )
    durability: Literal["process", "power"] = Field("process", description="What published files survive")
    plugins: Annotated[list[str], _LISTED] = Field(
        [], description="Extensions that the job uses; they must be allowed as well"
    )
    requires: dict[str, Need] = Field(
        {},
        description="Units that each image holds while it is worked on: of a provider, of what nodes have, or gpu; "
        "below `render`, `analyze` or `export`, in that stage alone",
    )
    notify: Annotated[list[Annotated[str, AfterValidator(_name_of_settings)]], _LISTED] = Field(
        [], description="Who is told when a run ends: names of what the user's settings define"
    )
    cache: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_or_off)] = Field(
        "auto",
        description="Analyses that other jobs measured of the same content aren't measured again: `auto` those of few "
        "numbers, `on` all of them, `off` none",
    )
    tasks: tuple[JobTask, ...] = Field(
        (), description="One after the other when the results are written; each is a task type with its configuration"
    )

    @field_validator("requires")
    @classmethod
    def _requires_what_can_be_asked_for(
        cls, value: dict[str, float | dict[str, float]]
    ) -> dict[str, float | dict[str, float]]:
        names = set(value)
        for stage, needs in value.items():
            if isinstance(needs, dict):
                if stage not in STAGES:
                    raise ValueError(f"{stage} is no stage; there are {', '.join(STAGES)}")
                names |= set(needs)
        for name, instead in (
            ("cpu", "every image has one; `limits.workers` bounds an embedded run"),
            ("memory", "it is predicted from each image; `limits.memory_per_image` bounds it"),
            ("disk", "free space is watched anyway"),
        ):
            if name in names:
                raise ValueError(f"{name} isn't asked for here: {instead}")
        return value

    @field_serializer("operations", "analyses", "tasks")
    def _steps(self, steps: tuple[ImageOperation | AnalysisRequest | JobTask, ...]) -> list[dict[str, Any]]:
        return [{step.name: dict(step.params)} for step in steps]


_LISTS = ("inputs", "exclude", "operations", "analyses", "tasks", "plugins", "notify", "group_by")
"""Where one value stands for a list of it."""


def job_schema() -> dict[str, Any]:
    """The JSON Schema of a job file, for editors, with every operation and analysis spelled out."""
    schema = JobSpec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Rayjobs job file"
    properties, definitions = schema["properties"], schema["$defs"]
    task = {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}]}
    for key, name, step in (
        ("operations", "ImageOperation", _steps_schema(OPERATIONS, ())),
        ("analyses", "AnalysisRequest", _steps_schema(ANALYSES, GROUPS)),
        ("tasks", "JobTask", task),
    ):
        definitions[name] = step
        properties[key].pop("default", None)
        properties[key] |= {"type": "array", "items": {"$ref": f"#/$defs/{name}"}}
    _allow_everyday_words(properties, definitions)
    return schema


def _allow_everyday_words(properties: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Take what is as good as its values: a switch for a section, one value for a list, a number as text."""
    export = definitions["Export"]["properties"]
    for key in ("images", "charts"):
        export[key]["anyOf"].append({"type": "boolean"})
    definitions["ImageExport"]["properties"]["format"]["enum"] += IMAGE_WORDS
    definitions["ChartExport"]["properties"]["format"]["enum"] += CHART_WORDS
    export["data"]["items"]["enum"] += DATA_WORDS
    properties["cache"].pop("type")
    properties["cache"]["enum"] += [True, False]
    properties["name"]["type"] = properties["output"]["type"] = ["string", "number"]
    properties["inputs"]["items"]["oneOf"][0]["type"] = ["string", "number"]
    for listed in (*(properties[key] for key in _LISTS), export["data"]):
        one = {**listed["items"]}
        listed["anyOf"] = [{key: listed.pop(key) for key in ("type", "items", "minItems") if key in listed}, one]
    for limit in ("memory_per_image", "item_timeout", "task_timeout", "max_pixels"):
        definitions["Limits"]["properties"][limit]["type"] = ["number", "string"]


_COLUMN = {
    "type": "object",
    "properties": {COLUMN: {"type": "string"}},
    "required": [COLUMN],
    "additionalProperties": False,
    "description": "The value in a column of the inputs",
}


def _or_column(value: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that a column may fill as well; what it is for stays where editors look."""
    said: dict[str, Any] = {key: value[key] for key in ("description", "default") if key in value}
    return {**said, "anyOf": [{key: each for key, each in value.items() if key not in said}, _COLUMN]}


def _steps_schema(registry: Mapping[str, Any], shorthands: Sequence[str]) -> dict[str, Any]:
    """A bare name, or one name with its parameters."""
    named = []
    for name, entry in sorted(registry.items()):
        parameters = entry.parameters.model_json_schema()
        parameters["description"] = entry.summary
        if registry is OPERATIONS:
            said = parameters.get("properties", {})
            parameters["properties"] = {key: _or_column(value) for key, value in said.items()}
        named.append(
            {"type": "object", "properties": {name: parameters}, "required": [name], "additionalProperties": False}
        )
    return {"anyOf": [{"enum": [*shorthands, *sorted(registry)]}, *named]}
