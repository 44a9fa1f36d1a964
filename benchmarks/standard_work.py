"""The standard work: tone curve, unsharp mask, saturation, six scopes; JPEG and Parquet out.

One definition for every side: as a job file for ``rayjobs run``, and as the recipe and items that the same per-image
function takes in a plain process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.analyses import expand_analyses
from pipelines.image_io import EncodeOptions, ReadPolicy
from pipelines.models import AnalysisRequest, ImageOperation, WorkItem
from pipelines.stages.block_task import Workspace
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe
from pipelines.stages.worker_journal import WorkerJournal
from rayjobs.job.job_file import parse_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.run.run_request import RunRequest, request_of

CURVE = ((0.0, 0.0), (0.25, 0.2), (0.75, 0.82), (1.0, 1.0))
RADIUS, AMOUNT = 2.0, 0.5
SATURATION = 1.2
QUALITY = 90

TONE = ImageOperation("curves", {"points": [list(point) for point in CURVE]})
OPERATIONS = (
    TONE,
    ImageOperation("unsharp_mask", {"radius": RADIUS, "amount": AMOUNT}),
    ImageOperation("hue_saturation", {"saturation": SATURATION}),
)
SCOPES: tuple[AnalysisRequest, ...] = tuple(expand_analyses(["scopes"]))


def job(files: Sequence[Path], output: Path, **changes: Any) -> JobSpec:
    """The standard work as a user would ask for it; the list of inputs lies beside the output."""
    listed = output.with_name(f"{output.name}-inputs.txt")
    listed.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    fields: dict[str, Any] = {
        "name": "standard-work",
        "inputs": [f"@{listed}"],
        "operations": [{operation.name: dict(operation.params)} for operation in OPERATIONS],
        "analyses": ["scopes"],
        "export": {"images": {"format": "jpeg", "quality": QUALITY, "layout": "flat"}, "data": ["parquet"]},
        "output": str(output),
    }
    return parse_job(yaml.safe_dump(fields | changes), name="standard work", base=output.parent)


def request(files: Sequence[Path], output: Path, **changes: Any) -> RunRequest:
    """A run of the standard work."""
    return request_of(job(files, output, **changes), output.parent, None)


def recipe(
    operations: tuple[ImageOperation, ...] = OPERATIONS, analyses: tuple[AnalysisRequest, ...] = SCOPES
) -> Recipe:
    """The standard work as a worker is told, or other operations and analyses with the same image out."""
    return Recipe(
        id=0,
        operations=operations,
        read=ReadPolicy(),
        image=EncodeOptions(format="jpeg", quality=QUALITY),
        image_suffixes=(".jpg",),
        analyses=analyses,
        on_conflict="overwrite",
    )


def items(files: Sequence[Path]) -> list[WorkItem]:
    """What a worker must know of each file."""
    return [
        WorkItem(
            id=number,
            path=bytes(file),
            size=(stat := file.stat()).st_size,
            mtime_ns=stat.st_mtime_ns,
            name=file.stem,
            title=file.name,
            recipe=0,
            seq=number,
        )
        for number, file in enumerate(files)
    ]


def workspace(root: Path) -> Workspace:
    """Where workers of a run without a ledger leave things."""
    made = Workspace(root=root, epoch=1, stop=root / "stop")
    made.temporary.mkdir(parents=True, exist_ok=True)
    return made


def publisher(root: Path) -> Publisher:
    """A publisher for this process."""
    made = workspace(root)
    return Publisher(root, made.temporary, WorkerJournal(made.temporary))
