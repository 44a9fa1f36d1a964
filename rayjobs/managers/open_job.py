"""One object per job, for notebooks and programs: how it stands, its tables, its pictures, its report.

    import rayjobs

    job = rayjobs.open_job("out")
    job.wait()                                # with progress, if it still runs
    job.to_pandas().nsmallest(5, "sharpness_laplacian_variance")

Nothing is held: every call reads the output as it is then. Of a job that isn't complete, tables have what is done so
far (``rayjobs results``), and a warning says so.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import JobError, storable
from pipelines.operations import Image
from pipelines.stages.thumbnails import shown_image
from pipelines.tables import readable_path
from rayjobs.job.job_state import COMPLETE, JobState, JobStatus, find_output, read_state
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.managers.contact_sheet import MOST, ContactSheet, contact_sheet, escaped
from rayjobs.managers.job_images import job_image
from rayjobs.managers.job_pool import RunHandle
from rayjobs.managers.job_request import message_of
from rayjobs.managers.named_inputs import find_inputs
from rayjobs.managers.open_tables import IMAGES, MANIFEST, OpenTables
from rayjobs.results.published import SCOPES
from rayjobs.results.report_numbers import number_text
from rayjobs.run.asked_results import results_of
from rayjobs.run.display import open_looked_at
from rayjobs.run.progress import Snapshot, watched
from rayjobs.run.run_request import stored_request

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from PIL.Image import Image as PILImage

LOOK_S = 0.2
"""How often progress is drawn anew."""
REASONS = 5


def open_job(job: str | Path) -> OpenJob:
    """Open a job to look at it, whether it is complete, runs, was stopped or failed.

    Parameters
    ----------
    job
        Its output directory, its id, or its name, as ``rayjobs list`` shows them.

    Raises
    ------
    JobError
        There is no such job, or no job has run in that directory.
    """
    return OpenJob(find_output(str(job)).root)


def _no_run() -> None:
    """Of a job that nobody runs in this process, as far as is known."""


class OpenJob:
    """A job as it stands: made by ``open_job``, or by ``BatchProcessingHandler.open_job`` for one that it runs.

    As the last line of a notebook's cell it shows how the job stands, its first pictures, and where the report is.
    """

    def __init__(self, output: Path, *, find_run: Callable[[], RunHandle | None] = _no_run) -> None:
        self._output = OutputDirectory(output)
        self._find_run = find_run
        """The last run of the job in this process, if there is one."""

    # ---- how it stands -------------------------------------------------------------------------------------------

    @property
    def output(self) -> Path:
        """The directory of its results."""
        return self._output.root

    @property
    def name(self) -> str:
        """The job's name."""
        run = self._find_run()
        return run.request.spec.name if run is not None else self.state().name

    @property
    def status(self) -> JobStatus:
        """How it stands; ``pending`` as long as it waits for its turn or is planned."""
        run = self._find_run()
        if not self._output.exists:
            return JobStatus.FAILED if run is not None and run.error is not None else JobStatus.PENDING
        return self.state().status

    @property
    def complete(self) -> bool:
        """Whether every input has been done, or has failed for good: then results are whole."""
        return self.status in COMPLETE

    def state(self) -> JobState:
        """How many inputs are done, failed and skipped, for which reasons, and when it began and ended.

        Raises
        ------
        JobError
            It hasn't begun yet.
        """
        run = self._find_run()
        if not self._output.exists:
            if run is not None and run.error is not None:
                raise run.error
            raise JobError(f"{self.output}: the job hasn't begun yet; start it, and `wait()` for it")
        state = read_state(self._output)
        if run is None or (run.ended and run.error is None) or state.status is JobStatus.RUNNING:
            return state
        if not run.ended:  # what the ledger says is about the run before
            return replace(state, status=JobStatus.PENDING)
        return replace(state, status=JobStatus.FAILED, error=str(run.error))

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> OpenJob:
        """Wait until nobody works on it any more; the job itself, so that a notebook shows how it ended.

        Interrupting a notebook's cell ends the waiting, not the job.

        Parameters
        ----------
        timeout
            Seconds; None: as long as it takes.
        progress
            Show how far it is, in a notebook or at a terminal.

        Raises
        ------
        RayjobsError
            The job could not run; or it goes on after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        run = self._find_run()
        display = open_looked_at(quiet=not progress)
        try:
            for snapshot in self._snapshots() if run is None else _snapshots_of(run):
                if snapshot is not None:
                    display.show(snapshot)
                if deadline is not None and time.monotonic() > deadline and self._is_open(run):
                    raise JobError(f"{self.name}: still running after {timeout:g} s; wait again, or cancel it")
            if run is not None:
                run.wait()
            if self._output.exists:
                state = self.state()
                display.show(Snapshot.of(state.name, state.status, state))
        finally:
            display.close()
        return self

    def _snapshots(self) -> Iterator[Snapshot]:
        if not self._output.exists:
            raise JobError(f"{self.output}: the job hasn't begun yet; start it first")
        return (snapshot for _, snapshot in watched(self._output))

    def _is_open(self, run: RunHandle | None) -> bool:
        return self._output.running if run is None else not run.ended

    # ---- tables --------------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The names of its tables: ``images``, ``objects``, ``groups``, ``scopes/luma_waveform``, ``manifest``, ..."""
        return self._tables().names()

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table by its name, as Arrow.

        Parameters
        ----------
        name
            One of ``tables()``.
        columns
            Only these, which is cheaper for large jobs.

        Raises
        ------
        JobError
            There is no such table or column, or the job hasn't begun yet.
        """
        return self._tables().read(name, columns)

    def images(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What was measured: one row per image that is done, one column per number, in the order of the inputs.

        The metadata of each column have its label, unit and meaning. Arrays aren't loaded: see ``scopes``.
        """
        return self._tables().read(IMAGES, columns)

    def objects(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What the analysis ``objects`` found: one row per object, with its image in ``input``."""
        return self._tables().read("objects", columns)

    def scopes(self, analysis: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The arrays of one analysis, such as ``luma_waveform``: one row per image, in the order of ``images``.

        An array lies flat, row by row; its shape is in the metadata of the column. Thousands of images take gigabytes:
        ask for the columns that are needed.
        """
        return self._tables().read(f"{SCOPES}/{analysis}", columns)

    def manifest(self) -> pa.Table:
        """What became of every input: one row each, with status, reason, message and the files made from it."""
        return self._tables().read(MANIFEST)

    def failures(self) -> pa.Table:
        """The inputs that failed: ``input``, ``reason``, ``message``, and the columns that the job's inputs have."""
        return self._tables().failures()

    def to_pandas(self, table: str = IMAGES, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A table for pandas, which is installed with Ray."""
        return self._tables().pandas(table, columns)

    def to_polars(self, table: str = IMAGES, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A table for polars.

        Raises
        ------
        JobError
            polars isn't installed (``pip install polars``), or there is no such table or column.
        """
        return self._tables().polars(table, columns)

    def to_duckdb(self) -> duckdb.DuckDBPyConnection:
        """A connection of DuckDB that has every table by its name, with ``_`` for ``/``.

        Files are read when a query needs them, and only the columns that it names.

        Raises
        ------
        JobError
            DuckDB isn't installed (``pip install duckdb``).
        """
        return self._tables().duckdb()

    def to_ray(self, table: str = IMAGES, columns: Sequence[str] | None = None) -> Any:
        """A table as a ``ray.data.Dataset``; the nodes of a cluster have to reach the output.

        Raises
        ------
        JobError
            Ray isn't connected (``with rayjobs.ray_session(name=...)``), or there is no such table.
        """
        return self._tables().ray(table, columns)

    def _tables(self) -> OpenTables:
        state = self.state()
        if state.status not in COMPLETE:
            counts = message_of(state) or "nothing done"
            warnings.warn(f"{state.name}: {state.status}, {counts}; these are the results so far", stacklevel=3)
        return OpenTables(state.name, results_of(self._output).path)

    # ---- pictures ------------------------------------------------------------------------------------------------

    def image(self, input: str | Path, *, original: bool = False) -> Image:
        """The pixels of what the job made from an input; of a job that publishes no images, they are made now.

        Parameters
        ----------
        input
            As a table has it in ``input``; or the end of it, such as the file's name, if it is the only one of it.
        original
            The input itself, nothing done to it.

        Returns
        -------
        array
            (M, N) gray, (M, N, 3) RGB, or (M, N, 4) RGB with straight alpha; uint8 in 0..255, uint16 in 0..65535, or
            float32 with white at 1. Of a file with several images the first. Not turned by its EXIF orientation.

        Raises
        ------
        JobError
            The job has no such input, it failed, or its turn hasn't come.
        ImageError
            The file can't be read.
        """
        with closing(self._output.read_ledger()) as ledger:
            (found,) = find_inputs(ledger, [str(input)])
        if not original and found.status != "done":
            why = f": {found.reason}: {found.message}" if found.reason else ""
            raise JobError(
                f"{readable_path(found.path)}: is {found.status}{why}; `original=True` reads the input itself"
            )
        published = shown_image(found.outputs)
        relative = None if published is None else published.path
        request = stored_request(self._output)
        effects = not original
        return job_image(request, found.path, found.status, relative, found.cells, include_effects=effects).load()

    def pil_image(self, input: str | Path, *, original: bool = False) -> PILImage:
        """The same as an image of Pillow, which notebooks show: mode ``L``, ``RGB`` or ``RGBA``, 8 bits.

        16 bits and floats are scaled from black to white, and cut off beyond.
        """
        import numpy as np
        from PIL.Image import fromarray

        pixels = self.image(input, original=original)
        if pixels.dtype != np.uint8:
            white = 65535.0 if pixels.dtype == np.uint16 else 1.0
            scaled = np.nan_to_num(pixels.astype(np.float32) / white, nan=0.0, posinf=1.0, neginf=0.0)
            pixels = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
        return fromarray(pixels)

    def contact_sheet(
        self, inputs: Iterable[Any] | None = None, captions: Iterable[Any] = (), *, most: int = MOST
    ) -> ContactSheet:
        """Small pictures for a notebook, in the order of ``inputs``.

        Parameters
        ----------
        inputs
            As a table has them in ``input``, of Arrow, pandas or polars; the first of the job unless given.
        captions
            What stands under each name: numbers or texts.
        most
            Pictures, 0 or more; further inputs are left out.

        Raises
        ------
        JobError
            The job has no such input, or ``most`` is no such number.
        """
        if not isinstance(most, Integral) or most < 0:
            raise JobError(f"most is {most!r}; give how many pictures to show, 0 or more")
        with closing(self._output.read_ledger()) as ledger:
            if inputs is None:
                chosen = list(islice(ledger.final_inputs(), int(most)))
            else:
                chosen = find_inputs(ledger, map(str, islice(inputs, int(most))))
            changes = bool((ledger.facts.spec() or {}).get("operations"))
            pixels = ledger.facts.read().pixels
        return contact_sheet(self.output, chosen, map(_said, captions), pixels=pixels, changes=changes)

    def report(self) -> Path:
        """The page to look through all images.

        Raises
        ------
        JobError
            There is none: it is written when the job completes.
        """
        if not self._output.report.is_file():
            raise JobError(f"{self.output}: no report yet; it is written when the job completes")
        return self._output.report

    # ---- in a notebook -------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if not self._output.exists:
            return storable(f"<OpenJob {self.output}: {self.status}>")
        state = self.state()
        counts = message_of(state) or "nothing done yet"
        return storable(f"<OpenJob {state.name}: {state.status}, {counts}; {self.output}>")

    def _repr_html_(self) -> str:
        if not self._output.exists:
            return f"<p>{escaped(self.output)}: {self.status}</p>"
        state = self.state()
        said = f"<p><strong>{escaped(state.name)}</strong>: {escaped(state.status.replace('_', ' '))}"
        said += f", {message_of(state) or 'nothing done yet'}"
        if state.error:
            said += f"<br>{escaped(state.error)}"
        for reason, count in islice(state.reasons.items(), REASONS):
            said += f"<br>{count:,} {escaped(reason)}"
        return f"{said}</p>{self.contact_sheet()._repr_html_()}{self._link(state)}"

    def _link(self, state: JobState) -> str:
        page = self._output.report
        if not page.is_file():
            return "<p>The report is written when the job completes.</p>"
        older = "" if state.status in COMPLETE else " (of the run before)"
        return f'<p>Report{older}: <a href="{escaped(page.as_uri())}" style="color:inherit">{escaped(page)}</a></p>'


def _snapshots_of(run: RunHandle) -> Iterator[Snapshot | None]:
    """Where a run in this process is, again and again until it has ended."""
    while not run.join(LOOK_S):
        yield run.snapshot


def _said(caption: Any) -> str:
    return number_text(caption) if isinstance(caption, float) else str(caption)
