"""The report of a job: one page of pictures that opens offline, in ``report/`` of the output directory.

Covers what is shown: every input with what is known of it, and what matters of all of them together. Taken from streams
so that memory holds one block. Does not read the ledger or tables. See also ``report_survey`` (what is known of all
together), ``report_texts`` (how it is said), ``report_measures`` (which numbers) and ``report_files`` (form).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.charts import ChartOptions
from pipelines.errors import ImageError
from pipelines.stages.thumbnails import STRETCH, THUMBNAIL_BYTES, Thumbnails, browsers_show
from pipelines.tables import printable
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.report_files import (
    BLOCK_ROWS,
    CHUNK_ROWS,
    ReportFiles,
    file_link,
    output_link,
)
from rayjobs.results.report_measures import Kinds, Measure, card_lines, described
from rayjobs.results.report_numbers import Outlier, Outliers
from rayjobs.results.report_rows import MeasuredRows, ReportGroups, ReportRow, ReportSummary, cell_text
from rayjobs.results.report_survey import Survey
from rayjobs.results.report_texts import chart_frame, charts_in_order, facts_of, page_values

MAX_THREADS = 8
"""That make pictures: beside them the program goes on."""
_DIGITS = "%.5g "
"""More than anybody reads; numbers go as one text, since a job of 100,000 images has millions of them."""
HELD_ROWS = 4_096
"""Inputs that are read from the ledger once, and held: 6 KB each, so that memory doesn't grow with the job."""
CLIPPED, SOFT, LESSER, STRETCHED = 1, 2, 4, 8
"""Bits of what a row is marked with; the page's script knows them."""


class MakeThumbnails(Protocol):
    """As ``thumbnails.make_thumbnails``. Called from several threads."""

    def __call__(
        self, path: Path, *, size: int | None = None, mtime_ns: int | None = None, sha256: str | None = None
    ) -> Thumbnails: ...


class _Picture(NamedTuple):
    """A thumbnail that is there."""

    key: str = ""
    """Empty: there is none."""
    is_stretched: bool = False
    """Whether there is a stretched one too."""
    fault: str = ""
    """Why there is none."""


_NONE = _Picture()


def write_report(
    files: FixedFiles,
    summary: ReportSummary,
    measures: Sequence[Measure],
    rows: Iterable[ReportRow],
    *,
    make_thumbnails: MakeThumbnails,
    groups: ReportGroups | None = None,
    charts: ChartOptions | None = None,
) -> None:
    """Write ``report/index.html`` and what belongs to it into an output directory.

    Parameters
    ----------
    measures
        What the values of the rows are.
    rows
        All inputs in order. More than ``HELD_ROWS`` are read twice (first for the medians), so an iterable that starts
        anew, not an iterator.
    charts
        How charts were drawn, so that a card can show a plot without what is around it.

    Raises
    ------
    TypeError
        ``rows`` is an iterator.
    """
    if isinstance(rows, Iterator):
        raise TypeError("rows are read twice: give an iterable that starts anew, not an iterator")
    if summary.done + summary.failed + summary.skipped <= HELD_ROWS:
        rows = list(rows)
    kinds = Kinds(measures)
    survey = Survey.of(_groups(rows), kinds, measures, summary.done)
    columns, charted = survey.cells, charts_in_order(survey, summary)
    critic, pages = _Critic(survey, kinds, len(measures)), ReportFiles(files)
    with ThreadPoolExecutor(max_workers=_thread_count()) as threads:
        studio = _Studio(files.root, pages, make_thumbnails, threads)
        block = _Block(survey, len(measures))
        number, done = 0, 0
        for chunk, some in enumerate(_groups(rows)):
            marks, pictures, originals = critic.marks(some), studio.pictures(some), studio.originals(some)
            told = []
            for row, mark, picture, original in zip(some, marks, pictures, originals, strict=True):
                block.add(row, mark, picture)
                done += row.status == "done"
                told.append(_told(row, done, charted, columns, picture.fault, original))
            pages.write_rows(chunk, told)
            if block.is_full or len(some) < CHUNK_ROWS:
                pages.write_block(number, *block.emptied())
                number += 1
        if block.names:
            pages.write_block(number, *block.emptied())
    far = critic.farthest()
    lines = card_lines(measures)
    job = facts_of(summary, measures, survey, far) | {
        "block": BLOCK_ROWS,
        "chunk": CHUNK_ROWS,
        "measures": list(described(measures, survey.white, is_mixed=survey.is_mixed)),
        "card": [{"label": line.label, "columns": line.columns} for line in lines],
        "frame": chart_frame(charts),
        "stretch": f"{STRETCH[0]:g} to {STRETCH[1]:g} %",
    }
    pages.write_job(job)
    pages.write_page(page_values(summary, survey, far, groups))


def _thread_count() -> int:
    """As many as may each hold a large image in the memory that is free."""
    from actors.resources.host_usage import cpu_count, memory_use  # here: a job with nothing left to do has no report

    used, total = memory_use()
    return max(1, min(cpu_count(), MAX_THREADS, (total - used) // THUMBNAIL_BYTES))


def _told(
    row: ReportRow, done: int, charts: Sequence[str], columns: Sequence[str], fault: str, original: _Picture
) -> list[Any]:
    """What the large picture shows of an input besides what its block has; ``original``: of it, if it needs one."""
    cells = [cell_text(row.cells.get(name)) for name in columns]
    values = "" if row.values is None else _DIGITS * len(row.values) % tuple(row.values.tolist())
    return [
        file_link(row.source),
        None if row.image is None else output_link(row.image),
        row.message or fault,
        row.degraded,
        done if row.status == "done" else 0,
        [output_link(row.charts[name]) if name in row.charts else None for name in charts],
        cells,
        values,
        list(original) if original.key else None,
    ]


class _Critic:
    """Tells what is special about inputs by their numbers, and counts it in the survey."""

    def __init__(self, survey: Survey, kinds: Kinds, measures: int) -> None:
        self._survey = survey
        self._kinds = kinds
        self._measures = measures
        self._outliers = Outliers(survey.distributions, survey.columns)
        self._seen = 0

    def marks(self, rows: Sequence[ReportRow]) -> list[int]:
        """``CLIPPED`` and ``SOFT`` of each of the next rows."""
        measured = MeasuredRows.of(rows, self._measures)
        of_kinds = self._kinds.of(measured.values, measured.whites)
        scaled = self._kinds.compared(measured.values)
        clipped = self._kinds.are_clipped(measured.values)
        soft = self._kinds.are_soft(scaled, of_kinds, self._survey.distributions)
        self._survey.clipped += int(clipped.sum())
        self._survey.soft += int(soft.sum())
        self._outliers.see(self._seen + measured.rows, of_kinds, scaled)
        self._seen += len(rows)
        marks = np.zeros(len(rows), np.int64)
        marks[measured.rows] = CLIPPED * clipped | SOFT * soft
        return marks.tolist()

    def farthest(self) -> list[Outlier]:
        """Of all rows, now that they were seen."""
        self._survey.unlike = self._outliers.count
        return self._outliers.found()


class _Block:
    """Gathers what the page needs of the inputs of a block."""

    def __init__(self, survey: Survey, measures: int) -> None:
        self._survey = survey
        self._nothing = np.full(measures, np.nan)
        self._choices = survey.groups
        self._codes = {reason: code for code, reason in enumerate(survey.reason_codes)}
        self._clear()

    def _clear(self) -> None:
        self.names: list[str] = []
        self._folders: list[str] = []
        self._runs: list[int] = []
        self._status: list[str] = []
        self._reasons: list[int] = []
        self._keys: list[str] = []
        self._marks: list[int] = []
        self._sizes: list[int] = []
        self._twins: list[int] = []
        self._whites: list[float] = []
        self._charts: list[str | None] = []
        self._groups: list[list[int]] = [[] for _ in self._choices]
        self._values: list[NDArray[np.float64]] = []

    @property
    def is_full(self) -> bool:
        return len(self.names) >= BLOCK_ROWS

    def add(self, row: ReportRow, marks: int, picture: _Picture) -> None:
        """The next input, with what its numbers mark it with."""
        folder, _, name = row.input.rpartition("/")
        if not self._folders or self._folders[-1] != folder:
            self._folders.append(folder)
            self._runs.append(0)
        self._runs[-1] += 1
        self.names.append(name)
        self._status.append(row.status[0])
        self._reasons.append(self._codes.get((row.status, row.reason), -1))
        self._keys.append(picture.key)
        self._marks.append(marks | LESSER * (row.degraded is not None) | STRETCHED * picture.is_stretched)
        self._sizes += [row.width or 0, row.height or 0]
        self._twins.append(row.twins)
        self._whites.append(row.white if math.isfinite(row.white) else 0)
        self._charts.append(_chart_stem(row) if len(row.charts) == len(self._survey.charted) else None)
        for codes, (column, texts) in zip(self._groups, self._choices.items(), strict=True):
            codes.append(texts.get(cell_text(row.cells.get(column)), -1))
        self._values.append(self._nothing if row.values is None else row.values)

    def emptied(self) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """What was gathered, and its numbers; from here on another block."""
        facts = {
            "names": self.names,
            "folders": self._folders,
            "runs": self._runs,
            "status": "".join(self._status),
            "reasons": self._reasons,
            "keys": self._keys,
            "marks": self._marks,
            "sizes": self._sizes,
            "twins": self._twins if any(self._twins) else [],
            "whites": self._whites if self._survey.is_mixed else [],
            "charts": self._charts if any(self._charts) else [],
            "groups": self._groups,
        }
        values = np.array(self._values, np.float64).reshape(len(self.names), self._nothing.size).astype(np.float32)
        self._clear()
        return facts, values


def _chart_stem(row: ReportRow) -> str | None:
    """What the charts of an input have in common: the link without ``charts/`` and the analysis."""
    stems = {path.removeprefix(f"charts/{name}/") for name, path in row.charts.items()}
    return output_link(stems.pop()).removeprefix("../") if len(stems) == 1 else None


class _Studio:
    """Thumbnails of inputs: those that workers left, those of earlier reports, and others made by several threads."""

    def __init__(self, output: Path, pages: ReportFiles, make_thumbnails: MakeThumbnails, threads: Executor) -> None:
        self._output = output
        self._pages = pages
        self._make_thumbnails = make_thumbnails
        self._threads = threads

    def pictures(self, rows: Sequence[ReportRow]) -> list[_Picture]:
        """The thumbnail of each row."""
        by_key = {row.key: row for row in rows if row.status == "done"}  # same pictures have one thumbnail
        found = self._found(by_key)
        lacking = [row for key, row in by_key.items() if key not in found]
        found |= zip((row.key for row in lacking), self._threads.map(self._picture, lacking), strict=True)
        return [found[row.key] if row.status == "done" else _NONE for row in rows]

    def originals(self, rows: Sequence[ReportRow]) -> list[_Picture]:
        """The thumbnail of each row's original, where browsers can't show that itself."""
        by_key = {row.original_key: row for row in rows if row.status == "done" and row.original_key}
        found = self._found(by_key)
        lacking = {
            key: row for key, row in by_key.items() if key not in found and not browsers_show(os.fsdecode(row.source))
        }
        found |= zip(lacking, self._threads.map(self._made_of_source, lacking, lacking.values()), strict=True)
        return [found.get(row.original_key, _NONE) for row in rows]

    def _picture(self, row: ReportRow) -> _Picture:
        if row.image is not None:
            return self._made(row.key, row.image, sha256=row.image_sha256)
        if not row.original_key:
            return self._made_of_source(row.key, row)
        original = self._found([row.original_key])  # of what was measured nothing is left
        return original.get(row.original_key) or self._made_of_source(row.original_key, row)

    def _found(self, keys: Iterable[str]) -> dict[str, _Picture]:
        """What workers left, or an earlier report has."""
        found = self._pages.place_left_thumbnails(keys)
        found |= self._pages.keep_thumbnails(key for key in keys if key not in found)
        return {key: _Picture(key, is_stretched) for key, is_stretched in found.items()}

    def _made_of_source(self, key: str, row: ReportRow) -> _Picture:
        """Not of a file that is another one by now: the key promises the one that the job took."""
        return self._made(key, os.fsdecode(row.source), size=row.size, mtime_ns=row.mtime_ns)

    def _made(self, key: str, path: str, **promised: Any) -> _Picture:
        try:
            made = self._make_thumbnails(self._output / path, **promised)
        except ImageError as error:
            return _Picture(fault=printable(str(error)))
        is_written, is_stretched = self._pages.write_thumbnails(key, dict(made.named(key)))
        return _Picture(key, is_stretched) if is_written else _Picture(fault="a file that isn't the job's has its name")


def _groups(rows: Iterable[ReportRow]) -> Iterator[list[ReportRow]]:
    stream = iter(rows)
    while group := list(islice(stream, CHUNK_ROWS)):
        yield group
