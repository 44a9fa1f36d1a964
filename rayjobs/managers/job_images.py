"""The images of a job, as its pool names them or as its ledger knows them, each with its pixels on demand.

Lists stream: no pixel is held, and a list may be iterated again and again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from actors.ledger.job_ledger import JobLedger
from pipelines.column_models import Cell
from pipelines.image_io import ReadPolicy, decode_image, probe_header, read_bytes
from pipelines.models import ImageOperation
from pipelines.operations import Image
from pipelines.stages.decoder_reduction import decode_and_apply
from rayjobs.inputs.discovery import Discovery
from rayjobs.inputs.found_outputs import FoundOutputs
from rayjobs.inputs.input_columns import InputColumns
from rayjobs.job.column_uses import ColumnUses
from rayjobs.job.options import read_policy
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.managers.batch_job import BatchJob
from rayjobs.run.run_request import RunRequest

_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class JobImage:
    """One image of a job's pool."""

    source: Path
    status: str
    """``pending``, ``done``, ``failed`` or ``skipped``."""
    read: ReadPolicy
    processed: Path | None = None
    """What the job published for it, if that is wanted and there."""
    operations: tuple[ImageOperation, ...] = ()
    """Applied by ``load`` when nothing was published; empty: the original is wanted."""

    @property
    def path(self) -> Path:
        """The file that ``load`` reads."""
        return self.processed or self.source

    def load(self) -> Image:
        """The pixels.

        Raises
        ------
        ImageError
            The file can't be read, or an operation fails.
        """
        data = read_bytes(os.fsencode(self.path), max_bytes=self.read.max_file_bytes)
        if self.processed is not None or not self.operations:
            return decode_image(data, self.read).pixels
        _, result = decode_and_apply(data, probe_header(data, self.read), self.read, self.operations)
        return result.pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWithImages:
    """A job and its images: with the job's operations applied, or the originals."""

    job: BatchJob
    include_effects: bool
    request: RunRequest

    def __iter__(self) -> Iterator[JobImage]:
        """The images, sorted by path if the job has run; listed anew every time."""
        output = OutputDirectory(self.request.output)
        if output.exists:
            with closing(output.read_ledger()) as ledger:
                stored = ledger.facts.spec()
                if stored is not None and stored["inputs"] == self.request.spec.model_dump(mode="json")["inputs"]:
                    yield from self._known(ledger)
                    return
        spec = self.request.spec
        outputs, columns = FoundOutputs(self.request.output), InputColumns(spec, self.request.base)
        for found in Discovery(spec.inputs, self.request.base, spec.exclude, outputs, columns=columns).inputs():
            yield self._image(found.path, found.status or "pending", None, found.cells or {})

    @property
    def images(self) -> list[JobImage]:
        """All of them at once."""
        return list(self)

    def _known(self, ledger: JobLedger) -> Iterator[JobImage]:
        for final in ledger.final_inputs():
            published = next((o.path for o in final.outputs if o.product == "image"), None)
            yield self._image(final.path, final.status, published, final.cells)
        first = 0
        while (seq := ledger.next_open_seq(first)) is not None:
            first = seq + _ROWS
            for waiting in ledger.open_inputs(seq, first):
                yield self._image(waiting.path, "pending", None, waiting.cells)

    def _image(self, path: bytes, status: str, published: str | None, cells: Mapping[str, Cell]) -> JobImage:
        return job_image(self.request, path, status, published, cells, include_effects=self.include_effects)


def job_image(
    request: RunRequest,
    path: bytes,
    status: str,
    published: str | None,
    cells: Mapping[str, Cell],
    *,
    include_effects: bool,
) -> JobImage:
    """One image of a job: what is ``published`` for it, relative to the output, or its source and what is done."""
    return JobImage(
        source=Path(os.fsdecode(path)),
        status=status,
        processed=request.output / published if published and include_effects else None,
        operations=ColumnUses(request.spec, request.base).operations(cells) if include_effects else (),
        read=read_policy(request.spec),
    )
