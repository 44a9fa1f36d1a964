"""A report on as many inputs as one wants, of which none exists: numbers from a generator, a few pictures for all.

Written by what writes every report; only where its rows come from differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actors.ledger.job_ledger import JobLedger
from pipelines.models import AnalysisRequest
from pipelines.stages.thumbnails import Thumbnails
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.report import write_report
from rayjobs.results.report_measures import measures
from rayjobs.results.report_rows import ReportRow, ReportSummary

PICTURES = 500
"""Different ones among all."""
PER_FOLDER = 240
REQUESTS = tuple(AnalysisRequest(name) for name in ("statistics", "sharpness", "noise", "lab_chromaticity"))


@dataclass(frozen=True, slots=True)
class _Rows:
    total: int
    columns: int

    def __iter__(self) -> Iterator[ReportRow]:
        draws = np.random.default_rng(15)
        for number in range(self.total):
            folder, name = (
                f"/collection/plate {number // PER_FOLDER:04d}",
                f"well {number % PER_FOLDER:03d} field 1.tif",
            )
            path = f"{folder}/{name}"
            if number % 1000 == 999:
                yield ReportRow(
                    input=path, source=path.encode(), status="failed", reason="corrupt", message="cut off in the middle"
                )
                continue
            yield ReportRow(
                input=path,
                source=path.encode(),
                key=f"{number % PICTURES:032x}",
                image=f"images/{path[1:]}.jpg",
                values=draws.lognormal(4, 0.3, self.columns),
                white=255,
                cells={"dose": f"{number % 7}"},
                width=1920,
                height=1280,
            )


def synthetic_report(output: Path, inputs: int) -> Path:
    """Write it into a new directory; gives the page."""
    directory = OutputDirectory(output)
    directory.control.mkdir(parents=True)
    shown = measures(REQUESTS)
    failed = inputs // 1000
    summary = ReportSummary(
        name="synthetic", status="completed_with_failures", done=inputs - failed, failed=failed, skipped=0
    )
    with closing(JobLedger(directory.ledger)) as ledger:
        (directory.temporary / str(ledger.facts.read().epoch)).mkdir(parents=True)
        with FixedFiles.opened(ledger, directory) as files:
            write_report(files, summary, shown, _Rows(inputs, len(shown)), make_thumbnails=_picture)
    return directory.report


def _picture(path: Path, **promised: Any) -> Thumbnails:
    """A photograph's size, and much of its detail."""
    noise = np.random.default_rng(len(str(path)) + sum(map(ord, str(path)))).integers(0, 256, (45, 67, 3), np.uint8)
    data = BytesIO()
    Image.fromarray(noise).resize((400, 267)).save(data, "JPEG", quality=82)
    return Thumbnails(plain=data.getvalue())
