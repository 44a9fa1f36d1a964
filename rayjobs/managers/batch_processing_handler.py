"""The Python API: the same words as on the command line, for scripts and notebooks.

    from rayjobs import BatchProcessingHandler

    with BatchProcessingHandler() as rayjobs:
        job = rayjobs.create_job("autumn-look", ["photos/"], ["autocontrast"], analyses=["statistics"], output="out")
        rayjobs.start(job.job_id)
        table = rayjobs.open_job(job.job_id).wait().images()

A facade: jobs, pool, exports and tasks are the manager's; runs are those of the command line, which finds the jobs by
the same ids. In a notebook, the handler as the last line of a cell shows how its jobs stand, with links to reports, and
an open job (``open_job``) how it stands, with its pictures.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.closing import ClosedOnExit
from pipelines.errors import JobError
from pipelines.export_models import AnalysisExportTask, ExportConfig
from pipelines.models import ImageOperation
from rayjobs.job.job_state import JobState
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.managers.batch_job import BatchJob
from rayjobs.managers.enhanced_job_manager import EnhancedJobManager
from rayjobs.managers.job_request import Source
from rayjobs.managers.open_job import OpenJob

if TYPE_CHECKING:
    import pyarrow as pa


class BatchProcessingHandler(ClosedOnExit):
    """Creates, runs, watches and stops jobs, and reads their results; every method may be called from any thread.

    Parameters
    ----------
    manager
        Whose jobs; one of its own unless given, and then closed with the handler.
    """

    def __init__(self, manager: EnhancedJobManager | None = None) -> None:
        self._own = manager is None
        self.manager = manager or EnhancedJobManager()
        """For what is rarer: exports, tasks of registered types, extension data."""

    def close(self) -> None:
        """Interrupt what runs; it can be started again later. Safe to call twice."""
        if self._own:
            self.manager.close()

    def create_job(
        self,
        name: str,
        images: Iterable[Source] = (),
        operations: Iterable[str | Mapping[str, Any] | ImageOperation] = (),
        *,
        output: str | Path,
        **options: Any,
    ) -> BatchJob:
        """Create a job; ``options`` are ``analyses``, ``export_config`` and other keys of a job file.

        Raises
        ------
        JobError
            With every mistake; or there is such a job.
        """
        return self.manager.create_job(name, images, operations, output=output, **options)

    def load_job(self, path: str | Path) -> BatchJob:
        """Create the job of a job file."""
        return self.manager.create_job_from_file(path)

    def add_images(self, job_id: str, paths: Iterable[Source]) -> BatchJob:
        """Put files, directories or globs into a job's image pool."""
        return self.manager.add_images(job_id, paths)

    def start(self, job_id: str) -> BatchJob:
        """Run a job, or go on with one that was stopped; returns at once."""
        return self.manager.start_job(job_id)

    def wait(self, job_id: str, timeout: float | None = None) -> JobState:
        """Wait for a job that was started; how it ended.

        Raises
        ------
        RayjobsError
            The job could not run; or it goes on after ``timeout`` seconds.
        """
        return self.manager.wait_for_job(job_id, timeout)

    def open_job(self, job_id: str) -> OpenJob:
        """A job to wait for, with progress, and to look at: tables, pictures, report.

        Raises
        ------
        JobError
            There is no such job.
        """
        return self.manager.open_job(job_id)

    def on_job_end(self, callback: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        """Call back when a job's run ends that is started from now on; the returned function takes that back."""
        return self.manager.on_job_end(callback)

    def cancel(self, job_id: str) -> bool:
        """Stop a job; False when it doesn't run."""
        return self.manager.cancel_job(job_id)

    def pause(self, job_id: str) -> bool:
        """Stop a job for now, ``start`` goes on with it; False when it doesn't run."""
        return self.manager.pause_job(job_id)

    def retry_failed(self, job_id: str, reasons: Iterable[str] = ()) -> BatchJob:
        """Run a job again for the inputs that failed, for these reasons or for any; returns at once."""
        return self.manager.retry_failed(job_id, reasons)

    def set_priority(self, job_id: str, priority: str) -> BatchJob:
        """Change a job's priority, whether it runs or not."""
        return self.manager.set_priority(job_id, priority)

    def status(self, job_id: str) -> BatchJob:
        """How a job stands."""
        return self.manager.get_job(job_id)

    def jobs(self) -> list[BatchJob]:
        """All jobs, the oldest first."""
        return self.manager.list_jobs()

    def export_analyses(self, job_id: str, config: ExportConfig | None = None) -> AnalysisExportTask:
        """Queue an analysis export of a job's images; ``manager.wait_for_task`` waits for it."""
        return self.manager.create_analysis_export_task(job_id, config)

    def results(self, job_id: str, columns: list[str] | None = None) -> pa.Table:
        """The measurements: one row per image, one column per number or array.

        Parameters
        ----------
        columns
            Only these, which is cheaper for large jobs.

        Raises
        ------
        JobError
            The job isn't done, or wrote no Parquet; ``open_job(job_id).images()`` gives what is done so far.
        """
        return self._complete(job_id).images(columns)

    def manifest(self, job_id: str) -> pa.Table:
        """What happened to every input: one row each.

        Raises
        ------
        JobError
            The job isn't done.
        """
        return self._complete(job_id).manifest()

    def report(self, job_id: str) -> Path | None:
        """The page to look at, once it is written."""
        page = OutputDirectory(Path(self.status(job_id).output)).report
        return page if page.is_file() else None

    def _complete(self, job_id: str) -> OpenJob:
        job = self.open_job(job_id)
        if not job.complete:
            raise JobError(f"{job_id}: is {job.status}, so it has no results yet; wait for it")
        return job

    def _repr_html_(self) -> str:
        rows = "".join(self._row(job) for job in self.jobs())
        head = "<tr><th>job</th><th>status</th><th>progress</th><th></th><th>report</th></tr>"
        return f"<table>{head}{rows}</table>" if rows else "<p>no jobs yet</p>"

    def _row(self, job: BatchJob) -> str:
        page = OutputDirectory(Path(job.output)).report
        link = f'<a href="{html.escape(page.as_uri())}" target="_blank">report</a>' if page.is_file() else ""
        cells = (
            html.escape(job.name),
            html.escape(job.status),
            f'<progress max="100" value="{job.progress}">{job.progress}&nbsp;%</progress>',
            html.escape(job.result_message or ""),
            link,
        )
        return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
