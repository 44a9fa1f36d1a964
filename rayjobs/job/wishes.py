"""What a job asks for that nothing comes of: no mistake, but hardly what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.charts import CHARTABLE, charts_of
from rayjobs.job.job_spec import JobSpec


def idle_wishes(spec: JobSpec) -> Iterator[str]:
    """A line for each."""
    charts = spec.export.charts is not None
    drawn = charts and charts_of(spec.analyses)
    if charts and not drawn:
        yield f"charts are asked for, and none of the analyses has one; {', '.join(CHARTABLE)} have"
    if spec.export.images is None and not drawn and not (spec.analyses and spec.export.data) and not spec.tasks:
        yield "no images, charts or tables are asked for: it writes a list of its inputs only"
