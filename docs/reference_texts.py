"""What the reference pages say that the code doesn't: an example for every name, meanings of reasons, the systems.

Covers text only; pages are made by ``generate``. ``tests/unit/test_docs.py`` runs every example and holds the keys to
the registries, so that a new operation without an example fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.analyses.object_measures import MEASURES

OPERATIONS_INTRODUCTION = """\
Pure functions from image to image, run in the order of the job file. An image is uint8, uint16 or float32 (0 to 1), and
gray, RGB or RGBA; `v` is a stored value as a share of full scale. Integers are rounded and clipped. Parameters in
pixels are pixels of the image as the operations before leave it. Unknown names and values out of range are refused
before anything runs. `rayjobs operations --json` has the same for programs.

What isn't finite (float32 only) stays where it is: a NaN or an infinity spoils what its operation says, at most the
surroundings that a pixel sees, and counts in no mean, percentile or threshold. Alpha is another matter: what isn't
finite there becomes 0 or 1 where `resize` and `rotate` mix pixels.

Alpha is carried along. What is invisible (alpha 0) changes nothing that is visible:
"""

ANALYSES_INTRODUCTION = """\
Pure functions from image to numbers and arrays: the columns of `data/analyses.*`, one row per image, and of
`data/scopes/<analysis>.parquet` ([how to open them](../how-to/tables.md)). `objects` has a table of its own as well.
In a job file `scopes` stands for the six scopes, `all` for everything on this page. What each column is called and
measures: [columns](columns.md). `rayjobs analyses --json` has the same for programs. Levels are stored levels: 0 to
255, 0 to 65,535, or floats as they are.

An analysis sees the image after the operations. Parameters in pixels are pixels of that image. What isn't finite isn't
counted, nor its surroundings where they matter. Neither is what is invisible (alpha 0):
"""

COLUMNS_INTRODUCTION = """\
Every column of every table has a label, a unit and a sentence. They are in the Parquet metadata: of each field, for
readers that know Arrow (`pyarrow.parquet.read_schema("data/analyses.parquet").field(name).metadata`), and for all
others as JSON in the file's key `columns`. The report shows the labels. A unit of `1` is a ratio or a number of things;
without a unit are texts and numbers that only tell things apart.

Columns of analyses are those of the default parameters, of objects those of all properties; lengths and areas of
objects have the unit that the job chose. A column of a plug-in has what the plug-in declares, and its name in words
where it gives no label. Arrays are stored flat, row by row, with their shape in the metadata. Of files with several
images (`frames: all`) the table `frames` has the columns of the images, and `frame`, the place of the image in its
file.
"""

FORMATS_TEXT = """\
All formats hold the same rows in the same order. Parquet holds every value as it is; the others hold the same values
but for these:

| | CSV | JSON | XLSX |
| --- | --- | --- | --- |
| null | nothing between the commas | `null` | an empty cell |
| empty text | `""` | `""` | an empty text |
| NaN, infinities | `nan`, `inf`, `-inf` | `null` | an empty cell |
| texts that a spreadsheet would run (`=1+1`) | begin with an apostrophe | as they are | begin with an apostrophe |
| control characters but tab and line ends | left out | as they are | left out |
| dates and times | text of ISO 8601 | text of ISO 8601 | text of ISO 8601 |
| whole numbers beyond 2^53 | all digits | all digits | text |
| texts of more than 32,767 characters | whole | whole | cut |
| metadata: labels, units, meanings | left out | left out | left out |

Texts of CSV are in quotes, and nothing else is: an empty cell without quotes is null. A workbook has a sheet per table,
and further ones for more than 1,048,576 rows. Labels and units of measured columns are columns of `groups`, in every
format.
"""

EVERY_COLUMN: Mapping[str, Mapping[str, Any]] = {"objects": {"properties": tuple(MEASURES)}}
"""Parameters with which an analysis of objects has all the columns that it can have."""

JOB_FILE_INTRODUCTION = """\
YAML that is data only: no aliases, no tags, no key twice. All mistakes are told at once, each with line and column.
Relative paths are relative to the job file, and may begin with `~`.

`rayjobs init --schema` writes the [JSON Schema](job-schema.json) beside a new job file, so that editors complete and
check it. In a file that is there already, a first line `# yaml-language-server: $schema=PATH` says where it lies.

Numbers are read as YAML 1.2 has them, with `_` between digits allowed: `030` is 30, `1e3` is 1000, `0x1F` is 31. A date
is text. `yes`, `no`, `on`, `off` are true and false as well: put them in quotes where text is meant. Base 60 (`16:9`),
`.inf` and `.nan` are refused.
"""

JOB_FILE_END = """\
`export.images` and `export.charts` also take `true` (the defaults) and `false` (none). Sizes are written as `2GiB` or
`500MB`, durations as `120s`, `2min` or `1.5h`, numbers as `2G` or `500M`.
"""

FIGURES: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "P1",
        "",
        "a `multiprocessing.Pool` with the same function per image",
        "the standard work: tone, unsharp mask, saturation, six scopes",
        "times its images per second",
    ),
    ("P2", "", "a plain scikit-image {scikit_image} script in a pool", "the same", "times its images per second"),
    ("P4", "", "libvips (pyvips {pyvips}) in a pool", "its rendering, without scopes", "times its images per second"),
    ("P5", "", "pyplot (Matplotlib {matplotlib})", "six charts of an image", "times as quick"),
    (
        "P11",
        "whole command, 1,000 photographs, against a pool script",
        "a pool script that writes the same files",
        "the standard work on 1,000 photographs, from Enter to prompt",
        "times as quick",
    ),
    (
        "P13",
        "resize to 1024 px against vipsthumbnail",
        "vipsthumbnail",
        "a resize to 1,024 px, from Enter to prompt",
        "times as quick",
    ),
    ("P13", "resize to 1024 px against Daft", "Daft", "the same", "times as quick"),
    (
        "P10",
        "render_pipeline_batch against threads",
        "threads that call the same functions",
        "`render_pipeline_batch` over images in memory: pixels go from process to process",
        "times their images per second",
    ),
)
"""Benchmark, its measure if it has several, the other side with versions, what runs, what the number is."""

REASONS_INTRODUCTION = """\
Every input has exactly one row in `manifest.parquet`: `done`, `failed` or `skipped`. The column `reason` of the latter
two holds one word of this fixed list, `message` says more.
"""

WHOLE_JOB = """\
name: autumn-look
inputs: ["photos/**/*.jpg", "scans/"]
exclude: ["**/drafts/**"]
groups: {pattern: "(?P<shoot>[0-9]{4})/", types: {shoot: int}}
group_by: [shoot]                  # statistics of every number per shoot: data/groups.*
operations:
  - auto_orient
  - brightness_contrast: {brightness: 0.05, contrast: 1.1}
  - unsharp_mask: {radius: 2, amount: 0.5}
  - resize: {max_side: 2048}
analyses: [scopes, statistics, sharpness]
export:
  images: {format: jpeg, quality: 90, metadata: keep, layout: mirror, name: "{stem}", on_conflict: rename}
  data: [parquet, csv]
  charts: {format: png, engine: fast, scale: ire}
output: out/autumn
priority: normal
limits: {memory_per_image: 2GiB, item_timeout: 120s, attempts: 3, max_pixels: 2G, workers: auto}
read: {truncated: strict, frames: first, color: srgb}
max_failures: 5%
stages: auto
cache: auto
notify: []
durability: process
plugins: []
requires: {}
tasks:
  - export: {input: "{base}/photos/cover.jpg", output: "{output}/cover", analyses: [scopes]}
"""

REASONS: Mapping[str, tuple[str, str]] = {
    "missing": ("The file isn't there", "Check the path; for lists, how old the list is"),
    "changed": ("The file changed after the job was planned", "Run the job again when nobody writes to its inputs"),
    "permission": ("The file may not be read", "Give the account that runs the job access"),
    "empty": ("The file has no bytes", "Copy it again"),
    "not_an_image": ("The content is no image, whatever the name says", "Leave it out with `exclude`"),
    "unsupported_format": ("An image of a format or kind that isn't read", "Convert it; the message names the format"),
    "codec_missing": ("The library of a codec isn't installed there", "Install what the message names on every node"),
    "corrupt": ("The content is damaged", "Copy it again; no policy shows damaged pixels as whole ones"),
    "truncated": ("The file ends too early", "Copy it again, or set `read.truncated` to `salvage` or `flag`"),
    "too_large": (
        "More pixels or memory than `limits` allow",
        "Raise `limits.max_pixels` or `limits.memory_per_image`",
    ),
    "bad_shape": ("An operation or analysis can't take an image of this shape", "See the message; mostly a `crop`"),
    "operation_error": ("An operation failed", "See the message; it names the operation by its place in the chain"),
    "analysis_error": ("An analysis failed", "See the message"),
    "chart_error": ("A chart couldn't be drawn", "See the message"),
    "write_error": ("An output couldn't be written", "See the message; then `rayjobs retry-failed`"),
    "no_space": ("The disk is full", "Make room, then `rayjobs resume`"),
    "name_invalid": ("The output would have a name that file systems refuse", "Change `export.images.name`"),
    "timeout": ("It took longer than `limits.item_timeout`", "Raise the limit, or leave the input out"),
    "out_of_memory": (
        "It ended its process by using up memory, alone as well",
        "Use a larger machine, or resize first",
    ),
    "crashed": ("It ended its process `limits.attempts` times", "Keep the file: it shows a mistake in a library"),
    "plugin_error": ("An extension failed or is missing there", "See the message; tell the extension's author"),
    "exists": ("Skipped: the output exists and `on_conflict` is `skip`", "Nothing to do"),
    "excluded": ("Skipped: a pattern of `exclude` matches the file", "Nothing to do"),
    "not_regular": ("Skipped: no regular file (a device, a socket, a pipe)", "Nothing to do"),
    "symlink": ("Skipped: a symbolic link that a directory or glob turned up", "Name the file that it leads to"),
    "duplicate_input": ("Skipped: the same file was named before", "Nothing to do"),
}
"""Reason -> (what it means, what to do)."""


@dataclass(frozen=True, slots=True)
class System:
    """One system of the design, and where it is held to its contract."""

    name: str
    """Of the class, or in words."""
    role: str
    tests: tuple[str, ...]
    """Files below ``tests/``."""


SYSTEMS: tuple[System, ...] = (
    System(
        "BatchProcessingHandler", "The facade: create, fill, start, watch, cancel jobs", ("cluster/test_contracts.py",)
    ),
    System("BatchJobManager", "Plain batch jobs: create, list, update, remove", ("cluster/test_contracts.py",)),
    System("BatchJob", "One plain job: sources, operations, export, status", ("cluster/test_contracts.py",)),
    System("EnhancedJobManager", "Jobs with analysis exports, task types and history", ("cluster/test_contracts.py",)),
    System("EnhancedBatchJob", "A job with its tasks and history", ("cluster/test_contracts.py",)),
    System(
        "ExtensibleImageProcessor",
        "Renders arrays and object references on Ray, with hints and a cache",
        ("cluster/test_processor.py",),
    ),
    System("ProcessingPool", "Where chains run, with bounded work in flight", ("cluster/test_processor.py",)),
    System("ProcessingStrategy", "One processing hint", ("unit/processor/test_processing_strategies.py",)),
    System("ResultCache", "What a cache of rendered results offers", ("unit/processor/test_memory_cache.py",)),
    System(
        "ResourceManager",
        "Allocations as leases, limits, thresholds, providers",
        ("unit/resources/test_driver_resources.py", "cluster/test_resource_manager.py"),
    ),
    System(
        "MemoryManager", "Admits work by predicted bytes, before decoding", ("unit/resources/test_memory_manager.py",)
    ),
    System(
        "PerformanceMonitor",
        "Measurements, and their way to `ray.util.metrics`",
        ("unit/resources/test_performance_monitor.py",),
    ),
    System("ExtensionManager", "Finds, allows and loads extensions", ("unit/extensions/test_extension_manager.py",)),
    System(
        "TaskCoordinator",
        "The cluster's queue: submit, cancel, wait, limits",
        (
            "cluster/test_contracts.py",
            "cluster/test_shared_cluster.py",
        ),
    ),
    System("TaskQueue", "The queue without Ray: event in, decisions out", ("unit/queue/test_task_queue.py",)),
    System("PriorityScheduler", "Whose turn it is: priorities that age, fair jobs", ("unit/queue/test_task_queue.py",)),
    System("AnalysisExportService", "Render, analyse, draw, write, with history", ("cluster/test_contracts.py",)),
    System(
        "AnalysisExportTask", "One export of a job, kept up to date while it runs", ("cluster/test_contract_flows.py",)
    ),
    System("ExportConfig", "What an export computes and writes", ("cluster/test_contract_flows.py",)),
    System("ExportResult", "What an export wrote", ("cluster/test_contract_flows.py",)),
    System("ExportRecord", "One ended export in a job's history", ("cluster/test_contract_flows.py",)),
    System("AnalysisCalculator", "The chosen analyses of one image", ("unit/analyses/test_calculator.py",)),
    System("ChartEngine", "Draws an analysis as a chart; `fast` and `matplotlib`", ("unit/charts/test_charts.py",)),
    System(
        "ExtensibleTask",
        "A task of any registered type",
        ("cluster/test_contracts.py", "cluster/test_job_tasks.py"),
    ),
    System(
        "TaskHandler",
        "Interface of plug-ins: task types",
        ("cluster/test_contracts.py", "cluster/test_job_tasks.py", "cluster/test_plugin.py"),
    ),
    System(
        "ProcessorExtension",
        "Interface of plug-ins: operations",
        ("unit/whole_runs/test_plugin_job.py", "cluster/test_plugin.py"),
    ),
    System(
        "ResourceProvider",
        "Interface of plug-ins: resource types",
        ("cluster/test_resource_providers.py", "cluster/test_requires.py", "cluster/test_plugin.py"),
    ),
)

FLOWS: tuple[System, ...] = (
    System(
        "Thread safety",
        "Every public object may be used from several threads of a driver at once",
        ("cluster/test_contract_flows.py", "cluster/test_contracts.py"),
    ),
    System(
        "Error flow",
        "Classify, try again or degrade where that is honest, record, free, notify: one policy table",
        (
            "cluster/test_contract_flows.py",
            "unit/test_failure_policy.py",
            "cluster/test_poison.py",
            "unit/run/test_notify.py",
        ),
    ),
    System(
        "Performance strategy",
        "Two levels of cache, small work merged, stages side by side, batched and compressed writes",
        ("cluster/test_contract_flows.py", "unit/processor/test_merging.py", "cluster/test_processor.py"),
    ),
    System(
        "Compatibility",
        "Plain jobs and exports without the enhanced part, old job files, changes at run time, pools that are apart",
        ("cluster/test_contract_flows.py", "unit/migration/test_migrate.py", "unit/queue/test_task_pools.py"),
    ),
)
"""What no single class stands for."""

SHARDS: Mapping[str, str] = {
    "batch": "Some thousand images of a job that renders: of `rayjobs run`, `BatchJobManager`, `EnhancedJobManager`",
    "export": "The same of an analysis export: of `AnalysisExportService`, `create_analysis_export_task`",
}
"""Pool -> what a shard of it is."""

JSON_TEXT = """\
Every command that says something about jobs or the program takes `--json`, and then prints that alone to standard
output; notes and the one line of an error go to standard error, and the exit code says the same as without. Keys are
added, never renamed. [output.schema.json](output.schema.json) is the JSON Schema of all of it, by command.
"""
"""Of all commands."""

ENVIRONMENT: Mapping[str, str] = {
    "RAYJOBS_HOME": "Where settings, the list of jobs, the cache of analyses and clusters' ledgers lie; `~/.rayjobs`",
    "RAYJOBS_ALLOW_PLUGINS": "Extensions that any job may use, with commas between",
    "RAY_ADDRESS": "Cluster that `rayjobs run` uses instead of starting Ray on this machine",
    "RAY_AUTH_MODE": "`token` for a cluster that asks for one; embedded runs decide themselves",
    "RAY_AUTH_TOKEN": "The token itself; or `RAY_AUTH_TOKEN_PATH`, a file that holds it",
}
"""Variable -> what it does."""
